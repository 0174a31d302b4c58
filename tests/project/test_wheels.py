"""Wheels of other platforms: how tools/build_wheels.py checks them, and golden traces under wine and qemu."""

import importlib.util
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

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
"""Set: wine and qemu play every golden trace. Else every fifth one of each variant, without the long ones."""

CROSS = os.environ.get("QWOP_TEST_CROSS") or ("zig" if os.environ.get(EVERY_TRACE) else None)
"""Who compiles for wine and qemu: zig, as for the wheels, or gcc, Debian's cross compilers, whose libraries
are compiled already. zig compiles some 400 files of its own the first time."""

CROSS_GCC = {
    # On Windows the stack is aligned to 16 bytes, and GCC moves vectors of 32 as if it were to 32:
    # https://gcc.gnu.org/bugzilla/show_bug.cgi?id=54412. So the assembler makes such moves unaligned.
    "win_amd64": ("x86_64-w64-mingw32-g++-posix", ("-Wa,-muse-unaligned-vector-move",)),
    "manylinux_2_28_aarch64": ("aarch64-linux-gnu-g++", ()),
}


def load(name: str) -> ModuleType:
    """A module of tools/ or the root, which are no packages."""
    pytest.importorskip("hatchling", reason="hatch_build.py needs hatchling")
    path = next(
        folder / f"{name}.py" for folder in (ROOT / "tools", ROOT) if (folder / f"{name}.py").exists()
    )
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return importlib.import_module(name)


