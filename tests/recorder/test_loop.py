"""The fixed-step loop on a clock that only moves when told to."""

import itertools
import math

import pytest

from qwop_recorder.loop import JITTER_EDGES_MS, LATE_SECONDS, FrameTiming, run_loop

PERIOD = 1 / 30


class FakeClock:
    """Sleeping takes exactly as long as asked; `work` makes ticks take time."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return 1e9 + self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds


def play(work: list[float], poll=lambda: None) -> tuple[list[float], list[float]]:
    """Ticks whose i-th takes work[i] s: (instants at which they began, instants at which they were due)."""
    clock, began, dues = FakeClock(), [], []

    def tick(due: float) -> bool:
        began.append(clock.now())
        dues.append(due)
        clock.time += work[len(began) - 1]
        return len(began) < len(work)

    run_loop(clock, poll, tick)
    return began, dues


def test_frames_begin_on_the_grid():
    began, dues = play([0.005] * 900)
    assert began == pytest.approx([PERIOD * (i + 1) for i in range(900)], abs=1e-9)
    assert dues == pytest.approx(began, abs=1e-9)


def test_a_late_frame_does_not_push_the_next_ones_back():
    began, dues = play([0.0, 0.050, 0.0, 0.0])
    # frame 1 takes 50 ms: frame 2 begins 16.7 ms late, frame 3 is on the grid again
    assert [b - d for b, d in zip(began, dues, strict=True)] == pytest.approx(
        [0, 0, 0.050 - PERIOD, 0], abs=1e-9
    )
    assert began[3] == pytest.approx(4 * PERIOD)


def test_a_stall_moves_the_grid_and_plays_no_frame_twice():
    began, dues = play([0.0, 0.500, 0.0, 0.0, 0.0])
    stalled = 2 * PERIOD + 0.5
    assert began[2] == pytest.approx(stalled)
    assert began[2] - dues[2] == pytest.approx(0.5 - PERIOD)  # reported as it was
    assert began[3:] == pytest.approx([stalled + PERIOD, stalled + 2 * PERIOD])  # and no burst after it


def test_a_loop_that_is_always_too_slow_still_polls_before_each_frame():
    polls = []
    began, _ = play([0.040] * 20, poll=lambda: polls.append(1))
    assert len(polls) >= 20
    assert all(b - a >= 0.040 - 1e-9 for a, b in itertools.pairwise(began))


def test_report_counts_lateness_jitter_and_delay():
    timing = FrameTiming()
    timing.begin()
    # due every 1/30 s; the third is 3 ms late, the fourth 10 ms
    for i, late in enumerate([0.0, 0.0, 0.003, 0.010, 0.0]):
        timing.frame(i * PERIOD + late, late)
    timing.drawn([0.100, 0.110], 0.130)
    report = timing.report()
    assert (report.frames, report.late) == (5, 1)
    assert report.lateness_max == pytest.approx(10)
    assert report.lateness_median == pytest.approx(0, abs=1e-9)
    # intervals differ from the period by 0, 3, 7 and 10 ms
    expected = {(0.0, 0.5): 1, (2.0, 4.0): 1, (4.0, 8.0): 1, (8.0, 16.0): 1}
    bins = list(itertools.pairwise(JITTER_EDGES_MS))
    assert report.jitter == tuple(expected.get(b, 0) for b in bins)
    assert report.presses == 2
    assert report.delay_median == pytest.approx(25)
    assert report.delay_p99 == pytest.approx(29.9)
    text = report.text()
    assert "5 frames, 1 late" in text and "median 25.0" in text and "8 to 16 ms" in text


def test_a_pause_does_not_count_as_jitter():
    timing = FrameTiming()
    timing.begin()
    timing.frame(0.0, 0.0)
    timing.begin()
    timing.frame(60.0, 0.0)
    assert sum(timing.report().jitter) == 0


def test_the_warning_comes_with_the_third_late_frame_of_thirty_and_goes_again():
    timing = FrameTiming()
    late = LATE_SECONDS * 1.01
    timing.frame(0.0, LATE_SECONDS)  # not over the limit
    for i in range(2):
        timing.frame(1.0 + i, late)
    assert not timing.slow
    timing.frame(3.0, late)
    assert timing.slow and timing.recent_late == 3
    for i in range(29):
        timing.frame(4.0 + i, 0.0)
    assert not timing.slow


def test_a_session_without_frames_has_a_report():
    report = FrameTiming().report()
    assert report.frames == 0 and math.isnan(report.lateness_p99)
    assert "no frame" in report.text()
