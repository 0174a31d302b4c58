"""Compile the C++ engine, game/engine/*.cpp, into one shared library beside the Python package that loads it.

Hatchling calls EngineBuildHook for wheels and editable installs; `python hatch_build.py` compiles in place.
ctypes loads the library, so one wheel works with every Python: py3-none-<platform>. If $QWOP_WHEEL_TARGET
names one of TARGETS, zig compiles for that platform on any machine: see tools/build_wheels.py.
"""

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import platform_tags

# For the game's bits, every product and sum must be rounded once: no contraction into fused multiply-adds and
# no reordering. Also no -march=native, because a wheel has to run on other machines.
FLAGS = ["-O3", "-std=c++17", "-fvisibility=hidden", "-ffp-contract=off", "-fno-fast-math"]

# lanes_<isa>.cpp is compiled for its instruction set; the CPU decides at run time which one is used.
ISA_FLAGS = {
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "sse2": [],
    "neon": [],
}
ISAS_OF_MACHINE = {
    "x86_64": {"avx512", "avx2", "sse2"},
    "amd64": {"avx512", "avx2", "sse2"},
    "aarch64": {"neon"},
    "arm64": {"neon"},
}

# A complete C++ compiler as a Python package, for machines without one. The flags are necessary because by
# default zig builds for this CPU and traps on undefined behavior. -s removes the symbols of its static
# libraries (1.4 MB).
ZIG_REQUIREMENT = "ziglang==0.17.1"
ZIG_FLAGS = ["-mcpu=baseline", "-fno-sanitize=undefined"]

# The oldest macOS that runs the library, the same as for torch.
MACOS_VERSION = "11.0"
SYSTEM_FLAGS = {
    "Windows": [],
    "Darwin": ["-fPIC", "-pthread", f"-mmacosx-version-min={MACOS_VERSION}"],
    "Linux": ["-fPIC", "-pthread"],
}
# Without an install name, a macOS library contains the path at which it was linked.
SYSTEM_LINK_FLAGS = {"Darwin": ["-Wl,-install_name,@rpath/_engine.dylib"]}
LIBRARY_SUFFIXES = {"Windows": ".dll", "Darwin": ".dylib", "Linux": ".so"}


class Target(NamedTuple):
    """The platform that the engine is compiled for."""

    system: str  # as platform.system() calls it
    machine: str  # as platform.machine() calls it
    zig_triple: str | None  # None: this machine, so the compiler needs no target flag


# By the wheel's platform tag. zig links against the C library in the triple, which is that of the tag.
TARGETS = {
    "manylinux2014_x86_64": Target("Linux", "x86_64", "x86_64-linux-gnu.2.17"),
    "manylinux_2_28_aarch64": Target("Linux", "aarch64", "aarch64-linux-gnu.2.28"),
    "win_amd64": Target("Windows", "AMD64", "x86_64-windows-gnu"),
    "macosx_11_0_arm64": Target("Darwin", "arm64", f"aarch64-macos.{MACOS_VERSION}"),
    "macosx_11_0_x86_64": Target("Darwin", "x86_64", f"x86_64-macos.{MACOS_VERSION}"),
}
TARGET_VARIABLE = "QWOP_WHEEL_TARGET"


def this_machine() -> Target:
    return Target(platform.system(), platform.machine(), None)


def chosen_tag() -> str | None:
    """Return the platform tag in $QWOP_WHEEL_TARGET; None if it is not set."""
    tag = os.environ.get(TARGET_VARIABLE)
    if tag and tag not in TARGETS:
        raise SystemExit(f"engine: {TARGET_VARIABLE}={tag} is unknown: choose one of {', '.join(TARGETS)}")
    return tag or None


class Compiler(NamedTuple):
    command: tuple[str, ...]
    version: str  # first line of `--version`: a new compiler compiles everything again
    compile_flags: tuple[str, ...] = ()
    link_flags: tuple[str, ...] = ()


def compiler_version(command: list[str]) -> str | None:
    """Return the first line of `command --version`; None if it fails, as macOS's c++ does without Xcode."""
    try:
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, encoding="utf-8")
    except OSError:
        return None
    return result.stdout.partition("\n")[0] if result.returncode == 0 else None


def installed_compiler() -> Compiler | None:
    """Return $CXX if it is set, else the first of c++, g++ and clang++ that runs.

    On Windows only $CXX counts: libraries of MinGW's g++ need DLLs from its folder, where Python does not
    search.
    """
    if os.environ.get("CXX"):
        command = shlex.split(os.environ["CXX"])
        version = compiler_version(command)
        if version is None:
            raise SystemExit(
                f"engine: CXX={shlex.join(command)} does not run: name a C++17 compiler or unset it"
            )
        return Compiler(tuple(command), version)
    for name in () if platform.system() == "Windows" else ("c++", "g++", "clang++"):
        path = shutil.which(name)
        version = compiler_version([path]) if path else None
        if path and version:
            return Compiler((path,), version)
    return None


def zig(triple: str | None) -> Compiler | None:
    """Return the installed zig as a compiler for `triple` or for this machine."""
    if not importlib.util.find_spec("ziglang"):
        return None
    command = [sys.executable, "-m", "ziglang", "c++"]
    version = compiler_version(command)
    if version is None:
        return None
    flags = (*ZIG_FLAGS, *(("-target", triple) if triple else ()))
    # -O3 also applies to zig's C++ library: a small Windows library then has 231 kB instead of 712.
    return Compiler(tuple(command), f"zig {version}", flags, (*flags, "-O3", "-s"))


