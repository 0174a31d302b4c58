"""The engines against the real game, and the lane engines against the scalar one: every number, with ==."""

import os
from pathlib import Path

import numpy as np
import pytest

from qwop_game import Simulator, engines
from qwop_game.observation import STATE_GLOBALS, STATE_SIZE

GOLDEN = Path(__file__).with_name("golden")
CLOCK = STATE_SIZE - len(STATE_GLOBALS)
FUZZ_FRAMES = int(os.environ.get("QWOP_FUZZ_FRAMES", 100_000))  # a frame of one game is one frame


def golden_traces():
    for name in ("constant", "random", "runs"):
        with np.load(GOLDEN / f"{name}.npz") as traces:
            for i in range(sum(key.startswith("actions_") for key in traces.files)):
                yield traces[f"actions_{i}"], traces[f"frames_{i}"], traces[f"states_{i}"]


@pytest.mark.parametrize("engine", engines())
def test_every_golden_trace_bit_for_bit(engine):
    traces = list(golden_traces())
    games = Simulator(len(traces), stop_at_end=False, engine=engine)
    length = max(len(actions) for actions, _, _ in traces)
    keys = np.zeros((length, len(traces)), np.uint8)
    for i, (actions, _, _) in enumerate(traces):
        keys[: len(actions), i] = actions
    rows = [dict(zip(frames.tolist(), states, strict=True)) for _, frames, states in traces]
    compared = 0
    for frame in range(length + 1):
        due = [i for i, row in enumerate(rows) if frame in row]
        if due:
            state = games.state
            for i in due:
                expected = rows[i][frame].copy()
                expected[CLOCK] = state[i, CLOCK]  # starts at the page's real time: see the next test
                assert (state[i] == expected).all(), f"trace {i}, frame {frame}"
                compared += 1
        if frame < length:
            games.step(keys[frame])
    assert compared == sum(len(frames) for _, frames, _ in traces) == 5611


@pytest.mark.parametrize("engine", engines())
def test_the_clock_advances_as_in_the_golden_traces(engine):
    actions, frames, states = next(golden_traces())
    games = Simulator(1, engine=engine)
    games.step(actions[:1], 10)
    # From row 0's value on: 1/30 s a frame, summed as the game sums it.
    clock = states[0, CLOCK]
    for _ in range(10):
        clock += 1 / 30
    assert states[list(frames).index(10), CLOCK] == clock
    start = 2 / 30
    for _ in range(10):
        start += 1 / 30
    assert games.time[0] == start


def places(rng: np.random.Generator, x: float) -> tuple[float, float]:
    """Where a fuzzed runner is thrown, (x, dy) units: where the special cases of the physics are."""
    return [
        (490 + 5 * rng.normal(), -3 * rng.random()),  # at the hurdle
        (985 + 20 * rng.random(), -3 * rng.random()),  # at the sand pit
        (-25 - 5 * rng.random(), -3 * rng.random()),  # at the block behind the start
        (1095 + 10 * rng.random(), -3 * rng.random()),  # at the end of the floor
        (x, -20 * rng.random()),  # up in the air
        (1000 * rng.random(), -3 * rng.random()),  # anywhere
    ][rng.integers(6)]


@pytest.mark.parametrize("engine", [engine for engine in engines() if engine != "scalar"])
def test_lanes_equal_scalar_wherever_a_runner_gets(engine):
    rng = np.random.default_rng(20)
    played = 0
    while played < FUZZ_FRAMES:
        # An odd number of games: the last vector is not full.
        n, stop_at_end = 45, bool(rng.integers(2))
        games = Simulator(n, stop_at_end, "scalar"), Simulator(n, stop_at_end, engine)
        keys = np.zeros(n, np.uint8)
        for _ in range(120):
            keys = np.where(rng.random(n) < 0.3, rng.integers(0, 16, n), keys).astype(np.uint8)
            frames = int(rng.integers(1, 5))
            played += n * frames
            thrown = np.flatnonzero(rng.random(n) < 0.3) if rng.random() < 0.05 else []
            throws = [
                (np.arange(n) == i, *places(rng, 10 * games[0].distance[i]), *(10 * rng.normal(size=2)))
                for i in thrown
            ]
            reset = rng.random(n) < 0.4 if rng.random() < 0.02 else None
            snapshot = games[0].snapshot()[rng.permutation(n)] if rng.random() < 0.02 else None
            restored = rng.random(n) < 0.5
            for game in games:
                game.step(keys, frames)
                for mask, x, dy, vx, vy in throws:
                    game.teleport(mask, x - 10 * game.distance[mask][0], dy, vx, vy)
                if reset is not None:
                    game.reset(reset)
                if snapshot is not None:
                    game.restore(snapshot, restored)
            scalar, lanes = games
            assert (scalar.raw_observation == lanes.raw_observation).all(), f"after {played} frames"
            assert (scalar.time == lanes.time).all() and (scalar.flags == lanes.flags).all()
        assert (scalar.state == lanes.state).all()
