// Sine and cosine, one double or one vector of lanes at a time, always with the bits of glibc's FMA
// build (2.28 or later): the dialect in which the recorded game computed. Self-contained.
//
//   qwop::sincos(x, &s, &c)        double; picks FMA instructions at run time where the build has none
//   qwop::sincos_lanes(x, s, c)    any GCC/Clang vector of 2, 4 or 8 doubles (or a double)
//
// Exact for |x| < 105414350 and for NaN; beyond, and for infinity, the answer is the C library's own.
//
// The method is IBM's accurate table method, as glibc has it since 2.28. With theta = |x| - n*pi/2 held
// as a + da, and k/128 the table argument nearest |a|, r = |a| - k/128 + da is below 1/256, and
//   sin(k/128 + r) = sn + (ssn + s*ccs - c*sn + s*cs)      s = sin r, c = 1 - cos r, by polynomials
//   cos(k/128 + r) = cs + (ccs - s*ssn - c*cs - s*sn)
// where sn + ssn and cs + ccs are the table's double-doubles. Below |a| = 0.126 sin is a Taylor
// polynomial. Which products are fused decides the last bit, so every fused one is written as fma(), and
// each file that includes this one must be compiled with -ffp-contract=off.
//
// All functions are static or in an unnamed namespace: files compiled for different instruction sets
// include this one, and the linker must never merge their copies.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "trig_table.hpp"

#if defined(__FAST_MATH__) || FLT_EVAL_METHOD != 0
#error "trig.hpp needs plain IEEE doubles: no -ffast-math, no x87"
#endif

#define QWOP_TRIG_INLINE static inline __attribute__((always_inline))

