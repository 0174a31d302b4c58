"""Idle starts and repeated decisions on the vector environment."""

import math

import numpy as np
import pytest

from qwop_game import (
    ACTION_SETS,
    FRAME_SECONDS,
    KEY_O,
    KEY_Q,
    KEY_W,
    DisturbedVectorEnv,
    QWOPVectorEnv,
    Simulator,
    StartStates,
)
from qwop_rewards import RewardVectorEnv

NUM_ENVS = 200


def disturbed(num_envs: int = NUM_ENVS, frame_skip: int = 2, **options) -> DisturbedVectorEnv:
    return DisturbedVectorEnv(QWOPVectorEnv(num_envs, frame_skip, observation="features"), **options)


def test_episodes_start_after_idle_frames_drawn_uniformly():
    envs = disturbed()
    _, infos = envs.reset(seed=3)
    idle = np.rint((infos["time"] - Simulator(1).time) / FRAME_SECONDS).astype(int)
    assert (idle.min(), idle.max()) == (0, 29)
    assert idle.mean() == pytest.approx(14.5, abs=4 * 8.66 / math.sqrt(NUM_ENVS))
    assert (infos["frame"] == 0).all() and (infos["keys"] == 0).all() and (infos["hip_mode"] == 0).all()
    alone = Simulator(1)
    alone.step(np.zeros(1, np.uint8), frames=int(idle[7]))
    assert (infos["raw_observation"][7] == alone.raw_observation[0]).all()
    # as do those that start after a fall
    times_at_start = []
    for _ in range(60):
        _, _, terminated, _, infos = envs.step(np.full(NUM_ENVS, 5))
        times_at_start += infos["time"][terminated].tolist()
    assert len(times_at_start) > 50 and len(set(times_at_start)) > 20


def test_some_decisions_hold_the_keys_of_the_step_before():
    envs = disturbed(repeat_probability=0.1)
    envs.reset(seed=4)
    masks = ACTION_SETS["distinct"]
    before, repeats, decisions = np.zeros(NUM_ENVS, np.uint8), 0, 0
    for step in range(30):
        actions = np.full(NUM_ENVS, 3 if step % 2 else 6)  # Q, W, Q, ...: a repeat is a missing switch
        _, _, terminated, _, infos = envs.step(actions)
        held = infos["_final"]["keys"]
        repeated = held != masks[actions]
        assert (held[repeated] == before[repeated]).all()
        # where a repeat has brought the two into step, it can no longer be told from obeying
        telling = before != masks[actions]
        repeats, decisions = repeats + int(repeated.sum()), decisions + int(telling.sum())
        before = np.where(terminated, 0, held)
    assert repeats / decisions == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / decisions))


def test_without_disturbances_the_game_is_unchanged():
    plain = QWOPVectorEnv(3, frame_skip=2)
    envs = DisturbedVectorEnv(QWOPVectorEnv(3, frame_skip=2), max_idle_frames=0, repeat_probability=0.0)
    a, b = plain.reset(seed=1)[0], envs.reset(seed=1)[0]
    actions = np.random.default_rng(0).integers(0, 9, (50, 3))
    for action in actions:
        assert a.tobytes() == b.tobytes()
        a, b = plain.step(action)[0], envs.step(action)[0]


def test_start_states_take_precedence_and_are_followed_by_their_own_keys():
    source = Simulator(1)
    source.step(np.array([KEY_W | KEY_O], np.uint8), frames=12)
    there = source.snapshot()

    def start(mask):
        chosen = mask & (np.arange(4) < 2)
        return StartStates(
            chosen, np.repeat(there, 4, axis=0), np.full(4, 1, np.uint8), np.full(4, KEY_W | KEY_O, np.uint8)
        )

    inner = QWOPVectorEnv(4, frame_skip=1, start_states=start)
    envs = DisturbedVectorEnv(RewardVectorEnv(inner, "stride"), repeat_probability=1.0)
    _, infos = envs.reset(seed=0)
    assert (infos["raw_observation"][:2] == source.raw_observation).all()
    assert infos["hip_mode"].tolist() == [1, 1, 0, 0]
    _, _, _, _, infos = envs.step(np.full(4, 3))
    assert infos["keys"].tolist() == [KEY_W | KEY_O] * 2 + [0, 0]


def test_keys_outside_the_action_set_repeat_as_what_they_do():
    envs = DisturbedVectorEnv(QWOPVectorEnv(1, action_set="reduced"))
    masks = ACTION_SETS["reduced"]
    assert masks[envs._action_of[KEY_Q | KEY_W]] == KEY_Q | KEY_W  # itself where the set has it
    assert masks[envs._action_of[KEY_W | KEY_O | 8]] == KEY_W | KEY_O  # O beats P
    assert envs._action_of[KEY_Q | KEY_O] == 0  # qwop-gym's reduced set has no such action


def test_goes_on_bit_for_bit_from_a_state():
    def run(envs, actions):
        return [envs.step(a)[0].copy() for a in actions]

    actions = np.random.default_rng(1).integers(0, 9, (120, 8)).repeat(3, axis=0)
    envs = disturbed(8)
    envs.reset(seed=5)
    run(envs, actions[:100])
    state = envs.get_state()
    expected = run(envs, actions[100:])
    other = disturbed(8, seed=99)
    other.reset()
    other.set_state(state)
    assert np.array_equal(run(other, actions[100:]), expected)
    with pytest.raises(ValueError, match="without disturbances"):
        other.set_state(QWOPVectorEnv(8).get_state())
    (name,) = (name for name in state if name.endswith("previous"))
    for previous in (state[name][:, None], state[name] + 100, state[name] - 100):
        with pytest.raises(ValueError, match="previous actions"):
            other.set_state({**state, name: previous})


def test_bad_options():
    with pytest.raises(ValueError, match="max_idle_frames is -1"):
        disturbed(1, max_idle_frames=-1)
    with pytest.raises(ValueError, match=r"repeat_probability is 1\.5"):
        disturbed(1, repeat_probability=1.5)
