"""The environments under Gymnasium's own tools: wrappers, recorders, `play`."""

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from qwop_finetune import EnvironmentConfig, make_environment
from qwop_game import (
    ACTION_SETS,
    DisturbedVectorEnv,
    QWOPEnv,
    QWOPVectorEnv,
    canonical_keys,
)
from qwop_game.real.env import QWOPRealEnv
from qwop_rewards import RewardVectorEnv

GYMNASIUM_1 = "autoreset_mode" in QWOPVectorEnv.metadata
if GYMNASIUM_1:
    from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
else:
    from gymnasium.wrappers import RecordEpisodeStatistics
    from gymnasium.wrappers import VectorListInfo as DictInfoToList

VECTORS = {
    "plain": lambda **options: QWOPVectorEnv(4, max_frames=40, **options),
    "disturbed": lambda **options: DisturbedVectorEnv(QWOPVectorEnv(4, max_frames=40, **options)),
    "rewarded": lambda **options: RewardVectorEnv(QWOPVectorEnv(4, max_frames=40, **options)),
    "training": lambda: make_environment(EnvironmentConfig(max_seconds=40 / 30, drills=0.5), 4),
}


def actions(steps: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 9, (steps, 4)).repeat(3, axis=0)


@pytest.mark.parametrize("name", list(VECTORS))
def test_vector_list_info(name):
    """Each game's own dict: what infos says of it, and of the episode that has just ended."""
    envs, plain = DictInfoToList(RecordEpisodeStatistics(VECTORS[name]())), VECTORS[name]()
    _, each = envs.reset(seed=1)
    plain.reset(seed=1)
    assert [set(info) for info in each] == [set(QWOPEnv().reset()[1])] * 4
    ends = 0
    for row in actions(12):
        _, _, terminated, truncated, each = envs.step(row)
        _, _, _, _, infos = plain.step(row)
        for i, info in enumerate(each):
            assert info["time"] == infos["time"][i] and info["frame"] == infos["frame"][i]
            ended = bool(terminated[i] or truncated[i])
            extra = {"final_obs", "final_info", "episode"} | (set() if GYMNASIUM_1 else {"final_observation"})
            assert extra & set(info) == (extra if ended else set())
            if ended:
                ends += 1
                last = infos["_final"]
                assert info["final_info"]["time"] == last["time"][i]
                assert info["final_obs"].tobytes() == last["observation"][i].tobytes()
                assert info.get("final_observation", info["final_obs"]) is info["final_obs"]
                assert info["episode"]["l"] == -(-last["frame"][i] // 4)
    assert ends >= 4


@pytest.mark.parametrize("name", list(VECTORS))
def test_every_info_is_an_array_with_a_mask(name):
    """Gymnasium's convention; keys with an underscore are masks, and what is ours alone."""
    envs = VECTORS[name]()
    everything = [envs.reset(seed=2)[1]] + [envs.step(row)[4] for row in actions(12)]
    assert any("final_info" in infos for infos in everything)
    # In Gymnasium 1, "final_info" is such a dict of its own.
    everything += [infos["final_info"] for infos in everything if isinstance(infos.get("final_info"), dict)]
    assert len(everything) > 37 or not GYMNASIUM_1
    for infos in everything:
        for key in infos:
            if key == "final_info" and GYMNASIUM_1:
                assert infos["_final_info"].dtype == bool
            elif not key.startswith("_"):
                assert isinstance(infos[key], np.ndarray) and len(infos[key]) == 4
                assert infos["_" + key].dtype == bool and infos["_" + key].shape == (4,)


def test_an_episodes_return_and_length():
    envs = RecordEpisodeStatistics(VECTORS["plain"]())
    envs.reset()
    total, length = np.zeros(4), np.zeros(4, int)
    for row in actions(12):
        _, rewards, terminated, truncated, infos = envs.step(row)
        total, length, over = total + rewards, length + 1, terminated | truncated
        for i in np.flatnonzero(over):
            assert infos["_episode"][i] and infos["episode"]["l"][i] == length[i]
            assert infos["episode"]["r"][i] == pytest.approx(total[i], rel=1e-5)
        total[over], length[over] = 0, 0
    assert envs.episode_count >= 4


def test_render_fps_is_the_games_own_speed():
    for frame_skip in (1, 2, 4, 7):
        environments = [
            QWOPEnv(frame_skip=frame_skip),
            gymnasium.make("qwop_game/QWOP-v0", frame_skip=frame_skip),
            QWOPVectorEnv(2, frame_skip=frame_skip),
            DisturbedVectorEnv(RewardVectorEnv(QWOPVectorEnv(2, frame_skip=frame_skip))),
            QWOPRealEnv(frame_skip=frame_skip),
        ]
        assert [env.metadata["render_fps"] for env in environments] == [30 / frame_skip] * 5
    assert type(QWOPEnv(frame_skip=1).metadata["render_fps"]) is int
    assert QWOPEnv.metadata["render_fps"] == QWOPEnv().metadata["render_fps"] == 7.5


@pytest.mark.parametrize("action_set", list(ACTION_SETS))
def test_keys_to_action(action_set):
    env = QWOPEnv(action_set=action_set)
    mapping = env.get_keys_to_action()
    assert len(mapping) == 15 and not ACTION_SETS[action_set][0]  # no keys: action 0
    for keys, action in mapping.items():
        mask = sum(1 << "qwop".index(key) for key in keys)
        held = int(ACTION_SETS[action_set][action])
        if action_set == "reduced" and canonical_keys(mask) in (1 | 4, 2 | 8):
            assert held in (0, mask)  # it has no such action; QWO and QOP are none either
        elif action_set == "distinct":
            assert held == canonical_keys(mask)
        else:
            assert held == mask or canonical_keys(held) == canonical_keys(mask)


@pytest.mark.parametrize("action_set", list(ACTION_SETS))
def test_a_person_can_play(action_set):
    """`gymnasium.utils.play.play` on SDL's dummy display: Q is pressed, then P too, then W too."""
    code = f"""
import pygame, gymnasium, qwop_game
from gymnasium.utils.play import play
presses = [[], [(pygame.KEYDOWN, pygame.K_q)], [(pygame.KEYDOWN, pygame.K_p)], [(pygame.KEYDOWN, pygame.K_w)],
           [(pygame.KEYDOWN, pygame.K_ESCAPE)]]
pygame.event.get = lambda: [pygame.event.Event(kind, key=key) for kind, key in presses.pop(0)]
held = []
env = gymnasium.make("qwop_game/QWOP-v0", render_mode="rgb_array", frame_skip=1, action_set="{action_set}")
play(env, callback=lambda before, after, action, *rest: held.append(rest[-1]["keys"]))
assert held == [0, 1, 9, {"9" if action_set != "full" else "11"}], held
"""
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path), SDL_VIDEODRIVER="dummy")
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environ, check=True)