namespace qwop {
namespace trig {

// Ends of the ranges of |x|. glibc compares high words, so each is a double with a zero low word.
constexpr double kDirectEnd = 0x1.b6p-1;              // 0.8555: below, a = |x| and n = 0
constexpr double kQuarterEnd = 0x1.368fdp+1;          // 2.4263: below, a = |x| - pi/2 and n = 1
constexpr double kReductionEnd = 0x1.921fbp+26;       // 105414350: below, the three-part reduction
constexpr double kTaylorEnd = 0x1.020c49ba5e354p-3;   // 0.126, of |a|

// pi/2 in two parts for the quarter range, and in four for the reduction.
constexpr double kHalfPi[2] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54};
constexpr double kPart[4] = {0x1.921fb58p+0, -0x1.dde973cp-27, -0x1.cb3b398p-55, -0x1.d747f23e32ed7p-83};
constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;
constexpr double kToInteger = 0x1.8p+52;  // x + kToInteger - kToInteger rounds x to an integer
constexpr double kToTable = 0x1.8p+45;    // likewise to a multiple of 1/128; the low word then holds k

// sin r = r + r^3 (kSin[0] + kSin[1] r^2), cos r = 1 - r^2 (kCos[0] + kCos[1] r^2 + kCos[2] r^4).
constexpr double kSin[2] = {-0x1.5555555555515p-3, 0x1.11110e829872fp-7};
constexpr double kCos[3] = {0x1p-1, -0x1.5555555555535p-5, 0x1.6c16bedd9e239p-10};
// sin a = a + a^3 (kTaylor[0] + kTaylor[1] a^2 + ...).
constexpr double kTaylor[5] = {-0x1.5555555555555p-3, 0x1.1111111110ecep-7, -0x1.a01a019db08b8p-13,
                               0x1.71de27b9a7ed9p-19, -0x1.addffc2fcdf59p-26};

// a * b + c, rounded once.
template <class V>
QWOP_TRIG_INLINE V fma(V a, V b, V c) {
  if constexpr (std::is_same_v<V, double>) return __builtin_fma(a, b, c);
#if defined(__AVX512F__)
  else if constexpr (sizeof(V) == 64) return (V)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#endif
#if defined(__FMA__)
  else if constexpr (sizeof(V) == 32) return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
  else if constexpr (sizeof(V) == 16) return (V)_mm_fmadd_pd((__m128d)a, (__m128d)b, (__m128d)c);
#elif defined(__aarch64__)
  else if constexpr (sizeof(V) == 16) return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#endif
  else {
    V result;
    for (unsigned i = 0; i < sizeof(V) / sizeof(double); ++i) result[i] = __builtin_fma(a[i], b[i], c[i]);
    return result;
  }
}

template <class V>
QWOP_TRIG_INLINE V splat(double value) {
  if constexpr (std::is_same_v<V, double>) return value;
  else return value - V{};
}

// theta = |x| - n * pi/2 as a + da. t holds n in its low bits and n = t - kToInteger as a double.
template <class V, class M>
QWOP_TRIG_INLINE void reduce(V ax, M where, V& t, V& a, V& da) {
  t = fma(ax, splat<V>(kTwoOverPi), splat<V>(kToInteger));
  V n = splat<V>(kToInteger) - t;
  if constexpr (!std::is_same_v<V, double>) n = (V)((M)n & where);
  const V t1 = fma(n, splat<V>(kPart[1]), fma(n, splat<V>(kPart[0]), ax));
  const V t2 = fma(n, splat<V>(kPart[2]), t1);
  const V d2 = fma(n, splat<V>(kPart[2]), t1 - t2);
  a = fma(n, splat<V>(kPart[3]), t2);
  da = d2 + fma(n, splat<V>(kPart[3]), t2 - a);
}

// sin(a + da), 0 <= a < 0.126.
template <class V>
QWOP_TRIG_INLINE V sin_taylor(V a, V da) {
  const V aa = a * a;
  V p = fma(splat<V>(kTaylor[4]), aa, splat<V>(kTaylor[3]));
  p = fma(p, aa, splat<V>(kTaylor[2]));
  p = fma(p, aa, splat<V>(kTaylor[1]));
  p = fma(p, aa, splat<V>(kTaylor[0]));
  return a + fma(aa, fma(p, a, splat<V>(-0.5) * da), da);
}

// 1 - cos r as a multiple of r^2, given rr = r^2.
template <class V>
QWOP_TRIG_INLINE V cos_factor(V rr) {
  return fma(fma(splat<V>(kCos[2]), rr, splat<V>(kCos[1])), rr, splat<V>(kCos[0]));
}

// sin(k/128 + r + da) from row k of the table.
template <class V>
QWOP_TRIG_INLINE V sin_near(V r, V da, V sn, V ssn, V cs, V ccs) {
  const V rr = r * r;
  const V s = r + fma(r * rr, fma(splat<V>(kSin[1]), rr, splat<V>(kSin[0])), da);
  const V c = fma(r, da, rr * cos_factor(rr));
  return sn + fma(s, cs, fma(-c, sn, fma(s, ccs, ssn)));
}

// cos(k/128 + r) from row k of the table.
template <class V>
QWOP_TRIG_INLINE V cos_near(V r, V sn, V ssn, V cs, V ccs) {
  const V rr = r * r;
  const V s = fma(r * rr, fma(splat<V>(kSin[1]), rr, splat<V>(kSin[0])), r);
  const V c = rr * cos_factor(rr);
  return cs + fma(-s, sn, fma(-c, cs, fma(-s, ssn, ccs)));
}

QWOP_TRIG_INLINE uint64_t bits(double value) {
  uint64_t result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

QWOP_TRIG_INLINE double from_bits(uint64_t value) {
  double result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

constexpr uint64_t kSignBit = uint64_t{1} << 63;

QWOP_TRIG_INLINE void sincos_double(double x, double* sine, double* cosine) {
  const double ax = __builtin_fabs(x);
  double y = ax, a = ax, da = 0;
  uint64_t n = 0;
  if (!(ax < kDirectEnd)) {  // NaN comes in too
    if (ax < kQuarterEnd) {
      y = ax - kHalfPi[0];
      a = y - kHalfPi[1];
      da = (y - a) - kHalfPi[1];
      n = 1;
    } else if (ax < kReductionEnd) {
      double t;
      reduce(ax, true, t, a, da);
      y = a;
      n = bits(t);
    } else {
      // NaN and infinity become NaN here, so that no C library has a say in its sign.
      *sine = ax < HUGE_VAL ? std::sin(x) : x / x;
      *cosine = ax < HUGE_VAL ? std::cos(x) : x / x;
      return;
    }
  }
  const double u = __builtin_fabs(y) + kToTable;
  const double* row = kTable[bits(u) & 127];
  const uint64_t sign = bits(a) & kSignBit;
  a = __builtin_fabs(a);
  da = from_bits(bits(da) ^ sign);
  const double r = a - (u - kToTable);
  const double s = a < kTaylorEnd ? sin_taylor(a, da) : sin_near(r, da, row[0], row[1], row[2], row[3]);
  const double c = cos_near(r + da, row[0], row[1], row[2], row[3]);
  const uint64_t s_bits = bits(s) ^ sign, c_bits = bits(c);
  const uint64_t swap = (s_bits ^ c_bits) & (0 - (n & 1));
  *sine = from_bits(s_bits ^ swap ^ ((n << 62 ^ bits(x)) & kSignBit));
  *cosine = from_bits(c_bits ^ swap ^ ((n + 1) << 62 & kSignBit));
}

// Vectors of 64-bit integers, as many as V has doubles. As a mask, a lane has all bits set or none.
template <class V>
using Integers = decltype(V{} < V{});

template <class V>
constexpr unsigned kLanes = sizeof(V) / sizeof(double);

template <class V>
QWOP_TRIG_INLINE V masked(Integers<V> mask, double value) {
  return (V)(mask & (Integers<V>)splat<V>(value));
}

// Whether every lane is below the limit; a NaN is not.
template <class V>
QWOP_TRIG_INLINE bool all_below(V value, double limit) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_cmp_pd_mask((__m512d)value, _mm512_set1_pd(limit), _CMP_LT_OQ) == 0xff;
#endif
  const Integers<V> below = value < splat<V>(limit);
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32) return _mm256_movemask_pd((__m256d)below) == 0xf;
#endif
  int64_t all = -1;
  for (unsigned i = 0; i < kLanes<V>; ++i) all &= below[i];
  return all != 0;
}

// The table's rows for u = |y| + kToTable of each lane, turned into one vector a column.
template <class V>
QWOP_TRIG_INLINE void load_rows(Integers<V> u, V& sn, V& ssn, V& cs, V& ccs) {
  // Through memory: the load ports have room, the shuffle port, which extracts lanes, has not. The low
  // word of u is k.
  alignas(sizeof(V)) uint32_t words[2 * kLanes<V>];
  u <<= 2;
  std::memcpy(words, &u, sizeof u);
  __asm__("" : "+m"(words));
  const double* rows[kLanes<V>];
  for (unsigned i = 0; i < kLanes<V>; ++i) rows[i] = kTable[0] + words[2 * i];
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
#ifdef G
    u = (u&508);
    const double* table = kTable[0];
    sn = (V)_mm512_i64gather_pd((__m512i)u, table, 8);
    ssn = (V)_mm512_i64gather_pd((__m512i)u, table + 1, 8);
    cs = (V)_mm512_i64gather_pd((__m512i)u, table + 2, 8);
    ccs = (V)_mm512_i64gather_pd((__m512i)u, table + 3, 8);
#else
    const auto pair = [&](int i, int j) __attribute__((always_inline)) {
      return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_load_pd(rows[i])), _mm256_load_pd(rows[j]), 1);
    };
    const __m512d r02 = pair(0, 2), r13 = pair(1, 3), r46 = pair(4, 6), r57 = pair(5, 7);
    const __m512d lo = _mm512_unpacklo_pd(r02, r13), lo4 = _mm512_unpacklo_pd(r46, r57);
    const __m512d hi = _mm512_unpackhi_pd(r02, r13), hi4 = _mm512_unpackhi_pd(r46, r57);
    sn = (V)_mm512_shuffle_f64x2(lo, lo4, 0x88);
    cs = (V)_mm512_shuffle_f64x2(lo, lo4, 0xdd);
    ssn = (V)_mm512_shuffle_f64x2(hi, hi4, 0x88);
    ccs = (V)_mm512_shuffle_f64x2(hi, hi4, 0xdd);
