"""The WebAssembly engine against the real game's traces and the scalar engine: every number, with ==."""

import importlib.metadata
import importlib.util
import itertools
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from qwop_game import (
    CANONICAL_START,
    FEATURE_SIZE,
    TRIG_VARIANTS,
    Operation,
    Simulator,
    encode,
    hip_modes,
    last_keys,
)
from qwop_game.episodes import encoder_bytes
from qwop_game.observation import STATE_GLOBALS, STATE_SIZE
from qwop_replay.web import MAX_START_ROWS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "web" / "qwop_web" / "page"
CLOCK = STATE_SIZE - len(STATE_GLOBALS)
FUZZ_FRAMES = "QWOP_FUZZ_FRAMES"
wasmtime = pytest.importorskip("wasmtime")


class Module:
    """engine.wasm, called from Python."""

    def __init__(self) -> None:
        engine = wasmtime.Engine()
        self.store = wasmtime.Store(engine)
        module = wasmtime.Module.from_file(engine, str(PAGE / "engine.wasm"))
        assert not module.imports
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self("_initialize")
        self.memory = self.exports["memory"]
        self.memory.write(self.store, encoder_bytes(), self("encoder_address"))

    def __call__(self, name, *arguments):
        return self.exports[name](self.store, *arguments)

    def array(self, address, size, dtype):
        end = address + size * np.dtype(dtype).itemsize
        return np.frombuffer(bytes(self.memory.read(self.store, address, end)), dtype)

    def state(self, game=0):
        return self.array(self("read_state", game), STATE_SIZE, np.float64)


@pytest.fixture(scope="module")
def module():
    return Module()


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
def test_every_golden_trace_bit_for_bit(module, trig):
    recorded = "rounded" if trig == "llvm" else trig  # no value in those traces tells the two apart
    compared = 0
    for name in ("constant", "random", "runs"):
        with np.load(ROOT / "tests" / "golden" / f"{recorded}_{name}.npz") as traces:
            for i in range(sum(key.startswith("actions_") for key in traces.files)):
                rows = dict(zip(traces[f"frames_{i}"].tolist(), traces[f"states_{i}"], strict=True))
                module("reset", 0, TRIG_VARIANTS.index(trig))
                for frame, keys in enumerate([*traces[f"actions_{i}"].tolist(), None]):
                    if frame in rows:
                        state, expected = module.state(), rows[frame].copy()
                        expected[CLOCK] = state[CLOCK]  # starts at the real page's time
                        assert (state == expected).all(), f"{name} {i}, frame {frame}"
                        compared += 1
                    if keys is not None:
                        module("step", 0, keys)
    assert compared > 4500


def test_random_keys_give_the_scalar_engines_numbers_and_features(module):
    rng = np.random.default_rng(5)
    for _ in range(10):
        keys = np.repeat(rng.integers(0, 16, 60), rng.integers(1, 12, 60)).astype(np.uint8)
        simulator = Simulator(1, stop_at_end=False, engine="scalar")
        module("reset", 1, 0)
        modes, last = hip_modes(keys), last_keys(keys)
        for frame, mask in enumerate(keys.tolist()):
            simulator.step(np.array([mask], np.uint8))
            module("step", 1, mask)
            assert (module.state(1) == simulator.state[0]).all()
            assert module("flags", 1) == simulator.flags[0]
            if frame % 50 == 0:
                shown = (int(modes[frame + 1]), int(last[frame + 1]))
                features = module.array(module("read_features", 1, *shown), FEATURE_SIZE, np.float32)
                expected = encode(simulator.raw_observation[0], *map(int, shown))
                assert features.tobytes() == expected.tobytes()


@pytest.mark.slow
def test_fuzzed_runs_give_the_scalar_engines_numbers(module):
    """Random keys in all variants of sine and cosine, fallen runners as well.

    QWOP_FUZZ_FRAMES sets how many frames.
    """
    rng, games, total = np.random.default_rng(11), 12, int(os.environ.get(FUZZ_FRAMES, "60000"))
    played = falls = 0
    for trig in itertools.cycle(TRIG_VARIANTS):
        if played >= total:
            break
        frames, hold = int(rng.integers(100, 1500)), int(rng.integers(2, 25))
        # Each game holds each random mask for a random time of its own.
        keys = np.zeros((frames, games), np.uint8)
        for game in range(games):
            holds = rng.integers(1, hold + 1, frames)
            keys[:, game] = np.repeat(rng.integers(0, 16, frames), holds)[:frames]
            module("reset", game, TRIG_VARIANTS.index(trig))
        simulator = Simulator(games, stop_at_end=False, engine="scalar", trig=trig)
        for masks in keys:
            simulator.step(masks)
            expected = simulator.state
            for game, mask in enumerate(masks.tolist()):
                module("step", game, mask)
                assert module.state(game).tobytes() == expected[game].tobytes(), (played, game)
        falls += int((simulator.flags & 1).sum())
        played += frames * games
        simulator.close()
    assert falls > played // 50_000


