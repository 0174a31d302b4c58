"""Self-imitation: what is played, where games go back, what is trained on."""

import dataclasses

import numpy as np
import pytest
import torch

from qwop_bc import CloneConfig, Cloning, clone
from qwop_bc.cli import main
from qwop_bc.self_imitation import (
    Critic,
    Played,
    Practice,
    SelfImitationConfig,
    best_decisions,
    train_by_self_imitation,
)
from qwop_datasets import load_decisions
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game.encoder import FEATURE_SIZE, FEATURE_SLICES
from qwop_rl_core import ActorCritic, Policy, TrainingError, load_checkpoint

DEMOS = shipped_policy_path().with_name("demos.h5")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cloning_of(frame_skip=1, where="time<46.9"):
    _, decisions = load_decisions(DEMOS, frame_skip, "distinct", where)
    return Cloning(CloneConfig(frame_skip=frame_skip, play_episodes=4, hidden=(256, 256)), decisions)


def shipped_network():
    network = Policy.load(shipped_policy_path()).network
    assert isinstance(network, ActorCritic)
    return network


@pytest.fixture(scope="module")
def runner():
    """A cloning whose network is the shipped policy, which finishes nearly all runs."""
    cloning = cloning_of()
    cloning.start_from(shipped_network())
    return cloning


def test_a_runner_seldom_fails(runner):
    config = SelfImitationConfig(games=8, seconds=60.0)
    played = Practice(runner, config).play()
    assert played.features.shape == (1801, 8, FEATURE_SIZE) and played.actions.shape == (1800, 8)
    assert played.succeeded.sum() >= 5 and played.failed.sum() < 40
    assert not (played.succeeded & played.failed).any()
    assert 0.95 < played.own.mean() < 0.99  # 2 % are repeats, some of the others idle frames
    height = played.features[:, :, FEATURE_SLICES["height"]][..., 1]
    assert np.median(height) > 0.7  # an upright runner's pelvis, m
    again = Practice(runner, config).play()
    assert again.actions.tobytes() == played.actions.tobytes()
    assert again.features.tobytes() == played.features.tobytes()


def test_games_continue_from_round_to_round(runner):
    whole = Practice(runner, SelfImitationConfig(games=4, seconds=8.0)).play()
    practice = Practice(runner, SelfImitationConfig(games=4, seconds=4.0))
    first, second = practice.play(), practice.play()
    assert np.concatenate([first.actions, second.actions]).tobytes() == whole.actions.tobytes()
    assert first.features[-1].tobytes() == second.features[0].tobytes() == whole.features[120].tobytes()


def test_actions_are_the_clones_own_choices(runner):
    played = Practice(runner, SelfImitationConfig(games=4, seconds=20.0, temperature=1e-3)).play()
    features, actions = played.features[:-1][played.own], played.actions[played.own]
    chosen = Policy(runner.network, {}, torch.device("cpu")).act(features)
    assert (chosen == actions).mean() > 0.999  # nearly argmax at this temperature


def test_games_that_fail_go_back():
    cloning = cloning_of(frame_skip=4)  # untrained: it plays at random and falls
    practice = Practice(cloning, SelfImitationConfig(games=8, seconds=40.0, back_seconds=1.0))
    played = practice.play()
    assert played.failed.sum() > 20 and not played.succeeded.any()
    step, game = np.argwhere(played.failed[40:])[0] + (40, 0)
    again = played.features[step + 1, game]
    earlier = played.features[: step + 1, game]
    # The decision after a failure is made in a state that the game was in before, 1 to 1.5 s earlier if it
    # was the first failure, or where the run began.
    same = np.flatnonzero((earlier == again).all(axis=1))
    assert len(same) and step - same[-1] >= 7
    assert practice.lengths.max() < played.failed.shape[0]


def failing_at(step, shape=(6, 1)):
    failed = np.zeros(shape, bool)
    failed[step] = True
    features = np.random.default_rng(0).normal(size=(shape[0] + 1, shape[1], FEATURE_SIZE))
    own = np.ones(shape, bool)
    return Played(features.astype(np.float32), np.arange(6)[:, None], own, failed, np.zeros(shape, bool))


