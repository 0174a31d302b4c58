// Sine and cosine with the bits of glibc 2.28 or later, compiled with FMA (glibc-fma) or without (glibc).
//
// The method is IBM's accurate table method. theta = |x| - n*pi/2 is held as a + da; k/128 is the table argument
// nearest |a|; with r = |a| + da - k/128, below 1/256,
//   sin(k/128 + r) = sn + (ssn + s*ccs - c*sn + s*cs)      s = sin r, c = 1 - cos r, by polynomials
//   cos(k/128 + r) = cs + (ccs - s*ssn - c*cs - s*sn)
// where sn + ssn and cs + ccs are the table's double-doubles. Below |a| = 0.126, sin is a polynomial in a.
// The last bit depends on which products are fused, so each file that includes this one must be compiled with
// -ffp-contract=off.
#pragma once

#include "trig_table.hpp"
#include "trig_vector.hpp"

namespace qwop {
namespace trig {

// Ends of the ranges of |x|. glibc compares high words, so each is a double with a zero low word.
constexpr double DIRECT_END = 0x1.b6p-1;         // 0.8555: below, n = 0 and a = |x|
constexpr double QUARTER_END = 0x1.368fdp+1;     // 2.4263: below, n = 1
constexpr double REDUCTION_END = 0x1.921fbp+26;  // 105414336: below, n is found by multiplication
// And of |a|, for sin.
constexpr double POLYNOMIAL_END = 0x1.020c49ba5e354p-3;  // 0.126

// Adding this rounds to a multiple of 1/128; the sum's low word holds k.
constexpr double TO_TABLE = 0x1.8p+45;

// sin r = r + r^3 (SIN[0] + SIN[1] r^2); 1 - cos r = r^2 (COS[0] + COS[1] r^2 + COS[2] r^4);
// sin a = a + a^3 (LONG_SIN[0] + LONG_SIN[1] a^2 + ...).
constexpr double SIN[2] = {-0x1.5555555555515p-3, 0x1.11110e829872fp-7};
constexpr double COS[3] = {0x1p-1, -0x1.5555555555535p-5, 0x1.6c16bedd9e239p-10};
constexpr double LONG_SIN[5] = {-0x1.5555555555555p-3, 0x1.1111111110ecep-7, -0x1.a01a019db08b8p-13,
                                0x1.71de27b9a7ed9p-19, -0x1.addffc2fcdf59p-26};

namespace {  // one copy a file: see trig_vector.hpp

template <bool FUSED>
struct Glibc {
    static constexpr double RANGE_END = REDUCTION_END;

    template <class V>
    static constexpr bool runs_on() {
        return !FUSED || std::is_same_v<V, double> || has_fma<V>();
    }

    template <class V>
    QWOP_TRIG_INLINE V madd(V a, V b, V c) {
        return multiply_add<FUSED>(a, b, c);
    }

    // sin(a + da), 0 <= a < 0.126.
    template <class V>
    QWOP_TRIG_INLINE V sin_by_polynomial(V a, V da) {
        const V aa = a * a;
        V p = madd(splat<V>(LONG_SIN[4]), aa, splat<V>(LONG_SIN[3]));
        p = madd(p, aa, splat<V>(LONG_SIN[2]));
        p = madd(p, aa, splat<V>(LONG_SIN[1]));
        p = madd(p, aa, splat<V>(LONG_SIN[0]));
        return a + madd(aa, madd(p, a, splat<V>(-0.5) * da), da);
    }

    // (1 - cos r) / r^2.
    template <class V>
    QWOP_TRIG_INLINE V cos_factor(V rr) {
        return madd(madd(splat<V>(COS[2]), rr, splat<V>(COS[1])), rr, splat<V>(COS[0]));
    }

    // sin(k/128 + r + da), given row k of the table.
    template <class V>
    QWOP_TRIG_INLINE V sin_by_table(V r, V da, V sn, V ssn, V cs, V ccs) {
        const V rr = r * r;
        const V s = r + madd(r * rr, madd(splat<V>(SIN[1]), rr, splat<V>(SIN[0])), da);
        const V c = madd(r, da, rr * cos_factor(rr));
        return sn + madd(s, cs, madd(-c, sn, madd(s, ccs, ssn)));
    }

    // cos(k/128 + r), given row k of the table.
    template <class V>
    QWOP_TRIG_INLINE V cos_by_table(V r, V sn, V ssn, V cs, V ccs) {
        const V rr = r * r;
        const V s = madd(r * rr, madd(splat<V>(SIN[1]), rr, splat<V>(SIN[0])), r);
        const V c = rr * cos_factor(rr);
        return cs + madd(-s, sn, madd(-c, cs, madd(-s, ssn, ccs)));
    }

