"""Where training writes its figures: TensorBoard, optionally Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwop_rl_core.errors import TrainingError


class Logger:
    """Scalars over environment steps, to TensorBoard files in `directory`, and to Weights & Biases if asked.

    track: name of a Weights & Biases project, or None. config: plain data shown beside the run.
    Raises TrainingError where wandb is wanted and not installed, or has no account to log to.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        track: str | None = None,
        config: Mapping[str, Any] | None = None,
    ):
        if track is not None:
            try:
                import wandb  # pyright: ignore[reportMissingImports]
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
        # imported here: it takes a second that commands without training need not wait
        from torch.utils.tensorboard import SummaryWriter

        self.directory = Path(directory)
        self._writer = SummaryWriter(str(self.directory))
        if config:
            self._writer.add_text("config", "\n".join(f"    {k}: {v}" for k, v in config.items()))

    def scalars(self, figures: Mapping[str, float], steps: int) -> None:
        """Write figures {name: value} at `steps` environment steps."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, steps)
        if self._wandb is not None:
            self._wandb.log(dict(figures), step=steps)

    def close(self) -> None:
        self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
