// The state of a rigid body. A body's origin is its center of mass.
#pragma once
#include "broadphase.hpp"
#include "manifold.hpp"

namespace qwop {

struct Body {
    Vec2 position{}, previous_position{};  // previous: at the start of the last step, for the swept box
    double angle = 0, previous_angle = 0;
    Rotation rotation, previous_rotation;
    Vec2 velocity{};
    double angular_velocity = 0;
    double torque = 0;                  // cleared by sleep only, so the head's torque accumulates
    double sleep_time = 0;              // s at rest
    Aabb box{};                         // tight, swept over the last step
    NodeId leaf = NO_NODE;
    bool awake = true;
    Trig trig = Trig::rounded;          // the sine and cosine of its rotation
    bool rotation_stale = false;        // angle has changed since `rotation` was taken

    // Rotations are computed on first use: most angles during a solve never need one.
    const Rotation& fresh_rotation() {
        if (rotation_stale) {
            rotation = Rotation::of(trig, angle);
            rotation_stale = false;
        }
        return rotation;
    }
    Transform transform() { return {position, fresh_rotation()}; }

    void wake() {
        awake = true;
        sleep_time = 0;
    }
    void sleep() {
        awake = false;
        sleep_time = 0;
        velocity = {0, 0};
        angular_velocity = 0;
        torque = 0;
    }
};

inline Aabb tight_box(const Box& box, const Transform& xf) {
    const Vec2 first = to_world(xf, box.vertices[0]);
    Vec2 lower = first, upper = first;
    for (int i = 1; i < 4; ++i) {
        const Vec2 v = to_world(xf, box.vertices[i]);
        lower = {min(lower.x, v.x), min(lower.y, v.y)};
        upper = {max(upper.x, v.x), max(upper.y, v.y)};
    }
    return {{lower.x - POLYGON_RADIUS, lower.y - POLYGON_RADIUS}, {upper.x + POLYGON_RADIUS, upper.y + POLYGON_RADIUS}};
}

}  // namespace qwop
