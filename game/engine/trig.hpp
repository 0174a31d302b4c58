// Sine and cosine, of one double or of vectors of lanes, always with the bits of glibc's FMA build (2.28
// or later): the dialect in which the recorded game computed.
//
//   qwop::sincos(x, &s, &c)         double; picks FMA instructions at run time where the build has none
//   qwop::sincos_lanes(x, s, c)     a GCC/Clang vector of doubles (or a double); s and c by reference
//   qwop::sincos_lanes(xs, ss, cs)  arrays of N such vectors, interleaved: two take little longer than one,
//                                   because one alone waits for its own chain of operations
//
// Exact for |x| < 105414336. Beyond, the answer is the C library's; infinity and NaN give NaN.
//
// The method is IBM's accurate table method, as glibc has it since 2.28. theta = |x| - n*pi/2 is held as
// a + da; k/128 is the table argument nearest |a|; with r = |a| + da - k/128, below 1/256,
//   sin(k/128 + r) = sn + (ssn + s*ccs - c*sn + s*cs)      s = sin r, c = 1 - cos r, by polynomials
//   cos(k/128 + r) = cs + (ccs - s*ssn - c*cs - s*sn)
// where sn + ssn and cs + ccs are the table's double-doubles. Below |a| = 0.126, sin is a polynomial in a.
// Which products are fused decides the last bit: every fused one is written as fma(), and each file that
// includes this one must be compiled with -ffp-contract=off.
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
#include "trig_table.hpp"

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "trig.hpp needs plain IEEE doubles: no -ffast-math, no x87 arithmetic"
#endif

#define QWOP_TRIG_INLINE static inline __attribute__((always_inline))