@pytest.mark.parametrize("name", ["plain", "disturbed", "rewarded"])
def test_vector_environments_have_what_gymnasium_looks_for(name, recwarn):
    envs = VECTORS[name](render_mode="rgb_array", frame_skip=2)
    envs.reset(seed=7)
    assert envs.is_vector_env and envs.num_envs == 4 and not envs.closed
    assert envs.render_mode == "rgb_array" and envs.metadata["render_modes"] == ["rgb_array"]
    assert envs.trig == "rounded" and envs.spec is None and isinstance(envs.unwrapped, QWOPVectorEnv)
    pictures = envs.render()
    assert len(pictures) == 4 and pictures[0].shape == (400, 640, 3)
    assert all(np.array_equal(a, b) for a, b in zip(pictures, envs.call("render"), strict=True))
    assert list(envs.get_attr("frame_skip")) == [2] * 4
    first = envs.np_random.random()
    envs.reset(seed=[7, 1, 2, 3])
    assert envs.np_random.random() == first == np.random.default_rng(7).random()
    envs.set_attr("note", "x")
    envs.set_attr("remark", ["y"] * 4)
    assert list(envs.get_attr("note")) == ["x"] * 4 and list(envs.get_attr("remark")) == ["y"] * 4
    with pytest.raises(ValueError, match="the games share their attributes"):
        envs.set_attr("note", [1, 2, 3, 4])
    with pytest.raises(ValueError, match="2 seeds were given for 4 games"):
        envs.reset(seed=[1, 2])
    assert envs.step(np.zeros(4, int))[2].dtype == bool
    envs.close()
    envs.close()
    assert envs.closed
    assert not [str(w.message) for w in recwarn if "to get variables from other wrappers" in str(w.message)]


def test_seeds_of_a_single_environment():
    env = gymnasium.make("qwop_game/QWOP-v0")
    env.reset(seed=3)
    first = env.np_random.random()
    env.reset()
    assert env.np_random.random() != first
    env.reset(seed=3)
    assert env.np_random.random() == first
    assert env.spec.id == "qwop_game/QWOP-v0" and env.unwrapped.spec.id == env.spec.id
    _, reward, terminated, truncated, _ = env.step(np.int64(0))
    assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
    check_env(QWOPEnv(render_mode="rgb_array"))
