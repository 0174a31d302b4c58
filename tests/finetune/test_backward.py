"""The backward curriculum: where its episodes start, what moves its front, and that it resumes exactly."""

from pathlib import Path

import numpy as np
import pytest

from qwop_finetune import cli
from qwop_finetune.backward import (
    FIRST_SECONDS,
    JUDGED_EPISODES,
    JUDGED_SECONDS,
    MOVE_SECONDS,
    NEEDED_SUCCESS,
    BackwardCurriculum,
)
from qwop_finetune.config import EnvironmentConfig
from qwop_finetune.demonstrations import Demonstrations, demonstrated_states, load_demonstrations
from qwop_finetune.environment import make_environment
from qwop_game import FRAME_SECONDS, QWOPVectorEnv
from qwop_rl_core import Policy

DEMOS = Path(__file__).parents[2] / "demos"


@pytest.fixture(scope="module")
def shipped() -> Policy:
    """A policy that runs at the pace of the record."""
    return Policy.load(DEMOS / "policy.safetensors")


@pytest.fixture(scope="module")
def record() -> Demonstrations:
    return load_demonstrations(DEMOS / "records.h5", 1, "distinct", "number<1")


def curriculum(record: Demonstrations, num_envs: int, share: float = 1.0) -> BackwardCurriculum:
    return BackwardCurriculum(QWOPVectorEnv(num_envs, observation="features"), record.episodes, share)


def test_episodes_start_in_the_run_between_the_front_and_its_end(record):
    envs = curriculum(record, 200, 0.75)
    _, infos = envs.reset(seed=0)
    (run,) = record.episodes
    frame_of = {row.tobytes(): i for i, row in enumerate(run.raw_observations)}
    frames = np.array([frame_of[row.tobytes()] for row in infos["raw_observation"]])
    left = (len(run) - frames) * FRAME_SECONDS
    placed = frames > 0
    assert 0.65 < placed.mean() < 0.85
    assert left[placed].max() <= FIRST_SECONDS and left[placed].min() >= 1.0
    assert len(set(frames[placed])) > 8
    states = demonstrated_states(record.episodes)
    assert len(states.seconds_left) > 100 and (np.diff(states.seconds_left) < 0).all()


def test_the_front_moves_when_the_runner_gets_on_and_only_then(record, shipped):
    able, unable = (
        BackwardCurriculum(QWOPVectorEnv(60, frame_skip=1, observation="features"), record.episodes, 1.0)
        for _ in range(2)
    )
    observations, _ = able.reset(seed=1)
    unable.reset(seed=1)
    rng = np.random.default_rng(2)
    fronts = {able.seconds_left}
    for step in range(800):
        observations, *_ = able.step(shipped.act(observations))
        fronts.add(able.seconds_left)
        if step < 400:
            unable.step(rng.integers(0, 9, 60))
    assert able.seconds_left >= FIRST_SECONDS + 2 * MOVE_SECONDS
    assert sorted(fronts) == [FIRST_SECONDS + i * MOVE_SECONDS for i in range(len(fronts))]
    assert 0.0 < able.progress < 1.0
    assert unable.seconds_left == FIRST_SECONDS and unable.progress == 0.0


def test_a_move_needs_enough_successes_and_counts_ends_by_a_reward_as_failures(record):
    """Games that stand still: those that the caller ends fail, those left alone go on long enough."""
    games = JUDGED_EPISODES
    for ended, moves in ((round(games * (1 - NEEDED_SUCCESS)), True), (games // 2, False)):
        envs = curriculum(record, games)
        envs.reset(seed=0)
        envs._at_front[:] = True  # pyright: ignore[reportPrivateUsage]
        envs.starts(np.arange(games) < ended)
        envs._at_front[:ended] = False  # pyright: ignore[reportPrivateUsage]
        final = np.full(games, round(JUDGED_SECONDS / FRAME_SECONDS) + 1)
        envs._judge(final * FRAME_SECONDS >= JUDGED_SECONDS, np.ones(games, bool))  # pyright: ignore[reportPrivateUsage]
        envs._move()  # pyright: ignore[reportPrivateUsage]
        assert (envs.seconds_left == FIRST_SECONDS + MOVE_SECONDS) is moves


def test_it_resumes_exactly(record, shipped):
    config = EnvironmentConfig(demo_starts=0.8, demo_order="backward", frame_skip=1)
    envs, again = (make_environment(config, 64, record) for _ in range(2))
    observations, _ = envs.reset(seed=3)
    for _ in range(500):
        observations, *_ = envs.step(shipped.act(observations))
    state = envs.get_state()
    assert envs.curriculum is not None and again.curriculum is not None
    assert state["backward.front"][0] == envs.curriculum.seconds_left > FIRST_SECONDS
    again.reset(seed=4)
    again.set_state(state)
    other = observations
    for _ in range(200):
        observations, rewards, *_ = envs.step(shipped.act(observations))
        other, other_rewards, *_ = again.step(shipped.act(other))
        assert (observations == other).all() and (rewards == other_rewards).all()
    assert again.curriculum.seconds_left == envs.curriculum.seconds_left
    damaged = {
        "without a backward curriculum": {k: v for k, v in state.items() if not k.startswith("backward.")},
        "front is": state | {"backward.front": np.array([1e9])},
        "counts is": state | {"backward.counts": np.array([-1, 0])},
        "at_front is": state | {"backward.at_front": np.zeros(3, bool)},
    }
    for message, wrong in damaged.items():
        with pytest.raises(ValueError, match=message):
            again.set_state(wrong)


def test_backward_needs_demonstrated_starts(tmp_path, capsys):
    flags = ["--demo-order", "backward", "--out", str(tmp_path / "x.st")]
    assert cli.main(flags) == 2
    assert "demo_order is backward, but demo_starts is 0" in capsys.readouterr().err
