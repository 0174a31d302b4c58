"""Checkpoints and the policies that they hold."""

import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import save_file

from qwop_rl_core import ActorCritic, CheckpointError, Policy, QNetwork, load_checkpoint, save_checkpoint
from qwop_rl_core.checkpoint import load_network, optimizer_tensors, prefixed, restore_optimizer, section


def write_policy(path, network=None, **metadata):
    network = network or ActorCritic(4, 3, (8,), torch.Generator().manual_seed(0))
    save_checkpoint(path, prefixed("network", network.state_dict()), {**network.architecture, **metadata})
    return network


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


def test_round_trip_keeps_every_bit_and_the_metadata(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {
        "double": torch.tensor([1 / 3, float("nan")], dtype=torch.float64),
        "mask": torch.tensor([True, False]),
        "transposed": shared.T,
        "shared": shared,
        "scalar": torch.tensor(7),
        "rng": torch.Generator().manual_seed(5).get_state(),
    }
    metadata = {"action_set": "distinct", "nested": {"big": 2**100, "list": [1, 2.5, None]}}
    save_checkpoint(path, tensors, metadata)
    loaded = load_checkpoint(path)
    assert loaded.metadata == metadata
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name].nan_to_num(9.0), tensor.nan_to_num(9.0))
    assert os.listdir(path.parent) == ["a.safetensors"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"x": torch.ones(3)}, {})

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left") as error:
        save_checkpoint(path, {"x": torch.zeros(3)}, {})
    one_line(error)
    assert load_checkpoint(path).tensors["x"].tolist() == [1.0, 1.0, 1.0]
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_file_that_is_being_read_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """Windows replaces no open file."""
    path = tmp_path / "a.safetensors"
    replace, calls = os.replace, []

    def refusing(source, target):
        calls.append(target)
        if len(calls) < 3:
            error = PermissionError(13, "Access is denied")
            error.winerror = 5  # pyright: ignore[reportAttributeAccessIssue] (Windows has it)
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    save_checkpoint(path, {"x": torch.ones(3)}, {})
    assert calls == [path] * 3 and os.listdir(tmp_path) == ["a.safetensors"]


def test_metadata_must_be_plain_data(tmp_path):
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a", {}, {"array": np.zeros(2)})
    assert os.listdir(tmp_path) == []


def test_missing_truncated_foreign_and_newer_files(tmp_path):
    good = tmp_path / "good.safetensors"
    write_policy(good)
    content = good.read_bytes()
    for cut in (0, 4, 100, len(content) - 1):
        broken = tmp_path / "cut.safetensors"
        broken.write_bytes(content[:cut])
        with pytest.raises(CheckpointError, match="not a readable checkpoint") as error:
            load_checkpoint(broken)
        assert "cut.safetensors" in one_line(error)
    cases = {"text": b"hello, this is no checkpoint at all\n", "pickle": b"\x80\x04\x95" + bytes(300)}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            load_checkpoint(tmp_path / name)
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="not a qwop-stride checkpoint"):
        load_checkpoint(tmp_path / "foreign")
    newer = {"format": "qwop-stride checkpoint", "version": "3", "metadata": "{}"}
    save_file({"x": torch.zeros(1)}, tmp_path / "newer", newer)
    with pytest.raises(CheckpointError, match="format 3, this release reads 1 to 2"):
        load_checkpoint(tmp_path / "newer")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path)


def test_network_must_fit_its_metadata(tmp_path):
    path = tmp_path / "a"
    write_policy(path, num_actions=5)
    with pytest.raises(CheckpointError, match=r"policy\.2\.\w+ has shape \(3.*says \(5"):
        Policy.load(path)
    save_checkpoint(path, {}, {"note": "no network"})
    with pytest.raises(CheckpointError, match="lacks 'feature_size'"):
        Policy.load(path)
    write_policy(path, kind="tree")
    with pytest.raises(CheckpointError, match="'tree'"):
        Policy.load(path)
    network = ActorCritic(4, 3, (8,))
    with torch.no_grad():
        network.value[0].bias[2] = float("nan")
    write_policy(path, network)
    with pytest.raises(CheckpointError, match=r"network\.value\.0\.bias is not finite"):
        Policy.load(path)


def test_optimizer_goes_on_exactly():
    def make():
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)

    def step(layer, optimizer, x):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()

    layer, optimizer = make()
    for i in range(3):
        step(layer, optimizer, torch.full((1, 3), float(i)))
    other, other_optimizer = make()
    other.load_state_dict(layer.state_dict())
    restore_optimizer(other_optimizer, section(prefixed("o", optimizer_tensors(optimizer)), "o"))
    for each in ((layer, optimizer), (other, other_optimizer)):
        step(*each, torch.ones(1, 3))
    assert torch.equal(layer.weight, other.weight)


