from typing import Any

import gymnasium
import numpy as np
import pytest

from qwop_game import QWOPEnv, QWOPVectorEnv, StartStates, encode, engines

RESET_FRAMES = 240
GYMNASIUM_1 = "autoreset_mode" in QWOPVectorEnv.metadata
FINAL = "final_obs" if GYMNASIUM_1 else "final_observation"


def random_actions(steps: int, num_envs: int, seed: int = 0) -> np.ndarray:
    """Held for three steps each, so that the runners get somewhere before they fall."""
    return np.random.default_rng(seed).integers(0, 9, (steps, num_envs)).repeat(3, axis=0)


def final_info(infos: dict, i: int) -> dict:
    """Game i's own facts of the episode that ended, out of either form."""
    if not GYMNASIUM_1:
        return infos["final_info"][i]
    final = infos["final_info"]
    return {name: final[name][i] for name in final if not name.startswith("_") and final["_" + name][i]}


def arrays_equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("observation", ["qwop_gym", "features"])
@pytest.mark.parametrize("engine", engines())
def test_equal_to_gymnasiums_vector_of_single_games(engine, observation, sync_vector):
    """Every array that SyncVectorEnv gives over QWOPEnv, auto-resets and final infos included."""
    options: dict[str, Any] = {"observation": observation, "max_frames": RESET_FRAMES}
    ours = QWOPVectorEnv(5, engine=engine, **options)
    theirs = sync_vector([lambda: QWOPEnv(engine="scalar", **options)] * 5)
    (a, a_info), (b, b_info) = ours.reset(seed=1), theirs.reset(seed=1)
    assert a.tobytes() == b.tobytes()
    ends = 0
    for actions in random_actions(100, 5):
        a, b = ours.step(actions), theirs.step(actions)
        for ours_array, theirs_array in zip(a[:4], b[:4], strict=True):
            assert ours_array.dtype == theirs_array.dtype
            assert ours_array.tobytes() == theirs_array.tobytes()
        a_info, b_info = a[4], b[4]
        assert set(b_info) == set(a_info) - (
            {"_final"} if GYMNASIUM_1 else {"_final", "final_obs", "_final_obs"}
        )
        for name in ("time", "distance", "is_success", "fallen", "keys", "hip_mode", "frame"):
            assert np.array_equal(a_info[name], b_info[name]), name
            assert np.array_equal(a_info["_" + name], b_info["_" + name])
        for i in np.flatnonzero(a[2] | a[3]):
            ends += 1
            assert a_info["_final_info"][i] and b_info["_final_info"][i]
            assert a_info[FINAL][i].tobytes() == b_info[FINAL][i].tobytes()
            assert arrays_equal(final_info(a_info, i), final_info(b_info, i))
    assert ends > 10


def test_final_arrays_are_what_followed_the_action():
    envs = QWOPVectorEnv(8, observation="features")
    envs.reset()
    for actions in random_actions(60, 8, seed=2):
        observations, _, terminated, _, infos = envs.step(actions)
        final = infos["_final"]
        assert final["observation"].tobytes() == (
            encode(final["raw_observation"], final["hip_mode"], final["keys"]).tobytes()
        )
        assert (final["keys"] == envs.action_masks[actions]).all()
        assert (observations[~terminated] == final["observation"][~terminated]).all()
        assert (infos["frame"][terminated] == 0).all() and (final["frame"][terminated] > 0).all()
        assert (final["fallen"][terminated]).all() and not infos["fallen"][terminated].any()
        if terminated.any():
            first = observations[terminated][0]
            fresh, _ = QWOPEnv(observation="features").reset()
            assert first.tobytes() == fresh.tobytes()


def test_results_are_not_overwritten_by_later_steps():
    envs = QWOPVectorEnv(3)
    envs.reset()
    results = envs.step(np.array([4, 0, 8]))
    copies = results[0].copy(), results[4]["raw_observation"].copy(), results[4]["_final"]["time"].copy()
    envs.step(np.array([4, 4, 4]))
    assert np.array_equal(results[0], copies[0])
    assert np.array_equal(results[4]["raw_observation"], copies[1])
    assert np.array_equal(results[4]["_final"]["time"], copies[2])


def test_one_action_each_in_range():
    envs = QWOPVectorEnv(3)
    envs.reset()
    with pytest.raises(ValueError, match="from 0 to 8"):
        envs.step(np.array([0, 1, 9]))
    with pytest.raises(ValueError):
        envs.step(np.array([0, 1]))


