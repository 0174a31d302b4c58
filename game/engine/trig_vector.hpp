// Operations on a double or a GCC/Clang vector of doubles, and on its bits, for the sines and cosines.
//
// Every function is static: files compiled for different instruction sets include this one, and the
// linker must never merge their copies.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu.hpp"

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "the engine needs plain IEEE doubles: no -ffast-math, no x87 arithmetic"
#endif

#define QWOP_TRIG_INLINE static inline __attribute__((always_inline))

namespace qwop {
namespace trig {

// Adding this rounds to an integer; the sum's low word holds it.
constexpr double TO_INTEGER = 0x1.8p+52;
constexpr double TWO_OVER_PI = 0x1.45f306dc9c883p-1;
// pi/2 in two doubles; and in four, short enough for exact products with an integer below 2^26.
constexpr double HALF_PI[2] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
constexpr double HALF_PI_PARTS[4] = {0x1.921fb58p+0, -0x1.dde973cp-27, -0x1.cb3b398p-55, -0x1.d747f23e32ed7p-83};

template <class V>
struct IntegersOf {
    using type = decltype(V{} < V{});  // 64-bit integers, as many as V has doubles
};
template <>
struct IntegersOf<double> {
    using type = int64_t;
};
// As a mask, a lane has all bits set or none.
template <class V>
using Integers = typename IntegersOf<V>::type;

template <class V>
constexpr unsigned LANES = sizeof(V) / sizeof(double);

// Whether the build may use fused instructions on a V.
template <class V>
constexpr bool has_fma() {
#if defined(__AVX512F__)
    if (sizeof(V) == 64) return true;
#endif
#if defined(__FMA__)
    if (sizeof(V) <= 32) return true;
#elif defined(__aarch64__)
    if (sizeof(V) <= 16) return true;
#endif
    return false;
}

// a * b + c, rounded once. On doubles it works in any build: without the instruction, in the C library.
template <class V>
QWOP_TRIG_INLINE V fma(V a, V b, V c) {
    if constexpr (std::is_same_v<V, double>) {
        return __builtin_fma(a, b, c);
    } else {
        static_assert(has_fma<V>());
#if defined(__AVX512F__)
        if constexpr (sizeof(V) == 64) return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#endif
#if defined(__FMA__)
        if constexpr (sizeof(V) == 32) return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
        if constexpr (sizeof(V) == 16) return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c);
#elif defined(__aarch64__)
        if constexpr (sizeof(V) == 16) return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#endif
    }
}

// a * b + c, rounded once where FUSED, else after the product as well.
template <bool FUSED, class V>
QWOP_TRIG_INLINE V multiply_add(V a, V b, V c) {
    if constexpr (FUSED)
        return fma(a, b, c);
    else
        return a * b + c;
}

template <class V>
QWOP_TRIG_INLINE V splat(double value) {
    if constexpr (std::is_same_v<V, double>)
        return value;
    else
        return value - V{};
}

template <class V>
QWOP_TRIG_INLINE Integers<V> bits(V value) {
    if constexpr (std::is_same_v<V, double>) {
        int64_t result;
        std::memcpy(&result, &value, sizeof result);
        return result;
    } else {
        return (Integers<V>)value;
    }
}

template <class V>
QWOP_TRIG_INLINE V from_bits(Integers<V> value) {
    if constexpr (std::is_same_v<V, double>) {
        double result;
        std::memcpy(&result, &value, sizeof result);
        return result;
    } else {
        return (V)value;
    }
}

template <class V>
QWOP_TRIG_INLINE Integers<V> sign_bit() {
    return Integers<V>{} + INT64_MIN;
}

template <class V>
QWOP_TRIG_INLINE V magnitude(V value) {
    if constexpr (std::is_same_v<V, double>)
        return __builtin_fabs(value);
    else
        return (V)((Integers<V>)value & ~sign_bit<V>());
}

// value, negated where the sign bit of `by` is set.
template <class V>
QWOP_TRIG_INLINE V flip_sign(V value, Integers<V> by) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {  // one operation, value ^ (by & sign)
        return (V)_mm512_ternarylogic_epi64((__m512i)value, (__m512i)by, (__m512i)sign_bit<V>(), 0x78);
    }
#endif
    return from_bits<V>(bits(value) ^ (by & sign_bit<V>()));
}

// n shifted so that its bit 1 is the sign bit.
template <class V>
QWOP_TRIG_INLINE Integers<V> sign_of_quadrant(Integers<V> n) {
    if constexpr (std::is_same_v<V, double>)
        return static_cast<int64_t>(static_cast<uint64_t>(n) << 62);
    else
        return n << 62;
}

// Swaps a and b in the lanes where n is odd.
template <class V>
QWOP_TRIG_INLINE void swap_where_odd(Integers<V> n, V& a, V& b) {
    if constexpr (std::is_same_v<V, double> ||
                  sizeof(V) == 64) {  // AVX-512 blends at no cost, AVX2 at three operations
        const V old_a = a;
        const auto odd = (n & 1) != 0;
        a = odd ? b : a;
        b = odd ? old_a : b;
    } else {
        const Integers<V> swap = (bits(a) ^ bits(b)) & -(n & 1);
        a = from_bits<V>(bits(a) ^ swap);
        b = from_bits<V>(bits(b) ^ swap);
    }
}

// The result of reduction by n * pi/2 to sin and cos of x: swaps them where n is odd, and gives both their signs.
template <class V>
QWOP_TRIG_INLINE void place_quadrant(Integers<V> n, V x, V& s, V& c) {
    swap_where_odd<V>(n, s, c);
    s = flip_sign<V>(s, sign_of_quadrant<V>(n) ^ bits(x));
    c = flip_sign<V>(c, sign_of_quadrant<V>(n + 1));
}

