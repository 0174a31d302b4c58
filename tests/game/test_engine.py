"""The engines against the real game, and the lane engines against the scalar one: every number, with ==."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qwop_game import DEFAULT_TRIG, TRIG_VARIANTS, Simulator, engines
from qwop_game.observation import STATE_FIELDS, STATE_GLOBALS, STATE_PARTS, STATE_SIZE

GOLDEN = Path(__file__).parents[1] / "golden"
CLOCK = STATE_SIZE - len(STATE_GLOBALS)
FUZZ_FRAMES = int(os.environ.get("QWOP_FUZZ_FRAMES", 100_000))  # a frame of one game is one frame


def golden_traces(trig):
    # Chromium 153, where those of rounded were recorded, computes llvm: no value in them tells the two apart.
    trig = "rounded" if trig == "llvm" else trig
    for name in ("constant", "random", "runs"):
        with np.load(GOLDEN / f"{trig}_{name}.npz") as traces:
            for i in range(sum(key.startswith("actions_") for key in traces.files)):
                yield traces[f"actions_{i}"], traces[f"frames_{i}"], traces[f"states_{i}"]


GOLDEN_ROWS = {"rounded": 4541, "glibc": 4531, "glibc-fma": 5611, "fdlibm": 4530, "msun": 4530}
GOLDEN_ROWS["llvm"] = GOLDEN_ROWS["rounded"]


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize("engine", engines())
def test_every_golden_trace_bit_for_bit(engine, trig):
    traces = list(golden_traces(trig))
    games = Simulator(len(traces), stop_at_end=False, engine=engine, trig=trig)
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
    assert compared == sum(len(frames) for _, frames, _ in traces) == GOLDEN_ROWS[trig]


@pytest.mark.parametrize("engine", engines())
def test_the_clock_advances_as_in_the_golden_traces(engine):
    actions, frames, states = next(golden_traces(DEFAULT_TRIG))
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


LANES = [engine for engine in engines() if engine != "scalar"]


def fuzz_frames(trig):
    """Games x frames of a fuzz; the variants share all code but the sines, so the canonical one gets most."""
    return FUZZ_FRAMES if trig == DEFAULT_TRIG else FUZZ_FRAMES // 3


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize("engine", LANES)
def test_lanes_equal_scalar_wherever_a_runner_gets(engine, trig):
    rng = np.random.default_rng(20)
    played = 0
    while played < fuzz_frames(trig):
        # An odd number of games: the last vector is not full.
        n, stop_at_end = 45, bool(rng.integers(2))
        games = tuple(Simulator(n, stop_at_end, each, trig=trig) for each in ("scalar", engine))
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


def column(part: str, field: str) -> int:
    """Of `state`."""
    return STATE_PARTS.index(part) * len(STATE_FIELDS) + STATE_FIELDS.index(field)


class Both:
    """The scalar engine and a lane engine, played alike and compared after every frame."""

    def __init__(
        self, engine: str, num_envs: int, stop_at_end: bool = True, trig: str = DEFAULT_TRIG
    ) -> None:
        self.games = tuple(Simulator(num_envs, stop_at_end, each, trig=trig) for each in ("scalar", engine))
        self.scalar, self.lanes = self.games
        self.num_envs, self.frame = num_envs, 0

    def step(self, keys: np.ndarray) -> None:
        for game in self.games:
            game.step(keys)
        self.frame += 1
        self.check()

    def check(self) -> None:
        scalar, lanes = self.games
        equal = (scalar.raw_observation == lanes.raw_observation).all(axis=1)
        equal &= (scalar.time == lanes.time) & (scalar.flags == lanes.flags)
        assert equal.all(), f"frame {self.frame}, games {np.flatnonzero(~equal)}"

    def check_all(self) -> np.ndarray:
        """The state, after a comparison of each of its columns. It takes the games out of the lanes."""
        state = self.scalar.state
        assert (state == self.lanes.state).all(), f"frame {self.frame}"
        return state

    def throw(self, env: int, dx: float, dy: float, dvx: float = 0.0, dvy: float = 0.0) -> None:
        """Move a runner by (dx, dy) units and add to its velocity."""
        for game in self.games:
            game.teleport(np.arange(self.num_envs) == env, dx, dy, dvx, dvy)

    def restore(self, snapshot: np.ndarray) -> None:
        for game in self.games:
            game.restore(snapshot)


@cache
def hurdle_run(trig: str) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Keys of a recorded run, and its snapshots every 10 frames from before the hurdle to well past it."""
    keys, _, _ = list(golden_traces(trig))[-1]
    game = Simulator(1, engine="scalar", trig=trig)
    snapshots = {}
    for frame in range(len(keys)):
        if 45 < game.distance[0] < 65 and frame % 10 == 0:
            snapshots[frame] = game.snapshot()[0]
        game.step(keys[frame : frame + 1])
    assert len(snapshots) > 15
    return np.concatenate([keys, keys[-300:]]), snapshots


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize("engine", LANES)
def test_a_hurdle_kicked_in_every_way(engine, trig):
    """The hurdle falls, slides, sleeps, is met from the side and from above, while floors move under it."""
    run, snapshots = hurdle_run(trig)
    rng = np.random.default_rng(51)  # meets floor and moved hurdle at once
    n, length = 64, 260
    angles: list[float] = []
    while len(angles) * length < fuzz_frames(trig):
        both = Both(engine, n, trig=trig)
        starts = rng.choice(list(snapshots), n)
        both.restore(np.stack([snapshots[start] for start in starts]))
        for env in np.flatnonzero(rng.random(n) < 0.5):
            both.throw(env, rng.normal(), -rng.random(), 3 * rng.normal(), 2 * rng.normal())
        late, change = rng.integers(-3, 4, n), 0.1 * rng.random()
        for frame in range(length):
            late = np.where(rng.random(n) < 0.02, rng.integers(-3, 4, n), late)
            keys = np.where(rng.random(n) < change, rng.integers(0, 16, n), run[starts + frame + late])
            both.step(keys.astype(np.uint8))
            if rng.random() < 0.03:
                state = both.check_all()
                for env in np.flatnonzero((rng.random(n) < 0.3) & (both.scalar.flags & 8 == 0)):
                    part = rng.choice(["hurdleBase", "hurdleTop"])
                    x, y = state[env, column(part, "x")], state[env, column(part, "y")]
                    torso = state[env, column("torso", "x")], state[env, column("torso", "y")]
                    above = rng.random() < 0.5
                    dy = y - torso[1] - 11 - 5 * rng.random() if above else -2 * rng.random()
                    dvx, dvy = 5 * rng.normal(), 10 * rng.random() * above
                    both.throw(env, x - torso[0] + 3 * rng.normal(), dy, dvx, dvy)
        angles.extend(both.check_all()[:, column("hurdleTop", "angle")])
    poses = len(np.unique(np.round(angles, 2)))
    assert np.abs(angles).max() > 1.5 and poses > (25 if trig == DEFAULT_TRIG else 15)


