"""The tasks: starts, rules, scores, disturbances, environments."""

import hashlib
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from qwop_benchmark import (
    TASKS,
    RandomKeys,
    ReplayError,
    TaskEnv,
    TaskVectorEnv,
    check_choices,
    make_task,
    play,
    record,
    replay,
    task_of,
)
from qwop_benchmark.games import Disturbances, TaskGames, start_keys
from qwop_benchmark.resources import data_file
from qwop_evaluation import CheckpointPlayer, shipped_policy_path
from qwop_evaluation import play as play_protocol_p
from qwop_game import foot_clearance, knee_clearance


@pytest.fixture(scope="module")
def policy():
    return CheckpointPlayer(shipped_policy_path())


def test_the_100_m_are_those_of_protocol_p(policy):
    for ours, theirs in zip(
        play(task_of("100m-v1"), policy, range(6)), play_protocol_p(policy, range(6)), strict=True
    ):
        assert np.array_equal(ours.keys, theirs.keys) and ours.finished == theirs.success
        assert task_of("100m-v1").seconds(ours.frames) == pytest.approx(theirs.time)


def test_scores_are_0_for_random_keys_and_100_for_the_record():
    for task in TASKS.values():
        assert task.score(task.random_meters, 50, finished=False) == 0.0
        assert task.score(task.length, task.record_frames, finished=True) == 100.0
        assert task.score(task.length, 50, finished=False) == 50.0  # at the goal, but not there: no finish
        assert task.score(-1.0, 50, finished=False) < 0.0
        assert 50.0 < task.score(task.length, task.max_frames, finished=True) < 100.0
    # 100 m in 60 s on the clock: 1798 frames from the start; 50 + 50 * 1364 / 1798
    assert task_of("100m-v1").score(99.0, 1798, finished=True) == pytest.approx(87.931, abs=1e-3)


def test_a_task_never_changes():
    """A change of a task is a new version: another row of the table, and another hash here."""
    table = hashlib.sha256(repr(list(TASKS.values())).encode()).hexdigest()
    starts = hashlib.sha256(data_file("starts_30m.safetensors").read_bytes()).hexdigest()
    assert (table[:16], starts[:16]) == ("e7b9ade6a159d15c", "15510e2dca05f75d")


@pytest.mark.parametrize("name", TASKS)
def test_random_keys_score_0_in_the_mean(name):
    scores = np.array([run.score for run in play(task_of(name), RandomKeys(), range(400), sample=True)])
    assert abs(scores.mean()) < 4 * scores.std() / 20


@pytest.mark.parametrize("name", TASKS)
def test_plays_records_and_replays_agree(name, policy):
    task, seeds = task_of(name), [3, 104, 2**40 + 1]
    played = play(task, policy, seeds)

    def make_policy():
        return lambda observation: policy.scores(observation[None])[0].argmax()

    recorded = record(task, make_policy, seeds, policy.frame_skip)
    again = replay(task, [run.keys for run in played], seeds, policy.frame_skip)
    for a, b, c in zip(played, recorded, again, strict=True):
        assert np.array_equal(a.keys, b.keys)
        assert (a.end, a.meters, a.score) == (b.end, b.meters, b.score) == (c.end, c.meters, c.score)
    check_choices(task, policy, [run.keys for run in played], seeds)


def test_sampled_choices_are_checked_too(policy):
    task = task_of("10m-v1")
    keys = [run.keys for run in play(task, policy, range(4), sample=True)]
    check_choices(task, policy, keys, range(4), sample=True)
    with pytest.raises(ReplayError, match="chooses other keys"):
        check_choices(task, policy, keys, range(4), sample=False)


class NearlyEqual:
    """A network that prefers nothing: its scores are those of another, made small."""

    samples = True

    def __init__(self, policy, factor):
        self.policy, self.factor = policy, factor
        self.frame_skip, self.action_set = policy.frame_skip, policy.action_set

    def scores(self, features):
        return self.policy.scores(features) * self.factor


@pytest.mark.parametrize("factor", [1e-6, 0.0])
def test_a_network_that_would_choose_any_keys_is_refused(policy, factor):
    task, shrunken = task_of("10m-v1"), NearlyEqual(policy, factor)
    own = [run.keys for run in play(task, shrunken, range(4))]
    check_choices(task, shrunken, own, range(4))
    found = [run.keys for run in play(task, policy, range(4), sample=True)]
    with pytest.raises(
        ReplayError, match=r"chooses other keys than those recorded, and so it does in \d+ of"
    ):
        check_choices(task, shrunken, found, range(4))


