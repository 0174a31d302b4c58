"""The engine's sine and cosine: every variant, build and width of lanes gives the bits of its browser.

golden/trig_variants.npz holds what five browsers computed (its values of Chromium 153 are those of rounded
and of llvm, which differ in none of them). HASHES stand for more arguments, one hash for each
family of them (engine/trig_check.cpp). Others than the engine made them, and share no code with it:
  rounded      GNU MPFR 4.2, correctly rounded: `trig_check mpfr rounded COUNT`
  glibc-fma    glibc 2.36 on a CPU with FMA: `trig_check libm glibc-fma COUNT`
  glibc        the same with GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-FMA
  fdlibm, msun Node 20 and Firefox ESR 153 at the arguments of `trig_check arguments 192000` within the
               variant's range: 0 of 2,565,780 values differ from the engine's, whose hash is stored
"""

import hashlib
import importlib.util
import platform
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qwop_game import TRIG_VARIANTS

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "game" / "engine"

COUNT = 192_000  # arguments a family
FAMILIES = (
    "body_angle",  # |x| < 10
    "game_angle",  # |x| < 3000
    "any_angle",  # |x| < 105414336
    "any_bits",  # likewise, all exponents alike
    "tiny",  # |x| < 1e-6, zeros and denormals
    "near_quarter",  # next to n * pi/2
    "near_edge",  # next to the ends of ranges and the ties between table rows
    "mixed",  # neighboring lanes from different families
)
HASHES = {
    "rounded": "3111cc1ca10a5a87 f666f21fd168ff7c 77a72f4ce2649ce7 3e12bf6e4e7b0e0a"
    " fbef7642f281cf0b 534e1821a0434bb0 40e607a66ea43a57 b73942fc72c86bb1",
    "glibc": "60302a47e5911c9b 131d2202395dbda3 ef078cd7a228c0cb 32e873c5817b74a0"
    " fbef7642f281cf0b 346ae2ef7da039df 3247b1c21c630b05 d94f9081d9dce7ed",
    "glibc-fma": "3b607f565635d867 44a2505119a88882 8c9f159512f00678 ee421101883531e0"
    " fbef7642f281cf0b 346ae2ef7da039df 0fb4d400c1ba1ee9 25943681fe9996ea",
    "fdlibm": "97f79acbf70ad5b8 6a00e64e7095db9f 2103afeca5e25f74 ef75db91973d94f0"
    " fbef7642f281cf0b a319a154d0d033c1 5308a91e4c69ffa9 8c192ad5b5a0be48",
    "msun": "03979896ee6375b4 18f4d79e53faf505 779681700702d536 2b3965f31de107b9"
    " fbef7642f281cf0b 534e1821a0434bb0 a2d1facc3a2329d1 cda8d745d3b6254d",
}
HASHES["llvm"] = HASHES["rounded"]  # see test_llvm for where they differ
CHROMIUM_153_SHA256 = "196473532860aef33961e6f1c6b514c5674118663c602176477ea418023c002a"
MANY = 12_000_000  # and 24 million arguments in the game's range for the canonical variant
MANY_HASHES = {"body_angle": "7915b65abd4d1a7e", "game_angle": "c10b7afc3bd9e740"}

# Doubles whose sine or cosine is nearest to a rounding boundary: Lefevre and Muller's worst cases by range,
# and CORE-MATH's of all doubles, whose sine is 2^-123 from 1.
HARD_SINES = """
 0x1.e0000000001c2p-20 0x1.598bae9e632f6p-7 0x1.9283586503fe0p-5 0x1.d7bdcd778049fp-5 0x1.a202b3fb84788p-4
 0x1.d037cb27ee6dfp-3 0x1.d5064e6fe82c5p-3 0x1.fe767739d0f6dp-2 0x1.d98c4c612718dp-1 0x1.921fb54442d18p+0
 0x1.6756745770a51p+1 0x1.6ac5b262ca1ffp+849
"""
HARD_COSINES = """
 0x1.8000000000009p-23 0x1.8000000000024p-22 0x1.2000000000f30p-18 0x1.06b505550e6b2p-9 0x1.97ccd3d2c438fp-6
 0x1.6b8a6273d7c21p+0
"""
LARGE = "0x1.921fbp+26 0x1p+53 0x1.fffffffffffffp+1023 0x1.921fb54442d18p+700 -0x1.3p+90"

