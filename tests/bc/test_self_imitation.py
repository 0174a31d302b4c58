"""Self-imitation: what is played, what is undone, what is trained on."""

import dataclasses

import numpy as np
import pytest
import torch

from qwop_bc import CloneConfig, Cloning, clone
from qwop_bc.cli import main
from qwop_bc.self_imitation import SelfImitationConfig, practice, train_by_self_imitation
from qwop_datasets import load_decisions
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game.encoder import FEATURE_SLICES
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


def test_a_runner_has_little_to_undo(runner):
    config = SelfImitationConfig(games=8, seconds=60.0)
    played = practice(runner, config, seed=3)
    assert played.finished >= 5
    # 8 games of 1,800 decisions, less the repeats (2 %), idle frames and 2.5 s of each last run.
    assert 10_000 < len(played.actions) < 14_400
    assert len(played.features) == len(played.actions) and played.failures < 40
    height = played.features[:, FEATURE_SLICES["height"]][:, 1]
    assert np.median(height) > 0.7  # an upright runner's pelvis, m
    again = practice(runner, config, seed=3)
    assert again.actions.tobytes() == played.actions.tobytes()
    assert again.features.tobytes() == played.features.tobytes()


def test_actions_are_the_clones_own_choices(runner):
    played = practice(runner, SelfImitationConfig(games=4, seconds=20.0, temperature=1e-3), seed=0)
    chosen = Policy(runner.network, {}, torch.device("cpu")).act(played.features)
    assert (chosen == played.actions).mean() > 0.999  # nearly argmax at this temperature


def test_what_fails_is_undone():
    cloning = cloning_of(frame_skip=4)  # untrained: it plays at random and falls
    played = practice(cloning, SelfImitationConfig(games=8, seconds=40.0), seed=1)
    assert played.finished == 0 and played.failures > 20
    clearance = played.features[:, FEATURE_SLICES["height"]][:, 0]
    assert len(played.actions) < 8 * 300  # far from all that was played
    assert np.isfinite(clearance).all()


def test_rounds_train_on_the_demonstrations_and_the_latest_runs():
    cloning = cloning_of()
    cloning.start_from(shipped_network())
    demonstrated = len(cloning.batches.actions)
    reports, sizes = [], []

    def report(epoch):
        reports.append(epoch)
        sizes.append(len(cloning.batches.actions))

    config = SelfImitationConfig(rounds=3, first_epochs=1, epochs=1, games=4, seconds=10.0, kept_rounds=1)
    train_by_self_imitation(cloning, config, report)
    assert [r.epoch for r in reports] == [1, 2, 3]
    assert sizes[0] == demonstrated
    assert all(0 < size - demonstrated <= 4 * 300 for size in sizes[1:])  # of one round, not of all


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


@pytest.mark.parametrize("name", ["rounds", "games", "temperature", "back_seconds"])
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
