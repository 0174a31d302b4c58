// The constraint of a body that touches a floor, one game per lane: contact.cpp with masks for branches. A floor is
// level and static: its rotation is (1, 0) and its inverse masses are 0, both exact, and the terms that vanish with
// them are left out. Impulses of A and B mirror each other to the last bit, so the floor is A here in every game.
#pragma once
#include "lanes_manifold.hpp"

namespace qwop {
namespace lanes {

template <class V>
struct ContactPointLanes {
    V r_x, r_y, local_x, local_y;  // r: from the body's center to the point
    V normal_impulse, tangent_impulse, normal_mass, tangent_mass, equalized_mass;
};

// The constraint of a body with the floor that it touches (in a lane on a seam: with one of two). Its methods take the
// struct that has the body: a Block, or its HurdleLanes.
template <class V>
struct ContactLanes {
    using I = Mask<V>;
    int part, body;                   // index in the arrays of the struct; BodyId
    I active, two;                    // lanes that have it; lanes with two independent points
    I on_floor[FLOOR_COUNT];          // which floor, by lane
    I face_part;
    V floor_x, normal_x, normal_y;    // normal: from the floor to the part
    V face_normal_x, face_normal_y, face_x, face_y;
    ContactPointLanes<V> points[2];
    I manifold_two;                   // the manifold has two points
    V k_xx, k_xy, k_yy, inv_k_xx, inv_k_xy, inv_k_yx, inv_k_yy;
    double mass, inv_mass, inv_inertia, friction;

    template <class Bodies>
    void prepare(const Bodies& b, const V* floors_x);
    template <class Bodies>
    void warm_start(Bodies& b);
    template <class Bodies>
    void solve_velocity(Bodies& b);
    template <class Bodies>
    void store_impulses(Bodies& b);
    template <class Bodies>
    void solve_position(Bodies& b, I live, V& min_separation);

