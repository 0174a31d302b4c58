// The revolute joint: a pivot, with an optional motor and angle limits.
#pragma once
#include "body.hpp"

namespace qwop {

enum class LimitState : uint8_t { inactive, at_lower, at_upper, equal };

// What a joint carries from frame to frame. Box2D 2.1a stores forces (impulse = TIME_STEP * force).
struct Joint {
    Vec2 pivot_force{};
    double motor_force = 0, limit_force = 0;
    double motor_speed = 0;                 // radians / s
    double lower_angle = 0, upper_angle = 0;
    LimitState limit_state = LimitState::inactive;
    bool motor_enabled = false, limit_enabled = true;
};

// The greatest double whose square root is at most LINEAR_SLOP: comparing squares with it is exact.
double linear_slop_squared();

// Within one step: what the velocity and position passes share.
struct JointSolver {
    Joint* joint;
    const JointModel* model;
    double max_motor_torque, reference_angle;
    Body *a, *b;
    double inv_mass_a, inv_mass_b, inv_i_a, inv_i_b;
    Vec2 r_a, r_b;                           // lever arms, fixed during the velocity pass
    double pivot_xx, pivot_xy, pivot_yx, pivot_yy;  // inverse of the pivot's K
    double motor_mass, limit_position_impulse;

    JointSolver() = default;
    JointSolver(int id, Joint* joint, Body* bodies);
    void warm_start();
    void solve_velocity();
    bool solve_position();  // true once position and angle errors are within the slops
};

}  // namespace qwop
