"""Write trig_table.hpp, the constants of sine and cosine, with integer arithmetic only.

    python make_trig_table.py            # writes trig_table.hpp beside this file
    python make_trig_table.py --check    # exit code 1 if the file there differs

The tables have sin and cos of multiples of a step. Each value is high + low: high is the value rounded to
double, low is the rest rounded to double. The glibc variants need the bits of glibc's own table. It agrees in
all 220 high parts and in 202 of the 220 low parts; GLIBC_LOW_OFFSETS has the differences of the other 18, in
units in the last place. 2/pi and pi/4 are words of 64 bits, for large arguments and for results that are hard
to round.
"""

from __future__ import annotations

import argparse  # not tyro: this runs before the engine is compiled, and needs the standard library alone
import math
import sys
from fractions import Fraction
from pathlib import Path

GLIBC_STEPS, GLIBC_ROWS = 128, 110  # a radian; arguments reach 0.8555: k = round(128 * 0.8555) = 109 or less
ROUNDED_STEPS, ROUNDED_ROWS = 256, 203  # pi/4 and a little: k = 202 or less
EXACT_WORDS = 18  # of 64 bits after the point, at most (trig_exact.cpp)
TWO_OVER_PI_WORDS = EXACT_WORDS + 17  # bits 970 and later count for the largest double
WORK_BITS = 320  # fixed point; the low part of a double-double ends near bit 120

# (k, function): glibc's low part minus the correctly rounded one, in units in its last place,
# counted towards larger magnitude.
GLIBC_LOW_OFFSETS = {
    (2, "sin"): 1,
    (10, "sin"): 1,
    (23, "sin"): 39,
    (26, "cos"): 1,
    (27, "sin"): 1,
    (33, "sin"): 1,
    (34, "sin"): 1,
    (36, "sin"): 1,
    (40, "sin"): -2,
    (44, "cos"): 1,
    (70, "cos"): 1,
    (75, "sin"): 1,
    (75, "cos"): -2,
    (79, "cos"): 1,
    (85, "sin"): 1,
    (90, "sin"): -2,
    (94, "sin"): 1,
    (107, "sin"): 1,
}


def sin_cos(k: int, steps: int) -> tuple[Fraction, Fraction]:
    """Sin and cos of k/steps within 2**-300, by their Taylor series in fixed point."""
    x = (k << WORK_BITS) // steps
    sums = [0, 0]  # cos takes the even powers, sin the odd ones
    term, n = 1 << WORK_BITS, 0  # x**n / n!
    while term:
        sums[n % 2] += -term if n % 4 >= 2 else term
        n += 1
        term = (term * x >> WORK_BITS) // n
    return Fraction(sums[1], 1 << WORK_BITS), Fraction(sums[0], 1 << WORK_BITS)


def double_double(value: Fraction) -> tuple[float, float]:
    """Split a value into high + low. Python rounds Fraction to float correctly, ties to even."""
    high = float(value)
    return high, float(value - Fraction(high))


Row = tuple[float, float, float, float]


def rounded_table() -> list[Row]:
    """Rows (sin high, sin low, cos high, cos low) of k/256."""
    rows: list[Row] = []
    for k in range(ROUNDED_ROWS):
        sine, cosine = sin_cos(k, ROUNDED_STEPS)
        rows.append((*double_double(sine), *double_double(cosine)))
    return rows


def glibc_table() -> list[Row]:
    """Rows (sin high, sin low, cos high, cos low) of k/128, low parts as glibc has them."""
    rows: list[Row] = []
    for k in range(GLIBC_ROWS):
        row: list[float] = []
        for name, value in zip(("sin", "cos"), sin_cos(k, GLIBC_STEPS), strict=True):
            high, low = double_double(value)
            offset = GLIBC_LOW_OFFSETS.get((k, name), 0)
            row += [high, low + math.copysign(offset * math.ulp(low), offset * low)]
        rows.append((row[0], row[1], row[2], row[3]))
    return rows


def pi(bits: int) -> int:
    """floor(pi * 2**bits), or one less, by Machin's formula: pi/4 = 4 atan(1/5) - atan(1/239)."""
    guarded = bits + 32

    def atan_of_reciprocal(x: int) -> int:
        power = total = (1 << guarded) // x
        n = 1
        while power:
            power //= -x * x
            n += 2
            total += power // n
        return total

    return 4 * (4 * atan_of_reciprocal(5) - atan_of_reciprocal(239)) >> 32


def words(value: int, count: int) -> list[int]:
    """`count` words of 64 bits, the most significant first."""
    return [value >> 64 * (count - 1 - i) & 2**64 - 1 for i in range(count)]


def pi_over_4_words() -> list[int]:
    bits = 64 * EXACT_WORDS
    return words(pi(bits) >> 2, EXACT_WORDS)


def two_over_pi_words() -> list[int]:
    bits = 64 * TWO_OVER_PI_WORDS
    return words((1 << 2 * bits + 33) // pi(bits + 32), TWO_OVER_PI_WORDS)


def header() -> str:
    def table(name: str, rows: list[Row], comment: str) -> list[str]:
        lines = [f"// {comment}", f"alignas(64) inline constexpr double {name}[{len(rows)}][4] = {{"]
        return [*lines, *("    {" + ", ".join(value.hex() for value in row) + "}," for row in rows), "};", ""]

    def constants(name: str, values: list[int], comment: str) -> list[str]:
        lines = [f"// {comment}", f"inline constexpr uint64_t {name}[{len(values)}] = {{"]
        return [*lines, *(f"    {value:#018x}," for value in values), "};", ""]

    row = "high, low, cosine likewise. A row is half a cache line."
    lines = [
        "// Made by make_trig_table.py; do not edit.",
        "// clang-format off",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace qwop {",
        "namespace trig {",
        "",
        *table("GLIBC_TABLE", glibc_table(), f"Row k: sin(k/{GLIBC_STEPS}) {row}"),
        *table("ROUNDED_TABLE", rounded_table(), f"Row k: sin(k/{ROUNDED_STEPS}) {row}"),
        *constants("TWO_OVER_PI_WORDS", two_over_pi_words(), "2/pi, the most significant word first."),
        *constants("PI_OVER_4_WORDS", pi_over_4_words(), "pi/4 likewise."),
        "}  // namespace trig",
        "}  // namespace qwop",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    path = Path(__file__).with_name("trig_table.hpp")
    if not arguments.check:
        path.write_text(header(), encoding="utf-8")
        return 0
    if path.read_text(encoding="utf-8") == header():
        return 0
    print(f"{path.name} differs from the output of make_trig_table.py: run it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
