// Part against floor, one game per lane: the narrow phase and the contact constraint of manifold.cpp and
// contact.cpp, with masks for branches. A floor is level and static: its rotation is (1, 0) and its inverse
// masses are 0, both exact, and the terms that vanish with them are left out. Impulses of A and B mirror each
// other to the last bit, so the floor plays A here whichever it is.
#pragma once
#include "lanes_block.hpp"

namespace qwop {
namespace lanes {

// values[index], index 0..3 by lane.
template <class V>
QWOP_TRIG_INLINE V pick(const V (&values)[4], Mask<V> index) {
    const V low = select<V>(index == 0, values[0], values[1]), high = select<V>(index == 2, values[2], values[3]);
    return select<V>(index < 2, low, high);
}

template <class V>
struct BestEdge {
    Mask<V> edge;
    V separation;
};

// max_separation's climb over the four separations, from the edge whose dot with the centre's direction is
// greatest. Two edges up is as far as it can go: the third is the neighbour that was beaten at the start.
template <class V>
QWOP_TRIG_INLINE BestEdge<V> climb(const V (&separation)[4], V toward_x, V toward_y) {
    using I = Mask<V>;
    const V facing[4] = {-toward_y, toward_x, toward_y, -toward_x};
    I edge{};
    V most = facing[0];
    for (int i = 1; i < 4; ++i) {
        const I more = facing[i] > most;
        most = select<V>(more, facing[i], most);
        edge = more ? I{} + i : edge;
    }
    const I previous_edge = (edge + 3) & 3, next_edge = (edge + 1) & 3, far_edge = (edge + 2) & 3;
    const V here = pick<V>(separation, edge), before = pick<V>(separation, previous_edge);
    const V after = pick<V>(separation, next_edge), far = pick<V>(separation, far_edge);
    const I back = (before > here) & (before > after), forth = ~back & (after > here);
    BestEdge<V> best;
    best.edge = back ? previous_edge : forth ? next_edge : edge;
    best.separation = select<V>(back, before, select<V>(forth, after, here));
    const I further = (back | forth) & (far > best.separation);
    best.edge = further ? far_edge : best.edge;
    best.separation = select<V>(further, far, best.separation);
    return best;
}

// The vertex of four that lies least along (nx, ny), the first of equals; xs, ys are its world coordinates.
template <class V>
struct Support {
    V x, y;
};

template <class V>
QWOP_TRIG_INLINE Support<V> support(V along_x, V along_y, const V (&xs)[4], const V (&ys)[4]) {
    // dot((+-hx, +-hy), n) for the vertices in their order, with along = (hx nx, hy ny).
    const V dots[4] = {-along_x + -along_y, along_x + -along_y, along_x + along_y, -along_x + along_y};
    V least = dots[0];
    Support<V> s{xs[0], ys[0]};
    for (int i = 1; i < 4; ++i) {
        const Mask<V> less = dots[i] < least;
        least = select<V>(less, dots[i], least);
        s = {select<V>(less, xs[i], s.x), select<V>(less, ys[i], s.y)};
    }
    return s;
}

// The manifold of part p and the floor at floor_x. Impulses are zero.
template <class V>
static inline void collide(ManifoldLanes<V>& m, int p, bool floor_a, Pair<V> part, Turn<V> turn, V floor_x) {
    using I = Mask<V>;
    const Box& part_shape = model().bodies[FIRST_PART + p].box;
    const Box& floor_shape = model().bodies[FLOOR_0].box;
    const V zero{}, one = splat<V>(1);
    const V hx = splat<V>(part_shape.vertices[2].x), hy = splat<V>(part_shape.vertices[2].y);
    const V fx = splat<V>(floor_shape.vertices[2].x), fy = splat<V>(floor_shape.vertices[2].y);
    const Pair<V> floor{floor_x, splat<V>(FLOOR_Y)};
    const V radius = splat<V>(POLYGON_RADIUS + POLYGON_RADIUS);
    const V c = turn.cos, s = turn.sin;

    // World vertices of both boxes.
    const V part_local_x[4] = {-hx, hx, hx, -hx}, part_local_y[4] = {-hy, -hy, hy, hy};
    const V floor_local_x[4] = {-fx, fx, fx, -fx}, floor_local_y[4] = {-fy, -fy, fy, fy};
    V part_x[4], part_y[4], floor_vx[4], floor_vy[4];
    for (int i = 0; i < 4; ++i) {
        const Pair<V> v = placed<V>(part, turn, part_local_x[i], part_local_y[i]);
        part_x[i] = v.x;
        part_y[i] = v.y;
        floor_vx[i] = floor.x + floor_local_x[i];
        floor_vy[i] = floor.y + floor_local_y[i];
    }

    // Separation along each edge normal of the floor, then of the part.
    V of_floor[4], of_part[4];
    const V edge_nx[4] = {zero, one, zero, -one}, edge_ny[4] = {-one, zero, one, zero};
    const V turned_nx[4] = {s, c, -s, -c}, turned_ny[4] = {-c, s, c, -s};  // by the part's rotation
    const V unturned_nx[4] = {-s, c, s, -c}, unturned_ny[4] = {-c, -s, c, s};  // by its inverse
    for (int i = 0; i < 4; ++i) {
        const Support<V> on_part = support<V>(hx * unturned_nx[i], hy * unturned_ny[i], part_x, part_y);
        of_floor[i] = (on_part.x - floor_vx[i]) * edge_nx[i] + (on_part.y - floor_vy[i]) * edge_ny[i];
        const Support<V> on_floor = support<V>(fx * turned_nx[i], fy * turned_ny[i], floor_vx, floor_vy);
        of_part[i] = (on_floor.x - part_x[i]) * turned_nx[i] + (on_floor.y - part_y[i]) * turned_ny[i];
    }
    const V dx = part.x - floor.x, dy = part.y - floor.y;
    const BestEdge<V> floor_best = climb<V>(of_floor, dx, dy);
    const Pair<V> toward = unrotated<V>(turn, floor.x - part.x, floor.y - part.y);
    const BestEdge<V> part_best = climb<V>(of_part, toward.x, toward.y);
    const V separation_a = floor_a ? floor_best.separation : part_best.separation;
    const V separation_b = floor_a ? part_best.separation : floor_best.separation;
    const I apart = (separation_a > radius) | (separation_b > radius);
    const I flip = separation_b > splat<V>(0.98) * separation_a + splat<V>(0.001);
    const I face_part = floor_a ? flip : ~flip;

    // Box 1 owns the reference face, box 2 the incident edge.
    const I edge1 = face_part ? part_best.edge : floor_best.edge;
    const Turn<V> turn1{select<V>(face_part, c, one), select<V>(face_part, s, zero)};
    const Turn<V> turn2{select<V>(face_part, one, c), select<V>(face_part, zero, s)};
    const Pair<V> position2{select<V>(face_part, floor.x, part.x), select<V>(face_part, floor.y, part.y)};
    const V h1x = select<V>(face_part, hx, fx), h1y = select<V>(face_part, hy, fy);

    const Pair<V> normal_world = rotated<V>(turn1, pick<V>(edge_nx, edge1), pick<V>(edge_ny, edge1));
    const Pair<V> against = unrotated<V>(turn2, normal_world.x, normal_world.y);
    const V against_edge[4] = {-against.y, against.x, against.y, -against.x};
    I incident{};
    V least = against_edge[0];
    for (int i = 1; i < 4; ++i) {
        const I less = against_edge[i] < least;
        least = select<V>(less, against_edge[i], least);
        incident = less ? I{} + i : incident;
    }
    const I incident_next = (incident + 1) & 3, edge1_next = (edge1 + 1) & 3;
    const auto vertex = [&](I on_part, I index) {
        return Pair<V>{select<V>(on_part, pick<V>(part_x, index), pick<V>(floor_vx, index)),
                       select<V>(on_part, pick<V>(part_y, index), pick<V>(floor_vy, index))};
    };
    const Pair<V> in0 = vertex(~face_part, incident), in1 = vertex(~face_part, incident_next);
    const I key0 = edge1 | incident << 8, key1 = edge1 | incident_next << 8 | (I{} + (1 << 16));
    const Pair<V> v11 = vertex(face_part, edge1), v12 = vertex(face_part, edge1_next);

    // Unit vectors of a box's edges are within 1 ulp of length 1, as the game computes them.
    const auto length = [&](int edge) {
        const auto of = [&](const Box& box) { return box.face_tangents[edge].x + box.face_tangents[edge].y; };
        return select<V>(face_part, splat<V>(of(part_shape)), splat<V>(of(floor_shape)));
    };
    const V tangents_x[4] = {length(0), zero, length(2), zero}, tangents_y[4] = {zero, length(1), zero, length(3)};
    const V local_tangent_x = pick<V>(tangents_x, edge1), local_tangent_y = pick<V>(tangents_y, edge1);
    const Pair<V> tangent = rotated<V>(turn1, local_tangent_x, local_tangent_y);
    const Pair<V> normal{tangent.y, -tangent.x};
    const V front_offset = normal.x * v11.x + normal.y * v11.y;
    const V side_offset1 = -tangent.x * v11.x - tangent.y * v11.y + radius;
    const V side_offset2 = tangent.x * v12.x + tangent.y * v12.y + radius;

    struct Clipped {
        Pair<V> v0, v1;
        I key0, key1, whole;
    };
    const auto clip = [&](Pair<V> a, I key_a, Pair<V> b, I key_b, V nx, V ny, V offset) {
        const V d0 = nx * a.x + ny * a.y - offset, d1 = nx * b.x + ny * b.y - offset;
        const I keep0 = d0 <= zero, keep1 = d1 <= zero, both = keep0 & keep1, crossing = d0 * d1 < zero;
        const V t = d0 / (d0 - d1);
        Clipped out;
        out.v0 = {select<V>(keep0, a.x, b.x), select<V>(keep0, a.y, b.y)};
        out.key0 = keep0 ? key_a : key_b;
        out.v1 = {select<V>(both, b.x, a.x + t * (b.x - a.x)), select<V>(both, b.y, a.y + t * (b.y - a.y))};
        const I key_between = d0 > zero ? key_a : key_b;
        out.key1 = both ? key_b : key_between;
        out.whole = both | crossing;
        return out;
    };
    const Clipped first = clip(in0, key0, in1, key1, -tangent.x, -tangent.y, side_offset1);
    const Clipped second = clip(first.v0, first.key0, first.v1, first.key1, tangent.x, tangent.y, side_offset2);
    const I clipped = first.whole & second.whole & ~apart;

    const I flip_key = flip & (I{} + (int64_t{1} << 24));
    const auto point = [&](Pair<V> v, I key) {
        const Pair<V> local = unrotated<V>(turn2, v.x - position2.x, v.y - position2.y);
        return PointLanes<V>{local.x, local.y, zero, zero, key | flip_key};
    };
    const I keep0 = clipped & (normal.x * second.v0.x + normal.y * second.v0.y - front_offset <= radius);
    const I keep1 = clipped & (normal.x * second.v1.x + normal.y * second.v1.y - front_offset <= radius);
    const PointLanes<V> point0 = point(second.v0, second.key0), point1 = point(second.v1, second.key1);
    m.count = -(keep0 + keep1);
    m.face_part = face_part;
    m.normal_x = local_tangent_y;
    m.normal_y = -local_tangent_x;
    const V centres_x[4] = {zero, h1x, zero, -h1x}, centres_y[4] = {-h1y, zero, h1y, zero};
    m.local_x = pick<V>(centres_x, edge1);
    m.local_y = pick<V>(centres_y, edge1);
    m.points[0].local_x = select<V>(keep0, point0.local_x, point1.local_x);
    m.points[0].local_y = select<V>(keep0, point0.local_y, point1.local_y);
    m.points[0].key = keep0 ? point0.key : point1.key;
    m.points[0].normal_impulse = m.points[0].tangent_impulse = zero;
    m.points[1] = point1;
}

template <class V>
struct ContactPointLanes {
    V r_x, r_y, local_x, local_y;  // r: from the part's centre to the point
    V normal_impulse, tangent_impulse, normal_mass, tangent_mass, equalized_mass;
};

// The constraint of part p with the floor that it touches (in a lane on a seam: with one of two).
template <class V>
struct ContactLanes {
    using I = Mask<V>;
    int part;
    I active, two;                    // lanes that have it; lanes with two independent points
    I on_floor[FLOOR_COUNT];          // which floor, by lane
    I face_part;
    V floor_x, normal_x, normal_y;    // normal: from the floor to the part
    V face_normal_x, face_normal_y, face_x, face_y;
    ContactPointLanes<V> points[2];
    I manifold_two;                   // the manifold has two points
    V k_xx, k_xy, k_yy, inv_k_xx, inv_k_xy, inv_k_yx, inv_k_yy;
    double mass, inv_mass, inv_inertia, friction;