def test_each_start_at_30_m_is_a_runner_at_30_m():
    task = task_of("hurdle-v1")
    assert len(start_keys(task)) == 20
    starts = {Disturbances(task, seed, 4).start for seed in range(200)}
    assert starts == set(range(20))
    games = TaskGames(task, 40)
    games.begin(list(range(40)))
    assert (games.meters >= 0).all() and (games.meters < 0.2).all()
    assert (games.frames == 0).all()
    games.close()


def test_a_repeat_at_30_m_holds_the_keys_of_the_start():
    task = task_of("hurdle-v1")
    seed = next(s for s in range(1000) if Disturbances(task, s, 4).repeats[0])
    before = start_keys(task)[Disturbances(task, seed, 4).start][-1]
    env = TaskEnv(task.id)
    env.reset(seed=seed)
    env.step(0)
    assert env.keys.tolist() == [before] * 4


def raw_of(task, run):
    """Raw observations at every frame of an undisturbed run, float64 [T + 1, 60]."""
    games = TaskGames(task, 1, 1)
    games.begin([None])
    rows = [games.games.simulator.raw_observation[0].astype(np.float64)]
    for keys in run.keys:
        games.step_frame(np.array([keys]))
        rows.append(games.games.simulator.raw_observation[0].astype(np.float64))
    games.close()
    return np.array(rows)


def test_no_knee_ends_at_the_first_touch():
    task, ended = task_of("no-knee-v1"), 0
    for number in range(12):
        keys = np.random.default_rng(number).integers(0, 16, 100).astype(np.uint8).repeat(8)
        games = TaskGames(task, 1, 1, record=True)
        games.begin([None])
        for held in keys:
            if games.going[0]:
                games.step_frame(np.array([held]))
        run = replay(task, [games.keys_of(0)], [None])[0]
        touches = (knee_clearance(raw_of(task, run)) <= 0.01).any(axis=1)
        assert not touches[:-1].any()
        ended += run.end == "rule" and bool(touches[-1])
    assert ended >= 6


def test_one_leg_ends_when_the_second_leg_touches(policy):
    task = task_of("one-leg-v1")
    run = play(task, policy, [None])[0]
    raw = raw_of(task, run)
    armed = np.maximum.accumulate(raw[:, 0] >= 10.0)[:, None]
    legs = (foot_clearance(raw) <= 0.01) | (knee_clearance(raw) <= 0.01)
    both = np.logical_or.accumulate(armed & legs).all(axis=1)
    assert run.end == "rule" and int(both.argmax()) == run.frames
    assert legs[: int(armed.argmax())].any(axis=0).all()  # before 1 m, both may touch


def test_the_time_limit():
    task = task_of("10m-v1")
    run = play(task, RandomKeys(), [60], sample=True)[0]  # these random keys stand for 30 s
    assert (run.end, run.frames) == ("time", 900)


@pytest.mark.parametrize("name", TASKS)
def test_environments_are_gymnasium_s(name):
    env = gymnasium.make(task_of(name).env_id)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


@pytest.mark.parametrize("first", ["qwop_benchmark, gymnasium", "gymnasium, qwop_benchmark"])
def test_an_import_registers_the_tasks(first):
    """Gymnasium 0.29 imports the package in its own import, by an entry point; Gymnasium 1 has none."""
    code = f"import {first}; gymnasium.spec('qwop_benchmark/QWOP-10m-v1')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_rewards_of_an_episode_add_up_to_its_score(policy):
    env = TaskEnv("100m-v1", policy.frame_skip)
    observation, info = env.reset(seed=4)
    total, over = 0.0, False
    while not over:
        action = int(policy.scores(observation[None])[0].argmax())
        observation, reward, terminated, truncated, info = env.step(action)
        total, over = total + reward, terminated or truncated
    assert info["is_success"] and info["seed"] == 4
    assert total == pytest.approx(info["score"])
    with pytest.raises(ValueError, match="call reset"):
        env.step(0)


def test_a_reset_without_a_seed_draws_training_seeds():
    env = TaskEnv()
    drawn = [env.reset(seed=0)[1]["seed"], *(env.reset()[1]["seed"] for _ in range(20))]
    assert drawn[0] == 0 and len(set(drawn[1:])) == 20
    assert all(1_000_000 <= seed < 2_000_000 for seed in drawn[1:])


