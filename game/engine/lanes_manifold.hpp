// Where a part touches a floor, one game per lane: collide() of manifold.cpp with masks for branches. A floor is level
// and static: its rotation is (1, 0), exactly, and the terms that vanish with it are left out.
#pragma once
#include "lanes_vector.hpp"
#include "scalar_bridge.hpp"

namespace qwop {
namespace lanes {

template <class V>
struct PointLanes {
    V local_x, local_y;
    V normal_impulse, tangent_impulse;
    Mask<V> key;
};

template <class V>
struct ManifoldLanes {
    Mask<V> count;       // 0, 1 or 2
    Mask<V> face_part;   // the reference face belongs to the part, not to the floor
    V normal_x, normal_y, local_x, local_y;  // of the face, in its box's frame
    PointLanes<V> points[2];
};

template <class V>
static inline Manifold to_manifold(const ManifoldLanes<V>& from, int lane, bool part_is_b) {
    Manifold to;
    to.point_count = static_cast<uint8_t>(from.count[lane]);
    to.face_b = (from.face_part[lane] != 0) == part_is_b;
    to.local_normal = {from.normal_x[lane], from.normal_y[lane]};
    to.local_point = {from.local_x[lane], from.local_y[lane]};
    for (int k = 0; k < 2; ++k) {
        to.points[k].local_point = {from.points[k].local_x[lane], from.points[k].local_y[lane]};
        to.points[k].normal_impulse = from.points[k].normal_impulse[lane];
        to.points[k].tangent_impulse = from.points[k].tangent_impulse[lane];
        to.points[k].key = static_cast<uint32_t>(from.points[k].key[lane]);
    }
    return to;
}

template <class V>
static inline void set_manifold(ManifoldLanes<V>& to, int lane, const Manifold& from, bool part_is_b) {
    to.count[lane] = from.point_count;
    to.face_part[lane] = from.face_b == part_is_b ? -1 : 0;
    to.normal_x[lane] = from.local_normal.x;
    to.normal_y[lane] = from.local_normal.y;
    to.local_x[lane] = from.local_point.x;
    to.local_y[lane] = from.local_point.y;
    for (int k = 0; k < 2; ++k) {
        to.points[k].local_x[lane] = from.points[k].local_point.x;
        to.points[k].local_y[lane] = from.points[k].local_point.y;
        to.points[k].normal_impulse[lane] = from.points[k].normal_impulse;
        to.points[k].tangent_impulse[lane] = from.points[k].tangent_impulse;
        to.points[k].key[lane] = from.points[k].key;
    }
}

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

// max_separation's search over the four separations. It starts at the edge whose normal points most towards the other
// box's center, and goes at most two edges on: the third is the neighbor that it rejected at the start.
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
    const V at_edge = pick<V>(separation, edge), before = pick<V>(separation, previous_edge);
    const V after = pick<V>(separation, next_edge), far = pick<V>(separation, far_edge);
    const I back = (before > at_edge) & (before > after), forth = ~back & (after > at_edge);
    BestEdge<V> best;
    best.edge = back ? previous_edge : forth ? next_edge : edge;
    best.separation = select<V>(back, before, select<V>(forth, after, at_edge));
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

// The manifold of a part, or a part of the hurdle, and the floor at floor_x. Impulses are zero.
template <class V>
static inline void collide(ManifoldLanes<V>& m, int body, bool floor_a, Vec2Lanes<V> part, RotationLanes<V> turn,
                           V floor_x) {
    using I = Mask<V>;
    const Box& part_shape = model().bodies[body].box;
    const Box& floor_shape = model().bodies[FLOOR_0].box;
    const V zero{}, one = splat<V>(1);
    const V hx = splat<V>(part_shape.vertices[2].x), hy = splat<V>(part_shape.vertices[2].y);
    const V fx = splat<V>(floor_shape.vertices[2].x), fy = splat<V>(floor_shape.vertices[2].y);
    const Vec2Lanes<V> floor{floor_x, splat<V>(FLOOR_Y)};
    const V radius = splat<V>(POLYGON_RADIUS + POLYGON_RADIUS);
    const V c = turn.cos, s = turn.sin;

    // World vertices of both boxes.
    const V part_local_x[4] = {-hx, hx, hx, -hx}, part_local_y[4] = {-hy, -hy, hy, hy};
    const V floor_local_x[4] = {-fx, fx, fx, -fx}, floor_local_y[4] = {-fy, -fy, fy, fy};
    V part_x[4], part_y[4], floor_vx[4], floor_vy[4];
    for (int i = 0; i < 4; ++i) {
        const Vec2Lanes<V> v = to_world<V>(part, turn, part_local_x[i], part_local_y[i]);
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
    const Vec2Lanes<V> toward = unrotated<V>(turn, floor.x - part.x, floor.y - part.y);
    const BestEdge<V> part_best = climb<V>(of_part, toward.x, toward.y);
    const V separation_a = floor_a ? floor_best.separation : part_best.separation;
    const V separation_b = floor_a ? part_best.separation : floor_best.separation;
    const I apart = (separation_a > radius) | (separation_b > radius);
    const I flip = separation_b > splat<V>(0.98) * separation_a + splat<V>(0.001);
    const I face_part = floor_a ? flip : ~flip;

    // Box 1 owns the reference face, box 2 the incident edge.
    const I edge1 = face_part ? part_best.edge : floor_best.edge;
    const RotationLanes<V> turn1{select<V>(face_part, c, one), select<V>(face_part, s, zero)};
    const RotationLanes<V> turn2{select<V>(face_part, one, c), select<V>(face_part, zero, s)};
    const Vec2Lanes<V> position2{select<V>(face_part, floor.x, part.x), select<V>(face_part, floor.y, part.y)};
    const V h1x = select<V>(face_part, hx, fx), h1y = select<V>(face_part, hy, fy);

    const Vec2Lanes<V> normal_world = rotated<V>(turn1, pick<V>(edge_nx, edge1), pick<V>(edge_ny, edge1));
    const Vec2Lanes<V> against = unrotated<V>(turn2, normal_world.x, normal_world.y);
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
        return Vec2Lanes<V>{select<V>(on_part, pick<V>(part_x, index), pick<V>(floor_vx, index)),
                            select<V>(on_part, pick<V>(part_y, index), pick<V>(floor_vy, index))};
    };
    const Vec2Lanes<V> in0 = vertex(~face_part, incident), in1 = vertex(~face_part, incident_next);
    const I key0 = edge1 | incident << 8, key1 = edge1 | incident_next << 8 | (I{} + (1 << 16));
    const Vec2Lanes<V> v11 = vertex(face_part, edge1), v12 = vertex(face_part, edge1_next);

    // Unit vectors of a box's edges are within 1 ulp of length 1, as the game computes them.
    const auto length = [&](int edge) {
        const auto of = [&](const Box& box) { return box.face_tangents[edge].x + box.face_tangents[edge].y; };
        return select<V>(face_part, splat<V>(of(part_shape)), splat<V>(of(floor_shape)));
    };
    const V tangents_x[4] = {length(0), zero, length(2), zero}, tangents_y[4] = {zero, length(1), zero, length(3)};
    const V local_tangent_x = pick<V>(tangents_x, edge1), local_tangent_y = pick<V>(tangents_y, edge1);
    const Vec2Lanes<V> tangent = rotated<V>(turn1, local_tangent_x, local_tangent_y);
    const Vec2Lanes<V> normal{tangent.y, -tangent.x};
    const V front_offset = normal.x * v11.x + normal.y * v11.y;
    const V side_offset1 = -tangent.x * v11.x - tangent.y * v11.y + radius;
    const V side_offset2 = tangent.x * v12.x + tangent.y * v12.y + radius;

    struct Clipped {
        Vec2Lanes<V> v0, v1;
        I key0, key1, whole;
    };
    const auto clip = [&](Vec2Lanes<V> a, I key_a, Vec2Lanes<V> b, I key_b, V nx, V ny, V offset) {
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
    const auto point = [&](Vec2Lanes<V> v, I key) {
        const Vec2Lanes<V> local = unrotated<V>(turn2, v.x - position2.x, v.y - position2.y);
        return PointLanes<V>{local.x, local.y, zero, zero, key | flip_key};
    };
    const I keep0 = clipped & (normal.x * second.v0.x + normal.y * second.v0.y - front_offset <= radius);
    const I keep1 = clipped & (normal.x * second.v1.x + normal.y * second.v1.y - front_offset <= radius);
    const PointLanes<V> point0 = point(second.v0, second.key0), point1 = point(second.v1, second.key1);
    m.count = -(keep0 + keep1);
    m.face_part = face_part;
    m.normal_x = local_tangent_y;
    m.normal_y = -local_tangent_x;
    const V centers_x[4] = {zero, h1x, zero, -h1x}, centers_y[4] = {-h1y, zero, h1y, zero};
    m.local_x = pick<V>(centers_x, edge1);
    m.local_y = pick<V>(centers_y, edge1);
    m.points[0].local_x = select<V>(keep0, point0.local_x, point1.local_x);
    m.points[0].local_y = select<V>(keep0, point0.local_y, point1.local_y);
    m.points[0].key = keep0 ? point0.key : point1.key;
    m.points[0].normal_impulse = m.points[0].tangent_impulse = zero;
    m.points[1] = point1;
}

// A point that was there in the last frame keeps its impulses: warm starting.
template <class V>
static inline void keep_impulses(ManifoldLanes<V>& fresh, const ManifoldLanes<V>& old) {
    using I = Mask<V>;
    for (PointLanes<V>& point : fresh.points) {
        const I second = (old.count > 1) & (old.points[1].key == point.key);
        const I first = (old.count > 0) & (old.points[0].key == point.key);
        const V zero{};
        point.normal_impulse =
            select<V>(first, old.points[0].normal_impulse, select<V>(second, old.points[1].normal_impulse, zero));
        point.tangent_impulse =
            select<V>(first, old.points[0].tangent_impulse, select<V>(second, old.points[1].tangent_impulse, zero));
    }
}

// `to` becomes `from` in these lanes; its count does not change.
template <class V>
static inline void assign_lanes(ManifoldLanes<V>& to, const ManifoldLanes<V>& from, Mask<V> lanes) {
    to.face_part = lanes ? from.face_part : to.face_part;
    to.normal_x = select<V>(lanes, from.normal_x, to.normal_x);
    to.normal_y = select<V>(lanes, from.normal_y, to.normal_y);
    to.local_x = select<V>(lanes, from.local_x, to.local_x);
    to.local_y = select<V>(lanes, from.local_y, to.local_y);
    for (int k = 0; k < 2; ++k) {
        PointLanes<V>& point = to.points[k];
        point.local_x = select<V>(lanes, from.points[k].local_x, point.local_x);
        point.local_y = select<V>(lanes, from.points[k].local_y, point.local_y);
        point.normal_impulse = select<V>(lanes, from.points[k].normal_impulse, point.normal_impulse);
        point.tangent_impulse = select<V>(lanes, from.points[k].tangent_impulse, point.tangent_impulse);
        point.key = lanes ? from.points[k].key : point.key;
    }
}

// World::update_contact for a body's contact with a floor, in the lanes `updated`. tight: those where the boxes
// overlap. Returns the lanes in which they touch.
template <class V>
static inline unsigned update_manifold(ManifoldLanes<V>& m, int body, bool floor_a, Vec2Lanes<V> position,
                                       RotationLanes<V> turn, V floor_x, unsigned updated, unsigned tight) {
    using I = Mask<V>;
    const I updated_lanes = mask_of<V>(updated);
    I count{};
    if (tight) {
        ManifoldLanes<V> fresh;
        collide<V>(fresh, body, floor_a, position, turn, floor_x);
        const I tight_lanes = mask_of<V>(tight);
        count = tight_lanes & fresh.count;
        keep_impulses(fresh, m);
        assign_lanes(m, fresh, tight_lanes);
    }
    m.count = updated_lanes ? count : m.count;
    return bits<V>(count > 0) & updated;
}

}  // namespace lanes
}  // namespace qwop
