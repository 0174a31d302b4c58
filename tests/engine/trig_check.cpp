// Runs one way of computing sine and cosine over families of arguments; tests/game/test_trig.py compiles and
// reads it. Each family draws its arguments from its own fixed seed, so its hash is the same everywhere.
//
//   trig_check WAY VARIANT COUNT [FAMILIES]   COUNT arguments for each of the first families, or of all. A line a
//                                             family: name, hash of all result bits
//   trig_check WAY VARIANT file F             F holds doubles: writes each one's sine and cosine to standard output
//   trig_check arguments COUNT                writes the arguments of all families, doubles, to standard output
//
// WAY: scalar, plain (scalar, never choosing FMA at run time), lanes2, lanes4, lanes8; exact (trig_exact.cpp for all);
// and, whatever the VARIANT: libm (the C library), mpfr (GNU MPFR, correctly rounded; compile with -DQWOP_MPFR -lmpfr).
// Exit code 2: this build has no such way or variant. 77: this CPU cannot run this build.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cpu.hpp"
#include "trig.hpp"
#if defined(QWOP_MPFR)
#include <mpfr.h>
#endif

namespace {

using qwop::Trig;

uint64_t bits(double value) { return static_cast<uint64_t>(qwop::trig::bits(value)); }

double from_bits(uint64_t value) {
    double result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}

struct Random {  // splitmix64
    uint64_t state;