def test_the_vector_environment_plays_the_same_episodes():
    envs = TaskVectorEnv(3, "10m-v1")
    observations, _ = envs.reset(seed=5)
    seeds = [d.seed for d in envs.games.disturbances]
    singles = [TaskEnv("10m-v1") for _ in seeds]
    for i, (env, seed) in enumerate(zip(singles, seeds, strict=True)):
        assert np.array_equal(env.reset(seed=seed)[0], observations[i])
    rng, ended = np.random.default_rng(0), 0
    for _ in range(300):
        actions = rng.integers(0, 9, 3)
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for i, env in enumerate(singles):
            seen, reward, single_terminated, single_truncated, info = env.step(int(actions[i]))
            assert (terminated[i], truncated[i]) == (single_terminated, single_truncated)
            assert rewards[i] == pytest.approx(reward)
            assert infos["_final"]["score"][i] == info["score"]
            if single_terminated or single_truncated:
                ended += 1
                assert infos["_final_obs"][i] and np.array_equal(infos["final_obs"][i], seen)
                seen, _ = env.reset(seed=envs.games.disturbances[i].seed)
            assert np.array_equal(seen, observations[i])
    assert ended >= 6


def test_a_list_of_seeds_names_the_episodes_of_the_vector_environment():
    envs, single = TaskVectorEnv(3, "10m-v1"), TaskEnv("10m-v1")
    observations, _ = envs.reset(seed=[7, 0, 2**40])
    assert [d.seed for d in envs.games.disturbances] == [7, 0, 2**40]
    for i, seed in enumerate((7, 0, 2**40)):
        assert np.array_equal(single.reset(seed=seed)[0], observations[i])
    for _ in range(100):
        envs.step(np.full(3, 5))
    following = [d.seed or 0 for d in envs.games.disturbances]
    assert all(1_000_000 <= seed < 2_000_000 for seed in following)
    with pytest.raises(ValueError, match="2 seeds for 3 games"):
        envs.reset(seed=[1, 2])


def changed(frame, value):
    """A change of keys at one frame."""

    def change(keys):
        keys = keys.copy()
        keys[frame] = keys[frame] ^ 15 if value is None else value
        return keys

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda keys: keys[:-3], "stop at frame"),
        (lambda keys: np.append(keys, np.zeros(5, np.uint8)), "is over at frame"),
        (changed(0, 1), "frame 0; the seed's first 20 frames are idle"),
        (changed(61, None), "change at frame 61"),
        (changed(9, 16), "at frame 9 the keys"),
        (lambda keys: np.full(2000, 16, np.uint8), "2000 frames"),
    ],
)
def test_keys_that_break_the_rules_are_refused_with_the_frame(change, said):
    task = task_of("10m-v1")
    seed = next(s for s in range(100) if Disturbances(task, s, 4).idle_frames == 20)
    run = play(task, RandomKeys(), [seed], sample=True)[0]
    with pytest.raises(ReplayError, match=said):
        replay(task, [change(run.keys)], [seed], 4)


def test_keys_that_ignore_a_repeat_are_refused_with_the_frame():
    task = task_of("10m-v1")
    seed = next(
        s
        for s in range(1000)
        if Disturbances(task, s, 4).repeats[3] and not Disturbances(task, s, 4).repeats[:3].any()
    )
    idle = Disturbances(task, seed, 4).idle_frames
    keys = np.concatenate([np.zeros(idle, np.uint8), np.repeat([1, 2, 4, 8, 1], 4)]).astype(np.uint8)
    with pytest.raises(ReplayError, match=rf"at frame {idle + 12} the seed repeats"):
        replay(task, [keys], [seed], 4)


def test_unknown_tasks_and_options():
    for name, said in (("100m-v2", "this release has 100m-v1"), ("100m", "100m-v1"), ("x", "choose one of")):
        with pytest.raises(ValueError, match=said):
            make_task(name)
    with pytest.raises(ValueError, match="frame_skip"):
        make_task("100m-v1", frame_skip=0)
    with pytest.raises(ValueError, match="no options"):
        make_task("100m-v1").reset(options={"a": 1})
    with pytest.raises(ValueError):
        TaskVectorEnv(2).step(np.array([0, 9]))