namespace qwop {

constexpr const char* TRIG_DIALECT = "glibc-fma";

namespace trig {

// Ends of the ranges of |x|. glibc compares high words, so each is a double with a zero low word.
constexpr double DIRECT_END = 0x1.b6p-1;         // 0.8555: below, n = 0 and a = |x|
constexpr double QUARTER_END = 0x1.368fdp+1;     // 2.4263: below, n = 1
constexpr double REDUCTION_END = 0x1.921fbp+26;  // 105414336: below, n is found by multiplication
// And of |a|, for sin.
constexpr double POLYNOMIAL_END = 0x1.020c49ba5e354p-3;  // 0.126

// pi/2 in two parts for the quarter range; in four, short enough for exact products with n, beyond it.
constexpr double HALF_PI[2] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
constexpr double HALF_PI_PARTS[4] = {0x1.921fb58p+0, -0x1.dde973cp-27, -0x1.cb3b398p-55, -0x1.d747f23e32ed7p-83};
constexpr double TWO_OVER_PI = 0x1.45f306dc9c883p-1;

// Adding one of these rounds to an integer, or to a multiple of 1/128; the sum's low word holds n, or k.
constexpr double TO_INTEGER = 0x1.8p+52;
constexpr double TO_TABLE = 0x1.8p+45;

// sin r = r + r^3 (SIN[0] + SIN[1] r^2); 1 - cos r = r^2 (COS[0] + COS[1] r^2 + COS[2] r^4);
// sin a = a + a^3 (LONG_SIN[0] + LONG_SIN[1] a^2 + ...).
constexpr double SIN[2] = {-0x1.5555555555515p-3, 0x1.11110e829872fp-7};
constexpr double COS[3] = {0x1p-1, -0x1.5555555555535p-5, 0x1.6c16bedd9e239p-10};
constexpr double LONG_SIN[5] = {-0x1.5555555555555p-3, 0x1.1111111110ecep-7, -0x1.a01a019db08b8p-13,
                                0x1.71de27b9a7ed9p-19, -0x1.addffc2fcdf59p-26};

// Vectors of 64-bit integers, as many as V has doubles. As a mask, a lane has all bits set or none.
template <class V>
using Integers = decltype(V{} < V{});

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

template <class V>
QWOP_TRIG_INLINE V splat(double value) {
    if constexpr (std::is_same_v<V, double>)
        return value;
    else
        return value - V{};
}

// theta = ax - n * pi/2 as a + da, given minus_n.
template <class V>
QWOP_TRIG_INLINE void reduce(V ax, V minus_n, V& a, V& da) {
    const V a1 = fma(minus_n, splat<V>(HALF_PI_PARTS[1]), fma(minus_n, splat<V>(HALF_PI_PARTS[0]), ax));
    const V a2 = fma(minus_n, splat<V>(HALF_PI_PARTS[2]), a1);
    const V d2 = fma(minus_n, splat<V>(HALF_PI_PARTS[2]), a1 - a2);
    a = fma(minus_n, splat<V>(HALF_PI_PARTS[3]), a2);
    da = d2 + fma(minus_n, splat<V>(HALF_PI_PARTS[3]), a2 - a);
}

// sin(a + da), 0 <= a < 0.126.
template <class V>
QWOP_TRIG_INLINE V sin_by_polynomial(V a, V da) {
    const V aa = a * a;
    V p = fma(splat<V>(LONG_SIN[4]), aa, splat<V>(LONG_SIN[3]));
    p = fma(p, aa, splat<V>(LONG_SIN[2]));
    p = fma(p, aa, splat<V>(LONG_SIN[1]));
    p = fma(p, aa, splat<V>(LONG_SIN[0]));
    return a + fma(aa, fma(p, a, splat<V>(-0.5) * da), da);
}

// (1 - cos r) / r^2.
template <class V>
QWOP_TRIG_INLINE V cos_factor(V rr) {
    return fma(fma(splat<V>(COS[2]), rr, splat<V>(COS[1])), rr, splat<V>(COS[0]));
}

// sin(k/128 + r + da), given row k of the table.
template <class V>
QWOP_TRIG_INLINE V sin_by_table(V r, V da, V sn, V ssn, V cs, V ccs) {
    const V rr = r * r;
    const V s = r + fma(r * rr, fma(splat<V>(SIN[1]), rr, splat<V>(SIN[0])), da);
    const V c = fma(r, da, rr * cos_factor(rr));
    return sn + fma(s, cs, fma(-c, sn, fma(s, ccs, ssn)));
}

// cos(k/128 + r), given row k of the table.
template <class V>
QWOP_TRIG_INLINE V cos_by_table(V r, V sn, V ssn, V cs, V ccs) {
    const V rr = r * r;
    const V s = fma(r * rr, fma(splat<V>(SIN[1]), rr, splat<V>(SIN[0])), r);
    const V c = rr * cos_factor(rr);
    return cs + fma(-s, sn, fma(-c, cs, fma(-s, ssn, ccs)));
}

QWOP_TRIG_INLINE uint64_t bits(double value) {
    uint64_t result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}

// value, negated if the sign bit of `by` is set.
QWOP_TRIG_INLINE double flip_sign(double value, uint64_t by) {
    const uint64_t flipped = bits(value) ^ (by & uint64_t{1} << 63);
    double result;
    std::memcpy(&result, &flipped, sizeof result);
    return result;
}

QWOP_TRIG_INLINE void sincos_double(double x, double* sine, double* cosine) {
    const double ax = __builtin_fabs(x);
    double y = ax, a = ax, da = 0;
    uint64_t n = 0;  // its two lowest bits count
    if (!(ax < DIRECT_END)) {
        if (ax < QUARTER_END) {
            n = 1;
            y = ax - HALF_PI[0];
            a = y - HALF_PI[1];
            da = (y - a) - HALF_PI[1];
        } else if (ax < REDUCTION_END) {
            const double t = fma(ax, TWO_OVER_PI, TO_INTEGER);
            n = bits(t);
            reduce(ax, TO_INTEGER - t, a, da);
            y = a;
        } else {
            *sine = ax < HUGE_VAL ? std::sin(x) : x / x;
            *cosine = ax < HUGE_VAL ? std::cos(x) : x / x;
            return;
        }
    }
    // In the quarter range glibc finds sin's row from y and cos's from a. They differ for 111 arguments
    // (|y| on a tie between two rows); taking both from y leaves the bits of all 111 as they are.
    const double u = __builtin_fabs(y) + TO_TABLE;
    const double* row = TABLE[(uint32_t)bits(u)];
    const uint64_t a_sign = bits(a);
    a = __builtin_fabs(a);
    da = flip_sign(da, a_sign);
    const double r = a - (u - TO_TABLE);
    const double sn = row[0], ssn = row[1], cs = row[2], ccs = row[3];
    double s = a < POLYNOMIAL_END ? sin_by_polynomial(a, da) : sin_by_table(r, da, sn, ssn, cs, ccs);
    const double c = cos_by_table(r + da, sn, ssn, cs, ccs);
    s = flip_sign(s, a_sign);
    *sine = flip_sign(n & 1 ? c : s, n << 62 ^ bits(x));
    *cosine = flip_sign(n & 1 ? s : c, (n + 1) << 62);
}

#if defined(__x86_64__) && !defined(__FMA__)
static const bool CPU_HAS_FMA = cpu::features().fma;

__attribute__((target("fma"), noinline)) static inline void sincos_fma(double x, double* sine, double* cosine) {
    sincos_double(x, sine, cosine);
}
#endif

}  // namespace trig

// *sine = sin(x), *cosine = cos(x), x in radians.
static inline void sincos(double x, double* sine, double* cosine) {
#if defined(__x86_64__) && !defined(__FMA__)
    if (trig::CPU_HAS_FMA) return trig::sincos_fma(x, sine, cosine);
#endif
    trig::sincos_double(x, sine, cosine);
}

namespace trig {

// The cold path, and the only one where the build has no fused instruction for V.
template <class V>
__attribute__((noinline)) static void sincos_each(const V& x, V& sine, V& cosine) {
    for (unsigned i = 0; i < LANES<V>; ++i) {
        double s, c;
        sincos(x[i], &s, &c);
        sine[i] = s;
        cosine[i] = c;
    }
}

template <class V>
QWOP_TRIG_INLINE Integers<V> sign_bit() {
    return Integers<V>{} + INT64_MIN;
}

template <class V>
QWOP_TRIG_INLINE V magnitude(V value) {
    return (V)((Integers<V>)value & ~sign_bit<V>());
}

template <class V>
QWOP_TRIG_INLINE V flip_sign(V value, Integers<V> by) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {  // one operation, value ^ (by & sign)
        return (V)_mm512_ternarylogic_epi64((__m512i)value, (__m512i)by, (__m512i)sign_bit<V>(), 0x78);
    }
#endif
    return (V)((Integers<V>)value ^ (by & sign_bit<V>()));
}

// value in the lanes of the mask, +0 elsewhere.
template <class V>
QWOP_TRIG_INLINE V where(Integers<V> mask, V value) {
    return (V)(mask & (Integers<V>)value);
}

// Swaps a and b in the lanes where n is odd.
template <class V>
QWOP_TRIG_INLINE void swap_where_odd(Integers<V> n, V& a, V& b) {
    if constexpr (sizeof(V) == 64) {  // AVX-512 blends at no cost, AVX2 at three operations
        const Integers<V> odd = (n & 1) != 0;
        const V old_a = a;
        a = odd ? b : a;
        b = odd ? old_a : b;
    } else {
        const Integers<V> swap = ((Integers<V>)a ^ (Integers<V>)b) & -(n & 1);
        a = (V)((Integers<V>)a ^ swap);
        b = (V)((Integers<V>)b ^ swap);
    }
}

// Whether every lane is below the limit; a NaN is not.
template <class V>
QWOP_TRIG_INLINE bool all_below(V value, double limit) {
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {
        return _mm512_cmp_pd_mask((__m512d)value, _mm512_set1_pd(limit), _CMP_LT_OQ) == 0xff;
    }
#endif
    const Integers<V> below = value < splat<V>(limit);
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32) return _mm256_movemask_pd((__m256d)below) == 0xf;
#endif
    int64_t all = -1;
    for (unsigned i = 0; i < LANES<V>; ++i) all &= below[i];
    return all != 0;
}

