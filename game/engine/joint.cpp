#include "joint.hpp"

namespace qwop {

// The pivot holds two points together: C = (x_b + r_b) - (x_a + r_a) = 0, so
//   Cdot = v_b + w_b x r_b - v_a - w_a x r_a,  K = (m_a^-1 + m_b^-1) I + i_a^-1 [r_a]^2 + i_b^-1 [r_b]^2
// and the impulse that makes Cdot zero is -K^-1 Cdot. K is summed entry by entry in this order.
struct PivotMass {
    double xx, xy, yx, yy;
};

static PivotMass pivot_mass(double m_a, double m_b, double i_a, double i_b, Vec2 a, Vec2 b) {
    return {m_a + m_b + i_a * a.y * a.y + i_b * b.y * b.y, 0.0 + -i_a * a.x * a.y + -i_b * b.x * b.y,
            0.0 + -i_a * a.x * a.y + -i_b * b.x * b.y, m_a + m_b + i_a * a.x * a.x + i_b * b.x * b.x};
}

double linear_slop_squared() {
    static const double bound = [] {
        double x = LINEAR_SLOP * LINEAR_SLOP;
        while (std::sqrt(x) > LINEAR_SLOP) x = std::nextafter(x, 0.0);
        while (std::sqrt(std::nextafter(x, 1.0)) <= LINEAR_SLOP) x = std::nextafter(x, 1.0);
        return x;
    }();
    return bound;
}

JointSolver::JointSolver(int id, Joint* j, Body* bodies) : joint(j) {
    const JointConstants& c = JOINTS[id];
    const Model& m = qwop::model();
    max_motor_torque = c.max_motor_torque;
    reference_angle = c.reference_angle;
    a = &bodies[c.body_a];
    b = &bodies[c.body_b];
    model = &joint_models(a->trig)[id];
    inv_mass_a = m.bodies[c.body_a].inv_mass;
    inv_mass_b = m.bodies[c.body_b].inv_mass;
    inv_i_a = m.bodies[c.body_a].inv_inertia;
    inv_i_b = m.bodies[c.body_b].inv_inertia;

    r_a = rotate(a->fresh_rotation(), model->local_anchor_a);
    r_b = rotate(b->fresh_rotation(), model->local_anchor_b);
    const PivotMass k = pivot_mass(inv_mass_a, inv_mass_b, inv_i_a, inv_i_b, r_a, r_b);
    double det = k.xx * k.yy - k.xy * k.yx;
    if (det != 0) det = 1 / det;
    pivot_xx = det * k.yy;
    pivot_xy = -det * k.xy;
    pivot_yx = -det * k.yx;
    pivot_yy = det * k.xx;
    motor_mass = 1 / (inv_i_a + inv_i_b);
    limit_position_impulse = 0;

    if (!joint->motor_enabled) joint->motor_force = 0;
    LimitState state = LimitState::inactive;
    if (joint->limit_enabled) {
        const double angle = b->angle - a->angle - reference_angle;
        const double range = joint->upper_angle - joint->lower_angle;
        if ((range > 0 ? range : -range) < 2 * ANGULAR_SLOP) {
            state = LimitState::equal;
        } else if (angle <= joint->lower_angle) {
            state = LimitState::at_lower;
        } else if (angle >= joint->upper_angle) {
            state = LimitState::at_upper;
        }
        // A limit that is newly reached, or left, starts without force.
        if (state != LimitState::equal && (state != joint->limit_state || state == LimitState::inactive))
            joint->limit_force = 0;
        joint->limit_state = state;
    } else {
        joint->limit_force = 0;
    }
}

void JointSolver::warm_start() {
    const Vec2 f = joint->pivot_force;
    a->velocity.x -= TIME_STEP * inv_mass_a * f.x;
    a->velocity.y -= TIME_STEP * inv_mass_a * f.y;
    a->angular_velocity -= TIME_STEP * inv_i_a * (r_a.x * f.y - r_a.y * f.x + joint->motor_force + joint->limit_force);
    b->velocity.x += TIME_STEP * inv_mass_b * f.x;
    b->velocity.y += TIME_STEP * inv_mass_b * f.y;
    b->angular_velocity += TIME_STEP * inv_i_b * (r_b.x * f.y - r_b.y * f.x + joint->motor_force + joint->limit_force);
}

void JointSolver::solve_velocity() {
    // Pivot.
    const double dx = b->velocity.x + -b->angular_velocity * r_b.y - a->velocity.x - -a->angular_velocity * r_a.y;
    const double dy = b->velocity.y + b->angular_velocity * r_b.x - a->velocity.y - a->angular_velocity * r_a.x;
    const double fx = -INV_TIME_STEP * (pivot_xx * dx + pivot_xy * dy);
    const double fy = -INV_TIME_STEP * (pivot_yx * dx + pivot_yy * dy);
    joint->pivot_force.x += fx;
    joint->pivot_force.y += fy;
    const double px = TIME_STEP * fx, py = TIME_STEP * fy;
    a->velocity.x -= inv_mass_a * px;
    a->velocity.y -= inv_mass_a * py;
    a->angular_velocity -= inv_i_a * (r_a.x * py - r_a.y * px);
    b->velocity.x += inv_mass_b * px;
    b->velocity.y += inv_mass_b * py;
    b->angular_velocity += inv_i_b * (r_b.x * py - r_b.y * px);

    // Motor: drives the relative speed to motor_speed within +- max_motor_torque.
    if (joint->motor_enabled && joint->limit_state != LimitState::equal) {
        const double speed = b->angular_velocity - a->angular_velocity - joint->motor_speed;
        const double old = joint->motor_force;
        joint->motor_force = clamp(old + -INV_TIME_STEP * motor_mass * speed, -max_motor_torque, max_motor_torque);
        const double f = joint->motor_force - old;
        a->angular_velocity -= inv_i_a * TIME_STEP * f;
        b->angular_velocity += inv_i_b * TIME_STEP * f;
    }

    // Limit: pushes back only.
    if (joint->limit_enabled && joint->limit_state != LimitState::inactive) {
        const double speed = b->angular_velocity - a->angular_velocity;
        double f = -INV_TIME_STEP * motor_mass * speed;
        const double old = joint->limit_force;
        if (joint->limit_state == LimitState::equal) {
            joint->limit_force = old + f;
        } else if (joint->limit_state == LimitState::at_lower) {
            joint->limit_force = max(old + f, 0);
            f = joint->limit_force - old;
        } else {
            joint->limit_force = min(old + f, 0);
            f = joint->limit_force - old;
        }
        a->angular_velocity -= inv_i_a * TIME_STEP * f;
        b->angular_velocity += inv_i_b * TIME_STEP * f;
    }
}

bool JointSolver::solve_position() {
    // Pivot: one Newton step on C with the lever arms of this instant.
    const Vec2 arm_a = rotate(a->fresh_rotation(), model->local_anchor_a);
    const Vec2 arm_b = rotate(b->fresh_rotation(), model->local_anchor_b);
    const double cx = b->position.x + arm_b.x - (a->position.x + arm_a.x);
    const double cy = b->position.y + arm_b.y - (a->position.y + arm_a.y);
    const bool position_okay = cx * cx + cy * cy <= linear_slop_squared();

    const PivotMass k = pivot_mass(inv_mass_a, inv_mass_b, inv_i_a, inv_i_b, arm_a, arm_b);
    double det = k.xx * k.yy - k.xy * k.yx;
    if (det != 0) det = 1 / det;
    const double px = det * (k.yy * -cx - k.xy * -cy);
    const double py = det * (k.xx * -cy - k.yx * -cx);
    a->position.x -= inv_mass_a * px;
    a->position.y -= inv_mass_a * py;
    a->angle -= inv_i_a * (arm_a.x * py - arm_a.y * px);
    b->position.x += inv_mass_b * px;
    b->position.y += inv_mass_b * py;
    b->angle += inv_i_b * (arm_b.x * py - arm_b.y * px);

    // Limit, at the angles that the pivot has just left.
    double angular_error = 0;
    if (joint->limit_enabled && joint->limit_state != LimitState::inactive) {
        const double angle = b->angle - a->angle - reference_angle;
        double impulse = 0;
        if (joint->limit_state == LimitState::equal) {
            const double c = clamp(angle, -MAX_ANGULAR_CORRECTION, MAX_ANGULAR_CORRECTION);
            impulse = -motor_mass * c;
            angular_error = c > 0 ? c : -c;
        } else {
            const double old = limit_position_impulse;
            if (joint->limit_state == LimitState::at_lower) {
                double c = angle - joint->lower_angle;
                angular_error = max(0, -c);
                c = clamp(c + ANGULAR_SLOP, -MAX_ANGULAR_CORRECTION, 0);
                limit_position_impulse = max(old + -motor_mass * c, 0);
            } else {
                double c = angle - joint->upper_angle;
                angular_error = max(0, c);
                c = clamp(c - ANGULAR_SLOP, 0, MAX_ANGULAR_CORRECTION);
                limit_position_impulse = min(old + -motor_mass * c, 0);
            }
            impulse = limit_position_impulse - old;
        }
        a->angle -= inv_i_a * impulse;
        b->angle += inv_i_b * impulse;
    }
    a->rotation_stale = b->rotation_stale = true;
    return position_okay && angular_error <= ANGULAR_SLOP;
}

}  // namespace qwop