def traces(variant: str, every: int, longest: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Golden traces of a variant, one in `every`, those of at most `longest` frames.

    Each is its keys, uint8 [T], frame numbers, int32 [R], and states, float64 [R, 92].

    The states are this machine's. They equal the recorded ones, in which the clock started with the page and
    zeros have no sign.
    """
    recorded = "rounded" if variant == "llvm" else variant  # no value in the traces tells the two apart
    found = []
    for name in ("constant", "random", "runs"):
        with np.load(GOLDEN / f"{recorded}_{name}.npz") as file:
            for i in range(0, sum(key.startswith("actions_") for key in file.files), every):
                if len(file[f"actions_{i}"]) <= longest:
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
    selection = (1, 10_000) if os.environ.get(EVERY_TRACE) else (5, 800)
    with path.open("wb") as file:
        for variant in TRIG_VARIANTS:
            chosen = traces(variant, *selection)
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
        command, env={**os.environ, **(environment or {})}, capture_output=True, text=True, encoding="utf-8"
    )
    played = [line.split() for line in result.stdout.splitlines()]
    print(result.stdout)
    assert played, result.stderr
    names = {line[1] for line in played}
    expected = {(v, e, t): [rows[v], 0] for v in TRIG_VARIANTS for e in names for t in THREADS}
    assert {(v, e, int(t)): [int(r), int(d)] for v, e, t, r, d in played} == expected
    assert result.returncode == 0, result.stderr
    return names


def compile_player(hatch_build: ModuleType, folder: Path, compiler: Any, tag: str | None = None) -> Path:
    """Compile the golden player for this machine, or for a platform."""
    path = folder / "golden_player.exe"
    flags = [*compiler.compile_flags, *compiler.link_flags]
    options = ["-O1", "-std=c++17", *flags, str(PLAYER), "-o", str(path)]
    linked = ["-ldl"] if platform.system() == "Linux" and tag != "win_amd64" else []
    hatch_build.run([*compiler.command, *options, *linked])
    return path


def test_golden_traces_without_python(tmp_path: Path, traces_file: tuple[Path, dict[str, int]]) -> None:
    hatch_build = load("hatch_build")
    try:
        player = compile_player(hatch_build, tmp_path, hatch_build.find_compiler())
    except SystemExit as error:
        pytest.skip(str(error))
    path, rows = traces_file
    library = ROOT / "game" / "qwop_game" / f"_engine{hatch_build.LIBRARY_SUFFIXES[platform.system()]}"
    assert play([str(player), str(library), str(path)], rows) == set(engines())

    # One changed bit of one number is seen, by every engine.
    damaged = bytearray(path.read_bytes())
    damaged[-8] ^= 1
    (tmp_path / "damaged.bin").write_bytes(damaged)
    result = subprocess.run(
        [player, library, tmp_path / "damaged.bin"], capture_output=True, text=True, encoding="utf-8"
    )
    assert result.returncode == 1
    different = [
        line.split()[-1] for line in result.stdout.splitlines() if line.startswith(TRIG_VARIANTS[-1])
    ]
    assert different == ["1"] * len(engines()) * len(THREADS)


def cross_compiler(hatch_build: ModuleType, tag: str) -> Any:
    """The compiler of CROSS for a platform, a hatch_build.Compiler."""
    if CROSS is None:
        pytest.skip("set QWOP_TEST_CROSS to gcc or zig to compile for other systems")
    if CROSS == "zig":
        pytest.importorskip("ziglang", reason="zig, which compiles for other platforms, is not installed")
        return hatch_build.find_compiler(hatch_build.TARGETS[tag])
    program, flags = CROSS_GCC[tag]
    version = hatch_build.compiler_version([program])
    if version is None:
        pytest.skip(f"{program} is not installed")
    static = ("-static",) if tag == "win_amd64" else ("-static-libstdc++", "-static-libgcc")
    return hatch_build.Compiler((program,), version, flags, (*static, "-s"))


def cross_build(tag: str, folder: Path) -> tuple[Path, Path]:
    """The player and the engine's library for a platform. zig's is the wheel's, and is checked as such."""
    hatch_build = load("hatch_build")
    compiler = cross_compiler(hatch_build, tag)
    player = compile_player(hatch_build, folder, compiler, tag)
    library = hatch_build.compile_engine(ROOT, tag=tag, compiler=compiler)
    if CROSS == "zig":
        assert faults(library, tag) == []
    return player, library


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
    assert faults(library, "manylinux2014_x86_64") == ["the engine is ELF for aarch64, not ELF for x86_64"]
    path, rows = traces_file
    assert play([qemu, "-L", libc, str(player), str(library), str(path)], rows) == {"neon", "scalar"}


def faults(library: Path, tag: str) -> list[str]:
    return load("build_wheels").library_faults(load("library_format").read_library(library), tag)


def mach_o(macos: int, loads: bytes) -> bytes:
    """A library for macOS on arm64 that is nothing but its load commands."""
    padded = loads + bytes(8 - len(loads) % 8)
    commands = struct.pack("<IIIIII", 0x32, 24, 1, macos, macos, 0)
    commands += struct.pack("<IIIIII", 0xC, 24 + len(padded), 24, 0, 0, 0) + padded
    return struct.pack("<IIIIIIII", 0xFEEDFACF, 0x0100000C, 0, 6, 2, len(commands), 0, 0) + commands


def test_what_a_library_asks_of_the_system_is_checked(tmp_path: Path) -> None:
    library_format, build_wheels = load("library_format"), load("build_wheels")
    library = tmp_path / "_engine.dylib"
    library.write_bytes(mach_o(0x000B0000, b"/usr/lib/libSystem.B.dylib"))
    assert faults(library, "macosx_11_0_arm64") == []
    assert faults(library, "macosx_11_0_x86_64") == [
        "the engine is Mach-O for aarch64, not Mach-O for x86_64"
    ]
    library.write_bytes(mach_o(0x000E0200, b"/opt/homebrew/lib/libc++.1.dylib"))
    assert faults(library, "macosx_11_0_arm64") == [
        "the engine is for macOS 14.2",
        "the engine needs /opt/homebrew/lib/libc++.1.dylib",
    ]
    for content in (b"\xcf\xfa\xed\xfe", b"MZ", b"\x7fELF", b"#!/bin/sh\n"):
        library.write_bytes(content)
        with pytest.raises(library_format.FormatError, match="_engine.dylib: "):
            library_format.read_library(library)

    elf = library_format.Library("ELF", "x86_64", ("libc.so.6", "libstdc++.so.6"), (2, 34), ())
    assert build_wheels.library_faults(elf, "manylinux2014_x86_64") == [
        "the engine needs glibc 2.34",
        "the engine needs libstdc++.so.6",
    ]
    dll = library_format.Library("PE", "x86_64", ("KERNEL32.dll", "libstdc++-6.dll"), (), ())
    assert build_wheels.library_faults(dll, "win_amd64") == ["the engine needs libstdc++-6.dll"]


@pytest.mark.skipif(platform.system() != "Linux", reason="readelf is for Linux")
def test_needs_of_an_elf_library_are_those_that_readelf_finds(tmp_path: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    path = ROOT / "game" / "qwop_game" / "_engine.so"
    text = subprocess.check_output(
        ["readelf", "--dynamic", "--version-info", path], text=True, encoding="utf-8"
    )
    versions = {tuple(map(int, version.split("."))) for version in re.findall(r"Name: GLIBC_([\d.]+)", text)}
    library = load("library_format").read_library(path)
    assert sorted(library.needs) == sorted(re.findall(r"Shared library: \[(.*)\]", text))
    assert library.glibc == max(versions) and library.format == "ELF"


def make_wheel(path: Path, tag: str, extra: str = "", without: str = "") -> Path:
    """A wheel of empty modules with the engine `mach_o` makes."""
    build_wheels = load("build_wheels")
    info = "qwop_stride-1.0.dist-info"
    files = {f"{package}/__init__.py": b"" for package in build_wheels.packages()}
    files |= {f"{info}/licenses/{name}": b"" for name in build_wheels.LICENSES}
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nTag: py3-none-{tag}\n".encode()
    files["qwop_game/_engine.dylib"] = mach_o(0x000B0000, b"/usr/lib/libSystem.B.dylib")
    if extra:
        files[extra] = b""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            if name != without:
                wheel.writestr(name, content)
    return path


def test_a_wheel_with_something_too_much_or_too_little_is_refused(tmp_path: Path) -> None:
    build_wheels, tag = load("build_wheels"), "macosx_11_0_arm64"
    path = tmp_path / f"qwop_stride-1.0-py3-none-{tag}.whl"
    assert build_wheels.check_wheel(make_wheel(path, tag), tag).macos == (11, 0)
    for extra, without, message in (
        ("qwop_game/runner.png", "", "qwop_game/runner.png should not be in it"),
        ("tests/test_game.py", "", "tests/test_game.py should not be in it"),
        ("qwop_game/_engine.so", "", "its engines are"),
        ("", "qwop_game/_engine.dylib", "its engines are"),
        ("", "qwop_recorder/__init__.py", "qwop_recorder missing"),
        ("", "qwop_stride-1.0.dist-info/licenses/NOTICE", "NOTICE missing"),
    ):
        with pytest.raises(build_wheels.WheelError, match=f"{tag}.whl: {re.escape(message)}"):
            build_wheels.check_wheel(make_wheel(path, tag, extra, without), tag)
    with pytest.raises(build_wheels.WheelError, match="its tags are"):
        build_wheels.check_wheel(make_wheel(path, "macosx_14_0_arm64"), tag)


def test_the_tools_name_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    build_wheels = load("build_wheels")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert build_wheels.main(["--targets", "win_amd64"]) == 2
    assert "no hatchling and no ziglang here" in capsys.readouterr().err


def test_the_sdist_holds_all_that_a_wheel_is_made_of_and_no_picture(tmp_path: Path) -> None:
    build_wheels = load("build_wheels")
    assert build_wheels.main(["--targets", "sdist", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.glob("*.tar.gz")
    broken = tmp_path / "broken.tar.gz"
    with tarfile.open(path) as whole, tarfile.open(broken, "w:gz") as archive:
        for member in whole.getmembers():
            if not member.name.endswith("/NOTICE"):
                archive.addfile(member, whole.extractfile(member) if member.isfile() else None)
    with pytest.raises(build_wheels.WheelError, match=r"missing \['NOTICE'\], pictures \[\]"):
        build_wheels.check_sdist(broken)