def test_a_copied_game_goes_on_as_the_first(module):
    module("reset", 2, 0)
    for mask in (9, 9, 6, 6, 5):
        module("step", 2, mask)
    module("copy", 3, 2)
    for game in (2, 3):
        for mask in (10, 3, 0):
            module("step", game, mask)
    assert (module.state(2) == module.state(3)).all()


def test_a_start_gives_the_scalar_engines_numbers(module):
    session = CANONICAL_START.play([9] * 40 + [6] * 25).then(Operation.RESET).play([10] * 30)
    session = session.then(Operation.RESET).play([0] * 5)
    rows = session.array
    for trig in ("fdlibm", "rounded"):
        module.memory.write(module.store, rows.astype("<u4").tobytes(), module("start_address"))
        assert module("begin", 4, TRIG_VARIANTS.index(trig), len(rows)) == 0
        simulator = Simulator(1, stop_at_end=False, engine="scalar", trig=trig)
        canonical = simulator.state.copy()
        simulator.begin(rows)
        assert (simulator.state != canonical).any()
        for mask in (9, 9, 6, 6, 5) * 20:
            assert module.state(4).tobytes() == simulator.state[0].tobytes()
            module("step", 4, mask)
            simulator.step(np.array([mask], np.uint8))


def test_a_start_that_is_none_leaves_the_game_as_it_was(module):
    module("reset", 4, 0)
    expected = module.state(4).copy()
    bad = np.array([[9, 0, 1]], "<u4")
    module.memory.write(module.store, bad.tobytes(), module("start_address"))
    assert module("begin", 4, 0, 1) == 1
    assert module("begin", 4, 0, -1) == module("begin", 4, 0, MAX_START_ROWS + 1) == 1
    assert module("max_start_rows") == MAX_START_ROWS
    assert (module.state(4) == expected).all()


def test_the_manifest_names_these_sources():
    build = load_build()
    manifest = json.loads((PAGE / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources_sha256"] == build.sources_digest(), "run python web/build.py"
    assert manifest["flags"] == build.FLAGS


COMPILE = "QWOP_TEST_COMPILE"
"""Set: compile the page's engine again, two minutes, and compare it byte by byte."""


def needs_the_zig_of_the_page() -> None:
    manifest = json.loads((PAGE / "manifest.json").read_text(encoding="utf-8"))
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("no ziglang here")
    if importlib.metadata.version("ziglang") != manifest["zig"]:
        pytest.skip(f"ziglang is not {manifest['zig']}")


@pytest.mark.slow
def test_the_page_is_what_the_sources_give(capsys: pytest.CaptureFixture[str]) -> None:
    needs_the_zig_of_the_page()
    flags = ["--compile"] if os.environ.get(COMPILE) else []
    assert load_build().main(["--check", *flags]) == 0, capsys.readouterr().out


def test_the_engine_of_other_sources_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_the_zig_of_the_page()
    build = load_build()
    monkeypatch.setattr(build, "compiled_engine", lambda: b"compiled")
    engine = (PAGE / "engine.wasm").read_bytes()
    assert build.build()["engine.wasm"] == engine
    assert build.build(always_compile=True)["engine.wasm"] == b"compiled"
    for name, damaged in (("engine.wasm", engine[:-1]), ("manifest.json", b"{"), ("manifest.json", None)):
        page = tmp_path / f"{name}-{damaged is None}"
        shutil.copytree(PAGE, page)
        (page / name).unlink() if damaged is None else (page / name).write_bytes(damaged)
        monkeypatch.setattr(build, "PAGE", page)
        assert build.build()["engine.wasm"] == b"compiled"
    monkeypatch.setattr(build, "PAGE", PAGE)
    for name, other in (("FLAGS", [*build.FLAGS, "-g"]), ("sources_digest", lambda: "0" * 64)):
        with monkeypatch.context() as changed:
            changed.setattr(build, name, other)
            assert build.build()["engine.wasm"] == b"compiled"


def test_wrong_flags_of_the_build_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert load_build().main(["--chek"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--chek; perhaps --check" in line


def load_build():
    spec = importlib.util.spec_from_file_location("web_build", ROOT / "web" / "build.py")
    assert spec and spec.loader
    build = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = build  # dataclasses look their module up
    spec.loader.exec_module(build)
    return build
