"""The pages' sine and cosine (game/qwop_game/real/trig.js): each variant's bits, in Node and in browsers.

golden/trig_variants.npz holds what five browsers computed; see test_trig.py, whose check program gives the
engine's bits. Measured beyond these tests: 0 of 6,000,000 values differ between `fdlibm` and Node 20's own, 0
of 160,460 between `rounded` and mpmath.
"""

import base64
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qwop_game import TRIG_VARIANTS
from qwop_game.real.browser import Browser

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS.parent / "game" / "qwop_game" / "real" / "trig.js"
HARD = """
 0x1.e0000000001c2p-20 0x1.598bae9e632f6p-7 0x1.d5064e6fe82c5p-3 0x1.d98c4c612718dp-1 0x1.921fb54442d18p+0
 0x1.6756745770a51p+1 0x1.8000000000009p-23 0x1.06b505550e6b2p-9 0x1.6b8a6273d7c21p+0 0x1.6ac5b262ca1ffp+849
 0x1.921fbp+26 0x1p+53 0x1.fffffffffffffp+1023 0x1.921fb54442d18p+700 -0x1.3p+90 0x1p-1074 0x1p-27 0x1p-26
"""

HARNESS = """
const fs = require("fs"), Trig = require(process.argv[1]), [from, to, ...names] = process.argv.slice(2);
const bytes = fs.readFileSync(from), x = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
const values = names.flatMap((name) => {
  const { sin, cos } = name === "own" ? Math : Trig.variants[name];
  return Array.from(x).flatMap((v) => [sin(v), cos(v)]);
});
fs.writeFileSync(to, new Float64Array(values));
"""

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def node(code: str, *arguments: object) -> str:
    done = subprocess.run(
        ["node", "-e", code, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def browsers() -> dict[str, np.ndarray]:
    """X float64 [24000], half of them arguments where variants differ; each variant's values [24000, 2]."""
    with np.load(TESTS / "golden" / "trig_variants.npz") as file:
        values = {name.replace("_", "-"): file[name] for name in file.files}
    return {**values, "llvm": values["rounded"]}  # Chromium 153's; the two differ in none of them


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.tobytes() == b.tobytes()


def values(folder: Path, x: np.ndarray, *names: str) -> list[np.ndarray]:
    """Sine and cosine as each variant, or Node's own ("own"), gives them, float64 [n, 2] each."""
    given, result = folder / "x", folder / "values"
    x.astype("<f8").tofile(given)
    node(HARNESS, given, result, *names)
    return list(np.fromfile(result, "<f8").reshape(len(names), len(x), 2))


@needs_node
def test_variants_are_the_browsers(tmp_path: Path, browsers) -> None:
    for name, ours in zip(TRIG_VARIANTS, values(tmp_path, browsers["x"], *TRIG_VARIANTS), strict=True):
        assert same_bits(ours, browsers[name]), name


@needs_node
def test_variants_are_the_engines(tmp_path: Path) -> None:
    """On all its families of arguments: near multiples of pi/2 and the ends of ranges, tiny and far ones."""
    pytest.importorskip("hatchling", reason="the engine's compiler flags stand in hatch_build.py")
    checks = load(TESTS / "game" / "test_trig.py").Checks(tmp_path)
    x = np.frombuffer(checks.run("", "arguments", "4000"))
    assert len(x) >= 8 * 4000
    for name, ours in zip(TRIG_VARIANTS, values(tmp_path, x, *TRIG_VARIANTS), strict=True):
        assert same_bits(ours, checks.values("", "scalar", name, x)), name


@needs_node
def test_rounded_is_the_nearest_double(tmp_path: Path, browsers) -> None:
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(4)
    with mpmath.workprec(1400):
        near = [float(mpmath.mpf(int(n)) * mpmath.pi / 2) for n in rng.integers(1, 600_000, 500)]
        x = np.concatenate(
            [
                [float.fromhex(word) for word in HARD.split()],
                near,
                np.nextafter(near, 0),
                browsers["x"][:500],
                np.arange(110) / 256,
                rng.uniform(-1000000.0, 1000000.0, 500),
                np.ldexp(1.5, rng.integers(-60, 1023, 500)),
            ]
        )
        nearest = [[float(mpmath.sin(mpmath.mpf(v))), float(mpmath.cos(mpmath.mpf(v)))] for v in x.tolist()]
    assert same_bits(values(tmp_path, x, "rounded")[0], np.array(nearest))


@needs_node
def test_fdlibm_is_what_node_has_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.uniform(-end, end, 100_000) for end in (3.2, 100.0, 3000.0, 1.6e6)])
    multiples = rng.integers(-1_000_000, 1_000_000, 100_000) * (np.pi / 2)
    x = np.concatenate([x, multiples, np.nextafter(multiples, 0)])
    if node("console.log(require(process.argv[1]).natives())").strip() != "[ 'fdlibm' ]":
        pytest.skip("this Node computes another variant")
    ours, own = values(tmp_path, x, "fdlibm", "own")
    assert same_bits(ours, own)


