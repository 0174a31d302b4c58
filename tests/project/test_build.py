"""Compiling the engine: what is compiled again when, for which machine, and what is said where it can't."""

import ctypes
import importlib.util
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

HATCH_BUILD = Path(__file__).parents[2] / "hatch_build.py"


def load_hatch_build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", HATCH_BUILD)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hatch_build = load_hatch_build()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose engine is two sources and a header."""
    engine = tmp_path / "game" / "engine"
    engine.mkdir(parents=True)
    (tmp_path / "game" / "qwop_game").mkdir()
    (engine / "answer.h").write_text("inline int answer() { return 42; }\n", encoding="utf-8")
    exported = 'extern "C" __attribute__((visibility("default")))'
    (engine / "one.cpp").write_text(
        f'#include "answer.h"\n{exported} int one() {{ return answer(); }}\n', encoding="utf-8"
    )
    (engine / "lanes_avx2.cpp").write_text(
        f"{exported} double multiply_subtract(double a, double b) {{ return a * a - b; }}\n", encoding="utf-8"
    )
    return tmp_path


def objects(checkout: Path) -> dict[str, str]:
    """Source's stem -> file name of its object."""
    paths = (checkout / "build" / "engine").glob("*.o")
    return {path.name.rpartition("-")[0]: path.name for path in paths}


