"""A plot of a `Coaching`: time lost, speed and falls along the track."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qwop_cli import CommandError
from qwop_datasets import Episode
from qwop_game import UNITS_PER_METER
from qwop_replay.coaching import Coaching, time_at
from qwop_replay.html import speed_curve


def write_plot(path: Path, coaching: Coaching, run: Episode, reference: Episode) -> None:
    """Write a .png of the time lost against the reference, both speeds, and where the player's runs fall.

    Args:
        path: file to write; its folder exists.
        coaching: the comparison of `run` with `reference`.
        run: the run.
        reference: the reference.

    Raises:
        CommandError: matplotlib is missing, or the file can't be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError("--plot needs matplotlib: pip install matplotlib") from None
    panels = 3 if coaching.falls else 2
    figure = Figure(figsize=(9, 2.6 * panels), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(panels, 1, sharex=True)

    meters = np.arange(1.0, min(run.distance, reference.distance, 100.0), 0.25)
    lost = time_at(run, meters) - time_at(reference, meters)
    axes[0].plot(meters, lost, color="#c2461f")
    axes[0].set_ylabel("time lost, s")
    for episode, name, color in (
        (reference, coaching.reference_name, "#68707d"),
        (run, coaching.name, "#c2461f"),
    ):
        raw = episode.raw_observations
        axes[1].plot(raw[:, 0] / UNITS_PER_METER, speed_curve(raw), color=color, label=name)
    axes[1].set_ylabel("speed, m/s")
    axes[1].legend(loc="lower right", frameon=False)
    if coaching.falls:
        axes[2].hist(
            [fall.meters for fall in coaching.falls], bins=np.arange(0.0, 105.0, 5.0), color="#3a86c8"
        )
        axes[2].set_ylabel(f"falls of {coaching.runs} runs")
    axes[-1].set_xlabel("meters")
    axes[-1].set_xlim(0, 105)
    axes[0].text(50.5, 1.0, "hurdle", color="#68707d", va="top", transform=axes[0].get_xaxis_transform())
    for axis in axes:
        axis.axvline(50.0, color="#d9dde3", zorder=0)
        axis.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from None
