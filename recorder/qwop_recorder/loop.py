"""The fixed-step loop: 30 frames a second, each measured.

Frames are due on a fixed grid, so that a frame which starts late does not push the next ones back. A frame
late by more than a whole period moves the grid instead: the game then slows down for a moment, which a
player can bear, and never runs several frames at once without a picture between them.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from qwop_game import FRAME_SECONDS

POLL_SECONDS = 0.001
"""Pause between two looks at the window's events while waiting for a frame, s: their stamps' resolution."""
LATE_SECONDS = FRAME_SECONDS / 4
"""A frame that starts more than this after it was due is a late one: a player begins to feel it."""
SLOW_FRAMES, SLOW_LATE = 30, 3
"""The loop is slow when this many of the last SLOW_FRAMES frames were late."""
JITTER_EDGES_MS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 33.0, float("inf"))


class Clock(Protocol):
    """Time, so that tests can hold it still. `now`: s, monotonic; `wall`: s since 1970, UTC."""

    def now(self) -> float: ...
    def wall(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock; `now` counts from its creation, which keeps nanoseconds within a float64."""

    def __init__(self) -> None:
        # perf_counter, because monotonic has steps of 16 ms on Windows
        self._origin = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._origin

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def run_loop(
    clock: Clock, poll: Callable[[], None], tick: Callable[[float], bool], period: float = FRAME_SECONDS
) -> None:
    """Call `tick(due)` once a period until it returns False, and `poll()` all the time between.

    tick: plays one frame; `due` is the instant, s, at which it should have started.
    poll: takes in what the window has; called at least once before each tick.
    """
    due = clock.now() + period
    while True:
        poll()
        while (wait := due - clock.now()) > 0:
            clock.sleep(min(wait, POLL_SECONDS))
            poll()
        if clock.now() - due > period:
            overdue, due = due, clock.now()
        else:
            overdue = due
        if not tick(overdue):
            return
        due += period


@dataclass(frozen=True)
class TimingReport:
    """How exactly the frames of a session were timed. Times in ms; NaN where nothing was measured."""

    frames: int
    late: int
    """Frames that started more than LATE_SECONDS after they were due."""
    lateness_median: float
    lateness_p99: float
    lateness_max: float
    jitter: tuple[int, ...]
    """Frames by |interval to the frame before - 33.3 ms|, in the bins of JITTER_EDGES_MS."""
    delay_median: float
    """From a press's stamp to the end of drawing the first frame that it moves. The keyboard's own delay
    before the stamp and the screen's after the drawing come on top."""
    delay_p99: float
    presses: int

    def text(self) -> str:
        """The report as the lines that a session ends with."""
        if self.frames == 0:
            return "timing: no frame was played"
        lines = [
            f"timing: {self.frames} frames, {self.late} late (over {1000 * LATE_SECONDS:.1f} ms); "
            f"lateness median {self.lateness_median:.2f}, p99 {self.lateness_p99:.2f}, "
            f"worst {self.lateness_max:.2f} ms"
        ]
        if self.presses:
            lines.append(
                f"key to drawn frame: median {self.delay_median:.1f}, p99 {self.delay_p99:.1f} ms over "
                f"{self.presses} presses, without the keyboard's and the screen's own delay"
            )
        total = sum(self.jitter)
        if total:
            lines.append("jitter of the interval between frames:")
            most = max(self.jitter)
            for low, high, count in zip(JITTER_EDGES_MS[:-1], JITTER_EDGES_MS[1:], self.jitter, strict=True):
                label = f"{low:g} to {high:g} ms" if np.isfinite(high) else f"over {low:g} ms"
                bar = "#" * round(30 * count / most) or ("." if count else "")
                lines.append(f"  {label:>12} {count:7d} {100 * count / total:5.1f} %  {bar}".rstrip())
        return "\n".join(lines)


@dataclass
class FrameTiming:
    """Collects the timing of the frames that are played."""

    _lateness: list[float] = field(default_factory=list)
    _intervals: list[float] = field(default_factory=list)
    _delays: list[float] = field(default_factory=list)
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=SLOW_FRAMES))
    _last: float | None = None

    def begin(self) -> None:
        """Play starts or goes on: the time since the frame before it is no interval."""
        self._last = None
        self._recent.clear()

    def frame(self, sampled: float, lateness: float) -> None:
        """A frame was sampled at `sampled`, `lateness` after it was due (both s)."""
        self._lateness.append(lateness)
        self._recent.append(lateness > LATE_SECONDS)
        if self._last is not None:
            self._intervals.append(sampled - self._last)
        self._last = sampled

    def drawn(self, press_times: list[float], drawn: float) -> None:
        """The frame that takes in the presses stamped `press_times` was on the screen at `drawn` (s)."""
        self._delays.extend(drawn - press for press in press_times)

    @property
    def recent_late(self) -> int:
        """Late frames among the last SLOW_FRAMES."""
        return sum(self._recent)

    @property
    def slow(self) -> bool:
        """Whether the player should be warned now."""
        return self.recent_late >= SLOW_LATE

    def report(self) -> TimingReport:
        """The figures so far."""
        lateness = 1000 * np.array(self._lateness)
        jitter = 1000 * np.abs(np.array(self._intervals) - FRAME_SECONDS)
        delays = 1000 * np.array(self._delays)
        return TimingReport(
            frames=len(lateness),
            late=int((lateness > 1000 * LATE_SECONDS).sum()),
            lateness_median=_percentile(lateness, 50),
            lateness_p99=_percentile(lateness, 99),
            lateness_max=_percentile(lateness, 100),
            jitter=tuple(int(n) for n in np.histogram(jitter, JITTER_EDGES_MS)[0]),
            delay_median=_percentile(delays, 50),
            delay_p99=_percentile(delays, 99),
            presses=len(delays),
        )


def _percentile(values: np.ndarray, q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else float("nan")
