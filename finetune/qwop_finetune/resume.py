"""Rules of a resumed training: the settings that a checkpoint stores, and which of them may change."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any, get_type_hints

from qwop_cli import CommandError
from qwop_finetune.config import FinetuneConfig, OnResume, from_plain
from qwop_rl_core import Checkpoint, CheckpointError, load_checkpoint

FIXED_OF_LEARNER = ("num_envs", "seed", "optimizer")
"""Settings of the learning algorithm that must keep their values; its config knows no `OnResume`."""


def resume_config(path: Path) -> FinetuneConfig:
    """Return the settings with which a stored training continues.

    Args:
        path: checkpoint that `finetune` wrote.

    Returns:
        The stored settings, with `resume` and `out` set to `path`. Use `dataclasses.replace` to change those
        that may change, such as the number of steps.

    Raises:
        CheckpointError: the file is missing, damaged, or has no training; one line.
    """
    config = stored_config(load_checkpoint(path), path)
    return dataclasses.replace(config, resume=path, out=path, logdir=_moved_logs(config, path))


def stored_config(checkpoint: Checkpoint, path: Path) -> FinetuneConfig:
    """Return the settings in a checkpoint. Raises CheckpointError, naming `path`, if it has no training."""
    try:
        config = from_plain(checkpoint.metadata["finetune"]["config"])
        ranks = checkpoint.metadata["training"].get("ranks", 1)
        if config.learner.num_envs != ranks * len(checkpoint.tensors["episode_return"]):
            raise ValueError("num_envs is not the number of games stored")
    except (LookupError, TypeError, ValueError, AttributeError):
        raise CheckpointError(
            f"{path}: does not store a training of this release's qwop-finetune: use it as --init"
        ) from None
    return config


def check_unchanged(before: FinetuneConfig, now: FinetuneConfig) -> None:
    """Raise CommandError if a setting changed that must stay as it is (`OnResume`, `FIXED_OF_LEARNER`)."""
    changed = [
        *_changed(before, now),
        *_changed(before.environment, now.environment),
        *(n for n in FIXED_OF_LEARNER if getattr(before.learner, n, None) != getattr(now.learner, n, None)),
    ]
    if changed:
        flag = "--" + changed[0].replace("_", "-")
        raise CommandError(f"{flag} can't change on --resume: omit it, or start a new training with --init")


def _changed(before: Any, now: Any) -> list[str]:
    """Names of the fields of a config that changed against their rule."""
    names: list[str] = []
    for name, hint in get_type_hints(before.__class__, include_extras=True).items():
        rules, a, b = getattr(hint, "__metadata__", ()), getattr(before, name), getattr(now, name)
        if OnResume.SAME_CONTENT in rules:
            a, b = a is None, b is None  # the content is compared when the file is read
        if (OnResume.SAME_CONTENT in rules or OnResume.FIXED in rules) and a != b:
            names.append(name)
    return names


def _moved_logs(config: FinetuneConfig, path: Path) -> Path | None:
    """Folder of the logs for a checkpoint that is now at `path`: a relative folder moved along with it."""
    if config.logdir is None or config.logdir.is_absolute():
        return config.logdir
    return Path(os.path.normpath(path.parent / os.path.relpath(config.logdir, config.out.parent)))


def beside_resumed(config: FinetuneConfig, path: Path) -> Path:
    """The file of that name beside the resumed checkpoint: a whole folder may have moved."""
    assert config.resume is not None
    return config.resume.parent / path.name


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content; "" if there is no such file, or it is a pipe or a device."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError:
        return ""


def same_file(path: Path, other: Path | None) -> bool:
    """Whether two paths name the same existing file."""
    return other is not None and path.exists() and other.exists() and path.samefile(other)
