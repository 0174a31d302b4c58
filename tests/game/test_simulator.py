import gc
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from qwop_game import CANONICAL_START, Operation, Simulator, engines, raw_from_state, simulator
from qwop_game.simulator import FLAG_FALLEN, FLAG_GAME_ENDED

GOLDEN = Path(__file__).parents[1] / "golden"


def keys(*masks: int) -> np.ndarray:
    return np.array(masks, np.uint8)


def test_scalar_is_always_there():
    assert engines()[-1] == "scalar"
    assert Simulator(256).engine == engines()[0]
    assert Simulator(1).engine == ("avx2" if "avx2" in engines() else engines()[0])


def test_a_new_simulator_is_at_the_canonical_start():
    with np.load(GOLDEN / "glibc-fma_constant.npz") as traces:
        start = traces["states_0"][0]
    games = Simulator(3)
    assert games.raw_observation.shape == (3, 60) and games.raw_observation.dtype == np.float32
    assert games.time.shape == games.distance.shape == games.flags.shape == (3,)
    assert (games.raw_observation == raw_from_state(start)).all()
    assert (games.distance == start[0] / 10).all()
    assert games.state.shape == (3, 92)
    assert (games.state[2, :84] == start[:84]).all()


def test_all_views_tell_the_same():
    games = Simulator(4)
    games.step(keys(4, 5, 10, 0), 30)
    state = games.state
    assert games.raw_observation.tobytes() == raw_from_state(state).tobytes()
    assert (games.distance == state[:, 0] / 10).all() and (games.time == state[:, 84]).all()
    assert ((games.flags & FLAG_FALLEN > 0) == state[:, 86]).all()
    assert ((games.flags & FLAG_GAME_ENDED > 0) == state[:, 89]).all()


def test_the_clock_counts_frames():
    games = Simulator(1)
    start = games.time[0]
    games.step(keys(0), 30)
    assert games.time[0] - start == pytest.approx(1.0)
    games.step(keys(0), 0)
    assert games.time[0] - start == pytest.approx(1.0)


def test_frames_in_one_call_or_many():
    one, many = Simulator(2), Simulator(2)
    one.step(keys(5, 10), 25)
    for _ in range(25):
        many.step(keys(5, 10))
    assert one.state.tobytes() == many.state.tobytes()


def test_reset_of_some_games():
    games = Simulator(3)
    start = games.state
    games.step(keys(5, 5, 5), 20)
    moved = games.state
    games.reset(np.array([True, False, True]))
    assert (games.state[[0, 2]] == start[[0, 2]]).all() and (games.state[1] == moved[1]).all()
    assert games.raw_observation[0].tobytes() == raw_from_state(start[0]).tobytes()
    assert games.raw_observation[1].tobytes() == raw_from_state(moved[1]).tobytes()


@pytest.mark.parametrize("engine", engines())
def test_snapshots_return_and_move_between_games_and_engines(engine):
    games = Simulator(3, engine="scalar")
    games.step(keys(5, 10, 4), 33)
    saved, before = games.snapshot(), games.state
    games.step(keys(10, 5, 8), 40)
    after = games.state

    other = Simulator(3, engine=engine)
    other.restore(saved[[1, 1, 2]], np.array([True, True, False]))
    assert (other.state[[0, 1]] == before[[1, 1]]).all()
    assert (other.state[2] == Simulator().state[0]).all()
    assert other.raw_observation[0].tobytes() == raw_from_state(before[1]).tobytes()
    other.restore(saved)
    other.step(keys(10, 5, 8), 40)
    assert other.state.tobytes() == after.tobytes()


@pytest.mark.parametrize("engine", engines())
def test_many_games_continue_from_a_few_snapshots(engine):
    rng = np.random.default_rng(5)
    parents = Simulator(7, engine="scalar")
    parents.step(rng.integers(0, 16, 7).astype(np.uint8), 40)
    saved, n = parents.snapshot(), 37
    index, mask = rng.integers(0, 6, n), rng.random(n) < 0.7
    saved[6] = 0  # a row that no game gets may hold anything
    by_index, by_copy = Simulator(n, engine=engine), Simulator(n, engine=engine)
    for index_mask in (None, mask):
        for games in (by_index, by_copy):
            games.step(np.full(n, 9, np.uint8), 3)
        by_index.restore(saved, index_mask, index=index)
        by_copy.restore(saved[index], index_mask)
        assert by_index.state.tobytes() == by_copy.state.tobytes()
        assert (by_index.raw_observation == by_copy.raw_observation).all()
        held = rng.integers(0, 16, n).astype(np.uint8)
        for games in (by_index, by_copy):
            games.step(held, 9)
        assert by_index.state.tobytes() == by_copy.state.tobytes()


def test_an_ended_game_stops_unless_stop_at_end_is_false():
    with np.load(GOLDEN / "glibc-fma_random.npz") as traces:
        actions = traces["actions_1"]  # a fall in frame 78 of 138
    stops, goes_on = Simulator(1), Simulator(1, stop_at_end=False)
    for games in (stops, goes_on):
        for mask in actions:
            games.step(keys(mask))
        assert games.flags[0] & FLAG_GAME_ENDED
        assert games.time[0] - Simulator().time[0] == pytest.approx(78 / 30)
    ended = stops.state
    assert (goes_on.state != ended).any()
    stops.step(keys(9), 50)
    assert (stops.state == ended).all()


