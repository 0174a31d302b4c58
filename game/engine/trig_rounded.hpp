// Sine and cosine correctly rounded: the doubles nearest to the true values. Mathematics defines them, so every machine
// and every method gives the same bits. Also `Llvm`, LLVM's libc, which is meant to round correctly.
//
// The fast method gives the sum hi + lo of two doubles and a bound of its error. If every value within the bound rounds
// to the same double, that double is the result (Ziv's rounding test). If not, for one value in ten thousand,
// trig_exact.cpp computes it.
//
// |x| - n*pi/2 = a + da, |a| < 0.786; k/256 is the table argument nearest |a|; r = |a| - k/256 is exact. With
// S = sin(r + da), C = 1 - cos(r + da) and the table's sn + ssn = sin(k/256), cs + ccs = cos(k/256),
//   sin = (sn + ssn) + (cs + ccs) S - (sn + ssn) C      cos = (cs + ccs) - (sn + ssn) S - (cs + ccs) C
// of which the products cs*r and sn*r and the sums sn + cs*r and cs - sn*r are taken as two doubles, exactly.
//
// The bound. u = 2^-53, |r| <= 2^-9, |da| <= u|a|. Relative to sn, for the sine:
//   C = r da + r^2 (1/2 - r^2/24 + r^4/720) <= 2^-19 in double, 3.5 roundings    3.5 u 2^-19   = 3.5  2^-72
//   products and sums of a size up to sn C: sn*C, T, e + T, l + (e + T)          4 u 2^-19     = 4    2^-72
//   omitted: ssn C                                                                                0.5  2^-72
// Relative to the sine, which is at least sn/2 (at k = 1), except for k = 0, where sn, e and l are 0:
//   S - r = da + r^3 (-1/6 + r^2/120 - r^4/5040) <= 2^-29.5, and sums of its size, 9 roundings    3.2  2^-72
//   cos(r) da taken as da                                                        u 2^-19       = 1    2^-72
//   the reduction, where |a| >= 2^-30 |x|: pi/2 is known to 2^-109, da is rounded                 0.01 2^-72
// and the sums of the test 2 2^-72: together 2 * 8 + 6.2 = 22.2 2^-72, less than ERROR = 32 2^-72. For the cosine,
// which is at least 0.7, the same terms are half of that. Without fused instructions there are more rounded products
// (counted above), and exact products are computed from halves (Dekker). tests/game/test_trig.py measures the error.
#pragma once

#include "trig_exact.hpp"
#include "trig_table.hpp"
#include "trig_vector.hpp"

namespace qwop {
namespace trig {

constexpr double ROUNDED_ERROR = 0x1p-67;  // of hi + lo, relative to hi
constexpr double ROUNDED_END = 0x1p12;  // beyond, n is too large for the reduction's error bound
constexpr double LEAST_REMAINDER = 0x1p-30;  // of |a|, relative to |x|: below, the reduction's error is too large
// Adding this rounds to a multiple of 1/256; the sum's low word holds k.
constexpr double TO_ROUNDED_TABLE = 0x1.8p+44;

namespace {  // one copy a file: see trig_vector.hpp

struct Rounded {
    static constexpr double RANGE_END = ROUNDED_END;

    template <class V>
    static constexpr bool runs_on() {
        return true;
    }

    // high + low = a * b, exactly.
    template <bool FUSED, class V>
    QWOP_TRIG_INLINE void exact_product(V a, V b, V& high, V& low) {
        high = a * b;
        if constexpr (FUSED) {
            low = fma(a, b, -high);
        } else {
            const auto upper = [](V v) __attribute__((always_inline)) {
                const V scaled = v * 0x1.0000002p+27;
                return scaled - (scaled - v);
            };
            const V a1 = upper(a), a2 = a - a1, b1 = upper(b), b2 = b - b1;
            low = a2 * b2 - (((high - a1 * b1) - a2 * b1) - a1 * b2);
        }
    }

