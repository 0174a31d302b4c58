"""Run the engine's tests under the address and undefined-behavior sanitizers: `make sanitize`.

It compiles the engine once more, into build/sanitize, and needs GCC's sanitizers (Linux). Arguments go
to pytest.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import hatch_build  # noqa: E402

COPY = ROOT / "build" / "sanitize"
FLAGS = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# One variant of sine and cosine is enough: they share all other code. The test of memory cannot pass, because
# the address sanitizer keeps freed memory for a while.
TESTS = ("tests/game/test_engine.py", "tests/game/test_episodes.py")
SELECTION = "not llvm and not glibc and not fdlibm and not msun and not memory"


def runtimes(compiler: tuple[str, ...]) -> list[str]:
    """The sanitizers' shared libraries, which must be loaded before Python's own. [] where there are none."""
    found = []
    for name in ("libasan.so", "libubsan.so"):
        command = [*compiler, f"-print-file-name={name}"]
        path = subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout.strip()
        if not Path(path).is_absolute():
            return []
        found.append(path)
    return found


def main() -> int:
    libraries = runtimes(hatch_build.find_compiler().command)
    if not libraries:
        print("sanitize: the compiler has no libasan.so: install GCC, or set CXX=g++", file=sys.stderr)
        return 2
    for folder in ("engine", "qwop_game"):
        shutil.copytree(
            ROOT / "game" / folder,
            COPY / "game" / folder,
            ignore=shutil.ignore_patterns("_engine*", "__pycache__"),
            dirs_exist_ok=True,
        )
    for source in (COPY / "game" / "engine").iterdir():
        if not (ROOT / "game" / "engine" / source.name).exists():
            source.unlink()
    hatch_build.compile_engine(COPY, FLAGS)
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python leaves memory to the exit
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONPATH": str(COPY / "game"),
    }
    where = "import qwop_game; print('sanitize:', qwop_game.__file__)"
    subprocess.run([sys.executable, "-c", where], env=environment, check=True)
    command = [sys.executable, "-m", "pytest", "-q", "-x", *TESTS, "-k", SELECTION, *sys.argv[1:]]
    return subprocess.run(command, env=environment, cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