def test_arrays_are_read_only_and_live():
    games = Simulator(1)
    observation = games.raw_observation
    before = observation.copy()
    games.step(keys(4), 5)
    assert (observation != before).any() and observation is games.raw_observation
    with pytest.raises(ValueError, match="read-only"):
        observation[0, 0] = 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.step(np.zeros(2, np.int64)), r"keys are int64 \[2\]: expected uint8 \[2\]"),
        (lambda g: g.step(np.zeros(3, np.uint8)), r"keys are uint8 \[3\]"),
        (lambda g: g.step(keys(0, 16)), "keys have 16"),
        (lambda g: g.step(keys(0, 0), -1), "frames is -1"),
        (lambda g: g.reset(np.ones(2, np.uint8)), r"the mask is uint8 \[2\]: expected bool \[2\]"),
        (lambda g: g.restore(np.zeros((1, 4), np.uint8)), "the snapshot is uint8"),
        (lambda g: g.restore(np.zeros((2, g.snapshot_size), np.uint8)), "these bytes are not a snapshot"),
        (lambda g: g.restore(g.snapshot(), index=np.array([0, 2])), "has 0 to 2: there are rows 0 to 1"),
        (lambda g: g.restore(g.snapshot(), index=np.array([-1, 0])), "the index has -1 to 0"),
        (lambda g: g.restore(g.snapshot(), index=np.array([0])), r"int64 \[1\]: expected int \[2\]"),
        (lambda g: g.restore(g.snapshot(), index=np.zeros(2)), "the index is float64"),
        (lambda g: g.restore(np.uint8(3), index=np.array([0, 1])), r"the snapshot is uint8"),
    ],
)
def test_wrong_arrays_are_named(call, message):
    games = Simulator(2)
    before = games.state
    with pytest.raises(ValueError, match=message):
        call(games)
    assert (games.state == before).all()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="engine 'turbo' does not run here: choose auto or one of .*scalar"):
        Simulator(engine="turbo")
    with pytest.raises(ValueError, match="num_envs is 0"):
        Simulator(0)


def test_keys_with_gaps_in_memory():
    games, reference = Simulator(3), Simulator(3)
    spread = np.zeros((3, 2), np.uint8)
    spread[:, 0] = (5, 10, 0)
    games.step(spread[:, 0], 10)
    reference.step(keys(5, 10, 0), 10)
    assert games.state.tobytes() == reference.state.tobytes()


def test_calls_on_closed_games_raise():
    games = Simulator(1)
    observation = games.raw_observation
    games.close()
    games.close()
    with pytest.raises(ValueError, match="closed"):
        games.step(keys(0))
    with pytest.raises(ValueError, match="closed"):
        _ = games.state
    del games
    gc.collect()
    assert np.isfinite(observation).all()  # the arrays outlive the games


def test_the_gil_is_released():
    """While one thread steps, this one runs Python: it counts far beyond what one switch would let it."""
    games = Simulator(8, stop_at_end=False)
    done = threading.Event()

    def play() -> None:
        games.step(np.full(8, 5, np.uint8), 20_000)
        done.set()

    thread = threading.Thread(target=play)
    thread.start()
    turns = 0
    while not done.is_set():
        time.sleep(0)
        turns += 1
    thread.join()
    assert turns > 10


def test_a_missing_library_is_one_line(monkeypatch, tmp_path):
    simulator.native_library.cache_clear()
    monkeypatch.setattr(simulator, "_LIBRARY", tmp_path / "_engine.so")
    try:
        with pytest.raises(ImportError, match=r"not built \(.*_engine.so is missing\): install") as missing:
            Simulator()
        (tmp_path / "_engine.so").write_bytes(b"nothing")
        with pytest.raises(ImportError, match="does not load here") as broken:
            engines()
    finally:
        monkeypatch.undo()
        simulator.native_library.cache_clear()
    assert all(len(str(error.value).splitlines()) == 1 for error in (missing, broken))
    assert engines()


def test_every_engine_plays_on_from_any_reset():
    """A reset of a page that was played gives bodies other tree nodes than the lanes number."""
    with np.load(GOLDEN / "rounded_runs.npz") as traces:
        run = traces["actions_0"].astype(np.uint8)
    rng = np.random.default_rng(5)
    starts = []
    for length in rng.integers(50, len(run), 12):
        session = CANONICAL_START.play(run[:length]).then(Operation.RESET)
        if length % 2:
            session = session.then(Operation.RESET)
        starts.append(session.play(np.zeros(2, np.uint8)).array)  # as many as before the canonical start
    played = {}
    for engine in engines():
        simulator = Simulator(len(starts), engine=engine, stop_at_end=False)
        for env, start in enumerate(starts):
            simulator.begin(start, env)
        # Not `state`: to read it brings a game's tree up to date, frame by frame.
        rows = [simulator.raw_observation.copy()]
        for held in run:
            simulator.step(np.full(len(starts), held))
            rows.append(simulator.raw_observation.copy())
        played[engine] = np.array(rows)
        simulator.close()
    assert len(np.unique(played["scalar"][-1], axis=0)) > 1  # the starts differ: they lead to different ends
    for engine, rows in played.items():
        assert (rows == played["scalar"]).all(), engine
