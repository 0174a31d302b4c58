// x = (n + f) * pi/2 in fixed point with M words after the point, by Payne and Hanek's method: it skips the bits of
// 2/pi that only add multiples of 4 or are too small to matter. Then sin and cos of y = |f| * pi/2 < 0.786 by their
// Taylor series. An error bound says whether the rounding of the result is decided; if not, M grows.
//
// It always ends: sine and cosine of a double other than 0 are irrational. The hardest double is known to need less
// than 2^-130 (Lefevre and Muller; the CORE-MATH project), and M = 6 resolves 2^-300.
#include "trig_exact.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "trig_table.hpp"

namespace qwop {
namespace trig {

namespace {

using Wide = unsigned __int128;

constexpr int MAX_WORDS = 18;
constexpr int MAX_TERMS = 180;  // 0.786^180 / 180! < 2^-64 * 18

// A number in [0, 1): word[0] is its least significant one.
template <int M>
struct Fraction {
    uint64_t word[M];
};

template <int M>
Fraction<M> product(const Fraction<M>& a, const Fraction<M>& b) {  // cut off: less than M units too small
    Fraction<M> result{};
    for (int i = 0; i < M; ++i) {
        uint64_t carry = 0;
        for (int j = M - 1 - i; j < M; ++j) {
            const Wide sum = Wide(a.word[i]) * b.word[j] + carry + (i + j < M ? 0 : result.word[i + j - M]);
            if (i + j >= M) result.word[i + j - M] = static_cast<uint64_t>(sum);
            carry = static_cast<uint64_t>(sum >> 64);
        }
        result.word[i] += carry;
    }
    return result;
}

template <int M>
Fraction<M> difference(const Fraction<M>& a, const Fraction<M>& b) {  // modulo 1
    Fraction<M> result;
    uint64_t borrow = 0;
    for (int i = 0; i < M; ++i) {
        const Wide d = Wide(a.word[i]) - b.word[i] - borrow;
        result.word[i] = static_cast<uint64_t>(d);
        borrow = static_cast<uint64_t>(d >> 64) & 1;
    }
    return result;
}

template <int M>
Fraction<M> leading_words(const uint64_t* most_significant_first) {
    Fraction<M> result;
    for (int i = 0; i < M; ++i) result.word[i] = most_significant_first[M - 1 - i];
    return result;
}

// 1/k! from k = 2 on, most significant word first; each less than k units too small.
struct Reciprocals {
    uint64_t word[MAX_TERMS][MAX_WORDS];

