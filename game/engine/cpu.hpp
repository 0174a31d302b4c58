// The vector instructions that this CPU and its operating system can run, read from CPUID:
// __builtin_cpu_supports does not work in a program that zig has linked.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace qwop {
namespace cpu {

struct Features {
    bool fma = false;     // FMA on 128 and 256 bits
    bool avx2 = false;    // AVX2 and FMA
    bool avx512 = false;  // AVX-512 F, DQ and VL, AVX2 and FMA
};

static inline Features features() {
    Features result;
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return result;
    unsigned kept, unused;  // XCR0: registers that the operating system saves for each thread
    __asm__("xgetbv" : "=a"(kept), "=d"(unused) : "c"(0));
    const bool ymm = (kept & 0x06) == 0x06, zmm = (kept & 0xe6) == 0xe6;
    result.fma = ymm && (c & bit_FMA);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return result;
    const unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512VL;
    result.avx2 = result.fma && (b & bit_AVX2);
    result.avx512 = result.avx2 && zmm && (b & avx512) == avx512;
#endif
    return result;
}

}  // namespace cpu
}  // namespace qwop
