// The runner's joints, one game per lane: joint.cpp with masks for branches. Motors and limits are on, as in
// every game that has not ended; no joint of the runner has equal limits.
#pragma once
#include "lanes_block.hpp"

namespace qwop {
namespace lanes {

constexpr int64_t AT_LOWER = static_cast<int64_t>(LimitState::at_lower);
constexpr int64_t AT_UPPER = static_cast<int64_t>(LimitState::at_upper);

template <class V>
struct JointLanes {
    using I = Mask<V>;
    // Constants of the joint.
    int joint;                       // 0 = NECK
    int a, b;                        // parts
    bool motor;
    double inv_mass_a, inv_mass_b, inv_i_a, inv_i_b, motor_mass, max_motor_torque, reference_angle, slop_squared;
    Vec2 anchor_a, anchor_b;
    // This frame's.
    V lower_angle, upper_angle, motor_speed;
    V r_ax, r_ay, r_bx, r_by, pivot_xx, pivot_xy, pivot_yx, pivot_yy, limit_position_impulse;
    I at_lower, at_upper;

    void set_constants(Trig trig, JointId id);
    void prepare(Block<V>& s);
    void warm_start(Block<V>& s);
    void solve_velocity(Block<V>& s);
    I solve_position(Block<V>& s, I live);  // live: lanes that still iterate