    Reciprocals() {
        std::memset(word, 0, sizeof word);
        for (int k = 2; k < MAX_TERMS; ++k) {
            Wide rest = k == 2 ? 1 : 0;
            for (int i = 0; i < MAX_WORDS; ++i) {
                const Wide part = rest << 64 | word[k - 1][i];
                word[k][i] = static_cast<uint64_t>(part / static_cast<unsigned>(k));
                rest = part % static_cast<unsigned>(k);
            }
        }
    }
};

const Reciprocals& all_reciprocals() {
    static const Reciprocals instance;
    return instance;
}

// 1/first! - z (1/(first + 2)! - z (1/(first + 4)! - ...)).
template <int M>
Fraction<M> series(const Fraction<M>& z, int first) {
    const Reciprocals& reciprocals = all_reciprocals();
    constexpr int TERMS = M == 2 ? 36 : M == 6 ? 80 : MAX_TERMS - 2;  // y^TERMS / TERMS! < 2^-64 M
    int k = first + (TERMS - first) / 2 * 2;
    Fraction<M> sum = leading_words<M>(reciprocals.word[k]);
    for (k -= 2; k >= first; k -= 2) sum = difference(leading_words<M>(reciprocals.word[k]), product(z, sum));
    return sum;
}

// The nearest double.
template <int M>
double rounded(const Fraction<M>& value) {
    int top = M - 1;
    while (top > 0 && value.word[top] == 0) --top;
    if (value.word[top] == 0) return 0;
    const int shift = __builtin_clzll(value.word[top]);
    const uint64_t next = top > 0 ? value.word[top - 1] : 0;
    uint64_t leading = value.word[top] << shift | (shift ? next >> (64 - shift) : 0);
    // The lower words only distinguish a tie from more than a tie, and the caller excludes ties.
    const uint64_t mantissa = (leading >> 11) + (leading >> 10 & 1);
    return std::ldexp(static_cast<double>(mantissa), 64 * (top - M) + 11 - shift);
}

// value has an error of some hundred units. With more than two words x may be large, and the error is up to 2^60 units:
// the mantissa times the part of 2/pi that was cut off. Returns false if the rounding is not decided.
template <int M>
bool decide(const Fraction<M>& value, double* result) {
    Fraction<M> error{};
    error.word[0] = uint64_t{1} << (M == 2 ? 20 : 60);
    const Fraction<M> below = difference(value, error), above = difference(value, difference(Fraction<M>{}, error));
    *result = rounded(below);
    return *result == rounded(above);
}

template <int M>
bool sincos_in(double ax, double* sine, double* cosine) {
    // ax = mantissa * 2^exponent. Bits of 2/pi before bit `start` lead to multiples of 4.
    int exponent;
    const auto mantissa = static_cast<uint64_t>(std::ldexp(std::frexp(ax, &exponent), 53));
    exponent -= 53;
    const int start = exponent > 2 ? exponent - 2 : 0;
    Fraction<M> window;
    for (int i = 0; i < M; ++i) {
        const int bit = start + 64 * (M - 1 - i), word = bit / 64, shift = bit % 64;
        window.word[i] = TWO_OVER_PI_WORDS[word] << shift;
        if (shift) window.word[i] |= TWO_OVER_PI_WORDS[word + 1] >> (64 - shift);
    }
    // turned = ax * 2/pi modulo 4, its whole part in the uppermost word.
    Fraction<M + 1> turned;
    uint64_t carry = 0;
    for (int i = 0; i < M; ++i) {
        const Wide part = Wide(window.word[i]) * mantissa + carry;
        turned.word[i] = static_cast<uint64_t>(part);
        carry = static_cast<uint64_t>(part >> 64);
    }
    turned.word[M] = carry;
    for (int left = exponent - start; left < 0;) {  // shift right by whole words, then by the remaining bits
        const int step = left < -63 ? 63 : -left;
        for (int i = 0; i <= M; ++i)
            turned.word[i] = turned.word[i] >> step | (i < M ? turned.word[i + 1] << (64 - step) : 0);
        left += step;
    }
    for (int left = exponent - start; left > 0; --left)
        for (int i = M; i >= 0; --i) turned.word[i] = turned.word[i] << 1 | (i ? turned.word[i - 1] >> 63 : 0);

    uint64_t n = turned.word[M];
    Fraction<M> f;
    std::memcpy(f.word, turned.word, sizeof f.word);
    const bool negative = f.word[M - 1] >> 63;
    if (negative) {  // nearer to the next multiple of pi/2
        f = difference(Fraction<M>{}, f);
        ++n;
    }
    Fraction<M> y = product(f, leading_words<M>(PI_OVER_4_WORDS));
    for (int i = M - 1; i >= 0; --i) y.word[i] = y.word[i] << 1 | (i ? y.word[i - 1] >> 63 : 0);

    const Fraction<M> z = product(y, y);
    double s, c;
    const bool decided = decide(difference(y, product(y, product(z, series(z, 3)))), &s) &
                         decide(difference(Fraction<M>{}, product(z, series(z, 2))), &c);
    if (negative) s = -s;
    *sine = n & 1 ? c : s;
    *cosine = n & 1 ? s : c;
    if (n & 2) *sine = -*sine;
    if ((n + 1) & 2) *cosine = -*cosine;
    return decided;
}

}  // namespace

void exact_sincos(double x, double* sine, double* cosine) {
    const double ax = std::fabs(x);
    if (ax < 0x1p-28) {  // x - x^3/6 rounds to x, and 1 - x^2/2 to 1
        *sine = x;
        *cosine = 1;
        return;
    }
    const bool decided = ax < 0x1p12 && sincos_in<2>(ax, sine, cosine);
    if (!decided && !sincos_in<6>(ax, sine, cosine)) sincos_in<MAX_WORDS>(ax, sine, cosine);
    if (x < 0) *sine = -*sine;
}

}  // namespace trig
}  // namespace qwop