    uint64_t next() {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    // In [-limit, limit], rounding included.
    double within(double limit) { return limit * (static_cast<double>(static_cast<int64_t>(next())) * 0x1p-63); }
    // x, or a double up to `steps` units in the last place away; either sign.
    double near(double x, int64_t steps) {
        const int64_t offset = static_cast<int64_t>(next() % (2 * steps + 1)) - steps;
        const double moved = from_bits(bits(x) + offset);
        return next() & 1 ? -moved : moved;
    }
};

using qwop::trig::DIRECT_END, qwop::trig::HALF_PI, qwop::trig::POLYNOMIAL_END, qwop::trig::QUARTER_END,
    qwop::trig::REDUCTION_END;

double body_angle(Random& random) { return random.within(10); }

double game_angle(Random& random) { return random.within(3000); }

double any_angle(Random& random) { return random.within(REDUCTION_END * (1 - 0x1p-50)); }

// All magnitudes alike, from the smallest denormal on.
double any_bits(Random& random) {
    const double x = from_bits(random.next() % bits(REDUCTION_END));
    return random.next() & 1 ? -x : x;
}

double tiny(Random& random) {
    static const double centers[] = {0x1p-1074, 0x1p-1022, 0x1p-540, 0x1p-54, 0x1p-27, 0x1p-26, 0x1p-20};
    const uint64_t choice = random.next() % 9;
    if (choice == 7) return random.next() & 1 ? 0.0 : -0.0;
    if (choice == 8) return from_bits(random.next() % bits(0x1p-20));
    return choice == 0 ? from_bits(random.next() % 64) : random.near(centers[choice], 64);
}

// n * pi/2, where one of the two results is nearly 0, out to n = 2000, or in one of 8 to the end.
double near_quarter(Random& random) {
    const uint64_t limit = random.next() % 8 ? 2000 : static_cast<uint64_t>(REDUCTION_END / HALF_PI[0]) - 2;
    const double n = static_cast<double>(random.next() % limit + 1);
    return random.near(n * HALF_PI[0], random.next() & 1 ? 8 : int64_t{1} << (random.next() % 24));
}

// Ends of ranges, and the ties between neighboring table rows on either side of any n * pi/2. The ties
// next to pi/2 include the 111 arguments for which glibc takes sine and cosine from different rows.
double near_edge(Random& random) {
    static const double ends[] = {DIRECT_END,
                                  QUARTER_END,
                                  REDUCTION_END * (1 - 0x1p-44),
                                  POLYNOMIAL_END,
                                  HALF_PI[0] - POLYNOMIAL_END,
                                  HALF_PI[0] + POLYNOMIAL_END};
    if (random.next() % 4 == 0) return random.near(ends[random.next() % 6], 256);
    const double tie = static_cast<double>(2 * (random.next() % 110) + 1) / 256;
    const double n = static_cast<double>(random.next() % 4 ? random.next() % 2 : random.next() % 2000);
    const double x = n * HALF_PI[0] + (random.next() & 1 ? -tie : tie);
    return random.near(x, random.next() & 1 ? 2 : 64);
}

struct Family {
    const char* name;
    double (*draw)(Random&);
};

constexpr Family FAMILIES[] = {
    {"body_angle", body_angle},
    {"game_angle", game_angle},
    {"any_angle", any_angle},
    {"any_bits", any_bits},
    {"tiny", tiny},
    {"near_quarter", near_quarter},
    {"near_edge", near_edge},
    {"mixed", nullptr},
};

constexpr int BLOCK = 1920;  // a multiple of every number of lanes, taken one vector or several at a time
using Way = void (*)(Trig trig, const double* x, double* s, double* c);

void scalar(Trig trig, const double* x, double* s, double* c) {
    for (int i = 0; i < BLOCK; i += 2) {
        qwop::sincos(trig, x[i], s + i, c + i);
        qwop::sincos_lanes(trig, x[i + 1], s[i + 1], c[i + 1]);
    }
}

void plain(Trig trig, const double* x, double* s, double* c) {
    for (int i = 0; i < BLOCK; ++i) qwop::trig::sincos_scalar<qwop::trig::has_fma<double>()>(trig, x[i], s + i, c + i);
}

void exact(Trig, const double* x, double* s, double* c) {
    for (int i = 0; i < BLOCK; ++i) {
        if (std::fabs(x[i]) < HUGE_VAL)
            qwop::trig::exact_sincos(x[i], s + i, c + i);
        else
            s[i] = c[i] = x[i] - x[i];
    }
}

#if defined(QWOP_MPFR)
void mpfr(Trig, const double* x, double* s, double* c) {
    mpfr_t argument, sine, cosine;
    mpfr_inits2(53, argument, sine, cosine, nullptr);
    for (int i = 0; i < BLOCK; ++i) {
        mpfr_set_d(argument, x[i], MPFR_RNDN);
        mpfr_sin_cos(sine, cosine, argument, MPFR_RNDN);
        s[i] = mpfr_get_d(sine, MPFR_RNDN);
        c[i] = mpfr_get_d(cosine, MPFR_RNDN);
    }
    mpfr_clears(argument, sine, cosine, nullptr);
}
#endif

void libm(Trig, const double* x, double* s, double* c) {
    // Two loops: in one, compilers ask the C library for both at once, by another of its functions.
    for (int i = 0; i < BLOCK; ++i) s[i] = std::sin(x[i]);
    for (int i = 0; i < BLOCK; ++i) c[i] = std::cos(x[i]);
}

template <class V>
void lanes(Trig trig, const double* x, double* s, double* c) {
    // By turns one vector alone, two and three interleaved.
    const V *xs = reinterpret_cast<const V*>(x), *end = reinterpret_cast<const V*>(x + BLOCK);
    V *ss = reinterpret_cast<V*>(s), *cs = reinterpret_cast<V*>(c);
    while (xs < end) {
        qwop::sincos_lanes(trig, xs[0], ss[0], cs[0]);
        V one[2] = {xs[1], xs[2]}, sines[2], cosines[2];
        qwop::sincos_lanes(trig, one, sines, cosines);
        std::copy(sines, sines + 2, ss + 1);
        std::copy(cosines, cosines + 2, cs + 1);
        V three[3] = {xs[3], xs[4], xs[5]}, cosines3[3];
        qwop::sincos_lanes(trig, three, three, cosines3);  // the sines in place of the arguments
        std::copy(three, three + 3, ss + 3);
        std::copy(cosines3, cosines3 + 3, cs + 3);
        xs += 6, ss += 6, cs += 6;
    }
}

typedef double Double2 __attribute__((vector_size(16), may_alias));
typedef double Double4 __attribute__((vector_size(32), may_alias));
typedef double Double8 __attribute__((vector_size(64), may_alias));

Way find_way(const std::string& name) {
    if (name == "scalar") return scalar;
    if (name == "plain") return plain;
    if (name == "exact") return exact;
    if (name == "libm") return libm;
#if defined(QWOP_MPFR)
    if (name == "mpfr") return mpfr;
#endif
    if (name == "lanes2") return lanes<Double2>;
#if defined(__AVX__)
    if (name == "lanes4") return lanes<Double4>;
#endif
#if defined(__AVX512F__)
    if (name == "lanes8") return lanes<Double8>;
#endif
    return nullptr;
}

bool cpu_can_run_this() {
#if defined(__AVX512F__)
    return qwop::cpu::features().avx512;
#elif defined(__AVX2__)
    return qwop::cpu::features().avx2;
#else
    return true;
#endif
}

alignas(64) double x[BLOCK], s[BLOCK], c[BLOCK];

void fill(const Family& family, Random& random) {
    for (double& value : x) value = family.draw ? family.draw(random) : FAMILIES[random.next() % 7].draw(random);
}

void hash_families(Way way, Trig trig, long count, int families) {
    uint64_t seed = 0;
    for (const Family& family : FAMILIES) {
        if (families-- == 0) break;
        Random random{++seed << 32};
        uint64_t hash = 0;
        for (long done = 0; done < count; done += BLOCK) {
            fill(family, random);
            way(trig, x, s, c);
            for (int i = 0; i < BLOCK; ++i) {
                hash = (hash ^ bits(s[i])) * 0x9e3779b97f4a7c15;
                hash = (hash ^ hash >> 29 ^ bits(c[i])) * 0xbf58476d1ce4e5b9;
            }
        }
        std::printf("%s %016llx\n", family.name, static_cast<unsigned long long>(hash));
    }
}

void write_arguments(long count) {
    uint64_t seed = 0;
    for (const Family& family : FAMILIES) {
        Random random{++seed << 32};
        for (long done = 0; done < count; done += BLOCK) {
            fill(family, random);
            std::fwrite(x, sizeof x, 1, stdout);
        }
    }
}

// The last block is filled up with 1.5.
int write_values(Way way, Trig trig, const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) return 2;
    for (size_t read; (read = std::fread(x, sizeof *x, BLOCK, file)) > 0;) {
        for (size_t i = read; i < BLOCK; ++i) x[i] = 1.5;
        way(trig, x, s, c);
        for (size_t i = 0; i < read; ++i) {
            const double pair[2] = {s[i], c[i]};
            std::fwrite(pair, sizeof pair, 1, stdout);
        }
    }
    std::fclose(file);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (!cpu_can_run_this()) return 77;
    if (argc == 3 && std::string(argv[1]) == "arguments") {
        write_arguments(std::atol(argv[2]));
        return 0;
    }
    const Way way = argc > 3 ? find_way(argv[1]) : nullptr;
    int trig = 0;
    while (way && trig < qwop::TRIG_COUNT && std::string(argv[2]) != qwop::TRIG_NAMES[trig]) ++trig;
    if (!way || trig == qwop::TRIG_COUNT) return 2;
    if (std::string(argv[3]) == "file") return argc > 4 ? write_values(way, static_cast<Trig>(trig), argv[4]) : 2;
    hash_families(way, static_cast<Trig>(trig), std::atol(argv[3]), argc > 4 ? std::atoi(argv[4]) : -1);
    return 0;
}
