"""`qwop-run`: demonstrations -> clone -> runner -> evaluation -> video, with the project's own commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qwop_cli import CommandError, Interrupted, bundled_file, interrupts, parse_config, run_command
from qwop_datasets import DatasetError, DatasetReader, Episode
from qwop_evaluation import Summary, results_table, summarize

PROGRAM = "qwop-run"

# Each command runs in its own process, as from a shell. So this package does not import the trainers.
MODULES = {
    "qwop-bc": "qwop_bc.cli",
    "qwop-finetune": "qwop_finetune.cli",
    "qwop-eval": "qwop_evaluation.cli",
    "qwop-replay": "qwop_replay.cli",
}
# One thread: a second one speeds up cloning's gradient steps only little, and slows them down if its core is
# busy.
CLONING = "--frame-skip 2 --batch-size 512 --learning-rate 1e-3 --threads 1"
# The reward grows with speed, and a fall costs ten meters. Two fifths of the episodes start at states of the
# demonstrations, because nearly all falls are at the hurdle or soon after it. Of all anchors, demonstrations
# in the loss give the most finishes (docs/experiments/knee-scraping.md). Policy and critic learn in parallel
# on two threads, in bfloat16 if the processor multiplies it natively.
FINETUNING = (
    "--reward stride --reward-option power=1.6 --reward-option fall_cost=10 "
    "--reward-option knee_seconds=0.25 --demo-starts 0.4 --demo-coef 0.1 --threads 2 --precision auto"
)


@dataclass(frozen=True)
class RunConfig:
    """Make a runner from demonstrations, in a few minutes."""

    demos: Path | None = None
    """Dataset of demonstrations; without it, the bundled ones."""
    folder: Path = Path("runs/main")
    """Folder to empty and fill."""
    epochs: int = 20
    """Epochs of the cloning."""
    steps: int = 4_000_000
    """Decisions of the fine-tuning."""
    minutes: float = 6.5
    """Time limit of the fine-tuning."""
    episodes: int = 100
    """Episodes of each evaluation."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(PROGRAM, lambda: job(parse_config(PROGRAM, RunConfig, arguments)), DatasetError)


def job(options: RunConfig) -> int:
    """Run all stages. Returns the exit code of the first command that fails, else 0."""
    began = time.monotonic()
    demos, folder = _shown(options.demos or bundled_demos()), _emptied(options.folder)
    clone, runner = folder / "clone.safetensors", folder / "runner.safetensors"
    clone_runs, runner_runs, video = folder / "clone.h5", folder / "runner.h5", folder / "runner.mp4"

    print(f"Demonstrations: {demos}")
    with DatasetReader(demos) as reader:
        results = {"demonstrations": _summary_of(demos, list(reader))}
    finetuning = f"--total-steps {options.steps} --minutes {options.minutes:g} {FINETUNING}"
    evaluation = f"--episodes {options.episodes}"
    stages = [
        ("Clone", ["qwop-bc", demos, "--out", clone, "--epochs", options.epochs, *CLONING.split()]),
        (
            "Fine-tune",
            ["qwop-finetune", "--init", clone, "--demos", demos, "--out", runner, *finetuning.split()],
        ),
        ("Evaluate the clone", ["qwop-eval", clone, *evaluation.split(), "--save", clone_runs]),
        ("Evaluate the runner", ["qwop-eval", runner, *evaluation.split(), "--save", runner_runs]),
    ]
    for title, command in stages:
        if code := _run(title, command):
            return code
    for name, path in (("clone", clone_runs), ("fine-tuned", runner_runs)):
        with DatasetReader(path) as reader:
            episodes = list(reader)
        results[name] = _summary_of(path, episodes)
    command = ["qwop-replay", runner_runs, "--episode", best(episodes), "--video", video]
    if code := _run("Film its best run", command):
        return code

    print(f"\n{results_table(results)}\n")
    actions = "sampled" if episodes[0].provenance["sampled"] else "argmax"
    print(f"Clone and runner: protocol P (docs/guides/evaluation.md), {actions} actions, the same seeds.")
    minutes = (time.monotonic() - began) / 60
    print(f"{runner} plays, {video} shows it; {minutes:.1f} minutes. Curves: tensorboard --logdir {folder}")
    return 0


def bundled_demos() -> Path:
    """Return the path of the bundled demonstrations. Raises CommandError if they are missing."""
    try:
        return bundled_file("qwop_stride", "demos.h5")
    except FileNotFoundError as error:
        raise CommandError(
            f"the bundled demonstrations are missing ({error.filename}): give --demos FILE"
        ) from None


def best(episodes: Sequence[Episode]) -> int:
    """Return the number of the fastest finished episode, or of the farthest one if none finished."""
    return min(
        range(len(episodes)),
        key=lambda i: (
            not episodes[i].success,
            episodes[i].time if episodes[i].success else -episodes[i].distance,
        ),
    )


def _run(title: str, command: Sequence[object]) -> int:
    """Print a command as a user would type it, and run it. Returns its exit code."""
    words = [str(word) for word in command]
    print(f"\n{title}\n$ {shlex.join(words)}", flush=True)
    code = f"import sys; from {MODULES[words[0]]} import main; sys.argv[0] = {words[0]!r}; sys.exit(main())"
    stopped: list[int] = []
    waiting: list[int] = []  # signals from before the command ran
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: object) -> None:
        stopped.append(number)
        if process is None:
            waiting.append(number)
        elif os.name == "posix":  # on Windows the command gets the signal itself
            process.send_signal(number)

    with interrupts(pass_on):  # from before the start on: the command must not outlive this process
        # In its own session, so that a signal of the terminal reaches it only once, through this process.
        process = subprocess.Popen([sys.executable, "-c", code, *words[1:]], start_new_session=True)
        for number in waiting:
            pass_on(number, None)
        exit_code = process.wait()
    if stopped and exit_code in (0, -stopped[0]):  # it had ended already, or had not started
        raise Interrupted(stopped[0])
    if exit_code:
        print(f"{PROGRAM}: {words[0]} ended with exit code {exit_code}", file=sys.stderr)
    return exit_code


def _summary_of(path: Path, episodes: Sequence[Episode]) -> Summary:
    if not episodes:
        raise CommandError(f"{path}: no episodes")
    return summarize(episodes)


def _shown(path: Path) -> Path:
    """Make a path relative to the working folder if it lies in it, as a user would type it."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path


def _emptied(folder: Path) -> Path:
    """Make an empty folder, and remove the files of an earlier job there.

    Raises CommandError if it has any other file.
    """
    ours = {
        "clone",
        "runner",
        "clone.safetensors",
        "runner.safetensors",
        "clone.h5",
        "runner.h5",
        "runner.mp4",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        others = sorted(set(os.listdir(folder)) - ours)
        if others:
            raise CommandError(
                f"{folder}: has {others[0]}, which qwop-run did not make; choose another --folder"
            )
        for name in ours & set(os.listdir(folder)):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror or error}") from None
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
