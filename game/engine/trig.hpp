// Sine and cosine with the bits of the browser that the game runs in. JavaScript leaves Math.sin and Math.cos to the
// browser; the variants that are known are here, bit for bit, on every machine.
//
//   qwop::sincos(trig, x, &s, &c)           double; picks FMA instructions at run time where the build has none
//   qwop::sincos_lanes(trig, x, s, c)       a GCC/Clang vector of doubles (or a double); s and c by reference
//   qwop::sincos_lanes(trig, xs, ss, cs)    arrays of N such vectors, interleaved: two take little longer than one,
//                                           because one alone waits for its own chain of operations
//
// Beyond its range (RANGE_END of each variant, about a million radians; `rounded` has no limit) a variant gives the
// correctly rounded value. No angle of the game is that large. Infinity and NaN give NaN.
#pragma once

#include "trig_fdlibm.hpp"
#include "trig_glibc.hpp"
#include "trig_rounded.hpp"

namespace qwop {

enum class Trig : uint8_t {
    rounded,    // correctly rounded, as mathematics defines it: the canonical game
    glibc,      // glibc compiled without FMA: Chromium of about 2023 to mid 2026
    glibc_fma,  // glibc compiled with FMA: a Chromium that uses the system's library, as Debian's does
    fdlibm,     // V8's fdlibm: Chromium before that, Node
    msun,       // FreeBSD's fdlibm: Firefox
    llvm,       // LLVM's libc, correctly rounded except for one small cosine in 200,000: Chromium from 153 on
};
constexpr const char* TRIG_NAMES[] = {"rounded", "glibc", "glibc-fma", "fdlibm", "msun", "llvm"};
constexpr int TRIG_COUNT = 6;

namespace trig {

template <bool FUSED>
QWOP_TRIG_INLINE void sincos_scalar(Trig trig, double x, double* sine, double* cosine) {
    const double ax = __builtin_fabs(x);
    if (trig == Trig::rounded && ax < Rounded::RANGE_END) return Rounded::scalar<FUSED>(x, sine, cosine);
    if (trig == Trig::glibc && ax < Glibc<false>::RANGE_END) return Glibc<false>::scalar(x, sine, cosine);
    if (trig == Trig::glibc_fma && ax < Glibc<true>::RANGE_END) return Glibc<true>::scalar(x, sine, cosine);
    if (trig == Trig::fdlibm && ax < Fdlibm<false>::RANGE_END) return Fdlibm<false>::scalar(x, sine, cosine);
    if (trig == Trig::msun && ax < Fdlibm<true>::RANGE_END) return Fdlibm<true>::scalar(x, sine, cosine);
    if (trig == Trig::llvm && ax < Llvm::RANGE_END) return Llvm::scalar<FUSED>(x, sine, cosine);
    if (ax < HUGE_VAL) return exact_sincos(x, sine, cosine);
    *sine = *cosine = x - x;
}

#if defined(__x86_64__) && !defined(__FMA__)
static const bool CPU_HAS_FMA = cpu::features().fma;

__attribute__((target("fma"), noinline)) static inline void sincos_fma(Trig trig, double x, double* sine,
                                                                       double* cosine) {
    sincos_scalar<true>(trig, x, sine, cosine);
}
#endif

}  // namespace trig

// *sine = sin(x), *cosine = cos(x), x in radians.
static inline void sincos(Trig trig, double x, double* sine, double* cosine) {
#if defined(__x86_64__) && !defined(__FMA__)
    if (trig::CPU_HAS_FMA) return trig::sincos_fma(trig, x, sine, cosine);
#endif
    trig::sincos_scalar<trig::has_fma<double>()>(trig, x, sine, cosine);
}

namespace trig {

// The cold path. It is the only path if the build lacks a fused instruction that a variant needs.
template <class V>
__attribute__((noinline)) static void sincos_each(Trig trig, const V& x, V& sine, V& cosine) {
    for (unsigned i = 0; i < LANES<V>; ++i) {
        double s, c;
        sincos(trig, x[i], &s, &c);
        sine[i] = s;
        cosine[i] = c;
    }
}

// All lanes at once if they are in the range of variant M, else one by one. x may alias sine or cosine.
template <class M, class V, unsigned N>
QWOP_TRIG_INLINE void sincos_by(Trig trig, const V (&x)[N], V (&sine)[N], V (&cosine)[N]) {
    if constexpr (M::template runs_on<V>()) {
        V ax[N];
        bool in_range = true;
        QWOP_TRIG_EACH ax[i] = magnitude(x[i]);
        QWOP_TRIG_EACH in_range = in_range & all<V>(ax[i] < splat<V>(M::RANGE_END));
        if (__builtin_expect(in_range, 1) && __builtin_expect(M::lanes(x, ax, sine, cosine), 1)) return;
    }
    QWOP_TRIG_EACH {
        const V xi = x[i];  // copies, so that the fast path keeps its vectors in registers
        V s, c;
        sincos_each(trig, xi, s, c);
        sine[i] = s;
        cosine[i] = c;
    }
}

// Variants other than the canonical one, out of line: the vectors pass through memory.
template <class V, unsigned N>
struct Vectors {
    V vector[N];
};
template <class V, unsigned N>
__attribute__((noinline)) static void sincos_other(Trig trig, const Vectors<V, N>& x, Vectors<V, N>& sine,
                                                   Vectors<V, N>& cosine) {
    switch (trig) {
        case Trig::glibc: return sincos_by<Glibc<false>>(trig, x.vector, sine.vector, cosine.vector);
        case Trig::glibc_fma: return sincos_by<Glibc<true>>(trig, x.vector, sine.vector, cosine.vector);
        case Trig::llvm: return sincos_by<Llvm>(trig, x.vector, sine.vector, cosine.vector);
        case Trig::fdlibm: return sincos_by<Fdlibm<false>>(trig, x.vector, sine.vector, cosine.vector);
        default: return sincos_by<Fdlibm<true>>(trig, x.vector, sine.vector, cosine.vector);
    }
}

}  // namespace trig

// sine[i] = sin(x[i]), cosine[i] = cos(x[i]), in each lane with the bits of sincos. x may alias sine or cosine.
template <class V, unsigned N>
QWOP_TRIG_INLINE void sincos_lanes(Trig trig, const V (&x)[N], V (&sine)[N], V (&cosine)[N]) {
    if (__builtin_expect(trig == Trig::rounded, 1)) return trig::sincos_by<trig::Rounded>(trig, x, sine, cosine);
    trig::Vectors<V, N> xs, sines, cosines;
    QWOP_TRIG_EACH xs.vector[i] = x[i];
    trig::sincos_other(trig, xs, sines, cosines);
    QWOP_TRIG_EACH {
        sine[i] = sines.vector[i];
        cosine[i] = cosines.vector[i];
    }
}

template <class V>
QWOP_TRIG_INLINE void sincos_lanes(Trig trig, V x, V& sine, V& cosine) {
    if constexpr (std::is_same_v<V, double>) {
        sincos(trig, x, &sine, &cosine);
    } else {
        const V xs[1] = {x};
        V sines[1], cosines[1];
        sincos_lanes(trig, xs, sines, cosines);
        sine = sines[0];
        cosine = cosines[0];
    }
}

}  // namespace qwop