  private:
    template <class Bodies>
    QWOP_LANES_MEMBER void apply(Bodies& b, I lanes, V px, V py, const ContactPointLanes<V>& point, double im,
                                 double ii) {
        b.vx[part] = select<V>(lanes, b.vx[part] + im * px, b.vx[part]);
        b.vy[part] = select<V>(lanes, b.vy[part] + im * py, b.vy[part]);
        b.w[part] = select<V>(lanes, b.w[part] + ii * (point.r_x * py - point.r_y * px), b.w[part]);
    }
    template <class Bodies>
    QWOP_LANES_MEMBER Vec2Lanes<V> speed(const Bodies& b, const ContactPointLanes<V>& p) const {
        return {b.vx[part] - b.w[part] * p.r_y, b.vy[part] + b.w[part] * p.r_x};
    }
};

template <class V>
template <class Bodies>
void ContactLanes<V>::prepare(const Bodies& b, const V* floors_x) {
    const BodyModel& constants = model().bodies[body];
    mass = constants.mass;
    inv_mass = constants.inv_mass;
    inv_inertia = constants.inv_inertia;
    const double floor_friction = BODIES[FLOOR_0].friction;
    friction = __builtin_sqrt(floor_friction * BODIES[body].friction);

    I count{};
    face_part = I{};
    floor_x = face_normal_x = face_normal_y = face_x = face_y = V{};
    points[0] = points[1] = ContactPointLanes<V>{};
    for (int f = 0; f < FLOOR_COUNT; ++f) {
        const I on_this = on_floor[f];
        if (!bits<V>(on_this)) continue;
        const ManifoldLanes<V>& m = b.manifold[part * FLOOR_COUNT + f];
        count = on_this ? m.count : count;
        face_part = on_this ? m.face_part : face_part;
        floor_x = select<V>(on_this, floors_x[f], floor_x);
        face_normal_x = select<V>(on_this, m.normal_x, face_normal_x);
        face_normal_y = select<V>(on_this, m.normal_y, face_normal_y);
        face_x = select<V>(on_this, m.local_x, face_x);
        face_y = select<V>(on_this, m.local_y, face_y);
        for (int k = 0; k < 2; ++k) {
            points[k].local_x = select<V>(on_this, m.points[k].local_x, points[k].local_x);
            points[k].local_y = select<V>(on_this, m.points[k].local_y, points[k].local_y);
            points[k].normal_impulse = select<V>(on_this, m.points[k].normal_impulse, points[k].normal_impulse);
            points[k].tangent_impulse = select<V>(on_this, m.points[k].tangent_impulse, points[k].tangent_impulse);
        }
    }
    manifold_two = count == 2;

    const V zero{}, one = splat<V>(1);
    const RotationLanes<V> turn{b.cos[part], b.sin[part]};
    const RotationLanes<V> face_turn{select<V>(face_part, turn.cos, one), select<V>(face_part, turn.sin, zero)};
    const RotationLanes<V> other_turn{select<V>(face_part, one, turn.cos), select<V>(face_part, zero, turn.sin)};
    const V floor_y = splat<V>(FLOOR_Y);
    const Vec2Lanes<V> face_position{select<V>(face_part, b.x[part], floor_x),
                                     select<V>(face_part, b.y[part], floor_y)};
    const Vec2Lanes<V> other_position{select<V>(face_part, floor_x, b.x[part]),
                                      select<V>(face_part, floor_y, b.y[part])};
    const Vec2Lanes<V> n = rotated<V>(face_turn, face_normal_x, face_normal_y);
    const Vec2Lanes<V> plane = to_world_summed<V>(face_position, face_turn, face_x, face_y);
    normal_x = select<V>(face_part, -n.x, n.x);
    normal_y = select<V>(face_part, -n.y, n.y);
    const V radius = splat<V>(POLYGON_RADIUS);
    V rn[2];
    for (int k = 0; k < 2; ++k) {
        ContactPointLanes<V>& p = points[k];
        const Vec2Lanes<V> at = to_world_summed<V>(other_position, other_turn, p.local_x, p.local_y);
        const V depth = 0.5 * (radius - (at.x - plane.x) * n.x - (at.y - plane.y) * n.y - radius);
        p.r_x = at.x + depth * n.x - b.x[part];
        p.r_y = at.y + depth * n.y - b.y[part];
        rn[k] = p.r_x * normal_y - p.r_y * normal_x;
        const V rn2 = rn[k] * rn[k];
        p.normal_mass = one / (inv_mass + inv_inertia * rn2);
        p.equalized_mass = one / (mass * inv_mass + mass * inv_inertia * rn2);
        const V rt = p.r_x * -normal_x - p.r_y * normal_y;
        p.tangent_mass = one / (inv_mass + inv_inertia * (rt * rt));
    }
    k_xx = inv_mass + inv_inertia * rn[0] * rn[0];
    k_yy = inv_mass + inv_inertia * rn[1] * rn[1];
    k_xy = inv_mass + inv_inertia * rn[0] * rn[1];
    const V determinant = k_xx * k_yy - k_xy * k_xy;
    two = active & manifold_two & (MAX_CONDITION_NUMBER * determinant > k_xx * k_xx);
    const V det = one / determinant;  // 0 only where two is not set
    inv_k_xx = det * k_yy;
    inv_k_xy = -det * k_xy;
    inv_k_yx = -det * k_xy;
    inv_k_yy = det * k_xx;
}

template <class V>
template <class Bodies>
void ContactLanes<V>::warm_start(Bodies& b) {
    for (int k = 0; k < 2; ++k) {
        const ContactPointLanes<V>& p = points[k];
        const V px = p.normal_impulse * normal_x + p.tangent_impulse * normal_y;
        const V py = p.normal_impulse * normal_y + p.tangent_impulse * -normal_x;
        apply(b, k ? two : active, px, py, p, inv_mass, inv_inertia);
    }
}

template <class V>
template <class Bodies>
void ContactLanes<V>::solve_velocity(Bodies& b) {
    const V zero{};
    for (int k = 0; k < 2; ++k) {
        ContactPointLanes<V>& p = points[k];
        const I lanes = k ? two : active;
        if (k && !bits<V>(two)) break;
        const Vec2Lanes<V> v = speed(b, p);
        const V along = v.x * normal_y + v.y * -normal_x;
        const V limit = friction * p.normal_impulse;
        const V impulse = clamped<V>(p.tangent_impulse + p.tangent_mass * -along, -limit, limit);
        const V change = impulse - p.tangent_impulse;
        apply(b, lanes, change * normal_y, change * -normal_x, p, inv_mass, inv_inertia);
        p.tangent_impulse = select<V>(lanes, impulse, p.tangent_impulse);
    }

    ContactPointLanes<V>& p1 = points[0];
    ContactPointLanes<V>& p2 = points[1];
    const I one_point = active & ~two;
    const Vec2Lanes<V> v1 = speed(b, p1);
    const V vn1 = v1.x * normal_x + v1.y * normal_y;
    V single = p1.normal_impulse + -p1.normal_mass * vn1;
    single = select<V>(single > zero, single, zero);
    V new1 = single, new2 = p2.normal_impulse;
    I moved = one_point;
    if (bits<V>(two)) {
        const Vec2Lanes<V> v2 = speed(b, p2);
        const V vn2 = v2.x * normal_x + v2.y * normal_y;
        const V old_x = p1.normal_impulse, old_y = p2.normal_impulse;
        const V b_x = vn1 - (k_xx * old_x + k_xy * old_y), b_y = vn2 - (k_xy * old_x + k_yy * old_y);
        const V x1 = -(inv_k_xx * b_x + inv_k_xy * b_y), y1 = -(inv_k_yx * b_x + inv_k_yy * b_y);
        const V x2 = -p1.normal_mass * b_x, y3 = -p2.normal_mass * b_y;
        const I case1 = (x1 >= zero) & (y1 >= zero);
        const I case2 = ~case1 & (x2 >= zero) & (k_xy * x2 + b_y >= zero);
        const I case3 = ~case1 & ~case2 & (y3 >= zero) & (k_xy * y3 + b_x >= zero);
        const I case4 = ~case1 & ~case2 & ~case3 & (b_x >= zero) & (b_y >= zero);
        const V x = select<V>(case1, x1, select<V>(case2, x2, zero));
        const V y = select<V>(case1, y1, select<V>(case3, y3, zero));
        new1 = select<V>(two, x, new1);
        new2 = select<V>(two, y, new2);
        moved |= two & (case1 | case2 | case3 | case4);
    }
    const V change1 = new1 - p1.normal_impulse, change2 = new2 - p2.normal_impulse;
    const V p1x = change1 * normal_x, p1y = change1 * normal_y;
    const V angular1 = p1.r_x * p1y - p1.r_y * p1x;
    V sum_x = p1x, sum_y = p1y, angular = angular1;
    if (bits<V>(two)) {
        const V p2x = change2 * normal_x, p2y = change2 * normal_y;
        sum_x = select<V>(two, p1x + p2x, sum_x);
        sum_y = select<V>(two, p1y + p2y, sum_y);
        angular = select<V>(two, angular1 + p2.r_x * p2y - p2.r_y * p2x, angular);
        p2.normal_impulse = select<V>(moved & two, new2, p2.normal_impulse);
    }
    b.vx[part] = select<V>(moved, b.vx[part] + inv_mass * sum_x, b.vx[part]);
    b.vy[part] = select<V>(moved, b.vy[part] + inv_mass * sum_y, b.vy[part]);
    b.w[part] = select<V>(moved, b.w[part] + inv_inertia * angular, b.w[part]);
    p1.normal_impulse = select<V>(moved, new1, p1.normal_impulse);
}

template <class V>
template <class Bodies>
void ContactLanes<V>::store_impulses(Bodies& b) {
    for (int f = 0; f < FLOOR_COUNT; ++f) {
        const I on_this = on_floor[f];
        if (!bits<V>(on_this)) continue;
        ManifoldLanes<V>& m = b.manifold[part * FLOOR_COUNT + f];
        for (int k = 0; k < 2; ++k) {
            const I lanes = on_this & (k ? two : active);
            m.points[k].normal_impulse = select<V>(lanes, points[k].normal_impulse, m.points[k].normal_impulse);
            m.points[k].tangent_impulse = select<V>(lanes, points[k].tangent_impulse, m.points[k].tangent_impulse);
        }
    }
}

// live: lanes that still iterate.
template <class V>
template <class Bodies>
void ContactLanes<V>::solve_position(Bodies& b, I live, V& min_separation) {
    const V zero{}, one = splat<V>(1);
    const RotationLanes<V> turn{b.cos[part], b.sin[part]};
    const RotationLanes<V> face_turn{select<V>(face_part, turn.cos, one), select<V>(face_part, turn.sin, zero)};
    const RotationLanes<V> other_turn{select<V>(face_part, one, turn.cos), select<V>(face_part, zero, turn.sin)};
    const V floor_y = splat<V>(FLOOR_Y), radius = splat<V>(POLYGON_RADIUS + POLYGON_RADIUS);
    const Vec2Lanes<V> face_position{select<V>(face_part, b.x[part], floor_x),
                                     select<V>(face_part, b.y[part], floor_y)};
    const Vec2Lanes<V> other_position{select<V>(face_part, floor_x, b.x[part]),
                                      select<V>(face_part, floor_y, b.y[part])};
    const Vec2Lanes<V> n = rotated<V>(face_turn, face_normal_x, face_normal_y);
    const Vec2Lanes<V> plane = to_world<V>(face_position, face_turn, face_x, face_y);
    Vec2Lanes<V> at[2];
    V separation[2];
    for (int k = 0; k < 2; ++k) {
        at[k] = to_world<V>(other_position, other_turn, points[k].local_x, points[k].local_y);
        separation[k] = (at[k].x - plane.x) * n.x + (at[k].y - plane.y) * n.y - radius;
    }
    const V nx = select<V>(face_part, -n.x, n.x), ny = select<V>(face_part, -n.y, n.y);
    for (int k = 0; k < 2; ++k) {
        const I lanes = live & (k ? two : active);
        if (k && !bits<V>(lanes)) break;
        const V r_x = at[k].x - b.x[part], r_y = at[k].y - b.y[part];
        const V lower = select<V>(min_separation < separation[k], min_separation, separation[k]);
        min_separation = select<V>(lanes, lower, min_separation);
        const V c = clamped<V>(separation[k] + LINEAR_SLOP, splat<V>(-MAX_LINEAR_CORRECTION), zero);
        const V impulse = -points[k].equalized_mass * c;
        const V px = impulse * nx, py = impulse * ny;
        b.x[part] = select<V>(lanes, b.x[part] + mass * inv_mass * px, b.x[part]);
        b.y[part] = select<V>(lanes, b.y[part] + mass * inv_mass * py, b.y[part]);
        b.angle[part] = select<V>(lanes, b.angle[part] + mass * inv_inertia * (r_x * py - r_y * px), b.angle[part]);
    }
}

}  // namespace lanes
}  // namespace qwop
