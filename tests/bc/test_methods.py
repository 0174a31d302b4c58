"""DAgger, GAIL and AIRL by `qwop-bc --method`, and what they and the cloning share with Stable-Baselines3."""

import dataclasses

import numpy as np
import pytest
import torch

from qwop_bc.adapter import CloningLoss, GameVecEnv, NetworkPolicy
from qwop_bc.adversarial import AdversarialConfig, _transitions, train_adversarially
from qwop_bc.cli import main
from qwop_bc.cloning import CloneConfig, Cloning
from qwop_bc.dagger import DaggerConfig, train_by_dagger
from qwop_datasets import DatasetWriter
from qwop_datasets.decisions import load_decisions
from qwop_game import (
    FEATURE_SIZE,
    FEATURE_VERSION,
    KEY_O,
    KEY_P,
    KEY_Q,
    KEY_W,
    DisturbedVectorEnv,
    QWOPVectorEnv,
)
from qwop_rl_core import ActorCritic, Policy, save_checkpoint
from qwop_rl_core.checkpoint import prefixed
from qwop_rl_core.errors import TrainingError

QP = 5  # distinct action = 3 * {none, Q, W} + {none, O, P}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(play_keys, tmp_path_factory):
    """Three runs that alternate QP and WO, each a different number of frames at a time."""
    path = tmp_path_factory.mktemp("data") / "demos.h5"
    writer = DatasetWriter(path)
    for hold in (6, 8, 10):
        keys = np.where(np.arange(120) // hold % 2, KEY_Q | KEY_P, KEY_W | KEY_O).astype(np.uint8)
        writer.append(play_keys(keys))
    return path


def constant_policy(action, feature_size=FEATURE_SIZE, hidden=(8,)):
    network = ActorCritic(feature_size, 9, hidden)
    with torch.no_grad():
        network.policy[-1].bias[action] = 50.0
    return network


def stored(path, network, **metadata):
    known = {"action_set": "distinct", "frame_skip": 4, "observation": "features"}
    known |= {**network.architecture, "feature_version": FEATURE_VERSION, **metadata}
    save_checkpoint(path, prefixed("network", network.state_dict()), known)
    return path


CONFIG = CloneConfig(hidden=(8,), batch_size=16, play_episodes=2, device="cpu")


@pytest.mark.parametrize("l2_coef", [0.0, 0.3])
def test_cloning_loss_is_that_of_imitation(l2_coef):
    from imitation.algorithms.bc import BehaviorCloningLossCalculator

    network = ActorCritic(5, 4, (8,))
    network.value.requires_grad_(False)
    network.value.apply(lambda m: [torch.nn.init.zeros_(p) for p in m.parameters(recurse=False)])
    policy = NetworkPolicy(network)
    obs, acts = torch.randn(16, 5), torch.randint(4, (16,))

    def figures_and_gradients(calculator):
        metrics = calculator(policy, obs, acts)
        network.zero_grad()
        metrics.loss.backward()
        figures = {name: float(value.detach()) for name, value in vars(metrics).items()}
        return figures, [p.grad.clone() for p in network.policy.parameters()]

    theirs, their_gradients = figures_and_gradients(BehaviorCloningLossCalculator(0.2, l2_coef))
    ours, our_gradients = figures_and_gradients(CloningLoss(0.2, l2_coef))
    if not l2_coef:
        theirs["l2_norm"] = 0.0  # without a weight nobody asks for it
    assert ours == pytest.approx(theirs, abs=1e-6)
    for expected, gradient in zip(their_gradients, our_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_vector_environment_for_stable_baselines():
    """The same games through either interface; of an ended one the last observation is not lost."""
    first = DisturbedVectorEnv(QWOPVectorEnv(3, 4, observation="features", max_frames=60), seed=0)
    second = DisturbedVectorEnv(QWOPVectorEnv(3, 4, observation="features", max_frames=60), seed=0)
    games = GameVecEnv(second)
    assert (games.reset() == first.reset()[0]).all()
    rng = np.random.default_rng(0)
    ends = {True: 0, False: 0}
    for _ in range(40):
        actions = rng.integers(0, 9, 3)
        observations, _, terminated, truncated, infos = first.step(actions)
        seen, _, dones, each = games.step(actions)
        assert (seen == observations).all() and (dones == (terminated | truncated)).all()
        for i in range(3):
            assert ("terminal_observation" in each[i]) == dones[i]
            if dones[i]:
                assert (each[i]["terminal_observation"] == infos["_final"]["observation"][i]).all()
                assert each[i]["TimeLimit.truncated"] == (not terminated[i])
                ends[each[i]["TimeLimit.truncated"]] += 1
    assert ends[True] > 0


def test_dagger_adds_the_experts_answers_where_the_clone_went(dataset):
    _, decisions = load_decisions(dataset, 4)
    cloning = Cloning(CONFIG, decisions)
    before = len(cloning.batches.actions)
    demonstrated = cloning.batches.actions.clone()
    reports = []
    train_by_dagger(cloning, DaggerConfig(rounds=2, episodes=3), constant_policy(QP), reports.append)
    assert [r.epoch for r in reports] == [1, 2] and all(r.rollouts is not None for r in reports)
    features, actions = cloning.batches.features, cloning.batches.actions
    assert len(features) == len(actions) > before
    assert (actions[:before] == demonstrated).all() and set(actions[before:].tolist()) == {QP}
    # the clone, which has hardly learnt anything, did not hold Q and P all the time
    held = features[before:, -4:]
    assert len(torch.unique(held, dim=0)) > 2
    assert cloning.bc.batch_size == cloning.batches.size == 16


def test_dagger_learns_the_experts_answers(dataset):
    _, decisions = load_decisions(dataset, 4)
    cloning = Cloning(dataclasses.replace(CONFIG, learning_rate=1e-2, play_every=0), decisions)
    before = len(cloning.batches.actions)
    expert = constant_policy(QP)
    train_by_dagger(cloning, DaggerConfig(rounds=3, episodes=2, epochs=20), expert, lambda _: None)
    corrected = cloning.batches.features[before:]
    with torch.no_grad():
        agreed = (cloning.network.logits(corrected).argmax(-1) == QP).float().mean()
    assert agreed > 0.8  # a ninth before any training


def test_adversarial_transitions_are_the_training_split(dataset):
    _, decisions = load_decisions(dataset, 4)
    cloning = Cloning(CONFIG, decisions)
    transitions = _transitions(cloning, decisions)
    assert (transitions.obs == cloning.split.features.numpy()).all()
    assert (transitions.acts == cloning.split.actions.numpy()).all()
    inside = ~transitions.dones[:-1]
    assert (transitions.next_obs[:-1][inside] == transitions.obs[1:][inside]).all()
    assert transitions.dones.sum() == 3 - len(cloning.split.validation_episodes)
    alone = Cloning(CONFIG, decisions[:1])
    part = _transitions(alone, decisions[:1])
    assert (part.obs == alone.split.features.numpy()).all() and not part.dones.any()


TINY = AdversarialConfig(steps=128, num_envs=4, rollout=16, reports=2, discriminator_updates=2)


@pytest.mark.parametrize("method", ["gail", "airl"])
def test_adversarial_training_trains_our_network(method, dataset):
    _, decisions = load_decisions(dataset, 4)

    def trained():
        cloning = Cloning(CONFIG, decisions)
        reports = []
        train_adversarially(cloning, method, TINY, decisions, reports.append)
        assert [r.epoch for r in reports] == [1, 2]
        return cloning.network.state_dict()

    fresh = Cloning(CONFIG, decisions).network.state_dict()
    first, second = trained(), trained()
    assert all(torch.equal(first[name], second[name]) for name in first)
    moved = {name for name in first if not torch.equal(first[name], fresh[name])}
    assert {name.split(".")[0] for name in moved} == {"policy", "value"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--method", "dagger", "--expert", "EXPERT", "--dagger.rounds", "2", "--dagger.episodes", "2"],
        ["--method", "gail", "--adversarial.steps", "64", "--adversarial.num-envs", "4"],
        ["--method", "airl", "--adversarial.steps", "64", "--adversarial.num-envs", "4", "--init", "EXPERT"],
    ],
)
def test_each_method_writes_a_checkpoint_that_plays(arguments, dataset, tmp_path, capsys):
    expert, out = stored(tmp_path / "expert.safetensors", constant_policy(QP)), tmp_path / "a.safetensors"
    flags = [str(expert) if a == "EXPERT" else a for a in arguments]
    flags += ["--hidden", "8", "--play-episodes", "2", "--batch-size", "16", "--device", "cpu"]
    assert main([str(dataset), "--out", str(out), *flags]) == 0, capsys.readouterr().err
    policy = Policy.load(out)
    method = arguments[1]
    assert policy.metadata["made"]["method"] == policy.metadata["training"]["algorithm"] == method
    start = QWOPVectorEnv(1, 4, observation="features").reset()[0]
    action = policy.act(start)
    assert action.shape == (1,)
    if method == "airl":  # two updates do not undo what it started from
        assert action.tolist() == [QP]
    assert "3 episodes, " in capsys.readouterr().out

    assert main([str(dataset), "--out", str(out), "--hidden", "8", "--resume", "--device", "cpu"]) == 2
    assert f"made with --method {method}, which can't be resumed" in capsys.readouterr().err


def test_a_policy_is_cloned_on_and_keeps_its_critic(dataset, tmp_path, capsys):
    network = constant_policy(QP)
    critic = {"gamma": 0.98, "runs": 3}
    first, out = stored(tmp_path / "first.safetensors", network, critic=critic), tmp_path / "on.safetensors"
    command = [str(dataset), "--out", str(out), "--hidden", "8", "--batch-size", "16", "--play-every", "0"]
    command += ["--device", "cpu"]
    assert main([*command, "--init", str(first), "--epochs", "1"]) == 0, capsys.readouterr().err
    policy = Policy.load(out)
    before, after = network.state_dict(), policy.network.state_dict()
    for name, tensor in before.items():
        learned = name.startswith("policy")
        assert torch.equal(after[name], tensor) is not learned, name
    assert policy.metadata["critic"] == critic and policy.metadata["made"]["init"] == str(first)

    # Continued, it still says where it began.
    assert main([*command, "--resume", "--epochs", "2"]) == 0, capsys.readouterr().err
    metadata = Policy.load(out).metadata
    assert metadata["critic"] == critic and metadata["made"]["init"] == str(first)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--method", "magic"], "invalid choice"),
        (["--method", "dagger"], "needs --expert"),
        (["--expert", "E"], "--expert has no effect with --method bc"),
        (["--dagger.rounds", "3"], "--dagger.* has no effect with --method bc"),
        (["--method", "gail", "--expert", "E"], "--expert has no effect with --method gail"),
        (["--method", "airl", "--balance", "1"], "--balance has no effect with --method airl"),
        (["--method", "gail", "--resume"], "--resume has no effect with --method gail"),
        (
            ["--method", "dagger", "--expert", "E", "--epochs", "3"],
            "--epochs has no effect with --method dagger",
        ),
        (["--method", "gail", "--adversarial.gamma", "1"], "adversarial.gamma is 1.0"),
        (["--method", "dagger", "--expert", "missing"], "missing: no such checkpoint"),
        (
            ["--method", "dagger", "--expert", "E", "--frame-skip", "2"],
            "E: frame_skip is 4, expected 2",
        ),
        (["--method", "gail", "--init", "E", "--hidden", "16"], "E: the checkpoint has hidden [8]; [16]"),
        (["--init", "E", "--hidden", "8", "--frame-skip", "2"], "E: frame_skip is 4, expected 2"),
        (["--init", "E", "--resume"], "--init has no effect with --resume"),
        (["--method", "dagger", "--expert", "E", "--init", "E"], "--init has no effect with --method dagger"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "E", constant_policy(QP))
    assert main([str(dataset), *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.startswith("qwop-bc: ") and error.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["E"]


def test_settings_out_of_range():
    with pytest.raises(TrainingError, match=r"dagger\.rounds is 0"):
        DaggerConfig(rounds=0)
    with pytest.raises(TrainingError, match=r"adversarial\.steps is 0"):
        AdversarialConfig(steps=0)
