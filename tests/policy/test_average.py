"""`qwop-policy average`: the mean of fine-tunings of one policy."""

import hashlib
import statistics

import numpy as np
import pytest
import torch

from qwop_evaluation import evaluate, shipped_policy_path
from qwop_game import PolicySpec
from qwop_policy import average_policies
from qwop_policy.cli import main
from qwop_rl_core import ActorCritic, Policy, QNetwork, load_checkpoint, prefixed, save_checkpoint


@pytest.fixture
def policies(tmp_path):
    """Three checkpoints of the same layers; the first one has the state of a training."""
    paths = []
    for seed in range(3):
        network = ActorCritic(98, 9, (8, 8), torch.Generator().manual_seed(seed))
        network.normalizer.update(torch.randn(50, 98, generator=torch.Generator().manual_seed(seed)))
        metadata = {**network.architecture, **PolicySpec("distinct", 1).metadata(), "made_by": f"seed {seed}"}
        tensors = prefixed("network", network.state_dict())
        if seed == 0:
            tensors["optimizer.step"] = torch.zeros(1)
            metadata["training"] = {"steps": 5}
        paths.append(tmp_path / f"{seed}.safetensors")
        save_checkpoint(paths[-1], tensors, metadata)
    return paths


def test_each_tensor_is_the_mean_and_the_result_plays(policies, tmp_path, capsys):
    out = tmp_path / "mean.safetensors"
    assert main(["average", *map(str, policies), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: the mean of 3 policies\n"
    mean, *parts = (load_checkpoint(path) for path in (out, *policies))
    assert mean.tensors.keys() == parts[1].tensors.keys()
    for name, tensor in mean.tensors.items():
        expected = np.mean([part.tensors[name].double().numpy() for part in parts], axis=0)
        assert tensor.dtype == parts[0].tensors[name].dtype
        np.testing.assert_allclose(tensor.double().numpy(), expected, rtol=1e-6, atol=1e-7)
    assert mean.metadata["average_of"] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in policies]
    assert "training" not in mean.metadata
    assert Policy.load(out).act(np.zeros((2, 98), np.float32)).shape == (2,)


def test_the_mean_of_equal_policies_is_that_policy(policies):
    tensors, _ = average_policies([policies[1]] * 2)
    assert all(
        torch.equal(tensor, load_checkpoint(policies[1]).tensors[name]) for name, tensor in tensors.items()
    )


def test_policies_that_have_no_mean_are_refused(policies, tmp_path, capsys):
    out = str(tmp_path / "mean.safetensors")
    wide = ActorCritic(98, 9, (16, 8))
    slow = ActorCritic(98, 9, (8, 8))
    values = QNetwork(98, 9, (8, 8))
    others = {
        "hidden is [16, 8]": (wide, PolicySpec("distinct", 1)),
        "frame_skip is 2": (slow, PolicySpec("distinct", 2)),
        "kind is q_network": (values, PolicySpec("distinct", 1)),
    }
    for said, (network, spec) in others.items():
        other = tmp_path / "other.safetensors"
        save_checkpoint(
            other, prefixed("network", network.state_dict()), {**network.architecture, **spec.metadata()}
        )
        assert main(["average", str(policies[0]), str(other), "--out", out]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and said in error, error
    assert main(["average", str(policies[0]), "--out", out]) == 2
    assert capsys.readouterr().err == "qwop-policy: name two or more checkpoints\n"
    assert main(["average", str(policies[0]), str(tmp_path / "none"), "--out", out]) == 2
    assert "no such checkpoint" in capsys.readouterr().err
    assert main(["average", *map(str, policies), "--out", str(policies[1])]) == 2
    assert not (tmp_path / "mean.safetensors").exists()
    (tmp_path / "mean.safetensors").write_bytes(b"mine")
    assert main(["average", *map(str, policies), "--out", out]) == 2
    assert capsys.readouterr().err.endswith("exists; --force replaces it\n")


def test_the_shipped_policy_is_a_mean_and_runs():
    path = shipped_policy_path()
    assert len(load_checkpoint(path).metadata["average_of"]) == 4
    episodes = evaluate(path, seed=30_000, episodes=64).episodes
    seconds = [episode.time for episode in episodes if episode.success]
    assert len(seconds) >= 58 and statistics.median(seconds) < 45.5