@pytest.mark.parametrize("engine", LANES)
def test_the_ends_of_the_world(engine):
    """Past the last floor a runner falls for good; high up the camera stands still; behind is a block."""
    rng = np.random.default_rng(60)
    both = Both(engine, 33, stop_at_end=False)
    places = np.resize([1092.0, 1101.0, 1125.0, 1130.0, -27.0, -33.0, -40.0, -60.0, 500.0, 996.0, 31.0], 33)
    for env, x in enumerate(places):
        high = env % 3 == 0
        both.throw(env, x, -40.0 * high, 8 * rng.normal(), -10.0 * high)
    keys = np.zeros(33, np.uint8)
    camera_stood = False
    for _ in range(700):
        keys = np.where(rng.random(33) < 0.2, rng.integers(0, 16, 33), keys).astype(np.uint8)
        both.step(keys)
        camera_stood |= bool((both.scalar.raw_observation[:, 1] < -5).any())
    state = both.check_all()
    torso_y = state[:, column("torso", "y")]
    assert camera_stood and (torso_y > 500).sum() >= 6 and (torso_y < 10).sum() >= 10
    assert ((both.scalar.flags & 4) != 0).any()  # someone landed in the sand


@pytest.mark.parametrize("engine", LANES)
def test_a_snapshot_moves_between_engines_in_any_state(engine):
    """Each engine goes on from the other's snapshot, again and again: at the hurdle, fallen, ended."""
    run, snapshots = hurdle_run(DEFAULT_TRIG)
    rng = np.random.default_rng(70)
    both = Both(engine, 31, stop_at_end=False)
    starts = rng.choice(list(snapshots), 31)
    both.restore(np.stack([snapshots[start] for start in starts]))
    for frame in range(300):
        keys = np.where(rng.random(31) < 0.05, rng.integers(0, 16, 31), run[starts + frame]).astype(np.uint8)
        both.step(keys)
        if frame % 7 == 0:
            first, second = (game.snapshot() for game in both.games)
            both.scalar.restore(second)
            both.lanes.restore(first)
            both.check()
    both.check_all()


