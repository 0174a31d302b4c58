// A vector of doubles with one game per lane, in GCC/Clang vector extensions. Everything here is static or
// in a template over the vector type: files compiled for different instruction sets include it, and the
// linker must never merge their copies.
#pragma once
#include <cstdint>

#include "trig.hpp"

#define QWOP_LANES_MEMBER inline __attribute__((always_inline))

namespace qwop {
namespace lanes {

template <class V>
using Mask = decltype(V{} < V{});  // a lane is all ones or zero; also the integer vector of the same shape

template <class V>
constexpr int WIDTH = sizeof(V) / sizeof(double);

template <class V>
QWOP_TRIG_INLINE V splat(double value) {
    return value - V{};
}

template <class V>
QWOP_TRIG_INLINE V select(Mask<V> mask, V yes, V no) {
    return mask ? yes : no;
}

// Bit i: whether lane i of the mask is set.
template <class V>
QWOP_TRIG_INLINE unsigned bits(Mask<V> mask) {
#if defined(__AVX512DQ__)
    if constexpr (sizeof(V) == 64) return _mm512_movepi64_mask((__m512i)mask);
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32) return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask));
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16) return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#endif
    unsigned result = 0;
    for (int i = 0; i < WIDTH<V>; ++i) result |= static_cast<unsigned>(mask[i] & 1) << i;
    return result;
}

template <class V>
QWOP_TRIG_INLINE Mask<V> mask_of(unsigned lane_bits) {
    Mask<V> bit;
    for (int i = 0; i < WIDTH<V>; ++i) bit[i] = int64_t{1} << i;
    return (bit & static_cast<int64_t>(lane_bits)) != 0;
}

// Correctly rounded, like std::sqrt.
template <class V>
QWOP_TRIG_INLINE V square_root(V value) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) return (V)_mm512_sqrt_pd((__m512d)value);
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32) return (V)_mm256_sqrt_pd((__m256d)value);
#endif
#if defined(__SSE2__)
    if constexpr (sizeof(V) == 16) return (V)_mm_sqrt_pd((__m128d)value);
#endif
    V result;
    for (int i = 0; i < WIDTH<V>; ++i) result[i] = __builtin_sqrt(value[i]);
    return result;
}

// The functions of math.hpp, with the same bits.
template <class V>
QWOP_TRIG_INLINE V minimum(V a, V b) {
    return select<V>(a < b, a, b);
}
template <class V>
QWOP_TRIG_INLINE V maximum(V a, V b) {
    return select<V>(a > b, a, b);
}
template <class V>
QWOP_TRIG_INLINE V clamped(V a, V low, V high) {
    return select<V>(a < low, low, select<V>(a > high, high, a));
}

template <class V>
struct Vec2Lanes {
    V x, y;
};

template <class V>
struct RotationLanes {
    V cos, sin;
};

template <class V>
QWOP_TRIG_INLINE Vec2Lanes<V> rotated(RotationLanes<V> r, V x, V y) {
    return {r.cos * x + -r.sin * y, r.sin * x + r.cos * y};
}

template <class V>
QWOP_TRIG_INLINE Vec2Lanes<V> unrotated(RotationLanes<V> r, V x, V y) {
    return {x * r.cos + y * r.sin, x * -r.sin + y * r.cos};
}

// position + (rotation * v).
template <class V>
QWOP_TRIG_INLINE Vec2Lanes<V> to_world(Vec2Lanes<V> position, RotationLanes<V> r, V x, V y) {
    const Vec2Lanes<V> v = rotated(r, x, y);
    return {position.x + v.x, position.y + v.y};
}

// The same point, but summed from the left, (position + c x) - s y, as in world_manifold: the last bit may differ.
template <class V>
QWOP_TRIG_INLINE Vec2Lanes<V> to_world_summed(Vec2Lanes<V> position, RotationLanes<V> r, V x, V y) {
    return {position.x + r.cos * x + -r.sin * y, position.y + r.sin * x + r.cos * y};
}

}  // namespace lanes
}  // namespace qwop
