// Sine and cosine with the bits of fdlibm 5.3, which V8 uses, or of msun, FreeBSD's version, which Firefox uses.
//
// Both are Sun's method. x = n*pi/2 + (a + da) with |a| < pi/4 and n the nearest integer, by Cody and Waite's
// reduction with pi/2 in parts of 33 bits; then sin(a + da) and cos(a + da) by polynomials,
//   sin(a + da) = a - ((z (da/2 - v r) - da) - v S1)          z = a^2, v = z a, r = S2 + S3 z + ... + S6 z^4
//   cos(a + da) = 1 - z/2 + (z r - a da)                      r = C1 z + ... + C6 z^6
// They differ in how the polynomials and 1 - z/2 are summed, and in where x is taken as n = 1, 2, 3 or 4 times pi/2.
#pragma once

#include "trig_vector.hpp"

namespace qwop {
namespace trig {

constexpr double FDLIBM_SIN[6] = {-0x1.5555555555549p-3, 0x1.111111110f8a6p-7,   -0x1.a01a019c161d5p-13,
                                  0x1.71de357b1fe7dp-19, -0x1.ae5e68a2b9cebp-26, 0x1.5d93a5acfd57cp-33};
constexpr double FDLIBM_COS[6] = {0x1.555555555554cp-5,   -0x1.6c16c16c15177p-10, 0x1.a01a019cb1590p-16,
                                  -0x1.27e4f809c52adp-22, 0x1.1ee9ebdb4b1c4p-29,  -0x1.8fae9be8838d4p-37};

// pi/2 as three parts of 33 bits; TAILS[i] is what is left of pi/2 after parts 0 to i.
constexpr double HALF_PI_33[3] = {0x1.921fb544p+0, 0x1.0b4611a6p-34, 0x1.3198a2ep-69};
constexpr double HALF_PI_TAILS[3] = {0x1.0b4611a626331p-34, 0x1.3198a2e037073p-69, 0x1.b839a252049c1p-104};

// The upper 32 bits of x, by which fdlibm compares and measures exponents.
QWOP_TRIG_INLINE int32_t high_word(double x) { return static_cast<int32_t>(bits(x) >> 32); }

namespace {  // one copy per file: see trig_vector.hpp

// MSUN: FreeBSD's order of operations, else fdlibm's.
template <bool MSUN>
struct Fdlibm {
    static constexpr double RANGE_END = MSUN ? 0x1.921fbp+20 : 0x1.921fcp+20;  // 2^20 * pi/2, by its high word

    template <class V>
    static constexpr bool runs_on() {
        return true;
    }

    // sin(a + da); whole: the reduction left a = x, da = 0.
    template <class V, class M>
    QWOP_TRIG_INLINE V kernel_sin(V a, V da, M whole) {
        constexpr const double* S = FDLIBM_SIN;
        const V z = a * a, v = z * a;
        V r;
        if constexpr (MSUN)
            r = S[1] + z * (S[2] + z * S[3]) + z * (z * z) * (S[4] + z * S[5]);
        else
            r = S[1] + z * (S[2] + z * (S[3] + z * (S[4] + z * S[5])));
        const V unreduced = a + v * (S[0] + z * r);
        const V reduced = a - ((z * (0.5 * da - v * r) - da) - v * S[0]);
        return whole ? unreduced : reduced;
    }

    // cos(a + da).
    template <class V>
    QWOP_TRIG_INLINE V kernel_cos(V a, V da) {
        constexpr const double* C = FDLIBM_COS;
        const V z = a * a;
        if constexpr (MSUN) {
            const V w = z * z;
            const V r = z * (C[0] + z * (C[1] + z * C[2])) + w * w * (C[3] + z * (C[4] + z * C[5]));
            const V half = 0.5 * z, rest = 1.0 - half;
            return rest + (((1.0 - rest) - half) + (z * r - a * da));
        } else {
            const V r = z * (C[0] + z * (C[1] + z * (C[2] + z * (C[3] + z * (C[4] + z * C[5])))));
            // 1 - z/2 is summed as (1 - q) - (z/2 - q): q is 0 below |a| = 0.3, |a|/4 with its lower word cut off
            // up to 0.78125, and 0.28125 from there on.
            const V size = magnitude(a);
            const V quarter = from_bits<V>(bits(size * splat<V>(0.25)) & (Integers<V>{} - (int64_t{1} << 32)));
            const V q = size < splat<V>(0x1.33333p-2)   ? splat<V>(0)
                        : size < splat<V>(0x1.90001p-1) ? quarter
                                                        : splat<V>(0.28125);
            const V rest = 0.5 * z - q, one = 1.0 - q;
            return one - (rest - (z * r - a * da));
        }
    }