    // |x| < RANGE_END. In the quarter range glibc finds sin's row from y and cos's from a. The rows differ for 111
    // arguments (|y| on a tie between two rows). Here both come from y, which gives the same bits for all 111.
    QWOP_TRIG_INLINE void scalar(double x, double* sine, double* cosine) {
        const double ax = __builtin_fabs(x);
        double y = ax, a = ax, da = 0;
        int64_t n = 0;  // its two lowest bits count
        if (ax >= DIRECT_END) {
            if (ax < QUARTER_END) {
                n = 1;
                y = ax - HALF_PI[0];
                a = y - HALF_PI[1];
                da = (y - a) - HALF_PI[1];
            } else {
                const double t = madd(ax, TWO_OVER_PI, TO_INTEGER);
                n = bits(t);
                reduce<FUSED>(ax, TO_INTEGER - t, a, da);
                y = a;
            }
        }
        const double u = __builtin_fabs(y) + TO_TABLE;
        double sn, ssn, cs, ccs;
        load_rows(GLIBC_TABLE, u, sn, ssn, cs, ccs);
        const int64_t a_sign = bits(a);
        a = __builtin_fabs(a);
        da = flip_sign(da, a_sign);
        const double r = a - (u - TO_TABLE);
        double s = a < POLYNOMIAL_END ? sin_by_polynomial(a, da) : sin_by_table(r, da, sn, ssn, cs, ccs);
        double c = cos_by_table(r + da, sn, ssn, cs, ccs);
        s = flip_sign(s, a_sign);
        place_quadrant(n, x, s, c);
        *sine = s;
        *cosine = c;
    }

    // |x| < RANGE_END in every lane. No branch on x. Always returns true: no lane has to be computed alone.
    template <class V, unsigned N>
    QWOP_TRIG_INLINE bool lanes(const V (&x)[N], const V (&ax)[N], V (&sine)[N], V (&cosine)[N]) {
        using I = Integers<V>;
        V a[N], da[N], u[N], sn[N], ssn[N], cs[N], ccs[N], s[N], c[N];
        I n[N], a_sign[N];
        QWOP_TRIG_EACH {
            const I high = ax[i] >= splat<V>(QUARTER_END);
            const I quarter = (ax[i] >= splat<V>(DIRECT_END)) ^ high;
            // With n held at 0 the reduction leaves a = |x|, da = 0; the quarter range continues from there,
            // and its steps in turn change nothing where pi/2 is masked out.
            const V t = madd(ax[i], splat<V>(TWO_OVER_PI), splat<V>(TO_INTEGER));
            n[i] = ((I)t & high) - quarter;
            reduce<FUSED>(ax[i], where(high, splat<V>(TO_INTEGER) - t), a[i], da[i]);
            const V y = a[i] - where(quarter, splat<V>(HALF_PI[0]));
            const V rest = where(quarter, splat<V>(HALF_PI[1]));
            a[i] = y - rest;
            da[i] += (y - a[i]) - rest;
            u[i] = magnitude(y) + splat<V>(TO_TABLE);
            a_sign[i] = (I)a[i];
            da[i] = flip_sign(da[i], a_sign[i]);
            a[i] = magnitude(a[i]);
        }
        QWOP_TRIG_EACH load_rows(GLIBC_TABLE, u[i], sn[i], ssn[i], cs[i], ccs[i]);
        QWOP_TRIG_EACH s[i] = sin_by_polynomial(a[i], da[i]);
        QWOP_TRIG_EACH {
            const V r = a[i] - (u[i] - splat<V>(TO_TABLE));
            const V by_table = sin_by_table(r, da[i], sn[i], ssn[i], cs[i], ccs[i]);
            s[i] = a[i] < splat<V>(POLYNOMIAL_END) ? s[i] : by_table;
            c[i] = cos_by_table(r + da[i], sn[i], ssn[i], cs[i], ccs[i]);
        }
        QWOP_TRIG_EACH {
            s[i] = flip_sign(s[i], a_sign[i]);
            place_quadrant<V>(n[i], x[i], s[i], c[i]);
            sine[i] = s[i];
            cosine[i] = c[i];
        }
        return true;
    }

  private:
    // value in the lanes of the mask, +0 elsewhere.
    template <class V>
    QWOP_TRIG_INLINE V where(Integers<V> mask, V value) {
        return (V)(mask & (Integers<V>)value);
    }
};

}  // namespace

}  // namespace trig
}  // namespace qwop
