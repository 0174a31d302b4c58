"""The engine's sine and cosine: every build and width of lanes gives the bits of glibc's FMA build.

The reference is stored, as one hash for each family of arguments, so that the test means the same where
the C library speaks another dialect. To make it again, on x86-64 with FMA and glibc 2.28 or later, run
`trig_check libm 192000` (engine/trig_check.cpp) and then, for more than the test's arguments,
`trig_check lanes4 100000000`: its last column counts the differences from the C library.
"""

import importlib.util
import platform
import struct
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "game" / "engine"

COUNT = 192_000  # arguments a family
HASHES = {
    "body_angle": "3b607f565635d867",  # |x| < 10
    "game_angle": "44a2505119a88882",  # |x| < 3000
    "any_angle": "8c9f159512f00678",  # |x| < 105414336
    "any_bits": "ee421101883531e0",  # likewise, all exponents alike
    "tiny": "fbef7642f281cf0b",  # |x| < 1e-6, zeros and denormals
    "near_quarter": "346ae2ef7da039df",  # next to n * pi/2
    "near_edge": "0fb4d400c1ba1ee9",  # next to the ends of ranges and the ties between table rows
    "mixed": "25943681fe9996ea",  # neighbouring lanes from different families
}

# x, sin x, cos x where glibc's two builds disagree in one of the two, by one unit in the last place. The
# rows reach every branch: a = |x|, |x| - pi/2 and the reduction; sine and cosine from polynomial and table.
DIALECT = """
 -0x1.ddfbdf761d275p-3  -0x1.d9a802cc100a8p-3   0x1.f21e5a7056d15p-1
 -0x1.2ec0898ed3db8p-1  -0x1.1d6a423140db3p-1   0x1.a9113ca48b964p-1
 -0x1.2daf5a5e2b1b2p+0  -0x1.d918c57cec67cp-1   0x1.87870c74d1196p-2
  0x1.1bc93c3e83308p+0   0x1.ca43c344ceaadp-1   0x1.c8ac2f9f70090p-2
  0x1.811a91e650fe6p+0   0x1.fede6c831a67bp-1   0x1.101edcfc25f5ap-4
  0x1.079c239d3d06ap+1   0x1.c413ec83a1f6cp-1  -0x1.e0b4d05a7302cp-2
 -0x1.be82c639b64a9p+0  -0x1.f852ba24c493ep-1  -0x1.6151bcf5df648p-3
  0x1.ef3a019f24b5ep+1  -0x1.546e4669c7976p-1  -0x1.7e6d7983ee6bbp-1
 -0x1.5780da837f959p+2   0x1.96164ddc21c43p-1   0x1.37d43110df168p-1
  0x1.83b43df4b4e34p+6   0x1.c9adab9a8a1f1p-2  -0x1.ca0386f0495b8p-1
  0x1.b1166ef7323c8p+4   0x1.de5fae2c3002cp-1  -0x1.6cfad0b5b4420p-2
  0x1.33037226c03a7p+11 -0x1.288f6d903dbb4p-1   0x1.a15e323912dc4p-1
 -0x1.8baa2aa995695p+9   0x1.60f9ab5b9de40p-2   0x1.e09edc76846aep-1
 -0x1.a99a3469b61b3p+25 -0x1.c008f484c124dp-1  -0x1.ef9d8abd97c05p-2
 -0x1.3338b1c7c01dfp+26 -0x1.6c9806d82ef4cp-1  -0x1.67771fab5ef56p-1
"""
ARGUMENTS, SINES, COSINES = zip(
    *([float.fromhex(word) for word in line.split()] for line in DIALECT.strip().splitlines()), strict=True
)