def test_the_critic_learns_how_soon_failures_follow(runner):
    critic = Critic(shipped_network(), horizon=2.0, seed=0)
    played = failing_at(3)
    for _ in range(200):
        advantages = critic.advantages(played)
    values = critic._values(torch.from_numpy(played.features))[:-1, 0]
    # A failure in the decision itself is worth -1, one decision later -exp(-1/2), ...
    expected = [-np.exp(-1.5), -np.exp(-1.0), -np.exp(-0.5), -1.0]
    assert values[:4].tolist() == pytest.approx(expected, abs=0.02)
    assert critic.explained > 0.99
    assert advantages.abs().max() < 0.05  # all as expected


def test_best_decisions_are_those_of_the_largest_advantages_among_the_own():
    played = failing_at(3)
    played.own[5] = False  # the best one was a repeat
    advantages = torch.tensor([0.1, 0.5, -0.2, -0.9, 0.4, 0.8])[:, None]
    features, actions = best_decisions(played, advantages, share=0.4)
    assert actions.tolist() == [1, 4]
    assert features.numpy().tobytes() == played.features[[1, 4], 0].tobytes()


def test_rounds_train_on_the_demonstrations_and_the_best_of_the_latest_decisions():
    cloning = cloning_of()
    cloning.start_from(shipped_network())
    demonstrated = len(cloning.batches.actions)
    reports, sizes = [], []

    def report(epoch):
        reports.append(epoch)
        sizes.append(len(cloning.batches.actions))

    config = SelfImitationConfig(rounds=4, first_epochs=1, games=4, seconds=10.0, kept_rounds=2)
    train_by_self_imitation(cloning, config, report)
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert [r.rollouts is not None for r in reports] == [False, False, False, True]
    own = [size - demonstrated for size in sizes]
    quarter = 0.25 * 4 * 300
    assert own[0] == 0 and 0.8 * quarter < own[1] <= quarter
    assert all(1.6 * quarter < n <= 2 * quarter for n in own[2:])  # of two rounds, not of all
    assert reports[0].practice == {}
    assert reports[1].figures()["practice/failures_per_minute"] >= 0.0


def test_the_command_stores_the_settings_and_refuses_what_has_no_effect(tmp_path, capsys):
    out = tmp_path / "clone.safetensors"
    arguments = [str(DEMOS), "--where", "time<46.9", "--method", "self-imitation", "--out", str(out)]
    arguments += ["--self-imitation.rounds", "2", "--self-imitation.first-epochs", "1"]
    arguments += ["--self-imitation.games", "4", "--self-imitation.seconds", "5", "--play-episodes", "2"]
    assert main(arguments) == 0
    assert "round" in capsys.readouterr().out
    made = load_checkpoint(out).metadata["made"]
    assert (made["method"], made["self_imitation"]["games"]) == ("self-imitation", 4)
    assert main([*arguments, "--resume"]) == 2
    assert "--resume has no effect with --method self-imitation" in capsys.readouterr().err
    assert main([str(DEMOS), "--self-imitation.games", "4", "--out", str(tmp_path / "b.safetensors")]) == 2
    assert "--self-imitation.* has no effect with --method bc" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["rounds", "games", "temperature", "back_seconds", "best_share"])
def test_settings_out_of_range(name):
    with pytest.raises(TrainingError, match=f"self_imitation.{name} is 0"):
        SelfImitationConfig(**{name: 0})


def test_the_function_takes_the_same_settings(tmp_path):
    config = SelfImitationConfig(rounds=1, first_epochs=1, games=2, seconds=2.0)
    result = clone(
        DEMOS,
        out=tmp_path / "clone.safetensors",
        config=CloneConfig(play_episodes=2),
        method="self-imitation",
        self_imitation=config,
        where="time<46.9",
    )
    assert result.policy.metadata["made"]["self_imitation"] == dataclasses.asdict(config)