#endif
    return;
  }
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32) {
    const auto pair = [&](int i, int j, int column) __attribute__((always_inline)) {
      return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_load_pd(rows[i] + column)),
                                  _mm_load_pd(rows[j] + column), 1);
    };
    const __m256d s02 = pair(0, 2, 0), s13 = pair(1, 3, 0), c02 = pair(0, 2, 2), c13 = pair(1, 3, 2);
    sn = (V)_mm256_unpacklo_pd(s02, s13);
    ssn = (V)_mm256_unpackhi_pd(s02, s13);
    cs = (V)_mm256_unpacklo_pd(c02, c13);
    ccs = (V)_mm256_unpackhi_pd(c02, c13);
    return;
  }
#endif
  for (unsigned i = 0; i < kLanes<V>; ++i) {
    sn[i] = rows[i][0];
    ssn[i] = rows[i][1];
    cs[i] = rows[i][2];
    ccs[i] = rows[i][3];
  }
}

#if defined(__x86_64__) && !defined(__FMA__)
static inline bool cpu_has_fma() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_FMA) || !(c & bit_OSXSAVE)) return false;
  unsigned enabled, high;  // XCR0: does the operating system keep SSE (2) and AVX (4) registers?
  __asm__("xgetbv" : "=a"(enabled), "=d"(high) : "c"(0));
  return (enabled & 6) == 6;
}

