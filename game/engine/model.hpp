// Numbers that are computed once from the constants: boxes, masses and joints of each body and, for each variant of
// sine and cosine, the local anchors of the joints.
#pragma once
#include "constants.hpp"
#include "math.hpp"

namespace qwop {

// A box with its vertices in order (-,-), (+,-), (+,+), (-,+), and the outward unit normal of each edge i
// (from vertex i to vertex i + 1).
struct Box {
    Vec2 vertices[4];
    Vec2 face_normals[4];   // edge * (1 / length), turned: within 1 ulp of unit length, as the game computes it
    Vec2 face_tangents[4];
    Vec2 face_centers[4];
};
constexpr double BOX_NORMALS[4][2] = {{0, -1}, {1, 0}, {0, 1}, {-1, 0}};

struct BodyModel {
    Box box;
    double mass, inv_mass;        // density * area; 0 for static bodies
    double inertia, inv_inertia;  // about the center, which is the body's origin; 0 for static bodies
};

struct JointModel {
    Vec2 local_anchor_a, local_anchor_b;
};

struct Model {
    BodyModel bodies[BODY_COUNT];
    uint8_t joint_lists[BODY_COUNT][5];  // joints of each body, newest first
    uint8_t joint_counts[BODY_COUNT];

    Model();
};

// The one model; built before anything else uses it.
const Model& model();

// JOINT_COUNT of them. The anchors are in the frames of rotated bodies, so their last bits depend on the variant.
const JointModel* joint_models(Trig trig);

}  // namespace qwop
