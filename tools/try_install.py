"""Run every command of an installed qwop-stride once: python tools/try_install.py

It shows every --help, then does a short job with each command that needs neither display nor browser, in an
empty folder, and prints a line for each. It tests a wheel: run it by the environment's own Python.
"""

import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from qwop_stride.run import bundled_demos

JOBS = """
qwop-data info DEMOS
qwop-data verify DEMOS
qwop-rewards compare DEMOS
qwop-bc DEMOS --out clone.safetensors --epochs 1
qwop-finetune --init clone.safetensors --out runner.safetensors --total-steps 20000
qwop-eval runner.safetensors --episodes 2
qwop-search --out best.h5 --frames 200000
qwop-replay DEMOS --html run.html
qwop-replay DEMOS --video run.mp4
qwop-run --epochs 1 --steps 20000 --episodes 2
"""


def succeeds(command: list[str], folder: str) -> bool:
    """Run a command of this environment and print how it went."""
    program = Path(sysconfig.get_path("scripts")) / command[0]
    result = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True)
    print(f"{'ok    ' if result.returncode == 0 else 'FAILED'} {' '.join(command)}", flush=True)
    if result.returncode != 0:
        print((result.stdout + result.stderr).decode(errors="replace"))
    return result.returncode == 0


def main() -> int:
    scripts = distribution("qwop-stride").entry_points.select(group="console_scripts")
    commands = [[script.name, "--help"] for script in scripts]
    demos = str(bundled_demos())
    commands += [
        [demos if word == "DEMOS" else word for word in line.split()] for line in JOBS.split("\n") if line
    ]
    with tempfile.TemporaryDirectory() as folder:
        failed = [command for command in commands if not succeeds(command, folder)]
    print(f"{len(commands) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