@needs_node
def test_infinity_nan_and_zero(tmp_path: Path) -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0])
    for ours in values(tmp_path, x, *TRIG_VARIANTS):
        assert np.isnan(ours[:3]).all() and same_bits(ours[3:], np.array([[0.0, 1], [-0.0, 1]]))


@needs_node
def test_tables_are_the_engines() -> None:
    module = load(TESTS.parent / "game" / "engine" / "make_trig_table.py")
    code = (
        "console.log(JSON.stringify([true, false].map((g) => Array.from(require(process.argv[1]).table(g)))))"
    )
    glibc, exact = np.array(json.loads(node(code))).reshape(2, 110, 4)
    assert np.array_equal(glibc, module.glibc_table())
    assert np.array_equal(exact[:100], module.rounded_table()[0:200:2])  # that one has steps of 1/256


PINNED = """
const load = () => { delete require.cache[process.argv[1]]; return require(process.argv[1]); };
const first = load(), names = Object.keys(first.variants);
const pinned = names.map((name) => { first.pin(name); return load().natives(); });
const { sin } = first.variants.rounded;
Math.sin = (x) => sin(x) * (1 + 2 ** -52);
console.log(JSON.stringify([names, pinned, load().natives()]));
"""


@needs_node
def test_the_browsers_own_variant_is_named_or_unknown() -> None:
    names, pinned, unknown = json.loads(node(PINNED))
    assert set(TRIG_VARIANTS) == set(names)
    assert (pinned, unknown) == ([[name] for name in names], [])


@needs_node
def test_llvm_equals_rounded_except_for_small_cosines(tmp_path: Path) -> None:
    # Chromium 153's own values; the nearest doubles are the next larger ones
    wrong = {0.04829856429601308: 0.9988338510645371}
    x = np.concatenate([list(wrong), np.random.default_rng(6).uniform(-0.0625, 0.0625, 1_000_000)])
    llvm, rounded = values(tmp_path, x, "llvm", "rounded")
    assert llvm[0, 1] == wrong[x[0]] == np.nextafter(rounded[0, 1], 0)
    assert np.array_equal(llvm[:, 0], rounded[:, 0])
    assert 1 < (llvm != rounded).sum() < 30
    far = np.random.default_rng(7).uniform(0.0625, 100, 100_000)
    assert same_bits(*values(tmp_path, far, "llvm", "rounded"))


# -- in browsers, without the game's file -----------------------------------------------------------------


def test_browsers_compute_each_variant_and_know_their_own(browsers, browser_pair) -> None:
    program, driver = browser_pair
    browser = Browser(True, program.path, driver.path, game=False)
    try:
        assert browser.native_trig in TRIG_VARIANTS
        packed = base64.b64encode(browsers["x"].astype("<f8").tobytes()).decode()
        code = (
            SCRIPT.read_text(encoding="utf-8")
            + """
          const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const unpack = (text) => new Float64Array(bytes(text).buffer);
          const x = unpack(arguments[0]), expected = unpack(arguments[1]), f = arguments[2];
          if (f) Trig.pin(f);
          return x.reduce((wrong, v, i) => wrong + !Object.is(Math.sin(v), expected[2 * i])
                                                 + !Object.is(Math.cos(v), expected[2 * i + 1]), 0);
        """
        )
        for name in (None, *TRIG_VARIANTS):
            expected = browsers[name or browser.native_trig].astype("<f8")
            unpacked = base64.b64encode(expected.tobytes()).decode()
            assert browser.run(code, packed, unpacked, name) == 0, name
    finally:
        browser.close()