def test_a_damaged_snapshot_is_refused():
    game = Simulator(2, engine="scalar")
    keys = np.array([1, 2], np.uint8)
    game.step(keys, 20)
    snapshot, state = game.snapshot(), game.state
    game.step(keys, 5)
    later = game.state
    for at in (*range(0, 24), *range(24, snapshot.shape[1], 41), snapshot.shape[1] - 1):
        damaged = snapshot.copy()
        damaged[1, at] ^= 4
        with pytest.raises(ValueError, match="not a snapshot"):
            game.restore(damaged)
        assert (game.state == later).all()  # of the first game too
    game.restore(snapshot)
    assert (game.state == state).all()


def test_a_snapshot_of_another_variant_is_refused_or_converted():
    rounded, msun = Simulator(2), Simulator(2, trig="msun")
    for game in (rounded, msun):
        game.step(np.full(2, 9, np.uint8), 40)
    state = rounded.state
    with pytest.raises(ValueError, match="another trig than rounded"):
        rounded.restore(msun.snapshot())
    assert (rounded.state == state).all()
    rounded.restore(msun.snapshot(), convert=True)
    assert (rounded.state == msun.state).all()
    for game in (rounded, msun):
        game.step(np.full(2, 6, np.uint8), 30)
    assert (rounded.state != msun.state).any()


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="unknown trigonometry variant 'libm': choose one of rounded, glibc"):
        Simulator(1, trig="libm")


def test_files_for_different_cpus_share_no_function():
    """The linker keeps one copy of what several objects define, perhaps one this CPU can't run."""
    objects = sorted((GOLDEN.parents[1] / "build" / "engine").glob("*.o"))
    if not shutil.which("nm") or not any(path.stem.startswith("lanes_") for path in objects):
        pytest.skip("nm or the engine's objects are missing")
    owners: dict[str, list[str]] = {}
    for path in objects:
        command = ["nm", "-C", "--defined-only", str(path)]
        for line in subprocess.run(
            command, capture_output=True, text=True, check=True, encoding="utf-8"
        ).stdout.splitlines():
            kind, name = line[17:].split(" ", 1)
            if kind in "WT" and "qwop" in name:  # code
                owners.setdefault(name, []).append(path.stem.rpartition("-")[0])
    assert len(owners) > 50
    shared = {name: files for name, files in owners.items() if len(set(files)) > 1}
    assert not {name for name, files in shared.items() if any(f.startswith("lanes_") for f in files)}


@pytest.mark.parametrize("engine", LANES)
def test_a_reset_while_the_hurdle_falls(engine):
    """Left behind, it falls for good: the next episode's stands again, and a restored one falls on."""
    run, snapshots = hurdle_run("glibc-fma")
    start, end = max(snapshots), max(snapshots) + 110
    both = Both(engine, 20, trig="glibc-fma")
    both.restore(np.stack([snapshots[start]] * 20))
    for frame in range(start, end):
        both.step(np.full(20, run[frame], np.uint8))
    fallen = both.check_all()
    assert (fallen[:, column("hurdleTop", "y")] > 20).all()  # below the track
    saved = both.lanes.snapshot()
    both.step(np.full(20, run[end], np.uint8))  # back into the lanes
    for game in both.games:
        game.reset(np.arange(20) % 3 == 0)
    for frame in range(end + 1, end + 20):
        both.step(np.full(20, run[frame], np.uint8))
    state = both.check_all()
    assert (state[::3, column("hurdleTop", "y")] == 5.0575).all()
    assert (state[1::3, column("hurdleTop", "y")] > 40).all()
    both.restore(saved)
    both.check_all()
    for frame in range(end, end + 20):
        both.step(np.full(20, run[frame], np.uint8))
    both.check_all()
