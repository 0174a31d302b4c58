"""The fixed-step loop: 30 frames per second, with timing measurements.

Frames are due on a fixed grid of times, so a late frame does not delay the next ones. A frame that is late by
more than a period shifts the grid. Then the game slows down for a moment, but it never plays several frames
without drawing between them.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwop_game import FRAME_SECONDS

POLL_SECONDS = 0.001
"""Time between two polls of the window's events, s. It is the resolution of their stamps."""
LATE_SECONDS = FRAME_SECONDS / 4
"""A frame is late if it starts more than this after it was due, s. A player notices such delays."""
SLOW_FRAMES, SLOW_LATE = 30, 3
"""The loop is slow if SLOW_LATE of the last SLOW_FRAMES frames were late."""
JITTER_EDGES_MS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 33.0, float("inf"))


class Clock(Protocol):
    """A clock, which tests can replace. `now`: s, monotonic; `wall`: Unix time, s."""

    def now(self) -> float: ...
    def wall(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock. `now` counts from its creation, so a float64 resolves nanoseconds."""

    def __init__(self) -> None:
        # not time.monotonic, whose resolution on Windows is 16 ms
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
    """Call `tick` once per period until it returns False, and `poll` between the ticks.

    Args:
        clock: The session's clock.
        poll: Handles the window's events. It is called at least once before each tick.
        tick: Plays one frame. Its argument is the time, s, at which the frame was due.
        period: Seconds from frame to frame.
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
    """Timing of the frames of a session. Times in ms; NaN if nothing was measured."""

    frames: int
    late: int
    """Frames that started more than LATE_SECONDS after they were due."""
    lateness_median: float
    lateness_p99: float
    lateness_max: float
    jitter: tuple[int, ...]
    """Number of frames by |interval since the previous frame - 33.3 ms|, in the bins of JITTER_EDGES_MS."""
    delay_median: float
    """Time from the stamp of a press to the end of drawing its first frame, without the delays of keyboard
    and screen."""
    delay_p99: float
    presses: int

    def text(self) -> str:
        """Format the report as `qwop-record` prints it."""
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
    """Measures the timing of the frames."""

    _lateness: list[float] = field(default_factory=list[float])
    _intervals: list[float] = field(default_factory=list[float])
    _delays: list[float] = field(default_factory=list[float])
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=SLOW_FRAMES))
    _last: float | None = None

    def begin(self) -> None:
        """Start again after a break: the time since the last frame does not count as an interval."""
        self._last = None
        self._recent.clear()

    def frame(self, sampled: float, lateness: float) -> None:
        """Count a frame that was sampled at `sampled`, `lateness` after it was due (both s)."""
        self._lateness.append(lateness)
        self._recent.append(lateness > LATE_SECONDS)
        if self._last is not None:
            self._intervals.append(sampled - self._last)
        self._last = sampled

    def drawn(self, press_times: list[float], drawn: float) -> None:
        """Record that the frame with these presses (stamps, s) was on the screen at `drawn` (s)."""
        self._delays.extend(drawn - press for press in press_times)

    @property
    def recent_late(self) -> int:
        """Number of late frames among the last SLOW_FRAMES."""
        return sum(self._recent)

    @property
    def slow(self) -> bool:
        """Whether the player should be warned now."""
        return self.recent_late >= SLOW_LATE

    def report(self) -> TimingReport:
        """Compute the figures so far."""
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


def _percentile(values: NDArray[Any], q: float) -> float:
    return float(np.percentile(values, q)) if len(values) else float("nan")