# build -> the ways of computing that it offers; "plain" in the build without FMA never uses the instruction.
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

    def run(self, build: str, *arguments: str) -> bytes:
        """What trig_check prints; skips where this machine cannot run the build."""
        program = self.folder / f"trig_check{build}"
        if not program.exists():
            self.compile(build, program)
        result = subprocess.run([program, *arguments], capture_output=True)
        if result.returncode == 77:
            pytest.skip(f"this CPU has no {build}")
        assert result.returncode == 0, result.stderr
        return result.stdout

    def compile(self, build: str, program: Path) -> None:
        if build and build not in self.recipe.ISAS_OF_MACHINE.get(platform.machine().lower(), ()):
            pytest.skip(f"{platform.machine()} has no {build}")
        try:
            compiler = self.recipe.find_compiler()
        except SystemExit as error:
            pytest.skip(str(error))
        flags = [*self.recipe.FLAGS, *compiler.compile_flags, *self.recipe.ISA_FLAGS.get(build, ())]
        source = Path(__file__).parents[1] / "engine" / "trig_check.cpp"
        command = [*compiler.command, *flags, f"-I{ENGINE}", str(source), str(ENGINE / "trig_exact.cpp")]
        result = subprocess.run(
            [*command, "-o", str(program), "-lm"], capture_output=True, text=True, encoding="utf-8"
        )
        assert result.returncode == 0, result.stderr

    def hashes(self, build: str, way: str, trig: str, count: int, families: int = 8) -> dict[str, str]:
        lines = self.run(build, way, trig, str(count), str(families)).decode().splitlines()
        return dict(line.split() for line in lines)

    def values(self, build: str, way: str, trig: str, x: np.ndarray) -> np.ndarray:
        """Sine and cosine, float64 [n, 2]."""
        path = self.folder / "arguments"
        x.astype(np.float64).tofile(path)
        return np.frombuffer(self.run(build, way, trig, "file", str(path))).reshape(-1, 2)


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Checks:
    pytest.importorskip("hatchling", reason="the engine's compiler flags stand in hatch_build.py")
    return Checks(tmp_path_factory.mktemp("trig"))


@pytest.fixture(scope="module")
def browsers() -> dict[str, np.ndarray]:
    """X float64 [24000], half of them arguments where variants differ; each variant's values [24000, 2]."""
    with np.load(Path(__file__).parents[1] / "golden" / "trig_variants.npz") as file:
        values = {name.replace("_", "-"): file[name] for name in file.files}
    return {**values, "llvm": values["rounded"]}


def doubles(text: str) -> np.ndarray:
    return np.array([float.fromhex(word) for word in text.split()])


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize(("build", "way"), CASES)
def test_bits_are_the_browsers(checks: Checks, browsers, build: str, way: str, trig: str) -> None:
    assert same_bits(checks.values(build, way, trig, browsers["x"]), browsers[trig])


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize(("build", "way"), CASES)
def test_bits_are_the_stored_ones(checks: Checks, build: str, way: str, trig: str) -> None:
    assert checks.hashes(build, way, trig, COUNT) == dict(zip(FAMILIES, HASHES[trig].split(), strict=True))


@pytest.mark.parametrize(("build", "way"), CASES)
def test_tens_of_millions_of_rounded_values_are_those_of_mpfr(checks: Checks, build: str, way: str) -> None:
    assert checks.hashes(build, way, "rounded", MANY, len(MANY_HASHES)) == MANY_HASHES


@pytest.mark.parametrize(("build", "way"), CASES)
def test_llvm_has_small_cosines_that_are_not_the_nearest(checks: Checks, build: str, way: str) -> None:
    x = np.random.default_rng(6).uniform(-1 / 16, 1 / 16, 400_000)
    values = checks.values(build, way, "llvm", x)
    # of what Chromium 153 computed; in 4 million such arguments 40 cosines and no sine are not the nearest
    assert hashlib.sha256(values.tobytes()).hexdigest() == CHROMIUM_153_SHA256
    assert (values != checks.values(build, way, "rounded", x)).sum(axis=0).tolist() == [0, 10]


def test_variants_differ(browsers) -> None:
    values = [browsers[trig] for trig in TRIG_VARIANTS if trig != "llvm"]
    assert all((a != b).any() for i, a in enumerate(values) for b in values[:i])


