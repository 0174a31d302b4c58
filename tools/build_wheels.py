"""Build the wheels of every platform, and the sdist, on any machine: python tools/build_wheels.py [--out DIR]

zig compiles the engine for each platform; hatch_build.py says how. Each wheel is then opened and checked: its
tag; the engine's format, machine and demands on the system; packages and licenses; no pictures, no tests.
It needs hatchling and ziglang, which are in the extra `dev`. The first build of a platform takes minutes,
because zig compiles its C++ library.
"""

import argparse  # not tyro: this runs with hatchling and ziglang alone, without the project
import email
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402
from library_format import FormatError, Library, read_library  # noqa: E402

PICTURES = (".gif", ".jpg", ".jpeg", ".mp4", ".png", ".svg", ".webm", ".webp")
LICENSES = {"LICENSE", "NOTICE"}

# Libraries that every system of a kind has; manylinux2014 allows those of Linux.
SYSTEM_LIBRARIES = {
    "ELF": r"lib(c|m|dl|pthread|rt)\.so\.\d|ld-linux-(x86-64|aarch64)\.so\.\d",
    "PE": r"(?i)(kernel32|ntdll|advapi32|api-ms-win-crt-[a-z]+-l1-1-0)\.dll",
    "Mach-O": r"/usr/lib/libSystem\.B\.dylib",
}


class WheelError(Exception):
    """A wheel or the sdist is wrong or could not be built."""


def promise(tag: str) -> tuple[str, str, tuple[int, ...]]:
    """Return the format, machine and oldest glibc or macOS that a platform tag stands for."""
    machine = "aarch64" if tag.endswith(("aarch64", "arm64")) else "x86_64"
    if tag.startswith("win"):
        return "PE", machine, ()
    if tag.startswith("manylinux2014"):
        return "ELF", machine, (2, 17)
    major, minor = map(int, re.findall(r"_(\d+)", tag)[:2])
    return ("Mach-O" if tag.startswith("macosx") else "ELF"), machine, (major, minor)


def library_faults(library: Library, tag: str) -> list[str]:
    """Return the reasons why a library does not fit a platform tag; [] if it does."""
    kind, machine, oldest = promise(tag)
    if (library.format, library.machine) != (kind, machine):
        return [f"the engine is {library.format} for {library.machine}, not {kind} for {machine}"]
    faults: list[str] = []
    if library.glibc > oldest:
        faults.append(f"the engine needs glibc {'.'.join(map(str, library.glibc))}")
    if kind == "Mach-O" and library.macos != oldest:
        faults.append(f"the engine is for macOS {'.'.join(map(str, library.macos)) or 'of any version'}")
    foreign = [name for name in library.needs if not re.fullmatch(SYSTEM_LIBRARIES[kind], name)]
    return faults + ([f"the engine needs {', '.join(foreign)}"] if foreign else [])


def packages() -> set[str]:
    """Return the names of the import packages in the repository."""
    return {path.parent.name for path in ROOT.glob("*/qwop_*/__init__.py")}


def check_wheel(path: Path, tag: str) -> Library:
    """Check that a wheel is complete and fits its tag, else raise WheelError. Returns its engine."""
    faults: list[str] = []
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        names = wheel.namelist()
        (info,) = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
        tags = email.message_from_bytes(wheel.read(f"{info}/WHEEL")).get_all("Tag")
        if not path.name.endswith(f"-py3-none-{tag}.whl") or tags != [f"py3-none-{tag}"]:
            faults.append(f"its tags are {tags}")
        system = hatch_build.TARGETS[tag].system
        engines = [name for name in names if name.split("/")[-1].startswith("_engine")]
        if engines != [f"qwop_game/_engine{hatch_build.LIBRARY_SUFFIXES[system]}"]:
            raise WheelError(f"{path.name}: its engines are {engines}")
        library = read_library(Path(wheel.extract(engines[0], folder)))
        faults += library_faults(library, tag)
        unwanted = [n for n in names if n.lower().endswith(PICTURES) or re.search(r"(^|/)(tests?/|test_)", n)]
        faults += [f"{', '.join(unwanted)} should not be in it"] if unwanted else []
        missing = sorted(packages() - {name.split("/")[0] for name in names})
        missing += sorted(LICENSES - {n.split("/")[-1] for n in names if n.startswith(f"{info}/licenses/")})
        faults += [f"{', '.join(missing)} missing"] if missing else []
    if faults:
        raise WheelError(f"{path.name}: {'; '.join(faults)}")
    return library


def check_sdist(path: Path) -> None:
    """Raise WheelError if the sdist has a picture, or lacks a file that a wheel or its tests need."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "hatch_build.py", "README.md", "demos/policy.safetensors", *LICENSES}
    needed |= {
        str(source.relative_to(ROOT).as_posix()) for source in (ROOT / "game" / "engine").glob("*.[ch]*")
    }
    pictures = sorted(name for name in names if name.lower().endswith(PICTURES))
    if needed - names or pictures:
        raise WheelError(f"{path.name}: missing {sorted(needed - names)}, pictures {pictures}")


def build(kind: str, out: Path, tag: str = "") -> Path:
    """Let hatchling build a wheel for a platform tag, or the sdist. Returns the file's path."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(out)]
    environment = {**os.environ, hatch_build.TARGET_VARIABLE: tag}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = result.stdout.decode(errors="replace").strip()
    if result.returncode != 0:
        raise WheelError(f"{tag or kind}: hatchling failed\n{output}")
    return out / Path(output.splitlines()[-1]).name


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Build and check the wheels of every platform, and the sdist."
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="default: dist")
    choices = (*hatch_build.TARGETS, "sdist")
    parser.add_argument("--targets", nargs="+", choices=choices, default=choices, help="default: all")
    chosen = parser.parse_args(arguments)
    missing = [name for name in ("hatchling", "ziglang") if not importlib.util.find_spec(name)]
    if missing:
        print(f"build_wheels: no {' and no '.join(missing)} here: pip install -e '.[dev]'", file=sys.stderr)
        return 2
    try:
        for target in chosen.targets:
            if target == "sdist":
                path = build("sdist", chosen.out)
                check_sdist(path)
                facts = "no pictures, and all files that a wheel needs"
            else:
                path = build("wheel", chosen.out, target)
                library = check_wheel(path, target)
                version = ".".join(map(str, library.glibc or library.macos))
                oldest = f" {'glibc' if library.glibc else 'macOS'} {version}" if version else ""
                facts = f"{library.format} {library.machine}{oldest}, needs {' '.join(library.needs)}"
            print(f"{path.name}  {path.stat().st_size:,} bytes: {facts}", flush=True)
    except (WheelError, FormatError, OSError) as error:
        print(f"build_wheels: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