# build -> the ways of computing that it offers; "plain" in the build without FMA is the C library's fma.
WAYS = {
    "": ("scalar", "plain", "lanes2"),
    "avx2": ("scalar", "lanes2", "lanes4"),
    "avx512": ("lanes4", "lanes8"),
}
CASES = [(build, way) for build, ways in WAYS.items() for way in ways]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Checks:
    """Compiles trig_check once for each instruction set, with the engine's own compiler and flags."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = load(ROOT / "hatch_build.py")

    def run(self, build: str, *arguments: str) -> list[list[str]]:
        """The words of each line that trig_check prints; skips where this machine cannot run the build."""
        program = self.folder / f"trig_check{build}"
        if not program.exists():
            self.compile(build, program)
        result = subprocess.run([program, *arguments], capture_output=True, text=True)
        if result.returncode == 77:
            pytest.skip(f"this CPU has no {build}")
        assert result.returncode == 0, result.stderr
        return [line.split() for line in result.stdout.splitlines()]

    def compile(self, build: str, program: Path) -> None:
        if build and build not in self.recipe.ISAS_OF_MACHINE.get(platform.machine().lower(), ()):
            pytest.skip(f"{platform.machine()} has no {build}")
        try:
            compiler = self.recipe.find_compiler()
        except SystemExit as error:
            pytest.skip(str(error))
        flags = [*self.recipe.FLAGS, *compiler.compile_flags, *self.recipe.ISA_FLAGS.get(build, ())]
        source = Path(__file__).with_name("engine") / "trig_check.cpp"
        command = [*compiler.command, *flags, f"-I{ENGINE}", str(source), "-o", str(program)]
        result = subprocess.run([*command, "-lm"], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    def at_arguments(self, build: str, way: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        rows = self.run(build, way, "at", *(struct.pack(">d", x).hex() for x in ARGUMENTS))
        pairs = [[struct.unpack(">d", bytes.fromhex(word))[0] for word in row] for row in rows]
        sines, cosines = zip(*pairs, strict=True)
        return sines, cosines


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    pytest.importorskip("hatchling", reason="the engine's compiler flags stand in hatch_build.py")
    return Checks(tmp_path_factory.mktemp("trig"))


@pytest.mark.parametrize(("build", "way"), CASES)
def test_bits_are_the_stored_ones(checks: Checks, build: str, way: str) -> None:
    lines = checks.run(build, way, str(COUNT))
    assert {name: digest for name, digest, _ in lines if name != "beyond"} == HASHES


@pytest.mark.parametrize(("build", "way"), CASES)
def test_values_where_the_dialects_differ(checks: Checks, build: str, way: str) -> None:
    assert checks.at_arguments(build, way) == (SINES, COSINES)


@pytest.mark.parametrize(("build", "way"), CASES)
def test_infinity_nan_and_huge_lanes_leave_their_neighbours_alone(
    checks: Checks, build: str, way: str
) -> None:
    name, wrong, _ = checks.run(build, way, "1")[-1]
    assert (name, int(wrong, 16)) == ("beyond", 0)


def test_c_library_of_the_same_dialect_agrees(checks: Checks) -> None:
    """The stored hashes are glibc's: here it computes them itself."""
    if checks.at_arguments("", "libm") != (SINES, COSINES):
        pytest.skip("this machine's C library is not glibc's FMA build: its sine and cosine round otherwise")
    lines = checks.run("", "libm", str(COUNT))
    assert {name: digest for name, digest, _ in lines if name != "beyond"} == HASHES
    *_, (_, _, differing) = checks.run("", "lanes2", "1")
    assert differing == "0"  # and beyond 105414336 we hand over to it


def test_table_is_what_its_script_makes() -> None:
    script = load(ENGINE / "make_trig_table.py")
    assert (ENGINE / "trig_table.hpp").read_text() == script.header()


def test_table_is_sine_and_cosine_rounded_to_two_doubles_but_for_eighteen_low_parts() -> None:
    mpmath = pytest.importorskip("mpmath")
    script = load(ENGINE / "make_trig_table.py")
    rows = script.table()
    assert len(rows) == 110
    odd = 0
    with mpmath.workprec(300):
        for k, row in enumerate(rows):
            x = mpmath.mpf(k) / 128
            for high, low, exact in zip(row[::2], row[1::2], (mpmath.sin(x), mpmath.cos(x)), strict=True):
                assert high == float(exact)
                odd += low != float(exact - high)
                # glibc's worst low part is 39 units in its last place off, 2^-112.7; a double's is 2^-53.
                assert abs(high + mpmath.mpf(low) - exact) < 2**-107
    assert odd == len(script.GLIBC_LOW_OFFSETS) == 18