    void prepare(Block<V>& b);
    void warm_start(Block<V>& b);
    void solve_velocity(Block<V>& b);
    void store_impulses(Block<V>& b);
    void solve_position(Block<V>& b, I live, V& min_separation);

  private:
    QWOP_LANES_MEMBER void apply(Block<V>& b, I lanes, V px, V py, const ContactPointLanes<V>& point, double im,
                                 double ii) {
        b.vx[part] = select<V>(lanes, b.vx[part] + im * px, b.vx[part]);
        b.vy[part] = select<V>(lanes, b.vy[part] + im * py, b.vy[part]);
        b.w[part] = select<V>(lanes, b.w[part] + ii * (point.r_x * py - point.r_y * px), b.w[part]);
    }
    QWOP_LANES_MEMBER Pair<V> speed(const Block<V>& b, const ContactPointLanes<V>& p) const {
        return {b.vx[part] - b.w[part] * p.r_y, b.vy[part] + b.w[part] * p.r_x};
    }
};

template <class V>
void ContactLanes<V>::prepare(Block<V>& b) {
    const BodyModel& body = model().bodies[FIRST_PART + part];
    mass = body.mass;
    inv_mass = body.inv_mass;
    inv_inertia = body.inv_inertia;
    const double floor_friction = BODIES[FLOOR_0].friction;
    friction = __builtin_sqrt(floor_friction * BODIES[FIRST_PART + part].friction);

    I count{};
    face_part = I{};
    floor_x = face_normal_x = face_normal_y = face_x = face_y = V{};
    points[0] = points[1] = ContactPointLanes<V>{};
    for (int f = 0; f < FLOOR_COUNT; ++f) {
        const I here = on_floor[f];
        if (!bits<V>(here)) continue;
        const ManifoldLanes<V>& m = b.manifold[part * FLOOR_COUNT + f];
        count = here ? m.count : count;
        face_part = here ? m.face_part : face_part;
        floor_x = select<V>(here, b.floor_x[f], floor_x);
        face_normal_x = select<V>(here, m.normal_x, face_normal_x);
        face_normal_y = select<V>(here, m.normal_y, face_normal_y);
        face_x = select<V>(here, m.local_x, face_x);
        face_y = select<V>(here, m.local_y, face_y);
        for (int k = 0; k < 2; ++k) {
            points[k].local_x = select<V>(here, m.points[k].local_x, points[k].local_x);
            points[k].local_y = select<V>(here, m.points[k].local_y, points[k].local_y);
            points[k].normal_impulse = select<V>(here, m.points[k].normal_impulse, points[k].normal_impulse);
            points[k].tangent_impulse = select<V>(here, m.points[k].tangent_impulse, points[k].tangent_impulse);
        }
    }
    manifold_two = count == 2;

    const V zero{}, one = splat<V>(1);
    const Turn<V> turn{b.cos[part], b.sin[part]};
    const Turn<V> face_turn{select<V>(face_part, turn.cos, one), select<V>(face_part, turn.sin, zero)};
    const Turn<V> other_turn{select<V>(face_part, one, turn.cos), select<V>(face_part, zero, turn.sin)};
    const V floor_y = splat<V>(FLOOR_Y);
    const Pair<V> face_position{select<V>(face_part, b.x[part], floor_x), select<V>(face_part, b.y[part], floor_y)};
    const Pair<V> other_position{select<V>(face_part, floor_x, b.x[part]), select<V>(face_part, floor_y, b.y[part])};
    const Pair<V> n = rotated<V>(face_turn, face_normal_x, face_normal_y);
    const Pair<V> plane = placed_in_turn<V>(face_position, face_turn, face_x, face_y);
    normal_x = select<V>(face_part, -n.x, n.x);
    normal_y = select<V>(face_part, -n.y, n.y);
    const V radius = splat<V>(POLYGON_RADIUS);
    V rn[2];
    for (int k = 0; k < 2; ++k) {
        ContactPointLanes<V>& p = points[k];
        const Pair<V> at = placed_in_turn<V>(other_position, other_turn, p.local_x, p.local_y);
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
void ContactLanes<V>::warm_start(Block<V>& b) {
    for (int k = 0; k < 2; ++k) {
        const ContactPointLanes<V>& p = points[k];
        const V px = p.normal_impulse * normal_x + p.tangent_impulse * normal_y;
        const V py = p.normal_impulse * normal_y + p.tangent_impulse * -normal_x;
        apply(b, k ? two : active, px, py, p, inv_mass, inv_inertia);
    }
}

template <class V>
void ContactLanes<V>::solve_velocity(Block<V>& b) {
    const V zero{};
    for (int k = 0; k < 2; ++k) {
        ContactPointLanes<V>& p = points[k];
        const I lanes = k ? two : active;
        if (k && !bits<V>(two)) break;
        const Pair<V> v = speed(b, p);
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
    const Pair<V> v1 = speed(b, p1);
    const V vn1 = v1.x * normal_x + v1.y * normal_y;
    V single = p1.normal_impulse + -p1.normal_mass * vn1;
    single = select<V>(single > zero, single, zero);
    V new1 = single, new2 = p2.normal_impulse;
    I moved = one_point;
    if (bits<V>(two)) {
        const Pair<V> v2 = speed(b, p2);
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
void ContactLanes<V>::store_impulses(Block<V>& b) {
    for (int f = 0; f < FLOOR_COUNT; ++f) {
        const I here = on_floor[f];
        if (!bits<V>(here)) continue;
        ManifoldLanes<V>& m = b.manifold[part * FLOOR_COUNT + f];
        for (int k = 0; k < 2; ++k) {
            const I lanes = here & (k ? two : active);
            m.points[k].normal_impulse = select<V>(lanes, points[k].normal_impulse, m.points[k].normal_impulse);
            m.points[k].tangent_impulse = select<V>(lanes, points[k].tangent_impulse, m.points[k].tangent_impulse);
        }
    }
}

// live: lanes that still iterate.
template <class V>
void ContactLanes<V>::solve_position(Block<V>& b, I live, V& min_separation) {
    const V zero{}, one = splat<V>(1);
    const Turn<V> turn{b.cos[part], b.sin[part]};
    const Turn<V> face_turn{select<V>(face_part, turn.cos, one), select<V>(face_part, turn.sin, zero)};
    const Turn<V> other_turn{select<V>(face_part, one, turn.cos), select<V>(face_part, zero, turn.sin)};
    const V floor_y = splat<V>(FLOOR_Y), radius = splat<V>(POLYGON_RADIUS + POLYGON_RADIUS);
    const Pair<V> face_position{select<V>(face_part, b.x[part], floor_x), select<V>(face_part, b.y[part], floor_y)};
    const Pair<V> other_position{select<V>(face_part, floor_x, b.x[part]), select<V>(face_part, floor_y, b.y[part])};
    const Pair<V> n = rotated<V>(face_turn, face_normal_x, face_normal_y);
    const Pair<V> plane = placed<V>(face_position, face_turn, face_x, face_y);
    Pair<V> at[2];
    V separation[2];
    for (int k = 0; k < 2; ++k) {
        at[k] = placed<V>(other_position, other_turn, points[k].local_x, points[k].local_y);
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
