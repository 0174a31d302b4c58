"""The network of a checkpoint, computed by NumPy: the numbers of PyTorch's, but for their last bits."""

import numpy as np
import pytest
import torch

from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    NumpyPolicy,
    Policy,
    QNetwork,
    load_arrays,
    load_header,
    prefixed,
    save_checkpoint,
)
from qwop_rl_core.checkpoint_file import expected_arrays

NETWORKS = {
    "policy": lambda: ActorCritic(7, 9, (32, 16)),
    "deep policy": lambda: ActorCritic(7, 9, (8,) * 12),  # policy.10 comes after policy.8
    "q relu": lambda: QNetwork(7, 9, (32, 16)),
    "q tanh dueling": lambda: QNetwork(7, 9, (32, 16), dueling=True, activation="tanh"),
    "q relu dueling": lambda: QNetwork(7, 9, (32,), dueling=True),
    "q layer norm": lambda: QNetwork(7, 9, (32, 16), layer_norm=True),
    "q tanh temperature": lambda: QNetwork(7, 9, (32, 16), activation="tanh", temperature=0.3),
}


def stored(path, network):
    """Write a network whose every number matters: no bias is 0, and the normalizer has statistics."""
    generator = torch.Generator().manual_seed(1)
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith((".bias", ".mean")):
            tensor.normal_(generator=generator)
        elif name.endswith((".var", "value_std")):
            tensor.exponential_(generator=generator)
        elif name.endswith(("value_mean", ".weight")):
            tensor.add_(torch.empty_like(tensor).normal_(0, 0.3, generator=generator))
    extra = {"buffer.x": torch.zeros(3, dtype=torch.bfloat16)}  # NumPy has no such type, and needs it not
    save_checkpoint(path, {**prefixed("network", state), **extra}, {**network.architecture, "from": "a test"})
    return path


def rows(n=200, scale=3.0):
    return np.random.default_rng(0).normal(0, scale, (n, 7)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_scores_and_values_are_those_of_torch(name, tmp_path):
    path = stored(tmp_path / "x.safetensors", NETWORKS[name]())
    ours, theirs = NumpyPolicy.load(path), Policy.load(path)
    x = rows()
    expected = theirs.scores(x)
    assert ours.scores(x).dtype == expected.dtype == np.float32
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(ours.scores(x), expected, rtol=0, atol=3e-5)
    assert ours.is_q_network == theirs.is_q_network == name.startswith("q")
    assert ours.has_values == theirs.has_values == (not name.startswith("q"))
    if ours.has_values:
        np.testing.assert_allclose(ours.values(x), theirs.values(x), rtol=0, atol=3e-5)
        assert ours.values(x).shape == (200,)
    else:
        for policy in (ours, theirs):
            with pytest.raises(ValueError, match="no critic"):
                policy.values(x)


def test_a_row_has_the_same_bits_in_every_batch(tmp_path):
    policy = NumpyPolicy.load(stored(tmp_path / "x.safetensors", ActorCritic(7, 9, (256, 256))))
    x = rows(130)
    whole = policy.scores(x)
    for size in (1, 3, 64):
        parts = [policy.scores(x[first : first + size]) for first in range(0, len(x), size)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(np.concatenate([policy.values(row[None]) for row in x]), policy.values(x))


def test_features_far_off_are_clipped_and_the_input_is_left_alone(tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(7, 9, (8,)))
    x = rows(scale=1e4)
    before = x.copy()
    np.testing.assert_allclose(NumpyPolicy.load(path).scores(x), Policy.load(path).scores(x), atol=3e-5)
    assert np.array_equal(x, before)
    assert NumpyPolicy.load(path).scores(x.astype(np.float64)).dtype == np.float32


def test_a_clone_has_no_trained_critic(tmp_path):
    network = ActorCritic(7, 9, (8,))
    save_checkpoint(tmp_path / "x", prefixed("network", network.state_dict()), network.architecture)
    assert not NumpyPolicy.load(tmp_path / "x").has_values
    assert not Policy.load(tmp_path / "x").has_values


@pytest.mark.parametrize("name", NETWORKS)
def test_arrays_that_an_architecture_asks_for(name):
    network = NETWORKS[name]()
    found = {n: (tuple(t.shape), str(t.dtype)[6:]) for n, t in network.state_dict().items()}
    assert expected_arrays(network.architecture) == found


def test_arrays_and_header_of_a_file(tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(7, 9, (8,)))
    arrays, metadata = load_arrays(path)
    assert metadata["from"] == "a test" and "normalizer.mean" in arrays and "x" not in arrays
    header = load_header(path)
    assert header.metadata == metadata
    assert header.tensors["network.policy.0.weight"] == ((8, 7), "F32")
    assert header.tensors["buffer.x"] == ((3,), "BF16")
    assert header.tensors["network.normalizer.count"] == ((), "F64")


@pytest.mark.parametrize("shape", [(7,), (3, 8), (1, 2, 7)])
def test_features_of_another_shape(shape, tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(7, 9, (8,)))
    for policy in (NumpyPolicy.load(path), Policy.load(path)):
        with pytest.raises(CheckpointError, match=r"takes \[N, 7\] features"):
            policy.scores(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "poem"}, "describes no network: kind is 'poem'"),
        ({"hidden": [9]}, "the metadata says"),
        ({"num_actions": None}, "describes no network"),
        ({"kind": "q_network", "dueling": False, "activation": "sine"}, "activation is 'sine'"),
        ({"kind": "q_network"}, "the metadata lacks '(dueling|activation)'"),
    ],
)
def test_metadata_that_does_not_fit(change, message, tmp_path):
    network = ActorCritic(7, 9, (8,))
    metadata = {**network.architecture, **change}
    save_checkpoint(tmp_path / "x", prefixed("network", network.state_dict()), metadata)
    for load in (NumpyPolicy.load, Policy.load):
        with pytest.raises(CheckpointError, match=message) as error:
            load(tmp_path / "x")
        assert "\n" not in str(error.value)


def test_a_weight_that_is_not_finite(tmp_path):
    network = ActorCritic(7, 9, (8,))
    network.state_dict()["policy.2.bias"][3] = float("nan")
    save_checkpoint(tmp_path / "x", prefixed("network", network.state_dict()), network.architecture)
    for load in (NumpyPolicy.load, Policy.load):
        with pytest.raises(CheckpointError, match=r"network\.policy\.2\.bias is not finite"):
            load(tmp_path / "x")
