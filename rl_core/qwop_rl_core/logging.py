"""Log the figures of a training to TensorBoard and, optionally, to Weights & Biases."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qwop_rl_core.errors import TrainingError

EVENTS = "events.out.tfevents.*"


def default_log_directory(out: Path) -> Path:
    """Return the log folder of a checkpoint: its path without its suffix, or with -logs if it has none."""
    return out.with_suffix("") if out.suffix else out.with_name(f"{out.name}-logs")


def set_aside(folder: Path, *patterns: str) -> None:
    """Move an earlier training's files, such as `EVENTS`, to a new folder old-1, old-2, ... in `folder`.

    Raises TrainingError if they can't be moved.
    """
    old = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    if not old:
        return
    number = 1
    while (folder / f"old-{number}").exists():
        number += 1
    try:
        (folder / f"old-{number}").mkdir()
        for path in old:
            shutil.move(path, folder / f"old-{number}" / path.name)
    except OSError as error:
        raise TrainingError(f"{folder}: the logs there can't be moved: {error.strerror or error}") from None


class Logger:
    """Writes scalars by environment step to TensorBoard files in `directory` and, if asked, to W&B.

    A logging failure never ends a training: if a file can't be written, or Weights & Biases fails, the logger
    prints one warning and stops that log.

    track: name of a Weights & Biases project, or None. config: plain data to show with the run.
    resumed_at: step at which a training continues; TensorBoard ignores the later steps in the existing files.
        None: a new training; event files of an earlier one are moved to a folder old-1, old-2, ...
    Raises TrainingError if wandb is requested but not installed or without an account, or if the directory
    can't be written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        track: str | None = None,
        config: Mapping[str, Any] | None = None,
        resumed_at: int | None = None,
    ):
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{directory}: can't write logs: {error.strerror or error}") from None
        if track is not None:
            try:
                wandb: Any = importlib.import_module("wandb")
            except ImportError as error:
                raise TrainingError("--track needs Weights & Biases: pip install wandb") from error
            try:
                self._wandb = wandb.init(project=track, config=dict(config or {}), dir=str(directory))
            except wandb.Error as error:
                raise TrainingError(
                    f"--track: {str(error).rstrip('.')}, or set WANDB_MODE=offline and `wandb sync` later"
                ) from None
        else:
            self._wandb = None
        # imported here: it takes a second, which commands without training should not have to wait
        from torch.utils.tensorboard import SummaryWriter

        self.directory = Path(directory)
        self._hook = threading.excepthook
        threading.excepthook = self._in_thread
        if resumed_at is None:
            set_aside(self.directory, EVENTS)
        purge = None if resumed_at is None else resumed_at + 1
        try:
            self._writer = SummaryWriter(str(self.directory), purge_step=purge)
        except OSError as error:
            raise TrainingError(f"{self.directory}: can't write logs: {error.strerror or error}") from None
        if config:
            text = "\n".join(f"    {k}: {v}" for k, v in config.items())
            self._tensorboard(lambda writer: writer.add_text("config", text, resumed_at or 0))

    def scalars(self, figures: Mapping[str, float], steps: int) -> None:
        """Write figures {name: value} at `steps` environment steps."""

        def write(writer: Any) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, steps)

        self._tensorboard(write)
        self._track(lambda run: run.log(dict(figures), step=steps))

    def close(self) -> None:
        self._tensorboard(lambda writer: writer.close())
        self._track(lambda run: run.finish())
        if threading.excepthook == self._in_thread:
            threading.excepthook = self._hook

    def _in_thread(self, said: threading.ExceptHookArgs) -> None:
        """Suppress the traceback of TensorBoard's thread. Its next call raises the error, for one warning."""
        if not type(said.thread).__module__.startswith("tensorboard."):
            self._hook(said)

    def _tensorboard(self, call: Callable[[Any], None]) -> None:
        if self._writer is None:
            return
        try:
            call(self._writer)
        except Exception as error:  # its thread raises any kind of error again
            self._writer = None
            _warn(f"{self.directory}: logging has stopped, training continues", error)

    def _track(self, call: Callable[[Any], None]) -> None:
        if self._wandb is None:
            return
        try:
            call(self._wandb)
        except Exception as error:  # wandb documents no base class of its errors
            self._wandb = None
            _warn("Weights & Biases: logging has stopped, training continues", error)

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _warn(what: str, error: Exception) -> None:
    with contextlib.suppress(OSError):  # standard error may be on the same full disk
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        tqdm.write(f"warning: {what}: {reason}", file=sys.stderr)
