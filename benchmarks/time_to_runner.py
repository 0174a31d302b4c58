"""Measure the seconds of training until 90 % of protocol P's episodes finish upright.

    python benchmarks/time_to_runner.py [nothing] [demonstrations] [--seeds 3] [--threads 2] [--json]
    python benchmarks/time_to_runner.py --ray HOST:PORT [--tasks FOLDER]   # each training is a task

Trainings start from nothing, or from demonstrations with the commands of `make run`. All commands are
printed. Times are wall-clock times from a command's start, including Python's own start. After each
checkpoint, the training is paused (SIGSTOP, so not on Windows) while `qwop-eval` plays 100 episodes, so
evaluations do not count. On Linux it says the CPU seconds as well: on a busy machine, compare these. A run
is upright if a knee is near the track in less than 2 % of its frames and the posture is upright in more than
90 %.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro
from studies import kept_results

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions, map_tasks
from qwop_stride.run import CLONING, FINETUNING, MODULES, bundled_demos

PROGRAM = "time_to_runner"
Start = Literal["nothing", "demonstrations"]
ENOUGH = 0.9
MAX_KNEE, MIN_UPRIGHT = 0.02, 0.9
FIRST_SEED = 10_000  # of the episodes; trainings and qwop-eval's default use small seeds
# A knee near the track ends the episode, so the policy can't scrape and learns to stride.
FROM_NOTHING = "--frame-skip 4 --reward stride --reward-option knee_seconds=0 --hidden 128 128"
PPO_FROM_NOTHING = (
    "--optimizer muon --learning-rate 1.5e-3 --epochs 1 --minibatch-size 512 --rollout-length 16 "
    "--average-steps 200000"
)
CLONE_EPOCHS = 20
TARGET_SECONDS: dict[Start, int] = {"nothing": 300, "demonstrations": 120}


@dataclass(frozen=True)
class TimingConfig:
    """Measure the seconds of training until 90 % of protocol P's episodes finish upright."""

    starts: Annotated[
        tuple[Start, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[START...]", help_behavior_hint="(default: both)"),
    ] = ()
    """Starts of the trainings: nothing, demonstrations."""
    seeds: int = 3
    """Trainings from each start."""
    algorithm: Literal["ppo", "expert-iteration"] = "ppo"
    """Learner of the trainings from nothing."""
    threads: int = 2
    """Threads of the learner."""
    episodes: int = 100
    """Episodes of an evaluation."""
    every: int = 500_000
    """Environment steps between two evaluations."""
    steps: int = 3_000_000
    """Environment steps of a training at most."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list instead of a table."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        for name in ("seeds", "threads", "episodes", "every", "steps"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name} {getattr(self, name)}: expected 1 or more")


def commands(start: Start, folder: Path, seed: int, config: TimingConfig) -> list[list[str]]:
    """Return the commands of a training, in order. They write checkpoints to `folder` and below."""
    finetune = ["qwop-finetune", "--out", str(folder / "runner.safetensors"), "--keep-checkpoints"]
    finetune += ["--checkpoint-every", str(config.every), "--seed", str(seed)]
    steps = ["--threads", str(config.threads), "--total-steps", str(config.steps)]
    if start == "nothing" and config.algorithm == "expert-iteration":
        return [[*finetune, "--algorithm", "expert-iteration", *FROM_NOTHING.split(), *steps]]
    speed = ["--precision", "auto", *steps]
    if start == "nothing":
        return [finetune + FROM_NOTHING.split() + PPO_FROM_NOTHING.split() + speed]
    clone = folder / "clone.safetensors"
    demos = str(bundled_demos())
    cloning = ["qwop-bc", demos, "--out", str(clone), "--epochs", str(CLONE_EPOCHS), "--seed", str(seed)]
    finetune += ["--init", str(clone), "--demos", demos]
    return [cloning + CLONING.split(), finetune + FINETUNING.split() + speed]


def python_of(command: Sequence[str]) -> list[str]:
    """Return the command line with which this interpreter runs one of the project's commands."""
    code = (
        f"import sys; from {MODULES[command[0]]} import main; sys.argv[0] = {command[0]!r}; sys.exit(main())"
    )
    return [sys.executable, "-c", code, *command[1:]]


def finished_upright(checkpoint: Path, episodes: int) -> float:
    """Return the share of protocol P's episodes that finish upright."""
    command = ["qwop-eval", str(checkpoint), "--episodes", str(episodes), "--seed", str(FIRST_SEED), "--json"]
    output = subprocess.run(
        python_of(command), check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ).stdout
    runs = json.loads(output)["runs"]
    good = [r["finished"] and r["knee_near"] < MAX_KNEE and r["upright"] > MIN_UPRIGHT for r in runs]
    return sum(good) / len(good)


def train(start: Start, seed: int, config: TimingConfig) -> dict[str, Any]:
    """Train until the policy is good enough.

    Returns {"seconds": ... (None: never), "cpu_seconds": ... (None: never, or not Linux), "curve": ...}.
    """
    curve: list[tuple[float, str, float]] = []  # seconds of training, checkpoint, share finished upright
    spent, cpu = 0.0, 0.0
    with tempfile.TemporaryDirectory() as directory:
        folder, seen = Path(directory), set()
        for command in commands(start, folder, seed, config):
            print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
            process = subprocess.Popen(python_of(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            with contextlib.ExitStack() as at_the_end:
                at_the_end.callback(end, process)
                since, cpu_before = time.monotonic(), cpu
                over = False
                while not over:
                    time.sleep(0.05)
                    cpu = cpu_before + (cpu_seconds(process.pid) or cpu - cpu_before)
                    over = process.poll() is not None
                    new = set(folder.glob("**/[!.]*.safetensors")) - seen - {folder / "runner.safetensors"}
                    if not over:  # every epoch rewrites the clone; only the last one counts
                        new.discard(folder / "clone.safetensors")
                    if not new:
                        continue
                    seen |= new
                    newest = max(new, key=lambda path: path.stat().st_mtime_ns)
                    if not over:
                        process.send_signal(signal.SIGSTOP)
                    spent += time.monotonic() - since
                    share = finished_upright(newest, config.episodes)
                    curve.append((round(spent, 1), newest.stem, share))
                    seconds = f"{spent:6.1f} s, CPU {cpu:6.1f} s"
                    print(f"  {seconds}  {newest.stem:>12}  {share:.2f}", file=sys.stderr, flush=True)
                    if share >= ENOUGH:
                        result = {"start": start, "seed": seed, "seconds": round(spent, 1)}
                        return {**result, "cpu_seconds": round(cpu, 1) or None, "curve": curve}
                    since = time.monotonic()
                    if not over:
                        process.send_signal(signal.SIGCONT)
                if process.returncode:
                    assert process.stderr is not None
                    reason = process.stderr.read().decode().strip().splitlines()[-1:]
                    raise CommandError(f"{shlex.join(command)} failed: {' '.join(reason)}")
                spent += time.monotonic() - since
    return {"start": start, "seed": seed, "seconds": None, "cpu_seconds": None, "curve": curve}


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds of a running process; None on a system without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def train_one(config: TimingConfig, work: tuple[Start, int]) -> dict[str, Any]:
    """Do one training: a task."""
    return train(*work, config)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a training, even if it is paused."""
    if process.poll() is None:
        process.kill()
    process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, TimingConfig, arguments, description=__doc__))
    )


def benchmark(config: TimingConfig) -> None:
    starts = config.starts or get_args(Start)
    work: list[tuple[Start, int]] = [(start, seed) for start in starts for seed in range(config.seeds)]
    job = {
        name: value
        for name, value in asdict(config).items()
        if name in ("algorithm", "threads", "episodes", "every", "steps")
    }
    done = dict(
        map_tasks(
            train_one,
            config,
            work,
            options=config.cluster,
            kept=kept_results(config.cluster.tasks, job),
            names=[f"{start}-{seed}" for start, seed in work],
            cpus=config.threads,
            unit="training",
        )
    )
    results = [done[index] for index in range(len(work))]
    if config.json:
        print(json_text(results, indent=1))
        return
    for start in starts:
        runs = [r for r in results if r["start"] == start]
        times = [r["seconds"] for r in runs]
        shown = ", ".join("never" if t is None else f"{t:.0f} s" for t in times)
        cpu = ", ".join("-" if r["cpu_seconds"] is None else f"{r['cpu_seconds']:.0f} s" for r in runs)
        reached = sorted(t for t in times if t is not None)
        median = f"{statistics.median(reached):.0f} s" if len(reached) == len(times) else "-"
        print(f"from {start:15} median {median:>6} of {shown} (CPU {cpu}); target {TARGET_SECONDS[start]} s")


if __name__ == "__main__":
    raise SystemExit(main())