// The table's row for each lane of u = |y| + TO_TABLE, turned into one vector a column. Whole rows are
// loaded and transposed: gather instructions are at best as fast, and many times slower where a
// processor's microcode guards against gather data sampling.
template <class V>
QWOP_TRIG_INLINE void load_rows(V u, V& sn, V& ssn, V& cs, V& ccs) {
    Integers<V> offsets = (Integers<V>)u << 2;  // in doubles; the low word of u is k
    // Through memory: the load ports have room, the one port that extracts lanes has not.
    __asm__("" : "+m"(offsets));
    const double* rows[LANES<V>];
#pragma GCC unroll 8
    for (unsigned i = 0; i < LANES<V>; ++i) {
        uint32_t offset;
        std::memcpy(&offset, (const char*)&offsets + 8 * i, sizeof offset);
        rows[i] = TABLE[0] + offset;
    }
#if defined(__AVX512F__)
    if constexpr (sizeof(V) == 64) {
        constexpr __mmask8 all = 0xff;  // the forms without a mask make GCC 12 warn of its own header
        const auto pair = [&](int i, int j) __attribute__((always_inline)) {
            const __m512d row = _mm512_castpd256_pd512(_mm256_load_pd(rows[i]));
            return _mm512_maskz_insertf64x4(all, row, _mm256_load_pd(rows[j]), 1);
        };
        const __m512d rows02 = pair(0, 2), rows13 = pair(1, 3), rows46 = pair(4, 6), rows57 = pair(5, 7);
        const __m512d high0123 = _mm512_maskz_unpacklo_pd(all, rows02, rows13);
        const __m512d high4567 = _mm512_maskz_unpacklo_pd(all, rows46, rows57);
        const __m512d low0123 = _mm512_maskz_unpackhi_pd(all, rows02, rows13);
        const __m512d low4567 = _mm512_maskz_unpackhi_pd(all, rows46, rows57);
        sn = (V)_mm512_maskz_shuffle_f64x2(all, high0123, high4567, 0x88);
        cs = (V)_mm512_maskz_shuffle_f64x2(all, high0123, high4567, 0xdd);
        ssn = (V)_mm512_maskz_shuffle_f64x2(all, low0123, low4567, 0x88);
        ccs = (V)_mm512_maskz_shuffle_f64x2(all, low0123, low4567, 0xdd);
    }
#endif
#if defined(__AVX__)
    if constexpr (sizeof(V) == 32) {
        const auto pair = [&](int i, int j, int column) __attribute__((always_inline)) {
            const __m256d half = _mm256_castpd128_pd256(_mm_load_pd(rows[i] + column));
            return _mm256_insertf128_pd(half, _mm_load_pd(rows[j] + column), 1);
        };
        const __m256d sin02 = pair(0, 2, 0), sin13 = pair(1, 3, 0);
        const __m256d cos02 = pair(0, 2, 2), cos13 = pair(1, 3, 2);
        sn = (V)_mm256_unpacklo_pd(sin02, sin13);
        ssn = (V)_mm256_unpackhi_pd(sin02, sin13);
        cs = (V)_mm256_unpacklo_pd(cos02, cos13);
        ccs = (V)_mm256_unpackhi_pd(cos02, cos13);
    }
#endif
    if constexpr (sizeof(V) == 16) {
        sn = V{rows[0][0], rows[1][0]};
        ssn = V{rows[0][1], rows[1][1]};
        cs = V{rows[0][2], rows[1][2]};
        ccs = V{rows[0][3], rows[1][3]};
    }
}

}  // namespace trig

