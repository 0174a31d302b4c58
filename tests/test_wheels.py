"""Wheels of other platforms: how tools/build_wheels.py checks them, and golden traces under wine and qemu."""

import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qwop_game import TRIG_VARIANTS, Simulator, engines
from qwop_game.observation import STATE_GLOBALS, STATE_SIZE

ROOT = next(folder for folder in Path(__file__).parents if (folder / "hatch_build.py").exists())
GOLDEN, PLAYER = ROOT / "tests" / "golden", ROOT / "tests" / "engine" / "golden_player.cpp"
CLOCK = STATE_SIZE - len(STATE_GLOBALS)
THREADS = (1, 3)  # golden_player.cpp's
X86_ENGINES = {"avx512", "avx2", "sse2", "scalar"}

EVERY_TRACE = "QWOP_EVERY_TRACE"
"""Set: wine and qemu play every golden trace. Else of each variant the traces of every fifth number."""


def load(name: str) -> ModuleType:
    """A module of tools/ or the root, which are no packages."""
    pytest.importorskip("hatchling", reason="hatch_build.py needs hatchling")
    path = next(
        folder / f"{name}.py" for folder in (ROOT / "tools", ROOT) if (folder / f"{name}.py").exists()
    )
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return importlib.import_module(name)


def traces(variant: str, every: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Golden traces of a variant, one in `every`: keys uint8 [T], frames int32 [R], states float64 [R, 92].

    The states are this machine's. They equal the recorded ones, in which the clock started with the page and
    zeros have no sign.
    """
    recorded = "rounded" if variant == "llvm" else variant  # no value in the traces tells the two apart
    found = []
    for name in ("constant", "random", "runs"):
        with np.load(GOLDEN / f"{recorded}_{name}.npz") as file:
            for i in range(0, sum(key.startswith("actions_") for key in file.files), every):
                found.append((file[f"actions_{i}"], file[f"frames_{i}"], file[f"states_{i}"]))
    for keys, frames, states in found:
        game, at = Simulator(1, stop_at_end=False, engine="scalar", trig=variant), 0
        for frame in range(len(keys) + 1):
            if frame == frames[at]:
                state = game.state[0]
                states[at, CLOCK] = state[CLOCK]
                assert (states[at] == state).all()
                states[at] = state
                at += 1
            if frame < len(keys):
                game.step(keys[frame : frame + 1])
        assert at == len(frames)
    return found


@pytest.fixture(scope="session")
def traces_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """The player's file of golden traces, and the rows of each variant in it."""
    path, rows = tmp_path_factory.mktemp("traces") / "traces.bin", {}
    every = 1 if os.environ.get(EVERY_TRACE) else 5
    with path.open("wb") as file:
        for variant in TRIG_VARIANTS:
            chosen = traces(variant, every)
            file.write(struct.pack("<16si", variant.encode(), len(chosen)))
            for keys, frames, states in chosen:
                file.write(struct.pack("<ii", len(keys), len(frames)))
                for array, kind in ((keys, "u1"), (frames, "<i4"), (states, "<f8")):
                    file.write(array.astype(kind).tobytes())
            rows[variant] = sum(len(frames) for _, frames, _ in chosen)
    return path, rows


def play(command: list[str], rows: dict[str, int], environment: dict[str, str] | None = None) -> set[str]:
    """Run a golden player; every engine must play all rows without a difference. Returns the engines."""
    result = subprocess.run(
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True
    )
    played = [line.split() for line in result.stdout.splitlines()]
    print(result.stdout)
    assert played, result.stderr
    names = {line[1] for line in played}
    expected = {(v, e, t): [rows[v], 0] for v in TRIG_VARIANTS for e in names for t in THREADS}
    assert {(v, e, int(t)): [int(r), int(d)] for v, e, t, r, d in played} == expected
    assert result.returncode == 0, result.stderr
    return names


def compile_player(hatch_build: ModuleType, folder: Path, tag: str | None = None) -> Path:
    """Compile the golden player for this machine, or by zig for a platform."""
    compiler = hatch_build.find_compiler(hatch_build.TARGETS[tag] if tag else None)
    path = folder / "golden_player.exe"
    options = ["-O3", "-std=c++17", *compiler.compile_flags, str(PLAYER), "-o", str(path)]
    linked = ["-ldl"] if platform.system() == "Linux" and tag != "win_amd64" else []
    hatch_build.run([*compiler.command, *options, *linked])
    return path


def test_golden_traces_without_python(tmp_path: Path, traces_file: tuple[Path, dict[str, int]]) -> None:
    hatch_build = load("hatch_build")
    try:
        player = compile_player(hatch_build, tmp_path)
    except SystemExit as error:
        pytest.skip(str(error))
    path, rows = traces_file
    library = ROOT / "game" / "qwop_game" / f"_engine{hatch_build.LIBRARY_SUFFIXES[platform.system()]}"
    assert play([str(player), str(library), str(path)], rows) == set(engines())

    # One changed bit of one number is seen, by every engine.
    damaged = bytearray(path.read_bytes())
    damaged[-8] ^= 1
    (tmp_path / "damaged.bin").write_bytes(damaged)
    result = subprocess.run([player, library, tmp_path / "damaged.bin"], capture_output=True, text=True)
    assert result.returncode == 1
    different = [
        line.split()[-1] for line in result.stdout.splitlines() if line.startswith(TRIG_VARIANTS[-1])
    ]
    assert different == ["1"] * len(engines()) * len(THREADS)


def cross_build(tag: str, folder: Path) -> tuple[Path, Path]:
    """The player and the engine's library for a platform, by zig: seconds, or minutes the first time."""
    hatch_build = load("hatch_build")
    pytest.importorskip("ziglang", reason="zig, which compiles for other platforms, is not installed")
    return compile_player(hatch_build, folder, tag), hatch_build.compile_engine(ROOT, tag=tag)


def test_golden_traces_on_windows(tmp_path: Path, traces_file: tuple[Path, dict[str, int]]) -> None:
    wine = shutil.which("wine64") or shutil.which("wine")
    if wine is None:
        pytest.skip("wine is not installed")
    player, library = cross_build("win_amd64", tmp_path)
    path, rows = traces_file
    # Without a display, a prefix of its own, and no offers to install Mono or Gecko.
    environment = {
        "WINEPREFIX": str(tmp_path / "wine"),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "DISPLAY": "",
    }
    names = play([wine, str(player), f"Z:{library}", f"Z:{path}"], rows, environment)
    assert names == set(engines()) <= X86_ENGINES


def test_golden_traces_on_arm(tmp_path: Path, traces_file: tuple[Path, dict[str, int]]) -> None:
    qemu, libc = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64"), "/usr/aarch64-linux-gnu"
    if qemu is None or not Path(libc).exists():
        pytest.skip("qemu-user-static or libc6-arm64-cross is not installed")
    player, library = cross_build("manylinux_2_28_aarch64", tmp_path)
    path, rows = traces_file
    assert play([qemu, "-L", libc, str(player), str(library), str(path)], rows) == {"neon", "scalar"}
