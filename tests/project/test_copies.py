"""Copies and pickles of everything that holds games: equal from there on, bit for bit, and independent."""

import copy
import pickle
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest

from qwop_bc.adapter import GameVecEnv
from qwop_evaluation.lookahead import Lookahead, Planner
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.shipped import shipped_policy_path
from qwop_finetune import EnvironmentConfig, make_environment
from qwop_game import TRIG_VARIANTS, DisturbedVectorEnv, QWOPEnv, QWOPVectorEnv, Simulator, engines
from qwop_game.render import Renderer
from qwop_rewards import RewardVectorEnv
from qwop_search.beam import BeamConfig, BeamSearch


def unpickled_read_only(thing):
    """As Ray hands pickles on: the arrays are views of memory that nobody may write to."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytes(buffer) for buffer in buffers])


WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "pickle_2": lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
    "read_only": unpickled_read_only,
}


@pytest.fixture(params=list(WAYS))
def way(request):
    return WAYS[request.param]


@pytest.fixture(params=["deepcopy", "pickle"])
def deep_way(request):
    """What is independent for wrappers of Gymnasium too; copy.copy of these shares what they wrap."""
    return WAYS[request.param]


def same(a, b) -> bool:
    """Whether two results are equal to the last bit: arrays, numbers, tuples, dicts."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, tuple | list) or (isinstance(a, np.ndarray) and a.dtype == object):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return a == b