    // Sine and cosine of x, |x| < ROUNDED_END, and whether both are decided (a mask of lanes, or a bool).
    template <bool FUSED, class V>
    QWOP_TRIG_INLINE auto fast(V x, V ax, V& sine, V& cosine) {
        const V t = multiply_add<FUSED>(ax, splat<V>(TWO_OVER_PI), splat<V>(TO_INTEGER));
        const V minus_n = TO_INTEGER - t;
        V a, da;
        if constexpr (FUSED) {
            const V a1 = fma(minus_n, splat<V>(HALF_PI[0]), ax);  // exact
            a = fma(minus_n, splat<V>(HALF_PI[1]), a1);
            da = fma(minus_n, splat<V>(HALF_PI[1]), a1 - a);
        } else {
            reduce<false>(ax, minus_n, a, da);
        }
        const Integers<V> a_sign = bits(a);
        a = magnitude(a);
        da = flip_sign<V>(da, a_sign);
        const V u = a + TO_ROUNDED_TABLE;
        V sn, ssn, cs, ccs;
        load_rows(ROUNDED_TABLE, u, sn, ssn, cs, ccs);

        const V r = a - (u - TO_ROUNDED_TABLE), rr = r * r;
        const auto madd = [](V p, V q, V sum) __attribute__((always_inline)) { return multiply_add<FUSED>(p, q, sum); };
        const V c_factor = madd(madd(splat<V>(1. / 720), rr, splat<V>(-1. / 24)), rr, splat<V>(0.5));
        const V s_factor = madd(madd(splat<V>(-1. / 5040), rr, splat<V>(1. / 120)), rr, splat<V>(-1. / 6));
        const V big_c = madd(r, da, rr * c_factor);
        const V small_s = madd(r * rr, s_factor, da);  // S - r

        V p, p_low, q, q_low;
        exact_product<FUSED>(cs, r, p, p_low);
        exact_product<FUSED>(sn, r, q, q_low);
        const V s_high = sn + p, c_high = cs - q;
        const V s_rest = madd(-sn, big_c, madd(cs, small_s, madd(ccs, r, ssn)));
        const V c_rest = madd(-cs, big_c, madd(-sn, small_s, madd(-ssn, r, ccs)));
        const V s_low = (p - (s_high - sn)) + (p_low + s_rest);
        const V c_low = ((cs - c_high) - q) + (c_rest - q_low);

        const V error = splat<V>(ROUNDED_ERROR);
        V s = s_high + madd(error, s_high, s_low), c = c_high + madd(error, c_high, c_low);
        const V s_least = s_high + madd(-error, s_high, s_low), c_least = c_high + madd(-error, c_high, c_low);
        const auto decided = (s == s_least) & (c == c_least) & (a >= ax * LEAST_REMAINDER);
        s = flip_sign<V>(s, a_sign);
        place_quadrant<V>(bits(t), x, s, c);
        sine = s;
        cosine = c;
        return decided;
    }

    // |x| < RANGE_END.
    template <bool FUSED>
    QWOP_TRIG_INLINE void scalar(double x, double* sine, double* cosine) {
        if (__builtin_expect(!fast<FUSED>(x, __builtin_fabs(x), *sine, *cosine), 0)) exact_sincos(x, sine, cosine);
    }

    template <class V>
    __attribute__((noinline)) static void decide(const V& x, const Integers<V>& decided, V& sine, V& cosine) {
        for (unsigned i = 0; i < LANES<V>; ++i) {
            if (decided[i]) continue;
            double s, c;
            exact_sincos(x[i], &s, &c);
            sine[i] = s;
            cosine[i] = c;
        }
    }

    // |x| < RANGE_END in every lane.
    template <class V, unsigned N>
    QWOP_TRIG_INLINE bool lanes(const V (&x)[N], const V (&ax)[N], V (&sine)[N], V (&cosine)[N]) {
        V s[N], c[N];
        Integers<V> decided[N];
        bool plain = true;
        QWOP_TRIG_EACH decided[i] = fast<has_fma<V>()>(x[i], ax[i], s[i], c[i]);
        QWOP_TRIG_EACH plain = plain & all<V>(decided[i]);
        if (__builtin_expect(!plain, 0)) {
            QWOP_TRIG_EACH {
                const V xi = x[i];  // copies, so that the fast path keeps its vectors in registers
                V si = s[i], ci = c[i];
                decide(xi, decided[i], si, ci);
                s[i] = si;
                c[i] = ci;
            }
        }
        QWOP_TRIG_EACH {
            sine[i] = s[i];
            cosine[i] = c[i];
        }
        return true;
    }
};

// LLVM's libc, which Chromium uses from version 153 on. For the cosine of |x| < 1/16 it uses a polynomial with too
// small an error bound, so one value in 200,000 there is off by one unit in the last place. All other values are
// rounded correctly.
struct Llvm {
    static constexpr double RANGE_END = Rounded::RANGE_END;
    static constexpr double SMALL[2] = {0x1p-27, 0x1p-4};

    template <class V>
    static constexpr bool runs_on() {
        return true;
    }

    // The cosine by the polynomial, for SMALL[0] <= |x| < SMALL[1], where its rounding test passes; else `rounded`.
    template <class V>
    QWOP_TRIG_INLINE V small_cosine(V ax, V rounded) {
        const V xx = ax * ax;
        const V low = -0.5 + xx * 0x1.5555555555262p-5, high = -0x1.6c16c1508bff1p-10 + xx * 0x1.a00ffd769159ap-16;
        const V c = (low + xx * xx * high) * xx, error = xx * 0x1p-53 + 0x1p-69;
        const V most = 1.0 + (c + error), least = 1.0 + (c - error);
        const auto trusted = (ax >= splat<V>(SMALL[0])) & (ax < splat<V>(SMALL[1])) & (most == least);
        return trusted ? most : rounded;
    }

    template <bool FUSED>
    QWOP_TRIG_INLINE void scalar(double x, double* sine, double* cosine) {
        Rounded::scalar<FUSED>(x, sine, cosine);
        *cosine = small_cosine(__builtin_fabs(x), *cosine);
    }

    template <class V, unsigned N>
    QWOP_TRIG_INLINE bool lanes(const V (&x)[N], const V (&ax)[N], V (&sine)[N], V (&cosine)[N]) {
        Rounded::lanes(x, ax, sine, cosine);
        QWOP_TRIG_EACH cosine[i] = small_cosine(ax[i], cosine[i]);
        return true;
    }
};

}  // namespace

}  // namespace trig
}  // namespace qwop
