"""Seconds of training until 90 % of protocol P's episodes finish upright: from nothing, from demonstrations.

    python benchmarks/time_to_runner.py [nothing] [demonstrations] [--seeds 3] [--threads 2] [--json]

What trains are commands as a user types them, printed as they start; from demonstrations `make run`'s. The
clock is the wall's, from a command's start, Python's own included. Whenever a training has written a
checkpoint it is stopped where it stands (SIGSTOP, so not on Windows) while the checkpoint plays 100 episodes
in `qwop-eval`: evaluations cost it no time. A run is upright with a knee near the track in less than 2 % of
its frames and an upright posture in more than 90 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwop_cli import json_text
from qwop_stride.run import CLONING, FINETUNING, MODULES, bundled_demos

ENOUGH = 0.9
MAX_KNEE, MIN_UPRIGHT = 0.02, 0.9
FIRST_SEED = 10_000  # of the episodes; trainings and qwop-eval's default use small ones
# A knee near the track ends the episode: what can't scrape learns to stride.
FROM_NOTHING = "--frame-skip 4 --reward stride --reward-option knee_seconds=0 --total-steps 8000000"
FROM_CLONE = f"{FINETUNING} --total-steps 3000000"
CLONE_EPOCHS = 20
TARGET_SECONDS = {"nothing": 300, "demonstrations": 120}


def commands(start: str, folder: Path, seed: int, options: argparse.Namespace) -> list[list[str]]:
    """What trains, one after the other; checkpoints appear in `folder` and below."""
    finetune = ["qwop-finetune", "--out", str(folder / "runner.safetensors"), "--keep-checkpoints"]
    finetune += ["--checkpoint-every", str(options.every), "--seed", str(seed)]
    speed = f"--precision auto --threads {options.threads}".split()
    if start == "nothing":
        return [finetune + FROM_NOTHING.split() + speed]
    clone = folder / "clone.safetensors"
    demos = str(bundled_demos())
    cloning = ["qwop-bc", demos, "--out", str(clone), "--epochs", str(CLONE_EPOCHS), "--seed", str(seed)]
    finetune += ["--init", str(clone), "--demos", demos]
    return [cloning + CLONING.split(), finetune + FROM_CLONE.split() + speed]


def python_of(command: Sequence[str]) -> list[str]:
    """How this interpreter runs one of the project's commands."""
    code = (
        f"import sys; from {MODULES[command[0]]} import main; sys.argv[0] = {command[0]!r}; sys.exit(main())"
    )
    return [sys.executable, "-c", code, *command[1:]]


def finished_upright(checkpoint: Path, episodes: int) -> float:
    """Share of protocol P's episodes."""
    command = ["qwop-eval", str(checkpoint), "--episodes", str(episodes), "--seed", str(FIRST_SEED), "--json"]
    output = subprocess.run(
        python_of(command), check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ).stdout
    runs = json.loads(output)["runs"]
    good = [r["finished"] and r["knee_near"] < MAX_KNEE and r["upright"] > MIN_UPRIGHT for r in runs]
    return sum(good) / len(good)


def train(start: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training until it is good enough, or its commands' end: {"seconds": or None, "curve": ...}."""
    curve: list[tuple[float, str, float]] = []  # seconds of training, checkpoint, share finished upright
    spent = 0.0
    with tempfile.TemporaryDirectory() as directory:
        folder, seen = Path(directory), set()
        for command in commands(start, folder, seed, options):
            print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
            process = subprocess.Popen(python_of(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            with contextlib.ExitStack() as at_the_end:
                at_the_end.callback(end, process)
                since = time.monotonic()
                over = False
                while not over:
                    time.sleep(0.05)
                    over = process.poll() is not None
                    new = set(folder.glob("**/[!.]*.safetensors")) - seen - {folder / "runner.safetensors"}
                    if not over:  # the clone is rewritten epoch after epoch: the last one counts
                        new.discard(folder / "clone.safetensors")
                    if not new:
                        continue
                    seen |= new
                    newest = max(new, key=lambda path: path.stat().st_mtime_ns)
                    if not over:
                        process.send_signal(signal.SIGSTOP)
                    spent += time.monotonic() - since
                    share = finished_upright(newest, options.episodes)
                    curve.append((round(spent, 1), newest.stem, share))
                    print(f"  {spent:6.1f} s  {newest.stem:>12}  {share:.2f}", file=sys.stderr, flush=True)
                    if share >= ENOUGH:
                        return {"start": start, "seed": seed, "seconds": round(spent, 1), "curve": curve}
                    since = time.monotonic()
                    if not over:
                        process.send_signal(signal.SIGCONT)
                if process.returncode:
                    assert process.stderr is not None
                    raise SystemExit(process.stderr.read().decode())
                spent += time.monotonic() - since
    return {"start": start, "seed": seed, "seconds": None, "curve": curve}


def end(process: subprocess.Popen[bytes]) -> None:
    """No training outlives its measurement, stopped or not."""
    if process.poll() is None:
        process.kill()
    process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "starts", nargs="*", metavar="START", help=f"of {', '.join(TARGET_SECONDS)}; default: both"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings from each start (default: %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=2, help="of PPO (default: %(default)s)")
    parser.add_argument("--episodes", type=int, default=100, help="of an evaluation (default: %(default)s)")
    parser.add_argument("--every", type=int, default=500_000, help="steps between two (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    starts = options.starts or list(TARGET_SECONDS)
    if unknown := [start for start in starts if start not in TARGET_SECONDS]:
        parser.error(f"{unknown[0]!r} is no start: choose from {', '.join(TARGET_SECONDS)}")
    results = [train(start, seed, options) for start in starts for seed in range(options.seeds)]
    if options.json:
        print(json_text(results, indent=1))
        return 0
    for start in starts:
        times = [r["seconds"] for r in results if r["start"] == start]
        shown = ", ".join("never" if t is None else f"{t:.0f} s" for t in times)
        reached = sorted(t for t in times if t is not None)
        median = f"{statistics.median(reached):.0f} s" if len(reached) == len(times) else "-"
        print(f"from {start:15} median {median:>6} of {shown}; target {TARGET_SECONDS[start]} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
