"""The native rules and observations against the readable ones, to the last bit; threads; memory."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from qwop_game import ACTION_SETS, QWOPVectorEnv, Simulator, encode, engines, episodes, normalize
from qwop_game.game_batch import GameBatch
from qwop_game.simulator import FLAG_FALLEN, FLAG_JUMP_LANDED

RESETS = int(os.environ.get("QWOP_RESETS", "20000"))
ARRAYS = ("keys", "hip_mode", "frame", "success", "_last_distance", "_last_tenths")

native_only = pytest.mark.skipif(
    not set(engines()) & {"avx2", "neon"}, reason="NumPy computes other sines on a CPU without FMA"
)


@native_only
def test_native_observations_are_in_use():
    assert episodes.agrees()


@native_only
def test_observations_of_any_raw_numbers():
    rng = np.random.default_rng(1)
    raw = rng.normal(0, [300, 8, 4, 30, 30] * 12, (20_000, 60)).astype(np.float32)
    raw[:2000, 2::5] = rng.choice(np.arange(-8, 9) * np.pi / 4, (2000, 12))  # the quadrants' ends
    raw[2000:4000, 2::5] *= np.float32(1e-4)
    raw[0] = 0
    hip_mode, keys = rng.integers(0, 3, 20_000, np.uint8), rng.integers(0, 16, 20_000, np.uint8)
    assert episodes.observe(False, raw, hip_mode, keys).tobytes() == normalize(raw).tobytes()
    assert episodes.observe(True, raw, hip_mode, keys).tobytes() == encode(raw, hip_mode, keys).tobytes()


@native_only
@pytest.mark.parametrize(
    ("action_set", "frame_skip", "observation", "max_frames"),
    [("full", 1, "qwop_gym", 90), ("distinct", 4, "features", None), ("reduced", 3, "features", 60)],
)
def test_steps_are_those_of_the_readable_rules(action_set, frame_skip, observation, max_frames):
    """Falls, landings, successes, runs out of bounds, truncations, ended games stepped on, resets."""
    rng = np.random.default_rng(2)
    n = 41
    options = (n, frame_skip, action_set, observation, max_frames, "auto")
    native, readable = GameBatch(*options), GameBatch(*options, simulator=Simulator(n))
    assert native._native is not None and readable._native is None
    seen = {"fell": 0, "landed": 0, "won": 0, "behind": 0, "ahead": 0, "cut": 0}
    for games in (native, readable):
        games.reset()
        assert isinstance(games.simulator, Simulator)
        for env, meters in enumerate([97, 98.5, 99.5, 103, -9.5, 104.6, 98, 99]):
            games.simulator.teleport(
                np.arange(n) == env, 10.0 * meters, -3.0 * (env % 2), 15.0 - 30 * (env == 4)
            )
    for _ in range(240 // frame_skip):
        keys = native.keys_of(rng.integers(0, len(ACTION_SETS[action_set]), n))
        ours, theirs = native.step(keys), readable.step(keys)
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for name in ARRAYS:
            assert getattr(native, name).tobytes() == getattr(readable, name).tobytes(), name
        assert native.observations().tobytes() == readable.observations().tobytes()
        flags, distance = native.simulator.flags, native.simulator.distance
        seen["fell"] += int((flags & FLAG_FALLEN > 0).sum())
        seen["landed"] += int((flags & FLAG_JUMP_LANDED > 0).sum())
        seen["won"] += int(native.success.sum())
        seen["behind"] += int((ours[1] & (distance < -10)).sum())
        seen["ahead"] += int((ours[1] & (distance > 105)).sum())
        seen["cut"] += int(ours[2].sum())
        again = (ours[1] | ours[2]) & (rng.random(n) < 0.7)
        for games in (native, readable):
            games.reset(again)
        assert native.observations(again).tobytes() == readable.observations(again).tobytes()
    assert all(seen[name] for name in seen if name != "cut" or max_frames), seen


@pytest.mark.parametrize("engine", engines())
def test_any_number_of_threads_gives_the_same_bits(engine):
    rng = np.random.default_rng(3)
    n = 75
    simulators = [Simulator(n, engine=engine, threads=threads) for threads in (1, 2, 3, 16)]
    for _ in range(60):
        keys = rng.integers(0, 16, n, np.uint8)
        over = rng.random(n) < 0.02
        for games in simulators:
            games.step(keys, 2)
            games.reset(over)
    assert len({games.state.tobytes() for games in simulators}) == 1
    assert len({games.raw_observation.tobytes() for games in simulators}) == 1


def test_threads_in_the_vector_environment():
    one, four = (QWOPVectorEnv(33, observation="features", threads=threads) for threads in (1, 4))
    rng = np.random.default_rng(4)
    assert one.reset()[0].tobytes() == four.reset()[0].tobytes()
    for actions in rng.integers(0, 9, (40, 33)):
        for a, b in zip(one.step(actions)[:4], four.step(actions)[:4], strict=True):
            assert a.tobytes() == b.tobytes()
    with pytest.raises(ValueError, match="threads is 0: it must be 1 to"):
        QWOPVectorEnv(2, threads=0)


def _step_in_child(games: Simulator, out) -> None:
    games.step(np.full(games.num_envs, 5, np.uint8), 20)
    out.put(games.distance.tobytes())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_steps_on():
    games = Simulator(40, threads=2)
    games.step(np.full(40, 5, np.uint8), 5)
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    child = context.Process(target=_step_in_child, args=(games, out))
    child.start()
    there = out.get(timeout=60)
    child.join()
    games.step(np.full(40, 5, np.uint8), 20)
    assert there == games.distance.tobytes()


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_resets_take_no_memory():
    """QWOP_RESETS=1000000 for the million. The environments' own: half of them with an ended game before."""
    envs = QWOPVectorEnv(64, frame_skip=30, observation="features")
    envs.reset()
    rng = np.random.default_rng(5)
    resets, start = 0, None
    while resets < RESETS:
        if start is None and resets >= 2000:  # by now all is allocated that ever will be
            start = _resident_bytes()
        envs.step(rng.integers(0, 9, 64))
        mask = rng.random(64) < 0.5
        for _ in range(8):
            envs.games.reset(mask)
            resets += int(mask.sum())
    assert start is not None and _resident_bytes() - start < 1_000_000
