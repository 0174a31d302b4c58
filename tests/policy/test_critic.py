"""`qwop-policy critic`: the critic that look-ahead and search judge by."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from qwop_datasets import DatasetReader, write_dataset
from qwop_datasets.decisions import decisions_of
from qwop_evaluation import Lookahead, evaluate, shipped_policy_path
from qwop_game.gait import torso_x
from qwop_policy import CriticConfig, distance_to_come, train_critic
from qwop_policy.cli import main
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    Policy,
    QNetwork,
    load_checkpoint,
    prefixed,
    save_checkpoint,
)

DEMOS = Path(__file__).parents[2] / "demos"
SHORT = ["--epochs", "1", "--batch-size", "256"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Eleven demonstrations, so that one is held out."""
    with DatasetReader(DEMOS / "demos.h5") as reader:
        episodes = [reader[i] for i in range(11)]
    path = tmp_path_factory.mktemp("runs") / "runs.h5"
    write_dataset(path, episodes)
    return path, episodes


def test_the_value_of_a_frame_is_the_discounted_distance_that_follows(runs):
    episode = runs[1][0]
    decisions = decisions_of(episode, 1)
    values = distance_to_come(episode, decisions, CriticConfig())
    x = torso_x(episode.raw_observations)
    for decision in (0, 1, len(values) - 1):
        frame = int(decisions.starts[decision])
        following = np.diff(x[frame:])
        assert values[decision] == pytest.approx(
            float((following * 0.98 ** np.arange(len(following))).sum()), rel=1e-5
        )


def test_what_follows_the_end_of_a_finished_run_is_unknown(runs):
    episode = runs[1][0]
    decisions = decisions_of(episode, 2)
    values = distance_to_come(episode, decisions, CriticConfig(gamma=0.9))
    unknown = math.log(0.01) / math.log(0.9)  # frames in which the discount falls to 1 %
    assert len(decisions) - len(values) == pytest.approx(unknown / 2, abs=2)


def test_a_fall_costs_and_nothing_follows_it(runs):
    fallen = runs[1][0].replace(success=False, terminated=True)
    decisions = decisions_of(fallen, 2)
    values = distance_to_come(fallen, decisions, CriticConfig(fall_cost=4))
    assert len(values) == len(decisions)
    x = torso_x(fallen.raw_observations)
    last = int(decisions.starts[-1])
    frames = len(x) - 1 - last
    expected = sum(0.98**k * (x[last + k + 1] - x[last + k]) for k in range(frames)) - 4 * 0.98 ** (
        frames - 1
    )
    assert values[-1] == pytest.approx(expected, rel=1e-4)


def test_a_critic_is_trained_and_the_policy_stays(runs):
    policy = Policy.load(shipped_policy_path())
    features = decisions_of(runs[1][0], 1).features
    before, values_before = policy.scores(features), policy.values(features)
    told = []
    fit = train_critic(policy, [runs[0]], CriticConfig(epochs=2, batch_size=256), lambda *x: told.append(x))
    assert (fit.runs, fit.explained > 0.7) == (11, True)
    assert told[-1][0] == told[-1][1] == len(told)
    trained = Policy(fit.network, policy.metadata)
    np.testing.assert_array_equal(trained.scores(features), before)
    np.testing.assert_array_equal(policy.values(features), values_before)  # the policy given is not changed
    episode, decisions = runs[1][0], decisions_of(runs[1][0], 1)
    known = distance_to_come(episode, decisions, CriticConfig())
    error = trained.values(decisions.features[: len(known)]) - known
    assert error.std() < 0.6 * known.std()


def test_equal_settings_give_equal_critics(runs):
    policy, config = Policy.load(shipped_policy_path()), CriticConfig(epochs=1)
    first, second = (train_critic(policy, [runs[0]], config).network.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_command_writes_a_checkpoint_that_looks_ahead(runs, tmp_path, capsys):
    out = tmp_path / "new" / "policy.safetensors"
    assert main(["critic", str(shipped_policy_path()), str(runs[0]), "--out", str(out), *SHORT]) == 0
    assert "11 runs; it explains" in capsys.readouterr().out
    metadata = load_checkpoint(out).metadata
    assert metadata["critic"]["gamma"] == 0.98 and len(metadata["critic"]["runs_sha256"][0]) == 64
    assert "training" not in metadata
    played = evaluate(out, episodes=1, lookahead=Lookahead(candidates=2), max_seconds=4)
    assert played.episodes[0].provenance["lookahead_value_weight"] == 1.0
    assert main(["critic", str(shipped_policy_path()), str(runs[0]), "--out", str(out), *SHORT]) == 2
    assert "exists; --force replaces it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUNS", "--gamma", "1"], "gamma is 1: it must be between 0 and 1"),
        (["RUNS", "--epochs", "0"], "epochs is 0"),
        (["RUNS", "--learning-rate", "nan"], "learning_rate is nan"),
        (["RUNS", "--weight-decay", "-1"], "weight_decay is -1"),
        (["RUNS", "--fall-cost", "-1"], "fall_cost is -1"),
        (["missing.h5"], "missing.h5"),
        ([], "name at least one dataset"),
    ],
)
def test_bad_input_gets_one_line(runs, tmp_path, capsys, words, message):
    words = [str(runs[0]) if word == "RUNS" else word for word in words]
    out = tmp_path / "out.safetensors"
    assert main(["critic", str(shipped_policy_path()), *words, "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not out.exists()


def test_runs_may_be_too_short(runs, tmp_path):
    short = runs[1][0].replace(
        keys=runs[1][0].keys[:60],
        raw_observations=runs[1][0].raw_observations[:61],
        times=runs[1][0].times[:61],
        success=False,
        terminated=False,
        truncated=True,
    )
    path = tmp_path / "short.h5"
    write_dataset(path, [short])
    with pytest.raises(ValueError, match="too short"):
        train_critic(shipped_policy_path(), [path])


def test_a_q_network_has_no_critic(runs, tmp_path):
    shipped = Policy.load(shipped_policy_path())
    assert isinstance(shipped.network, ActorCritic)
    network = QNetwork.from_policy(shipped.network)
    tensors = prefixed("network", network.state_dict())
    metadata = {name: value for name, value in shipped.metadata.items() if name not in ("kind", "hidden")}
    path = tmp_path / "q.safetensors"
    save_checkpoint(path, tensors, {**metadata, **network.architecture})
    with pytest.raises(CheckpointError, match="no critic"):
        train_critic(path, [runs[0]])