def find_compiler(target: Target | None = None) -> Compiler:
    """Return the compiler for this machine, or zig for a target of TARGETS."""
    triple = target.zig_triple if target else None
    compiler = None if triple else installed_compiler()
    compiler = compiler or zig(triple)
    if compiler is not None:
        return compiler
    if triple:
        raise SystemExit(f"engine: only zig compiles for {triple}: `pip install {ZIG_REQUIREMENT}`")
    if platform.system() == "Windows":
        raise SystemExit(
            f"engine: no C++17 compiler found (tried CXX, ziglang): `pip install {ZIG_REQUIREMENT}`"
        )
    raise SystemExit(
        "engine: no C++17 compiler found (tried CXX, c++, g++, clang++, ziglang): install one, "
        f"for example by `apt-get install g++`, `xcode-select --install` or `pip install {ZIG_REQUIREMENT}`"
    )


def sources(engine: Path, machine: str) -> list[tuple[Path, list[str]]]:
    """Return each source for a machine, with the compiler flags of its instruction set."""
    isas = ISAS_OF_MACHINE.get(machine.lower(), set())
    chosen: list[tuple[Path, list[str]]] = []
    for source in sorted(engine.glob("*.cpp")):
        isa = source.stem.rpartition("_")[2]
        if isa not in ISA_FLAGS:
            chosen.append((source, []))
        elif isa in isas:
            chosen.append((source, ISA_FLAGS[isa]))
    if not chosen:
        raise SystemExit(f"engine: no C++ sources in {engine}: the checkout is incomplete")
    return chosen


def digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if result.returncode != 0:
        raise SystemExit(f"{result.stdout}{result.stderr}engine: this command failed: {shlex.join(command)}")


def compile_engine(
    root: Path, extra_flags: Sequence[str] = (), tag: str | None = None, compiler: Compiler | None = None
) -> Path:
    """Compile what has changed, link the engine's library and return its path.

    extra_flags: flags for the compiler and the linker, after all others.
    tag: a key of TARGETS: zig writes build/engine-<tag>/_engine.<suffix>. None: the library of this machine,
        game/qwop_game/_engine.<suffix>.
    compiler: the compiler. None: the one that `find_compiler` finds.

    The name of an object file has a digest of all its inputs, so an unchanged source is not compiled again.
    """
    target = TARGETS[tag] if tag else this_machine()
    engine, objects = root / "game" / "engine", root / "build" / (f"engine-{tag}" if tag else "engine")
    folder = objects if tag else root / "game" / "qwop_game"
    library = folder / f"_engine{LIBRARY_SUFFIXES.get(target.system, '.so')}"
    compiler = compiler or find_compiler(target)
    system_flags = SYSTEM_FLAGS.get(target.system, SYSTEM_FLAGS["Linux"])
    flags = [*FLAGS, *compiler.compile_flags, *system_flags]
    headers = [path.read_bytes() for path in sorted(engine.glob("*.h*"))]
    objects.mkdir(parents=True, exist_ok=True)

    wanted: dict[Path, list[str]] = {}
    for source, isa_flags in sources(engine, target.machine):
        options = [*flags, *isa_flags, *extra_flags]
        name = f"{source.stem}-{digest(compiler.version, options, source.read_bytes(), headers)}.o"
        wanted[objects / name] = [*compiler.command, *options, "-c", str(source), "-o"]

    def compile_object(path: Path) -> None:
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        try:
            run([*wanted[path], str(unfinished)])
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    missing = [path for path in wanted if not path.exists()]
    if missing:
        print(f"engine: compiling {len(missing)} of {len(wanted)} files with {compiler.version}", flush=True)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(compile_object, missing))

    named = SYSTEM_LINK_FLAGS.get(target.system, [])
    link = ["-shared", *compiler.link_flags, *system_flags, *named, *extra_flags]
    linked = objects / "linked"
    state = digest(link, sorted(path.name for path in wanted))
    if not library.exists() or not linked.exists() or linked.read_text(encoding="utf-8") != state:
        # A process may have mapped the old library, so never write into that file.
        unfinished = library.with_name(f"_engine-{os.getpid()}.part")
        try:
            run([*compiler.command, *link, *map(str, wanted), "-o", str(unfinished)])
            if library.exists() and platform.system() == "Windows":
                # A loaded library can't be replaced, but it can be renamed. A later build removes it.
                os.replace(library, library.with_name(f"_engine-{os.getpid()}.old"))
            os.replace(unfinished, library)
        finally:
            unfinished.unlink(missing_ok=True)
        linked.write_text(state, encoding="utf-8")
    for path in library.parent.glob("_engine-*.old"):
        with contextlib.suppress(OSError):
            path.unlink()
    for path in objects.glob("*.o"):
        if path not in wanted:
            path.unlink()
    return library


class EngineBuildHook(BuildHookInterface[BuilderConfig]):
    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        return [] if not chosen_tag() and installed_compiler() else [ZIG_REQUIREMENT]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        tag = chosen_tag() if version != "editable" else None  # an editable install is for this machine
        library = compile_engine(Path(self.root), tag=tag)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{tag or local_platform_tag()}"
        build_data["force_include"][str(library)] = f"qwop_game/{library.name}"


def local_platform_tag() -> str:
    """Return this machine's own tag. A local build does not meet the rules of manylinux and musllinux."""
    if platform.system() == "Darwin":
        return f"macosx_{MACOS_VERSION.replace('.', '_')}_{platform.machine()}"
    return next(tag for tag in platform_tags() if not tag.startswith(("manylinux", "musllinux")))


if __name__ == "__main__":
    compile_engine(Path(__file__).resolve().parent)