def test_a_loaded_library_is_renamed_on_windows(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it can be neither replaced nor removed while a program has it."""
    monkeypatch.setenv("CXX", shlex.join(hatch_build.find_compiler().command))  # else Windows takes zig
    monkeypatch.setattr(hatch_build.platform, "system", lambda: "Windows")
    library = hatch_build.compile_engine(checkout)
    first = library.read_bytes()
    (checkout / "game" / "engine" / "answer.h").write_text("int answer();\n", encoding="utf-8")
    (checkout / "game" / "engine" / "one.cpp").write_text("int unused;\n", encoding="utf-8")
    unlink = Path.unlink

    def refusing(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".old":
            raise PermissionError(13, "Access is denied")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refusing)
        hatch_build.compile_engine(checkout)
    (old,) = library.parent.glob("_engine-*.old")
    assert old.read_bytes() == first and library.read_bytes() != first
    hatch_build.compile_engine(checkout)
    assert list(library.parent.iterdir()) == [library]


def test_only_what_changed_is_compiled_again(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    library = hatch_build.compile_engine(checkout)
    assert (
        library
        == checkout / "game" / "qwop_game" / f"_engine{hatch_build.LIBRARY_SUFFIXES[platform.system()]}"
    )
    assert ctypes.CDLL(str(library)).one() == 42
    first, linked_at = objects(checkout), library.stat().st_mtime_ns
    capfd.readouterr()

    hatch_build.compile_engine(checkout)
    assert capfd.readouterr().out == ""
    assert (objects(checkout), library.stat().st_mtime_ns) == (first, linked_at)

    source = checkout / "game" / "engine" / "one.cpp"
    source.write_text(source.read_text(encoding="utf-8") + "// a comment\n", encoding="utf-8")
    hatch_build.compile_engine(checkout)
    second = objects(checkout)
    assert {stem for stem in first if first[stem] != second[stem]} == {"one"}

    (checkout / "game" / "engine" / "answer.h").write_text(
        "inline int answer() { return 43; }\n", encoding="utf-8"
    )
    hatch_build.compile_engine(checkout)
    third = objects(checkout)
    assert set(third) == set(second) and not set(third.values()) & set(second.values())
    read = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).one())"
    assert (
        subprocess.check_output([sys.executable, "-c", read, str(library)], text=True, encoding="utf-8")
        == "43\n"
    )


@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="lanes_avx2.cpp is for x86-64")
def test_products_are_rounded_even_where_fused_multiply_adds_are_allowed(checkout: Path) -> None:
    function = ctypes.CDLL(str(hatch_build.compile_engine(checkout))).multiply_subtract
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double, ctypes.c_double]
    assert function(1.1, 1.1 * 1.1) == 0.0  # fused: the rounding error of 1.1 * 1.1, 8.9e-18


@pytest.mark.parametrize(
    ("machine", "chosen"),
    [
        ("x86_64", ["lanes_avx2", "lanes_avx512", "lanes_sse2", "world"]),
        ("AMD64", ["lanes_avx2", "lanes_avx512", "lanes_sse2", "world"]),
        ("arm64", ["lanes_neon", "world"]),
        ("riscv64", ["world"]),
    ],
)
def test_each_machine_compiles_its_own_lanes(tmp_path: Path, machine: str, chosen: list[str]) -> None:
    for stem in ("lanes_avx2", "lanes_avx512", "lanes_neon", "lanes_sse2", "world"):
        (tmp_path / f"{stem}.cpp").touch()
    flags = {path.stem: options for path, options in hatch_build.sources(tmp_path, machine)}
    assert sorted(flags) == chosen
    assert flags["world"] == []
    assert all("-march=native" not in options for options in flags.values())


def test_a_machine_without_a_compiler_gets_one_from_pypi_or_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(hatch_build.shutil, "which", lambda name: None)
    hook = hatch_build.EngineBuildHook.__new__(hatch_build.EngineBuildHook)
    assert hook.dependencies() == [hatch_build.ZIG_REQUIREMENT]
    monkeypatch.setattr(hatch_build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^engine: no C\+\+17 compiler found .* `pip install ziglang==.*`$"):
        hatch_build.find_compiler()


def test_a_wrong_cxx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(SystemExit, match="^engine: CXX=no-such-compiler -O1 does not run: "):
        hatch_build.find_compiler()


def fake_system(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> list[list[str]]:
    """Pretend to be another system. Returns the commands that would have been run."""
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        Path(command[command.index("-o") + 1]).touch()

    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(hatch_build, "run", run)
    monkeypatch.setattr(hatch_build.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(hatch_build.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(hatch_build, "compiler_version", lambda command: "version 1")
    return commands


def test_windows_prefers_zig_to_mingw(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = fake_system(monkeypatch, "Windows", "AMD64")
    assert hatch_build.compile_engine(checkout).name == "_engine.dll"
    assert {tuple(command[1:4]) for command in commands} == {("-m", "ziglang", "c++")}
    assert all("-fPIC" not in command and "-pthread" not in command for command in commands)
    hook = hatch_build.EngineBuildHook.__new__(hatch_build.EngineBuildHook)
    assert hook.dependencies() == [hatch_build.ZIG_REQUIREMENT]
    monkeypatch.setattr(hatch_build.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        SystemExit, match=r"^engine: no C\+\+17 compiler found \(tried CXX, ziglang\): `pip install"
    ):
        hatch_build.find_compiler()


def test_macos_builds_are_for_the_oldest_macos_of_their_tag(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = fake_system(monkeypatch, "Darwin", "arm64")
    assert hatch_build.compile_engine(checkout).name == "_engine.dylib"
    assert len(commands) == 2  # lanes_avx2.cpp is not for this machine
    assert all(
        command[0] == "/usr/bin/c++" and "-mmacosx-version-min=11.0" in command for command in commands
    )
    assert "-Wl,-install_name,@rpath/_engine.dylib" in commands[-1]
    assert hatch_build.local_platform_tag() == "macosx_11_0_arm64"


@pytest.mark.parametrize("tag", hatch_build.TARGETS)
def test_a_wheel_for_another_platform(checkout: Path, monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    """Zig compiles it into a folder of its own; this machine's library is not touched."""
    commands = fake_system(monkeypatch, "Linux", "riscv64")
    own = hatch_build.compile_engine(checkout)
    own.write_text("own", encoding="utf-8")
    commands.clear()
    monkeypatch.setenv(hatch_build.TARGET_VARIABLE, tag)
    hook = hatch_build.EngineBuildHook(str(checkout), {}, None, None, "", "wheel")
    assert hook.dependencies() == [hatch_build.ZIG_REQUIREMENT]
    data: dict = {"force_include": {}}
    hook.initialize("standard", data)
    ((library, name),) = data["force_include"].items()
    assert data["tag"] == f"py3-none-{tag}" and not data["pure_python"]
    assert Path(library).parent == checkout / "build" / f"engine-{tag}"
    assert name == f"qwop_game/{Path(library).name}" and own.read_text(encoding="utf-8") == "own"
    triple = hatch_build.TARGETS[tag].zig_triple
    assert all(command[command.index("-target") + 1] == triple for command in commands)
    lanes = any("lanes_avx2.cpp" in argument for command in commands for argument in command)
    assert lanes == triple.startswith("x86_64")

    hook.initialize("editable", data)
    assert data["tag"] == f"py3-none-{hatch_build.local_platform_tag()}" and str(own) in data["force_include"]


def test_an_unknown_platform_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hatch_build.TARGET_VARIABLE, "win32")
    with pytest.raises(SystemExit, match="^engine: QWOP_WHEEL_TARGET=win32 is unknown: choose one of many"):
        hatch_build.chosen_tag()