    // |x| = n*pi/2 + (a + da); returns n.
    QWOP_TRIG_INLINE int64_t reduce(double ax, double& a, double& da) {
        const int32_t ix = high_word(ax);
        if (ix <= 0x3fe921fb) {  // pi/4
            a = ax;
            da = 0;
            return 0;
        }
        if constexpr (!MSUN) {
            if (ix < 0x4002d97c) {  // 3 pi/4
                double z = ax - HALF_PI_33[0];
                const bool near = ix == 0x3ff921fb;  // pi/2: two parts of it come off before the tail does
                if (near) z -= HALF_PI_33[1];
                const double tail = HALF_PI_TAILS[near ? 1 : 0];
                a = z - tail;
                da = (z - a) - tail;
                return 1;
            }
        }
        int64_t n = 0;
        if constexpr (MSUN) {
            // Up to 9 pi/4, except near 1, 2, 3 and 4 times pi/2.
            if (ix <= 0x401c463b && (ix & 0xfffff) != 0x921fb && ix != 0x4012d97c)
                n = ix <= 0x4002d97c ? 1 : ix <= 0x400f6a7a ? 2 : ix <= 0x4015fdbc ? 3 : 4;
        }
        const bool simple = n != 0;
        if (MSUN && !simple) n = static_cast<int64_t>((ax * TWO_OVER_PI + TO_INTEGER) - TO_INTEGER);
        if (!MSUN) n = static_cast<int64_t>(ax * TWO_OVER_PI + 0.5);
        const double f = static_cast<double>(n);
        double r = ax - f * HALF_PI_33[0], w = f * HALF_PI_TAILS[0];
        a = r - w;
        // Subtract further parts if the difference has lost too many bits. fdlibm skips this test for n < 32, except
        // next to n * pi/2; the result is the same.
        const auto lost = [&] { return (ix >> 20) - (high_word(a) >> 20 & 0x7ff); };
        const bool exact = simple || (!MSUN && n < 32 && ix != high_word(f * HALF_PI[0]));
        for (int part = 1, limit = 16; part <= 2 && !exact && lost() > limit; ++part, limit = 49) {
            const double t = r;
            w = f * HALF_PI_33[part];
            r = t - w;
            w = f * HALF_PI_TAILS[part] - ((t - r) - w);
            a = r - w;
        }
        da = (r - a) - w;
        return n;
    }

    // |x| < RANGE_END.
    QWOP_TRIG_INLINE void scalar(double x, double* sine, double* cosine) {
        double a, da;
        const int64_t n = reduce(__builtin_fabs(x), a, da);
        double s = kernel_sin(a, da, n == 0), c = kernel_cos(a, da);
        if (!MSUN && __builtin_fabs(a) < 0x1p-27) s = a;  // fdlibm drops da here
        place_quadrant(n, x, s, c);
        *sine = s;
        *cosine = c;
    }

    // |x| < RANGE_END in every lane. Returns false without a result if a lane is so near to a multiple of pi/4 that it
    // needs the reduction above.
    template <class V, unsigned N>
    QWOP_TRIG_INLINE bool lanes(const V (&x)[N], const V (&ax)[N], V (&sine)[N], V (&cosine)[N]) {
        bool plain = true;
        V a[N], da[N];
        Integers<V> n[N];
        QWOP_TRIG_EACH {
            const V t = ax[i] * TWO_OVER_PI + TO_INTEGER, f = t - TO_INTEGER;
            n[i] = (Integers<V>)t;
            const V r = ax[i] - f * HALF_PI_33[0], w = f * HALF_PI_TAILS[0];
            a[i] = r - w;
            da[i] = (r - a[i]) - w;
            // If |x| / |a| is below 2^15, fewer than 16 bits are lost; below 0x1.9219p-1 both versions use this n.
            const V size = magnitude(a[i]);
            plain = plain & all<V>((size < splat<V>(0x1.9219p-1)) & ((size > ax[i] * 0x1p-15) | (f == splat<V>(0))));
        }
        if (__builtin_expect(!plain, 0)) return false;
        QWOP_TRIG_EACH {
            V s = kernel_sin(a[i], da[i], ax[i] == a[i]), c = kernel_cos(a[i], da[i]);
            place_quadrant<V>(n[i], x[i], s, c);
            sine[i] = s;
            cosine[i] = c;
        }
        return true;
    }
};

}  // namespace

}  // namespace trig
}  // namespace qwop