  private:
    struct PivotMass {
        V xx, xy, yy;
    };
    QWOP_LANES_MEMBER PivotMass pivot_mass(V ax, V ay, V bx, V by) const {
        const double inv_mass = inv_mass_a + inv_mass_b;
        return {inv_mass + inv_i_a * ay * ay + inv_i_b * by * by, 0.0 + -inv_i_a * ax * ay + -inv_i_b * bx * by,
                inv_mass + inv_i_a * ax * ax + inv_i_b * bx * bx};
    }
};

template <class V>
void JointLanes<V>::set_constants(Trig trig, JointId id) {
    const Model& m = model();
    const JointConstants& c = JOINTS[id];
    joint = id - FIRST_JOINT;
    a = c.body_a - FIRST_PART;
    b = c.body_b - FIRST_PART;
    motor = c.motor_at_start;
    inv_mass_a = m.bodies[c.body_a].inv_mass;
    inv_mass_b = m.bodies[c.body_b].inv_mass;
    inv_i_a = m.bodies[c.body_a].inv_inertia;
    inv_i_b = m.bodies[c.body_b].inv_inertia;
    motor_mass = 1 / (inv_i_a + inv_i_b);
    max_motor_torque = c.max_motor_torque;
    reference_angle = c.reference_angle;
    slop_squared = linear_slop_squared();
    anchor_a = joint_models(trig)[id].local_anchor_a;
    anchor_b = joint_models(trig)[id].local_anchor_b;
    lower_angle = splat<V>(c.lower_angle);
    upper_angle = splat<V>(c.upper_angle);
    motor_speed = V{};
}

template <class V>
void JointLanes<V>::prepare(Block<V>& s) {
    const Vec2Lanes<V> r_a = rotated<V>({s.cos[a], s.sin[a]}, splat<V>(anchor_a.x), splat<V>(anchor_a.y));
    const Vec2Lanes<V> r_b = rotated<V>({s.cos[b], s.sin[b]}, splat<V>(anchor_b.x), splat<V>(anchor_b.y));
    r_ax = r_a.x;
    r_ay = r_a.y;
    r_bx = r_b.x;
    r_by = r_b.y;
    const PivotMass k = pivot_mass(r_ax, r_ay, r_bx, r_by);
    const V det = 1.0 / (k.xx * k.yy - k.xy * k.xy);  // K is positive definite
    pivot_xx = det * k.yy;
    pivot_xy = -det * k.xy;
    pivot_yx = -det * k.xy;
    pivot_yy = det * k.xx;
    limit_position_impulse = V{};

    const V angle = s.angle[b] - s.angle[a] - reference_angle;
    at_lower = angle <= lower_angle;
    at_upper = ~at_lower & (angle >= upper_angle);
    const I state = (at_lower & AT_LOWER) | (at_upper & AT_UPPER);
    const I kept = (state == s.limit_state[joint]) & (state != 0);
    s.limit_force[joint] = select<V>(kept, s.limit_force[joint], V{});
    s.limit_state[joint] = state;
}

template <class V>
void JointLanes<V>::warm_start(Block<V>& s) {
    const V fx = s.force_x[joint], fy = s.force_y[joint];
    const V motor_force = s.motor_force[joint], limit_force = s.limit_force[joint];
    s.vx[a] -= TIME_STEP * inv_mass_a * fx;
    s.vy[a] -= TIME_STEP * inv_mass_a * fy;
    s.w[a] -= TIME_STEP * inv_i_a * (r_ax * fy - r_ay * fx + motor_force + limit_force);
    s.vx[b] += TIME_STEP * inv_mass_b * fx;
    s.vy[b] += TIME_STEP * inv_mass_b * fy;
    s.w[b] += TIME_STEP * inv_i_b * (r_bx * fy - r_by * fx + motor_force + limit_force);
}

template <class V>
void JointLanes<V>::solve_velocity(Block<V>& s) {
    V w_a = s.w[a], w_b = s.w[b];
    const V dx = s.vx[b] + -w_b * r_by - s.vx[a] - -w_a * r_ay;
    const V dy = s.vy[b] + w_b * r_bx - s.vy[a] - w_a * r_ax;
    const V fx = -INV_TIME_STEP * (pivot_xx * dx + pivot_xy * dy);
    const V fy = -INV_TIME_STEP * (pivot_yx * dx + pivot_yy * dy);
    s.force_x[joint] += fx;
    s.force_y[joint] += fy;
    const V px = TIME_STEP * fx, py = TIME_STEP * fy;
    s.vx[a] -= inv_mass_a * px;
    s.vy[a] -= inv_mass_a * py;
    w_a -= inv_i_a * (r_ax * py - r_ay * px);
    s.vx[b] += inv_mass_b * px;
    s.vy[b] += inv_mass_b * py;
    w_b += inv_i_b * (r_bx * py - r_by * px);

    if (motor) {
        const V old = s.motor_force[joint];
        const V wanted = old + -INV_TIME_STEP * motor_mass * (w_b - w_a - motor_speed);
        s.motor_force[joint] = clamped<V>(wanted, splat<V>(-max_motor_torque), splat<V>(max_motor_torque));
        const V f = s.motor_force[joint] - old;
        w_a -= inv_i_a * TIME_STEP * f;
        w_b += inv_i_b * TIME_STEP * f;
    }
    const I limited = at_lower | at_upper;
    if (bits<V>(limited)) {
        const V zero{};
        const V old = s.limit_force[joint];
        const V wanted = old + -INV_TIME_STEP * motor_mass * (w_b - w_a);
        const V force = select<V>(at_lower, maximum<V>(wanted, zero), minimum<V>(wanted, zero));
        const V f = force - old;
        s.limit_force[joint] = select<V>(limited, force, old);
        w_a = select<V>(limited, w_a - inv_i_a * TIME_STEP * f, w_a);
        w_b = select<V>(limited, w_b + inv_i_b * TIME_STEP * f, w_b);
    }
    s.w[a] = w_a;
    s.w[b] = w_b;
}

template <class V>
Mask<V> JointLanes<V>::solve_position(Block<V>& s, I live) {
    const Vec2Lanes<V> arm_a = rotated<V>({s.cos[a], s.sin[a]}, splat<V>(anchor_a.x), splat<V>(anchor_a.y));
    const Vec2Lanes<V> arm_b = rotated<V>({s.cos[b], s.sin[b]}, splat<V>(anchor_b.x), splat<V>(anchor_b.y));
    const V cx = s.x[b] + arm_b.x - (s.x[a] + arm_a.x);
    const V cy = s.y[b] + arm_b.y - (s.y[a] + arm_a.y);
    const I position_okay = cx * cx + cy * cy <= slop_squared;

    const PivotMass k = pivot_mass(arm_a.x, arm_a.y, arm_b.x, arm_b.y);
    const V det = 1.0 / (k.xx * k.yy - k.xy * k.xy);
    const V px = det * (k.yy * -cx - k.xy * -cy);
    const V py = det * (k.xx * -cy - k.xy * -cx);
    V angle_a = s.angle[a] - inv_i_a * (arm_a.x * py - arm_a.y * px);
    V angle_b = s.angle[b] + inv_i_b * (arm_b.x * py - arm_b.y * px);
    s.x[a] = select<V>(live, s.x[a] - inv_mass_a * px, s.x[a]);
    s.y[a] = select<V>(live, s.y[a] - inv_mass_a * py, s.y[a]);
    s.x[b] = select<V>(live, s.x[b] + inv_mass_b * px, s.x[b]);
    s.y[b] = select<V>(live, s.y[b] + inv_mass_b * py, s.y[b]);

    const V zero{};
    V angular_error = zero;
    const I limited = (at_lower | at_upper) & live;
    if (bits<V>(limited)) {
        const V angle = angle_b - angle_a - reference_angle;
        const V old = limit_position_impulse;
        const V over = angle - select<V>(at_lower, lower_angle, upper_angle);
        const V error = maximum<V>(zero, select<V>(at_lower, -over, over));
        const V c_lower = clamped<V>(over + ANGULAR_SLOP, splat<V>(-MAX_ANGULAR_CORRECTION), zero);
        const V c_upper = clamped<V>(over - ANGULAR_SLOP, zero, splat<V>(MAX_ANGULAR_CORRECTION));
        const V wanted = old + -motor_mass * select<V>(at_lower, c_lower, c_upper);
        const V total = select<V>(at_lower, maximum<V>(wanted, zero), minimum<V>(wanted, zero));
        const V impulse = total - old;
        limit_position_impulse = select<V>(limited, total, old);
        angular_error = select<V>(limited, error, zero);
        angle_a = select<V>(limited, angle_a - inv_i_a * impulse, angle_a);
        angle_b = select<V>(limited, angle_b + inv_i_b * impulse, angle_b);
    }
    s.angle[a] = select<V>(live, angle_a, s.angle[a]);
    s.angle[b] = select<V>(live, angle_b, s.angle[b]);
    return position_okay & (angular_error <= ANGULAR_SLOP);
}

}  // namespace lanes
}  // namespace qwop
