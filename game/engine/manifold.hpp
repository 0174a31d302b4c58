// The narrow phase: where two boxes touch, as a manifold of up to two points on a reference face.
#pragma once
#include <cstdint>

#include "math.hpp"
#include "model.hpp"

namespace qwop {

struct Transform {
    Vec2 position;
    Rotation rotation;
};

inline Vec2 to_world(const Transform& xf, Vec2 v) {
    const Vec2 r = rotate(xf.rotation, v);
    return {xf.position.x + r.x, xf.position.y + r.y};
}

struct ManifoldPoint {
    Vec2 local_point{};                            // in the frame of the box that does not own the face
    double normal_impulse = 0, tangent_impulse = 0;  // kept from frame to frame: warm starting
    uint32_t key = 0;                              // which features met; points with equal keys are the same
};

struct Manifold {
    Vec2 local_normal{}, local_point{};  // of the reference face, in its box's frame
    ManifoldPoint points[2];
    uint8_t point_count = 0;
    bool face_b = false;             // the reference face belongs to box B
};

// Replaces the manifold's geometry and keys; impulses are zeroed.
void collide(Manifold& manifold, const Box& box_a, const Transform& xf_a, const Box& box_b, const Transform& xf_b);

// The manifold in world coordinates. point_count points are meaningful.
struct WorldManifold {
    Vec2 normal;      // from A to B
    Vec2 points[2]{}; // (0, 0) where there is none
};
WorldManifold world_manifold(const Manifold& manifold, const Transform& xf_a, const Transform& xf_b);

}  // namespace qwop