def test_policy_plays_argmax_and_samples(tmp_path):
    path = tmp_path / "a"
    network = ActorCritic(4, 3, (8,))
    with torch.no_grad():
        network.policy[2].weight.zero_()
        network.policy[2].bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    write_policy(path, network, action_set="distinct", frame_skip=4)
    policy = Policy.load(path)
    assert policy.metadata["action_set"] == "distinct" and policy.metadata["frame_skip"] == 4
    features = np.zeros((30_000, 4), np.float32)
    assert (policy.act(features) == 1).all()
    sampled = policy.act(features, sample=True, generator=torch.Generator().manual_seed(0))
    assert sampled.dtype == np.int64
    # standard error of a share near 0.5 from 30000 draws: 0.003
    np.testing.assert_allclose(np.bincount(sampled) / 30_000, [0.2, 0.5, 0.3], atol=0.012)
    again = policy.act(features, sample=True, generator=torch.Generator().manual_seed(0))
    assert (again == sampled).all()


def test_q_network_plays_its_best_action(tmp_path):
    network = QNetwork(4, 3, (8,), dueling=True, generator=torch.Generator().manual_seed(0))
    write_policy(tmp_path / "q", network)
    policy = Policy.load(tmp_path / "q")
    features = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    expected = network(torch.from_numpy(features)).argmax(-1).numpy()
    assert len(set(expected)) > 1
    assert (policy.act(features) == expected).all() and (policy.act(features, sample=True) == expected).all()


def test_policy_that_does_not_fit_says_so(tmp_path):
    write_policy(tmp_path / "a", action_set="full")
    policy = Policy.load(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"takes \[N, 4\] features, not \[2, 60\]") as error:
        policy.act(np.zeros((2, 60), np.float32))
    one_line(error)
    policy.require(num_actions=3, action_set="full")
    with pytest.raises(CheckpointError, match="action_set 'full'; 'distinct' is needed"):
        policy.require(num_actions=3, action_set="distinct")
    with pytest.raises(CheckpointError, match="does not say its feature_version; 2 is needed"):
        policy.require(feature_version=2)


def test_load_network_accepts_a_checkpoint_in_memory(tmp_path):
    network = write_policy(tmp_path / "a")
    loaded = load_network(load_checkpoint(tmp_path / "a"))
    assert isinstance(loaded, ActorCritic)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), loaded.parameters(), strict=True))


def test_names_of_format_1_are_read_in_american_spelling(tmp_path):
    path = tmp_path / "old.safetensors"
    network = ActorCritic(4, 3, (8,), torch.Generator().manual_seed(0))
    tensors = prefixed("network", network.state_dict()) | {"environment.meters_at": torch.ones(2)}
    settings = {"drill_metres": 20.0, "reward_option": ["knee_metres=0.2"], "init": "metres.safetensors"}
    metadata = {**network.architecture, "finetune": {"config": settings}}
    header = {"format": "qwop-stride checkpoint", "version": "1", "metadata": json.dumps(metadata)}
    old = {n.replace("normalizer", "normaliser").replace("meters", "metres"): t for n, t in tensors.items()}
    save_file(old, path, header)
    checkpoint = load_checkpoint(path)
    assert checkpoint.tensors.keys() == tensors.keys()
    assert checkpoint.metadata["finetune"]["config"] == {
        "drill_meters": 20.0,
        "reward_option": ["knee_meters=0.2"],
        "init": "metres.safetensors",
    }
    for name, tensor in load_network(checkpoint).state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])


plain_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
tensors = hnp.arrays(
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_]),
    shape=hnp.array_shapes(min_dims=0, min_side=0, max_dims=3, max_side=4),
)


@given(
    st.dictionaries(st.text("abc.0", min_size=1, max_size=8), tensors, max_size=4),
    st.dictionaries(st.text(max_size=8), plain_data, max_size=4),
)
def test_any_tensors_and_plain_metadata_survive_a_round_trip(tmp_path_factory, arrays, metadata):
    path = tmp_path_factory.mktemp("checkpoint") / "a.safetensors"
    save_checkpoint(path, {name: torch.from_numpy(a) for name, a in arrays.items()}, metadata)
    loaded = load_checkpoint(path)
    assert loaded.metadata == metadata
    assert loaded.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        read = loaded.tensors[name].numpy()
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        assert read.tobytes() == array.tobytes()
