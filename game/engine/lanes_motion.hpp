// How a body moves and comes to rest, one game per lane: the parts of island.cpp that runner and hurdle share.
#pragma once
#include "lanes_vector.hpp"
#include "scalar_bridge.hpp"

namespace qwop {
namespace lanes {

// Limits a body's speeds to what it may move in a frame.
template <class V>
static inline void limit_speed(V& vx, V& vy, V& w) {
    const V dx = TIME_STEP * vx, dy = TIME_STEP * vy;
    const Mask<V> fast = dx * dx + dy * dy > MAX_TRANSLATION_SQUARED;
    if (bits<V>(fast)) {
        const V inv_length = 1.0 / square_root<V>(vx * vx + vy * vy);
        vx = select<V>(fast, vx * inv_length * (MAX_TRANSLATION * INV_TIME_STEP), vx);
        vy = select<V>(fast, vy * inv_length * (MAX_TRANSLATION * INV_TIME_STEP), vy);
    }
    const V rotation = TIME_STEP * w;
    const Mask<V> spinning = rotation * rotation > MAX_ROTATION_SQUARED;
    const V top = splat<V>(MAX_ROTATION * INV_TIME_STEP);
    w = select<V>(spinning, select<V>(w < V{}, -top, top), w);
}

// Seconds at rest after another frame at these speeds.
template <class V>
QWOP_TRIG_INLINE V rest_after(V rest, V vx, V vy, V w) {
    const Mask<V> moving = (w * w > ANGULAR_SLEEP_TOLERANCE * ANGULAR_SLEEP_TOLERANCE) |
                           (vx * vx + vy * vy > LINEAR_SLEEP_TOLERANCE * LINEAR_SLEEP_TOLERANCE);
    return select<V>(moving, V{}, rest + TIME_STEP);
}

}  // namespace lanes
}  // namespace qwop
