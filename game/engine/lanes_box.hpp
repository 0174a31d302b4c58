// Boxes of bodies, one game per lane.
#pragma once
#include "lanes_vector.hpp"
#include "scalar_bridge.hpp"

namespace qwop {
namespace lanes {

template <class V>
struct Bounds {
    V lower_x, lower_y, upper_x, upper_y;
};

template <class V>
QWOP_TRIG_INLINE Mask<V> overlapping(const Bounds<V>& a, const Bounds<V>& b) {
    return (b.lower_x <= a.upper_x) & (b.lower_y <= a.upper_y) & (a.lower_x <= b.upper_x) & (a.lower_y <= b.upper_y);
}

template <class V>
QWOP_TRIG_INLINE Mask<V> containing(const Bounds<V>& outer, const Bounds<V>& inner) {
    return (outer.lower_x <= inner.lower_x) & (outer.lower_y <= inner.lower_y) & (inner.upper_x <= outer.upper_x) &
           (inner.upper_y <= outer.upper_y);
}

template <class V>
static inline void set_bounds(Bounds<V>& bounds, int lane, const Aabb& box) {
    bounds.lower_x[lane] = box.lower.x;
    bounds.lower_y[lane] = box.lower.y;
    bounds.upper_x[lane] = box.upper.x;
    bounds.upper_y[lane] = box.upper.y;
}

template <class V>
static inline Aabb bounds_of(const Bounds<V>& bounds, int lane) {
    return {{bounds.lower_x[lane], bounds.lower_y[lane]}, {bounds.upper_x[lane], bounds.upper_y[lane]}};
}

// The tight box of a body in this pose.
template <class V>
static inline Bounds<V> tight_bounds(int body, Vec2Lanes<V> position, RotationLanes<V> turn) {
    const Vec2 corner = model().bodies[body].box.vertices[2];
    const V hx = splat<V>(corner.x), hy = splat<V>(corner.y);
    const Vec2Lanes<V> first = to_world<V>(position, turn, -hx, -hy);
    Bounds<V> box{first.x, first.y, first.x, first.y};
    const V xs[3] = {hx, hx, -hx}, ys[3] = {-hy, hy, hy};
    for (int i = 0; i < 3; ++i) {
        const Vec2Lanes<V> v = to_world<V>(position, turn, xs[i], ys[i]);
        box = {minimum<V>(box.lower_x, v.x), minimum<V>(box.lower_y, v.y), maximum<V>(box.upper_x, v.x),
               maximum<V>(box.upper_y, v.y)};
    }
    return {box.lower_x - POLYGON_RADIUS, box.lower_y - POLYGON_RADIUS, box.upper_x + POLYGON_RADIUS,
            box.upper_y + POLYGON_RADIUS};
}

// The box that holds both.
template <class V>
QWOP_TRIG_INLINE Bounds<V> combined(const Bounds<V>& a, const Bounds<V>& b) {
    return {minimum<V>(a.lower_x, b.lower_x), minimum<V>(a.lower_y, b.lower_y), maximum<V>(a.upper_x, b.upper_x),
            maximum<V>(a.upper_y, b.upper_y)};
}

// In these lanes, `fat` becomes fattened(box, (dx, dy)).
template <class V>
static inline void fatten(Bounds<V>& fat, const Bounds<V>& box, V dx, V dy, Mask<V> lanes) {
    const auto extent = [](V d) { return AABB_EXTENSION + AABB_MULTIPLIER * select<V>(d > V{}, d, -d); };
    const V ex = extent(dx), ey = extent(dy);
    fat.lower_x = select<V>(lanes, box.lower_x - ex, fat.lower_x);
    fat.lower_y = select<V>(lanes, box.lower_y - ey, fat.lower_y);
    fat.upper_x = select<V>(lanes, box.upper_x + ex, fat.upper_x);
    fat.upper_y = select<V>(lanes, box.upper_y + ey, fat.upper_y);
}

}  // namespace lanes
}  // namespace qwop