static const bool kCpuHasFma = cpu_has_fma();

__attribute__((target("fma"), noinline)) static inline void sincos_fma(double x, double* sine, double* cosine) {
  sincos_double(x, sine, cosine);
}
#endif

}  // namespace trig

// *sine = sin(x), *cosine = cos(x), x in radians.
static inline void sincos(double x, double* sine, double* cosine) {
#if defined(__x86_64__) && !defined(__FMA__)
  if (trig::kCpuHasFma) return trig::sincos_fma(x, sine, cosine);
#endif
  trig::sincos_double(x, sine, cosine);
}

// The same for each lane of a vector of doubles; bit for bit what sincos answers for that lane.
template <class V>
QWOP_TRIG_INLINE void sincos_lanes(V x, V& sine, V& cosine) {
  using namespace trig;
  using I = Integers<V>;
  const I sign_bit = I{} + INT64_MIN;
  const V ax = (V)((I)x & ~sign_bit);
  if (__builtin_expect(!all_below<V>(ax, kReductionEnd), 0)) {  // huge, infinite or NaN
    for (unsigned i = 0; i < kLanes<V>; ++i) {
      double s, c;
      sincos_double(x[i], &s, &c);
      sine[i] = s;
      cosine[i] = c;
    }
    return;
  }
  const I high = ax >= splat<V>(kQuarterEnd);
  const I quarter = (ax >= splat<V>(kDirectEnd)) & (ax < splat<V>(kQuarterEnd));
  V t, a, da;
  reduce(ax, high, t, a, da);
  const V y = a - masked<V>(quarter, kHalfPi[0]);
  const V h = masked<V>(quarter, kHalfPi[1]);
  const I n = ((I)t & high) - quarter;  // modulo 4
  a = y - h;
  da += (y - a) - h;
  const I a_sign = (I)a & sign_bit;
  a = (V)((I)a & ~sign_bit);
  da = (V)((I)da ^ a_sign);
  const V u = (V)((I)y & ~sign_bit) + splat<V>(kToTable);
  V sn, ssn, cs, ccs;
  load_rows<V>((I)u, sn, ssn, cs, ccs);
  const V r = a - (u - splat<V>(kToTable));
  V s = sin_near(r, da, sn, ssn, cs, ccs);
  s = a < splat<V>(kTaylorEnd) ? sin_taylor(a, da) : s;
  const I s_bits = (I)s ^ a_sign;
  const I c_bits = (I)cos_near(r + da, sn, ssn, cs, ccs);
  const I swap = (s_bits ^ c_bits) & -(n & 1);
  sine = (V)(s_bits ^ swap ^ ((n << 62 ^ (I)x) & sign_bit));
  cosine = (V)(c_bits ^ swap ^ ((n + 1) << 62 & sign_bit));
}

}  // namespace qwop
