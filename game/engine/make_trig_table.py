"""Write trig_table.hpp: sin and cos of k/128 as double-double, k = 0 .. 109, from integers alone.

    python make_trig_table.py            # writes trig_table.hpp beside this file
    python make_trig_table.py --check    # exit code 1 if the file there differs

Each value is high + low: high is sin or cos of k/128 rounded to double, low is the rest rounded to
double. glibc's own table, whose bits the game saw, agrees in all 220 high parts and in 202 of the 220
low parts. The other 18 are off by the units in the last place given in GLIBC_LOW_OFFSETS; they are
part of the dialect, so they are applied here.
"""

from __future__ import annotations

import argparse
import math
import sys
from fractions import Fraction
from pathlib import Path

ROWS = 110  # arguments reach 0.8555 at most: k = round(128 * 0.8555) = 109 or less
STEPS_PER_RADIAN = 128
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


def sin_cos(k: int) -> tuple[Fraction, Fraction]:
    """sin and cos of k/128 within 2**-300, by their Taylor series in fixed point."""
    x = (k << WORK_BITS) // STEPS_PER_RADIAN
    sums = [0, 0]  # cos takes the even powers, sin the odd ones
    term, n = 1 << WORK_BITS, 0  # x**n / n!
    while term:
        sums[n % 2] += -term if n % 4 >= 2 else term
        n += 1
        term = (term * x >> WORK_BITS) // n
    return Fraction(sums[1], 1 << WORK_BITS), Fraction(sums[0], 1 << WORK_BITS)


def double_double(value: Fraction) -> tuple[float, float]:
    """value as high + low; Fraction to float is correctly rounded, ties to even."""
    high = float(value)
    return high, float(value - Fraction(high))


def table() -> list[tuple[float, float, float, float]]:
    """Rows (sin high, sin low, cos high, cos low), low parts as glibc has them."""
    rows = []
    for k in range(ROWS):
        row: list[float] = []
        for name, value in zip(("sin", "cos"), sin_cos(k), strict=True):
            high, low = double_double(value)
            offset = GLIBC_LOW_OFFSETS.get((k, name), 0)
            row += [high, low + math.copysign(offset * math.ulp(low), offset * low)]
        rows.append((row[0], row[1], row[2], row[3]))
    return rows


def header() -> str:
    lines = [
        "// Made by make_trig_table.py; do not edit.",
        "#pragma once",
        "",
        "namespace qwop {",
        "namespace trig {",
        "",
        "// Row k: sin(k/128) high, low, cos(k/128) high, low. A row is half a cache line.",
        f"alignas(64) inline constexpr double TABLE[{ROWS}][4] = {{",
    ]
    lines += ["    {" + ", ".join(value.hex() for value in row) + "}," for row in table()]
    return "\n".join([*lines, "};", "", "}  // namespace trig", "}  // namespace qwop", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    path = Path(__file__).with_name("trig_table.hpp")
    if not arguments.check:
        path.write_text(header())
        return 0
    if path.read_text() == header():
        return 0
    print(f"{path.name} is not what make_trig_table.py makes: run it again", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