// Whether a comparison holds in every lane; a comparison with NaN does not.
template <class V, class M>
QWOP_TRIG_INLINE bool all(M mask) {
    if constexpr (std::is_same_v<V, double>) {
        return mask;
    } else {
#if defined(__AVX512DQ__)
        if constexpr (sizeof(V) == 64) return _mm512_movepi64_mask((__m512i)mask) == 0xff;
#endif
#if defined(__AVX__)
        if constexpr (sizeof(V) == 32) return _mm256_movemask_pd((__m256d)mask) == 0xf;
#endif
#if defined(__SSE2__)
        if constexpr (sizeof(V) == 16) return _mm_movemask_pd((__m128d)mask) == 0x3;
#endif
        int64_t every = -1;
        for (unsigned i = 0; i < LANES<V>; ++i) every &= mask[i];
        return every != 0;
    }
}

// theta = ax - n * pi/2 as a + da, given minus_n.
template <bool FUSED, class V>
QWOP_TRIG_INLINE void reduce(V ax, V minus_n, V& a, V& da) {
    const auto plus = [&](int part, V sum) __attribute__((always_inline)) {
        return multiply_add<FUSED>(minus_n, splat<V>(HALF_PI_PARTS[part]), sum);
    };
    const V a1 = plus(1, plus(0, ax));
    const V a2 = plus(2, a1);
    const V d2 = plus(2, a1 - a2);
    a = plus(3, a2);
    da = d2 + plus(3, a2 - a);
}

// Row k of a table of 4 doubles a row for each lane of u, whose low word is k, turned into one vector a column.
// Whole rows are loaded and transposed. Gather instructions are at best as fast, and many times slower on processors
// whose microcode mitigates gather data sampling.
template <class V>
QWOP_TRIG_INLINE void load_rows(const double (*table)[4], V u, V& column0, V& column1, V& column2, V& column3) {
    if constexpr (std::is_same_v<V, double>) {
        const double* row = table[static_cast<uint32_t>(bits(u))];
        column0 = row[0];
        column1 = row[1];
        column2 = row[2];
        column3 = row[3];
    } else {
        Integers<V> offsets = (Integers<V>)u << 2;  // in doubles; the low word of u is k
        // Through memory: the load ports are free, and only one port can extract lanes.
        __asm__("" : "+m"(offsets));
        const double* rows[LANES<V>];
#pragma GCC unroll 8
        for (unsigned i = 0; i < LANES<V>; ++i) {
            uint32_t offset;
            std::memcpy(&offset, (const char*)&offsets + 8 * i, sizeof offset);
            rows[i] = table[0] + offset;
        }
#if defined(__AVX512F__)
        if constexpr (sizeof(V) == 64) {
            constexpr __mmask8 every = 0xff;  // without a mask, GCC 12 warns about its own header
            const auto pair = [&](int i, int j) __attribute__((always_inline)) {
                const __m512d row = _mm512_castpd256_pd512(_mm256_load_pd(rows[i]));
                return _mm512_maskz_insertf64x4(every, row, _mm256_load_pd(rows[j]), 1);
            };
            const __m512d rows02 = pair(0, 2), rows13 = pair(1, 3), rows46 = pair(4, 6), rows57 = pair(5, 7);
            const __m512d even0123 = _mm512_maskz_unpacklo_pd(every, rows02, rows13);
            const __m512d even4567 = _mm512_maskz_unpacklo_pd(every, rows46, rows57);
            const __m512d odd0123 = _mm512_maskz_unpackhi_pd(every, rows02, rows13);
            const __m512d odd4567 = _mm512_maskz_unpackhi_pd(every, rows46, rows57);
            column0 = (V)_mm512_maskz_shuffle_f64x2(every, even0123, even4567, 0x88);
            column2 = (V)_mm512_maskz_shuffle_f64x2(every, even0123, even4567, 0xdd);
            column1 = (V)_mm512_maskz_shuffle_f64x2(every, odd0123, odd4567, 0x88);
            column3 = (V)_mm512_maskz_shuffle_f64x2(every, odd0123, odd4567, 0xdd);
        }
#endif
#if defined(__AVX__)
        if constexpr (sizeof(V) == 32) {
            const auto pair = [&](int i, int j, int column) __attribute__((always_inline)) {
                const __m256d half = _mm256_castpd128_pd256(_mm_load_pd(rows[i] + column));
                return _mm256_insertf128_pd(half, _mm_load_pd(rows[j] + column), 1);
            };
            const __m256d first02 = pair(0, 2, 0), first13 = pair(1, 3, 0);
            const __m256d last02 = pair(0, 2, 2), last13 = pair(1, 3, 2);
            column0 = (V)_mm256_unpacklo_pd(first02, first13);
            column1 = (V)_mm256_unpackhi_pd(first02, first13);
            column2 = (V)_mm256_unpacklo_pd(last02, last13);
            column3 = (V)_mm256_unpackhi_pd(last02, last13);
        }
#endif
        if constexpr (sizeof(V) == 16) {
            column0 = V{rows[0][0], rows[1][0]};
            column1 = V{rows[0][1], rows[1][1]};
            column2 = V{rows[0][2], rows[1][2]};
            column3 = V{rows[0][3], rows[1][3]};
        }
    }
}

}  // namespace trig
}  // namespace qwop

#define QWOP_TRIG_EACH _Pragma("GCC unroll 8") for (unsigned i = 0; i < N; ++i)
