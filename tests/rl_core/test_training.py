"""What the loops share: vector environments of both kinds, episode statistics, devices, logs."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qwop_rl_core.devices import select_device, select_precision
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.logging import Logger
from qwop_rl_core.vector_env import (
    EpisodeStatistics,
    check_spaces,
    environment_state,
    final_observations,
)


def objects(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def test_final_observations_of_gymnasium_and_as_arrays():
    following = np.array([[1.0], [2.0], [3.0]], np.float32)
    ended = np.array([False, True, True])
    final = objects(None, np.array([20.0], np.float32), np.array([30.0], np.float32))
    arrays = {"_final": {"observation": np.array([[10.0], [20.0], [30.0]], np.float32)}}
    for infos in ({"final_observation": final}, {"final_obs": final}, arrays):
        result = final_observations(infos, ended, following)
        assert result.tolist() == [[1.0], [20.0], [30.0]] and result.dtype == np.float32
        only_last = final_observations(infos, np.array([False, False, True]), following)
        assert only_last.tolist() == [[1.0], [2.0], [30.0]]
    assert following.tolist() == [[1.0], [2.0], [3.0]]
    assert final_observations({}, np.zeros(3, bool), following) is following


def test_final_observations_from_a_real_gymnasium_vector(sync_vector):
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1", max_episode_steps=3)] * 2)
    envs.reset(seed=0)
    previous = None
    for _ in range(3):
        following, _, _, truncated, infos = envs.step(np.array([0, 1]))
        previous, last = following if not truncated.any() else previous, following
    assert truncated.all()
    final = final_observations(infos, truncated, last)
    # pushed left for three steps: the cart of environment 0 moves left, and the reset one stands still
    assert final[0, 1] < previous[0, 1] < 0 and abs(last[0, 1]) < 0.06


def test_episode_statistics():
    statistics = EpisodeStatistics(2)
    none = np.zeros(2, bool)
    statistics.step(np.array([1.0, 10.0]), none, {})
    infos = {"final_info": objects(None, {"distance": 3.0, "is_success": True, "path": [1, 2]})}
    statistics.step(np.array([2.0, 20.0]), np.array([False, True]), infos)
    assert statistics.episode_return.tolist() == [3.0, 0.0]
    final = {
        "distance": np.array([5.0, -1.0]),
        "is_success": np.array([False, True]),
        "raw": np.zeros((2, 60)),
    }
    statistics.step(np.array([4.0, 40.0]), np.array([True, False]), {"_final": final})
    assert statistics.flush() == {
        "episode/count": 2.0,
        "episode/return": (30.0 + 7.0) / 2,
        "episode/length": (2 + 3) / 2,
        "episode/distance": (3.0 + 5.0) / 2,
        "episode/is_success": 0.5,
    }
    assert statistics.flush() == {"episode/count": 0.0}
    assert statistics.episode_return.tolist() == [0.0, 40.0]


@pytest.mark.parametrize("form", ["0.29", "1"])
def test_numbers_of_gymnasiums_final_infos(form):
    """Means over the ended episodes, in both forms; what not all of them have is left out."""
    ended = np.array([False, True, True])
    if form == "0.29":
        dicts = {"distance": 3.0, "is_success": True, "bonus": 9.0}, {"distance": 5.0, "is_success": False}
        infos = {"final_info": objects(None, *dicts)}
    else:
        final = {"distance": np.array([0.0, 3.0, 5.0]), "is_success": np.array([False, True, False])}
        masks = {"_distance": ended, "_is_success": ended, "_bonus": np.array([False, True, False])}
        more = {"bonus": np.array([0.0, 9.0, 0.0]), "path": np.zeros((3, 2)), "_path": ended}
        infos = {"final_info": {**final, **more, **masks}, "_final_info": ended}
    statistics = EpisodeStatistics(3)
    statistics.step(np.ones(3), ended, infos)
    figures = statistics.flush()
    assert figures["episode/distance"] == 4.0 and figures["episode/is_success"] == 0.5
    assert figures.keys() == {f"episode/{n}" for n in ("count", "return", "length", "distance", "is_success")}


def test_spaces_that_do_not_fit(sync_vector):
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1")] * 2)
    check_spaces(envs, 2, 4, 2)
    for arguments, message in (
        ((3, 4, 2), "2 environments were made, the configuration says 3"),
        ((2, 5, 2), "gives 4 features, the network takes 5"),
        ((2, 4, 9), "has 2 actions, the network 9"),
    ):
        with pytest.raises(TrainingError, match=message):
            check_spaces(envs, *arguments)
    pendulum = sync_vector([lambda: gymnasium.make("Pendulum-v1")])
    with pytest.raises(TrainingError, match="only Discrete"):
        check_spaces(pendulum, 1, 3, 1)
    assert environment_state(envs) is None


@pytest.mark.parametrize("mode", ["NEXT_STEP", "DISABLED"])
def test_environments_that_do_not_reset_in_the_same_step_are_refused(mode, sync_vector):
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1")] * 2)
    envs.metadata = {"autoreset_mode": SimpleNamespace(name=mode)}  # as Gymnasium 1's enum has it
    with pytest.raises(TrainingError, match=f"autoreset_mode {mode}; make it .*SAME_STEP"):
        check_spaces(envs, 2, 4, 2)
    if hasattr(gymnasium.vector, "AutoresetMode"):
        theirs = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
        with pytest.raises(TrainingError, match="NEXT_STEP; make"):  # their default
            check_spaces(theirs, 2, 4, 2)


def test_devices():
    assert select_device("cpu").type == "cpu"
    assert select_device("auto").type in ("cpu", "cuda")
    for name in ("gpu", "cuda:99"):
        with pytest.raises(TrainingError, match="use auto or cpu"):
            select_device(name)


def test_logger_writes_tensorboard(tmp_path):
    with Logger(tmp_path, config={"gamma": 0.9}) as logger:
        logger.scalars({"a/x": 1.5, "a/y": 2.0}, steps=100)
        logger.scalars({"a/x": 2.5}, steps=200)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("a/x")] == [(100, 1.5), (200, 2.5)]


def test_tracking_without_wandb_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(TrainingError, match="pip install wandb"):
        Logger(tmp_path, track="project")


def test_tracking_without_an_account_is_one_line(tmp_path, monkeypatch):
    class Error(Exception):
        pass

    def init(**options):
        raise Error("No API key configured. Use `wandb login` to log in.")

    wandb = SimpleNamespace(Error=Error, init=init)
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    with pytest.raises(TrainingError, match="wandb login.*WANDB_MODE=offline"):
        Logger(tmp_path, track="project")


@pytest.mark.parametrize(
    "amx, chosen", [(True, torch.bfloat16), (False, torch.float32), (None, torch.float32)]
)
def test_auto_rounds_where_that_is_faster(monkeypatch, amx, chosen):
    """AMX there, not there, and unknown to an old PyTorch."""
    if amx is None:
        monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    cpu = torch.device("cpu")
    assert select_precision("auto", cpu) == chosen
    assert select_precision("bfloat16", cpu) == torch.bfloat16
    assert select_precision("float32", cpu) == torch.float32