@pytest.mark.parametrize("way", ["scalar", "exact"])
def test_rounded_is_the_nearest_double(checks: Checks, browsers, way: str) -> None:
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [
            doubles(HARD_SINES + HARD_COSINES + LARGE),
            browsers["x"][:1000],
            rng.uniform(-10, 10, 1000),
            rng.uniform(-4096, 4096, 500),
            np.ldexp(1 + rng.random(500), np.arange(-400, 100)),
        ]
    )
    with mpmath.workprec(1400):
        nearest = [[float(mpmath.sin(mpmath.mpf(v))), float(mpmath.cos(mpmath.mpf(v)))] for v in x.tolist()]
    assert same_bits(checks.values("", way, "rounded", x), np.array(nearest))


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize(("build", "way"), CASES)
def test_infinity_nan_and_huge_lanes_leave_their_neighbors_alone(
    checks: Checks, build: str, way: str, trig: str
) -> None:
    huge = doubles(LARGE)
    beyond = np.concatenate([huge, [np.inf, -np.inf, np.nan]])
    x = np.full(5 * len(beyond), 1.5)
    x[::5] = beyond
    values = checks.values(build, way, trig, x)
    assert np.isnan(values[::5][len(huge) :]).all()
    assert same_bits(values[::5][: len(huge)], checks.values("", "exact", trig, huge))
    sine_and_cosine = doubles("0x1.feb7a9b2c6d8bp-1 0x1.21bd54fc5f9a7p-4")  # of 1.5, in all variants
    assert (np.delete(values, np.s_[::5], 0) == sine_and_cosine).all()


@pytest.mark.parametrize(("build", "way"), CASES)
def test_fast_method_is_exact_near_multiples_of_a_quarter_turn(checks: Checks, build: str, way: str) -> None:
    """There the reduction cancels up to 33 bits, as at the angle of a hurdle that lies on the track."""
    rng = np.random.default_rng(7)
    n = np.concatenate([rng.integers(1, 5, 200_000), rng.integers(1, 2600, 200_000)])
    distance = np.exp2(rng.uniform(-33, -18, len(n))) * rng.choice([-1, 1], len(n))
    x = n * (np.pi / 2) * (1 + distance)
    assert same_bits(checks.values(build, way, "rounded", x), checks.values("", "exact", "rounded", x))


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
def test_signs_of_zero(checks: Checks, trig: str) -> None:
    values = checks.values("", "lanes2", trig, np.array([0.0, -0.0]))
    assert same_bits(values, np.array([[0.0, 1], [-0.0, 1]]))


def test_c_library_agrees_where_it_is_glibc(checks: Checks, browsers) -> None:
    """The stored hashes are glibc's: here it computes them itself."""
    values = checks.values("", "libm", "glibc", browsers["x"])
    of = [trig for trig in ("glibc", "glibc-fma") if same_bits(values, browsers[trig])]
    if not of:
        pytest.skip("this machine's C library is not glibc 2.28 or later")
    assert checks.hashes("", "libm", of[0], COUNT) == dict(zip(FAMILIES, HASHES[of[0]].split(), strict=True))


def test_table_is_what_its_script_makes() -> None:
    script = load(ENGINE / "make_trig_table.py")
    assert (ENGINE / "trig_table.hpp").read_text(encoding="utf-8") == script.header()


def test_tables_are_sine_and_cosine_rounded_to_two_doubles_but_for_glibcs_eighteen_low_parts() -> None:
    mpmath = pytest.importorskip("mpmath")
    script = load(ENGINE / "make_trig_table.py")
    odd = dict.fromkeys(("glibc", "rounded"), 0)
    with mpmath.workprec(300):
        for name, rows, steps in (
            ("glibc", script.glibc_table(), 128),
            ("rounded", script.rounded_table(), 256),
        ):
            for k, row in enumerate(rows):
                x = mpmath.mpf(k) / steps
                for high, low, exact in zip(row[::2], row[1::2], (mpmath.sin(x), mpmath.cos(x)), strict=True):
                    assert high == float(exact)
                    odd[name] += low != float(exact - high)
                    # glibc's worst low part is 39 units in its last place off, 2^-112.7; a double's is 2^-53.
                    assert abs(high + mpmath.mpf(low) - exact) < 2**-107
    assert odd == {"glibc": len(script.GLIBC_LOW_OFFSETS), "rounded": 0} and odd["glibc"] == 18


def test_words_of_pi() -> None:
    mpmath = pytest.importorskip("mpmath")
    script = load(ENGINE / "make_trig_table.py")
    with mpmath.workprec(3000):
        for words, exact in (
            (script.pi_over_4_words(), mpmath.pi / 4),
            (script.two_over_pi_words(), 2 / mpmath.pi),
        ):
            value = sum(word << 64 * (len(words) - 1 - i) for i, word in enumerate(words))
            assert value == int(mpmath.floor(exact * 2 ** (64 * len(words))))
