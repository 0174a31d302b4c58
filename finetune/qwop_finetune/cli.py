"""`qwop-finetune [--init CHECKPOINT]`: train a runner, from a clone or from nothing."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwop_cli import CommandError, parse_config, run_command
from qwop_datasets import DatasetError
from qwop_finetune.config import ALGORITHMS, Run, defaults, from_plain
from qwop_game import FEATURE_SIZE
from qwop_rl_core import CheckpointError, TrainingError, load_checkpoint
from qwop_rl_core.ppo import PPOConfig

PROGRAM = "qwop-finetune"
# What makes a training this one: a resumed training has to keep it.
_FIXED = (
    "algorithm",
    "reward",
    "reward_option",
    "demos_where",
    "demo_starts",
    "drills",
    "drill_meters",
    "drill_falls",
    "frame_skip",
    "action_set",
    "hidden",
    "disturb",
    "max_seconds",
)
# Files that may lie elsewhere now: what they hold has to be the same.
_MOVABLE = ("init", "demos")
_FIXED_OF_LEARNER = ("num_envs", "seed")
_MEMORY, _MEMORY_OF_SIZE = 2**30, 32
"""Bytes, and so many times the file's size, that the settings in a checkpoint may take unasked."""


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(
        PROGRAM,
        lambda: _command(sys.argv[1:] if arguments is None else list(arguments)),
        CheckpointError,
        DatasetError,
        TrainingError,
    )


def _command(arguments: list[str]) -> int:
    run = parse(arguments)
    from qwop_finetune.run import finetune, report_line, say  # takes a second that --help need not wait

    outcome = finetune(run)
    say(f"{run.out}: {outcome.reason}; {report_line(outcome.steps, outcome.figures)}")
    if outcome.interrupt is not None:
        raise outcome.interrupt
    return 0


def parse(arguments: list[str]) -> Run:
    """Settings from the command line.

    Raises CommandError, CheckpointError or TrainingError, one line each; SystemExit(0) after --help.
    """
    resume = _value_of("--resume", arguments)
    default = _resumed_settings(Path(resume)) if resume else None
    if default is None:
        algorithm = _value_of("--algorithm", arguments)
        algorithm = algorithm if algorithm in ALGORITHMS else "ppo"  # tyro complains below
        given = (_value_of(flag, arguments) is not None for flag in ("--init", "--demos"))
        default = defaults(algorithm, *given)
    run = parse_config(PROGRAM, type(default), arguments, default)
    if resume:
        _check_unchanged(default, run)
        _check_memory(Path(resume), run, arguments)
    return run


def _resumed_settings(path: Path) -> Run:
    """The settings that a checkpoint was trained with, to go on writing to it."""
    tensors, metadata = load_checkpoint(path)
    try:
        run = from_plain(metadata["finetune"]["config"])
        if run.learner.num_envs != len(tensors["episode_return"]):
            raise ValueError("num_envs is not the number of games stored")
    except (LookupError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{path}: does not store a training of this release's {PROGRAM}: use it as --init"
        ) from None
    return dataclasses.replace(run, resume=path, out=path, logdir=_logs_of(run, path))


def _logs_of(run: Run, path: Path) -> Path | None:
    """Where the logs of a training are whose checkpoint lies at `path` now: as they lay beside it before."""
    if run.logdir is None or run.logdir.is_absolute():
        return run.logdir
    return Path(os.path.normpath(path.parent / os.path.relpath(run.logdir, run.out.parent)))


def _check_unchanged(before: Run, now: Run) -> None:
    def differing(a: Any, b: Any, names: Sequence[str]) -> list[str]:
        return [name for name in names if getattr(a, name) != getattr(b, name)]

    moved = [name for name in _MOVABLE if (getattr(before, name) is None) != (getattr(now, name) is None)]
    names = moved + differing(before, now, _FIXED) + differing(before.learner, now.learner, _FIXED_OF_LEARNER)
    if names:
        flag = "--" + names[0].replace("_", "-")
        raise CommandError(f"{flag} can't change on --resume: omit it, or start anew with --init")


def _check_memory(path: Path, run: Run, arguments: list[str]) -> None:
    """Raises CheckpointError for a setting that takes far more memory than a file of that size warrants,
    unless the command line names it too."""
    learner = run.learner
    row = 8 * FEATURE_SIZE + 32  # bytes of a transition
    if isinstance(learner, PPOConfig):
        rollout = learner.num_envs * learner.rollout_length
        needed = {"rollout_length": 2 * row * rollout, "demo_batch_size": row * learner.demo_batch_size}
    else:
        batches = {
            "batch_size": 2 * row * learner.batch_size,
            "n_step": 32 * learner.batch_size * learner.n_step,
        }
        needed = {"buffer_size": row * learner.buffer_size, **batches}
    needed["threads"] = 2**20 * learner.threads
    for name, size in needed.items():
        flag = "--" + name.replace("_", "-")
        named = {flag} if name != "n_step" else {flag, "--batch-size"}  # its memory grows with the batch's
        meant = any(_value_of(each, arguments) is not None for each in named)
        if size > _MEMORY + _MEMORY_OF_SIZE * path.stat().st_size and not meant:
            value = getattr(learner, name)
            raise CheckpointError(
                f"{path}: its {name} of {value} takes {size / 1e9:.1f} GB; if that is meant: {flag} {value}"
            )


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """The last value given to a flag, before tyro parses it: other flags' defaults depend on it."""
    value = None
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif argument.startswith(f"{flag}="):
            value = argument.partition("=")[2]
    return None if value == "None" else value


if __name__ == "__main__":
    raise SystemExit(main())
