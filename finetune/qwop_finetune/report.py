"""What a training prints: lines beside the progress bar."""

from __future__ import annotations

import contextlib
from typing import TextIO

from tqdm import tqdm


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line beside the progress bar. A closed terminal or a full disk does not stop the training."""
    with contextlib.suppress(OSError):
        tqdm.write(line, file=file)


def report_line(steps: int, figures: dict[str, float]) -> str:
    """Return a report as one line.

    Args:
        steps: environment steps so far.
        figures: metric to value; metrics that are missing are omitted.
    """
    parts = [f"{steps / 1e6:.2f} M steps"]
    if "finish/rate" in figures:
        parts.append(f"finishes {100 * figures['finish/rate']:.0f} %")
    if "finish/median_seconds" in figures:
        parts.append(f"median {figures['finish/median_seconds']:.1f} s")
    if "finish/distance" in figures:
        parts.append(f"{figures['finish/distance']:.1f} m")
    if "gait/upright" in figures:
        parts.append(f"upright {100 * figures['gait/upright']:.0f} %")
        parts.append(f"knee near {100 * figures['gait/knee_near']:.1f} %")
    if "curriculum/seconds_left" in figures:
        parts.append(f"starts {figures['curriculum/seconds_left']:.0f} s before the end")
    if "forgetting/clone_agreement" in figures:
        parts.append(f"as the clone {100 * figures['forgetting/clone_agreement']:.0f} %")
    if "forgetting/demo_agreement" in figures:
        parts.append(f"as the demonstrations {100 * figures['forgetting/demo_agreement']:.0f} %")
    return ", ".join(parts)