#define QWOP_TRIG_EACH _Pragma("GCC unroll 8") for (unsigned i = 0; i < N; ++i)

// sine[i] = sin(x[i]), cosine[i] = cos(x[i]), lane by lane the bits of sincos. No branch on the range of x
// but one, never taken in play, on |x| >= 105414336. x may be sine or cosine.
template <class V, unsigned N>
QWOP_TRIG_INLINE void sincos_lanes(const V (&x)[N], V (&sine)[N], V (&cosine)[N]) {
    using namespace trig;
    using I = Integers<V>;
    V ax[N];
    QWOP_TRIG_EACH ax[i] = magnitude(x[i]);
    bool in_range = has_fma<V>();
    QWOP_TRIG_EACH in_range = in_range && all_below(ax[i], REDUCTION_END);
    if (__builtin_expect(!in_range, 0)) {
        QWOP_TRIG_EACH {
            const V xi = x[i];  // copies, so that the fast path keeps its vectors in registers
            V s, c;
            sincos_each(xi, s, c);
            sine[i] = s;
            cosine[i] = c;
        }
        return;
    }
    if constexpr (has_fma<V>()) {
        V a[N], da[N], u[N], sn[N], ssn[N], cs[N], ccs[N], s[N], c[N];
        I n[N], a_sign[N];
        QWOP_TRIG_EACH {
            const I high = ax[i] >= splat<V>(QUARTER_END);
            const I quarter = (ax[i] >= splat<V>(DIRECT_END)) ^ high;
            // With n held at 0 the reduction leaves a = |x|, da = 0; the quarter range continues from there,
            // and its steps in turn change nothing where pi/2 is masked out.
            const V t = fma(ax[i], splat<V>(TWO_OVER_PI), splat<V>(TO_INTEGER));
            n[i] = ((I)t & high) - quarter;
            reduce(ax[i], where(high, splat<V>(TO_INTEGER) - t), a[i], da[i]);
            const V y = a[i] - where(quarter, splat<V>(HALF_PI[0]));
            const V rest = where(quarter, splat<V>(HALF_PI[1]));
            a[i] = y - rest;
            da[i] += (y - a[i]) - rest;
            u[i] = magnitude(y) + splat<V>(TO_TABLE);
            a_sign[i] = (I)a[i];
            da[i] = flip_sign(da[i], a_sign[i]);
            a[i] = magnitude(a[i]);
        }
        QWOP_TRIG_EACH load_rows(u[i], sn[i], ssn[i], cs[i], ccs[i]);
        QWOP_TRIG_EACH s[i] = sin_by_polynomial(a[i], da[i]);
        QWOP_TRIG_EACH {
            const V r = a[i] - (u[i] - splat<V>(TO_TABLE));
            const V by_table = sin_by_table(r, da[i], sn[i], ssn[i], cs[i], ccs[i]);
            s[i] = a[i] < splat<V>(POLYNOMIAL_END) ? s[i] : by_table;
            c[i] = cos_by_table(r + da[i], sn[i], ssn[i], cs[i], ccs[i]);
        }
        QWOP_TRIG_EACH {
            const I x_sign = (I)x[i];
            s[i] = flip_sign(s[i], a_sign[i]);
            swap_where_odd(n[i], s[i], c[i]);
            sine[i] = flip_sign(s[i], n[i] << 62 ^ x_sign);
            cosine[i] = flip_sign(c[i], (n[i] + 1) << 62);
        }
    }
}

#undef QWOP_TRIG_EACH

template <class V>
QWOP_TRIG_INLINE void sincos_lanes(V x, V& sine, V& cosine) {
    if constexpr (std::is_same_v<V, double>) {
        sincos(x, &sine, &cosine);
    } else {
        const V xs[1] = {x};
        V sines[1], cosines[1];
        sincos_lanes(xs, sines, cosines);
        sine = sines[0];
        cosine = cosines[0];
    }
}

}  // namespace qwop