def drawn(steps: int, num_envs: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (steps,) if num_envs is None else (steps, num_envs)
    return np.random.default_rng(seed).integers(0, 9, shape).repeat(3, axis=0)


def play(env, actions) -> list:
    results = []
    for action in actions:
        results.append(env.step(action))
        if np.ndim(action) == 0 and (results[-1][2] or results[-1][3]):
            results.append(env.reset())
    return results


@pytest.mark.parametrize("trig", TRIG_VARIANTS)
@pytest.mark.parametrize("engine", ["auto", "scalar"])
def test_a_simulator(way, engine, trig):
    keys = np.random.default_rng(1).integers(0, 16, (40, 6), np.uint8)
    games = Simulator(6, stop_at_end=False, engine=engine, threads=2, trig=trig)
    for row in keys[:20]:
        games.step(row, 5)
    other = way(games)
    assert (other.engine, other.trig, other.threads, other.stop_at_end) == (games.engine, trig, 2, False)
    before = games.snapshot()
    assert same(other.raw_observation, games.raw_observation) and same(other.flags, games.flags)
    for row in keys[20:]:
        other.step(row, 5)
    assert same(games.snapshot(), before)  # the original stands where it stood
    for row in keys[20:]:
        games.step(row, 5)
    assert same(other.state, games.state)
    games.close()
    other.step(keys[0])
    with pytest.raises(ValueError, match="closed"):
        way(games).step(keys[0])


def test_an_engine_that_is_not_there_is_replaced():
    games = Simulator(2)
    games.step(np.array([5, 9], np.uint8), 12)
    games.engine = "of another machine"
    other = pickle.loads(pickle.dumps(games))
    assert other.engine in engines() and same(other.state, games.state)


def test_an_environment(way):
    go_on(QWOPEnv(**OPTIONS), way)


def test_an_environment_that_gymnasium_made(deep_way):
    go_on(gymnasium.make("qwop_game/QWOP-v0", 30, **OPTIONS), deep_way)


OPTIONS: dict[str, Any] = {
    "observation": "features",
    "max_frames": 200,
    "trig": "msun",
    "render_mode": "rgb_array",
}


def go_on(env, way):
    """Play on in the environment and in a copy, and compare everything that they give."""
    env.reset(seed=4)
    actions = drawn(60)
    play(env, actions[:80])
    env.render()
    env.action_space.sample(), env.np_random.random()
    other = way(env)
    ours, theirs = play(env, actions[80:]), play(other, actions[80:])
    assert same(ours, theirs) and any(len(result) == 2 for result in ours)
    assert same(env.render(), other.render())
    assert [env.action_space.sample() for _ in range(9)] == [other.action_space.sample() for _ in range(9)]
    assert env.np_random.random() == other.np_random.random()
    assert other.unwrapped.games.simulator.trig == "msun" and other.spec == env.spec
    env.close()
    other.step(0)


def vector() -> QWOPVectorEnv:
    return QWOPVectorEnv(5, observation="features", max_frames=120, trig="fdlibm", threads=2)


VECTORS = {
    "plain": vector,
    "disturbed": lambda: DisturbedVectorEnv(vector(), repeat_probability=0.2),
    "rewarded": lambda: DisturbedVectorEnv(RewardVectorEnv(vector(), "stride+alternation+default+torso")),
    "training": lambda: make_environment(
        EnvironmentConfig(max_seconds=5.0, drills=0.7, drill_meters=0.1, drill_falls=0.5), 5
    ),
}


@pytest.mark.parametrize("name", list(VECTORS))
def test_a_vector_environment(way, name):
    envs = VECTORS[name]()
    envs.reset(seed=5)
    actions = drawn(70, 5)
    play(envs, actions[:110])
    envs.np_random.random()
    other = way(envs)
    before = envs.get_state()
    theirs = play(other, actions[110:])
    assert same(envs.get_state(), before)
    ours = play(envs, actions[110:])
    assert same(ours, theirs) and sum(result[2].sum() + result[3].sum() for result in ours) > 5
    ours, theirs = envs.get_state(), other.get_state()
    assert all(same(ours[k], theirs[k]) for k in ours if "snapshot" not in k)  # they hold padding
    assert envs.np_random.random() == other.np_random.random()
    if name == "training":
        assert envs.metrics == other.metrics and envs.metrics is not other.metrics
    envs.close()
    other.step(actions[0])


def test_gymnasiums_vector_wrappers(deep_way):
    wrappers = gymnasium.wrappers  # those of vectors have a module of their own in Gymnasium 1
    envs = getattr(wrappers, "vector", wrappers).RecordEpisodeStatistics(vector())
    envs.reset()
    actions = drawn(40, 5)
    play(envs, actions[:50])
    other = deep_way(envs)
    ours, theirs = play(envs, actions[50:]), play(other, actions[50:])
    for result in ours + theirs:
        result[4].get("episode", {}).pop("t", None)  # wall time
    assert same(ours, theirs)


def test_a_spawned_process_goes_on(tmp_path):
    """Pickled here, played in a new interpreter, pickled there, compared here."""
    env = gymnasium.make("qwop_game/QWOP-v0", frame_skip=3)
    envs = VECTORS["training"]()
    env.reset(seed=1), envs.reset(seed=2)
    one, many = drawn(20), drawn(20, 5)
    play(env, one[:15]), play(envs, many[:30])
    (tmp_path / "before").write_bytes(pickle.dumps((env, envs, one, many)))
    code = (
        "import pickle, sys\n"
        "env, envs, one, many = pickle.load(open(sys.argv[1] + '/before', 'rb'))\n"
        "results = [env.step(a) for a in one[15:20]], [envs.step(a) for a in many[30:]]\n"
        "pickle.dump((results, env, envs), open(sys.argv[1] + '/after', 'wb'))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    theirs, env_after, envs_after = pickle.loads((tmp_path / "after").read_bytes())
    ours = [env.step(a) for a in one[15:20]], [envs.step(a) for a in many[30:]]
    assert same(ours, theirs)
    assert same(play(env, one[20:]), play(env_after, one[20:]))
    assert same(envs.step(many[0]), envs_after.step(many[0]))


@pytest.mark.parametrize("make", [QWOPEnv, vector, lambda: gymnasium.make("qwop_game/QWOP-v0").unwrapped])
def test_generators_that_have_not_drawn_yet_draw_alike(way, make):
    env = make()
    other = way(env)
    assert env.np_random.random() == other.np_random.random()
    for name in ("action_space", "observation_space"):
        assert same(getattr(env, name).sample(), getattr(other, name).sample())


def test_policies_and_stable_baselines_environments(way):
    player = CheckpointPlayer(shipped_policy_path())
    envs = GameVecEnv(DisturbedVectorEnv(vector()))
    observations = envs.reset()
    envs.step(np.arange(5))
    other_player = way(player)
    assert same(other_player.scores(observations), player.scores(observations))
    if way is not copy.copy:  # Stable-Baselines3's class shares what it wraps
        other = way(envs)
        for row in drawn(15, 5):
            assert same(envs.step(row)[:3], other.step(row)[:3])


def test_a_closed_vector_environment_stays_closed(way):
    envs = vector()
    envs.close()
    other = way(envs)
    assert other.closed
    with pytest.raises(ValueError, match="closed"):
        other.step(np.zeros(5, int))


def test_a_renderer(way):
    raw = Simulator().raw_observation[0]
    renderer = Renderer(128, 96)
    assert same(way(renderer).rgb_array(raw), renderer.rgb_array(raw))


class Chance:
    """A player whose scores are a fixed function of the features."""

    frame_skip, action_set, samples, name = 4, "distinct", True, "chance"

    def scores(self, features: np.ndarray) -> np.ndarray:
        return np.sin(features[:, :9] * 50)

    def values(self, features: np.ndarray) -> None:
        return None


def test_a_lookahead_planner(deep_way):
    world = Simulator(3)
    modes, keys, episodes = np.zeros(3, np.uint8), np.zeros(3, np.uint8), np.arange(3)
    planner = Planner(Chance(), Lookahead(candidates=4, segment=8, horizon=12), [1, 2, 3])
    planner.actions(episodes, world, modes, keys)
    other = deep_way(planner)
    for _ in range(4):
        actions = planner.actions(episodes, world, modes, keys)
        assert same(actions, other.actions(episodes, world, modes, keys))
        world.step(np.array([5, 9, 0], np.uint8), 4)


def test_a_beam_search(way):
    search = BeamSearch(
        Chance(), BeamConfig(width=4, children=2, segment=8, lookahead=8), threads=2, meters=0.3, trig="msun"
    )
    other = way(search)
    assert other.trig == "msun"
    runs = [[(run.keys.tolist(), run.seconds) for run in each.run([7])] for each in (search, other)]
    assert runs[0] == runs[1]
    search.close(), other.close()
