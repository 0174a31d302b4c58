"""The command `qwop-finetune`: train a runner, from a clone or from nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from qwop_cli import parse_config, run_command
from qwop_datasets import DatasetError
from qwop_finetune.config import ALGORITHMS, FinetuneConfig, defaults
from qwop_finetune.resume import resume_config
from qwop_game import FEATURE_SIZE
from qwop_rl_core import CheckpointError, TrainingError, ranks
from qwop_rl_core.expert_iteration import ExpertIterationConfig
from qwop_rl_core.ppo import PPOConfig
from qwop_rl_core.pqn import PQNConfig

PROGRAM = "qwop-finetune"
_MEMORY, _MEMORY_PER_BYTE = 2**30, 32
"""Memory that settings in a checkpoint may take unless the command line repeats them: bytes, and bytes per
byte of the file."""
_MOST_ACTIONS = 16
_GAME = 60_000
"""Memory of a simulated game and its snapshots, bytes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM,
        lambda: _command(sys.argv[1:] if arguments is None else list(arguments)),
        CheckpointError,
        DatasetError,
        TrainingError,
    )


def _command(arguments: list[str]) -> int:
    config = parse(arguments)
    from qwop_finetune.report import report_line, say
    from qwop_finetune.training import finetune  # takes a second, which --help need not wait

    with ranks.joined_ranks(config.learner.device):  # until it is said: the first process says it
        result = finetune(config)
        say(f"{result.checkpoint}: {result.reason}; {report_line(result.steps, result.figures)}")
    if result.interrupt is not None:
        raise result.interrupt
    return 0


def parse(arguments: list[str]) -> FinetuneConfig:
    """Return the settings that a command line describes.

    Args:
        arguments: what follows `qwop-finetune`.

    Raises:
        CommandError, CheckpointError, TrainingError: a mistake in the command line or in the checkpoint to
            resume; one line.
        SystemExit: with code 0 after --help.
    """
    resume = _value_of("--resume", arguments)
    if resume:
        default = resume_config(Path(resume))
    else:
        algorithm = _value_of("--algorithm", arguments)
        algorithm = algorithm if algorithm in ALGORITHMS else "ppo"  # tyro rejects others below
        given = (_value_of(flag, arguments) is not None for flag in ("--init", "--demos"))
        default = defaults(algorithm, *given)
    config = parse_config(PROGRAM, type(default), arguments, default)
    if resume:
        _check_memory(Path(resume), config, arguments)
    return config


def _check_memory(path: Path, config: FinetuneConfig, arguments: list[str]) -> None:
    """Check the memory that stored settings take; those that the command line repeats are not checked.

    Raises:
        CheckpointError: a setting takes far more memory than the file's size suggests.
    """
    learner = config.learner
    row = 8 * FEATURE_SIZE + 32  # bytes of a transition
    if isinstance(learner, PPOConfig):
        rollout = learner.num_envs * learner.rollout_length
        needed = {"rollout_length": 2 * row * rollout, "demo_batch_size": row * learner.demo_batch_size}
    elif isinstance(learner, ExpertIterationConfig):
        copies = learner.num_envs * min(learner.search_actions, _MOST_ACTIONS) * learner.search_rollouts
        needed = {
            "rollout_length": row * learner.num_envs * learner.rollout_length,
            "search_rollouts": _GAME * copies,
            "minibatch_size": row * learner.minibatch_size,
        }
    elif isinstance(learner, PQNConfig):
        rollout = learner.num_envs * learner.rollout_length
        demonstrated = rollout / (1.0 - learner.demo_fraction)
        needed = {"rollout_length": 4 * row * rollout, "minibatch_size": row * learner.minibatch_size}
        needed["demo_fraction"] = 4 * row * round(demonstrated)
    else:
        batches = {
            "batch_size": 2 * row * learner.batch_size,
            "n_step": 32 * learner.batch_size * learner.n_step,
        }
        needed = {"buffer_size": row * learner.buffer_size, **batches}
    needed["threads"] = 2**20 * learner.threads
    for name, size in needed.items():
        flag = "--" + name.replace("_", "-")
        larger = {"n_step": "--batch-size", "demo_fraction": "--rollout-length"}  # their memory grows with it
        named = {flag, larger.get(name, flag)}
        meant = any(_value_of(each, arguments) is not None for each in named)
        if size > _MEMORY + _MEMORY_PER_BYTE * path.stat().st_size and not meant:
            value = getattr(learner, name)
            raise CheckpointError(
                f"{path}: its {name} of {value} takes {size / 1e9:.1f} GB; "
                f"if you want that, add {flag} {value}"
            )


def _value_of(flag: str, arguments: list[str]) -> str | None:
    """Return the last value of a flag. The defaults that tyro needs to parse the flags depend on it."""
    value = None
    for i, argument in enumerate(arguments):
        if argument == flag and i + 1 < len(arguments):
            value = arguments[i + 1]
        elif argument.startswith(f"{flag}="):
            value = argument.partition("=")[2]
    return None if value == "None" else value


if __name__ == "__main__":
    raise SystemExit(main())