def demonstration(frames: int) -> tuple[np.ndarray, float]:
    """Snapshot [S] and distance after `frames` frames of QO held."""
    env = QWOPEnv(frame_skip=frames)
    env.reset()
    env.step(4)
    return env.games.simulator.snapshot()[0], float(env.games.simulator.distance[0])


def test_episodes_start_from_demonstration_states():
    snapshot, distance = demonstration(12)
    asked = []

    def start(mask: np.ndarray) -> StartStates:
        asked.append(mask)
        chosen = mask & np.array([True, False, True, False])
        return StartStates(
            mask=chosen,
            snapshots=np.tile(snapshot, (4, 1)),
            hip_mode=np.full(4, 1, np.uint8),
            last_keys=np.full(4, 5, np.uint8),
        )

    envs = QWOPVectorEnv(4, observation="features", max_frames=8, start_states=start)
    observations, infos = envs.reset()
    assert asked[0].all()
    assert infos["distance"][[0, 2]].tolist() == [distance, distance]
    assert infos["hip_mode"].tolist() == [1, 0, 1, 0] and infos["keys"].tolist() == [5, 0, 5, 0]
    assert infos["frame"].tolist() == [0, 0, 0, 0]
    assert observations[0].tobytes() == encode(infos["raw_observation"][0], 1, 5).tobytes()
    assert observations[1].tobytes() != observations[0].tobytes()

    envs.step(np.zeros(4, int))
    _, _, _, truncated, infos = envs.step(np.zeros(4, int))
    assert truncated.all() and len(asked) == 2
    assert infos["distance"][[0, 2]].tolist() == [distance, distance]
    envs.start_states = None
    _, infos = envs.reset()
    assert (infos["distance"] == infos["distance"][1]).all()


def test_a_wrapper_can_end_episodes():
    envs = QWOPVectorEnv(3)
    fresh, _ = envs.reset()
    observations, _, terminated, truncated, infos = envs.step(np.array([4, 4, 8]))
    assert not (terminated | truncated).any() and "final_obs" not in infos
    second = observations[1].copy()
    envs.end_episodes(np.array([False, True, False]), observations, infos)
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == [False, True, False]
    for name in {"final_obs", FINAL}:
        assert infos[name][1].tobytes() == second.tobytes() and infos[name][0] is None
    assert final_info(infos, 1)["frame"] == 4 and not (final_info(infos, 0) or {})
    assert observations[1].tobytes() == fresh[1].tobytes()
    assert infos["frame"].tolist() == [4, 0, 4]
    assert infos["_final"]["frame"].tolist() == [4, 4, 4]


def test_state_returns_bit_for_bit():
    envs = QWOPVectorEnv(6, observation="features", max_frames=100)
    envs.reset()
    actions = random_actions(30, 6, seed=3)
    for row in actions[:31]:
        envs.step(row)
    state = envs.get_state()
    expected = [envs.step(row)[:4] for row in actions[31:]]
    other = QWOPVectorEnv(6, observation="features", max_frames=100, engine="scalar")
    other.reset()
    other.set_state(state)
    for row, results in zip(actions[31:], expected, strict=True):
        for a, b in zip(other.step(row)[:4], results, strict=True):
            assert a.tobytes() == b.tobytes()
    for name in ("keys", "hip_mode"):
        with pytest.raises(ValueError, match="not 0 to 15, or hip modes"):
            other.set_state({**state, name: state[name] + 16})


def test_make_vec():
    mode = "vector_entry_point" if GYMNASIUM_1 else "custom"
    options = {"frame_skip": 2} if GYMNASIUM_1 else {"vector_kwargs": {"frame_skip": 2}}
    custom = gymnasium.make_vec("qwop_game/QWOP-v0", 3, vectorization_mode=mode, **options)
    assert isinstance(custom.unwrapped, QWOPVectorEnv) and custom.unwrapped.frame_skip == 2
    observations, _ = custom.reset(seed=0)
    assert custom.observation_space.contains(observations)
    assert custom.unwrapped.step(np.zeros(3, int))[0].shape == (3, 60)
    plain = gymnasium.make_vec("qwop_game/QWOP-v0", 2, vectorization_mode="sync", frame_skip=3)
    assert plain.reset()[0].shape == (2, 60)
    with pytest.raises(TypeError, match="frame_skp"):
        QWOPVectorEnv(2, frame_skp=2)  # pyright: ignore[reportCallIssue]


def test_max_episode_steps_are_decisions():
    envs = QWOPVectorEnv(1, frame_skip=3, max_episode_steps=2)
    envs.reset()
    assert not envs.step(np.zeros(1, int))[3].any()
    assert envs.step(np.zeros(1, int))[3].all()
