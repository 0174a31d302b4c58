"""`qwop-policy export`: the ONNX model computes the features and plays the policy's episodes."""

import json

import numpy as np
import pytest
import torch

from qwop_evaluation import CheckpointPlayer, PolicyPlayer, play, shipped_policy_path
from qwop_game import (
    FEATURE_SIZE,
    OBSERVATION_SIZE,
    PolicySpec,
    QWOPEnv,
    encode,
    next_hip_modes,
)
from qwop_game.observation import RAW_HIGH, RAW_LOW
from qwop_policy import OnnxSession, check_onnx, export_onnx, exporting
from qwop_policy.cli import main
from qwop_policy.graph import METADATA
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    NumpyPolicy,
    Policy,
    QNetwork,
    prefixed,
    save_checkpoint,
)

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def stored(path, network, spec=None, **metadata):
    state = network.state_dict()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in state.items():
        if name.endswith((".bias", ".mean")):
            tensor.normal_(0, 0.3, generator=generator)
        elif name.endswith((".var", "value_std")):
            tensor.exponential_(generator=generator)
        elif name.endswith(".weight"):
            tensor.add_(torch.empty_like(tensor).normal_(0, 0.2, generator=generator))
    described = {**network.architecture, **(spec or PolicySpec()).metadata(), **metadata}
    save_checkpoint(path, prefixed("network", state), described)
    return path


def observations(n=400):
    """Raw observations within qwop-gym's limits and somewhat beyond, with all hip modes and keys."""
    rng = np.random.default_rng(0)
    width = RAW_HIGH - RAW_LOW
    raw = rng.uniform(RAW_LOW - 0.1 * width, RAW_HIGH + 0.1 * width, (n, OBSERVATION_SIZE))
    return (
        raw.astype(np.float32),
        rng.integers(3, size=n, dtype=np.uint8),
        rng.integers(16, size=n, dtype=np.uint8),
    )


def test_features_in_the_graph_are_the_encoders(tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    export_onnx(path, tmp_path / "x.onnx", episodes=0)
    model = onnx.load(tmp_path / "x.onnx")
    features = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["N", FEATURE_SIZE])
    model.graph.output.append(features)
    raw, hip_mode, keys = observations()
    found = OnnxSession(model.SerializeToString()).run(raw, hip_mode, keys)["features"]
    expected = encode(raw, hip_mode, keys)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert (found == expected).mean() > 0.9  # only sine and cosine are rounded in another way


@pytest.mark.parametrize(
    ("network", "spec"),
    [
        (lambda: ActorCritic(FEATURE_SIZE, 9, (32, 16)), PolicySpec("distinct", 4)),
        (lambda: ActorCritic(FEATURE_SIZE, 16, (16,) * 6), PolicySpec("full", 3)),
        (lambda: QNetwork(FEATURE_SIZE, 9, (32, 16)), PolicySpec("reduced", 2)),
        (lambda: QNetwork(FEATURE_SIZE, 9, (32,), dueling=True), PolicySpec("distinct", 1)),
        (lambda: QNetwork(FEATURE_SIZE, 9, (8, 8), dueling=True, activation="tanh"), PolicySpec()),
        (lambda: QNetwork(FEATURE_SIZE, 9, (8, 8), layer_norm=True), PolicySpec()),
        (lambda: QNetwork(FEATURE_SIZE, 9, (8, 8), activation="tanh", temperature=0.5), PolicySpec()),
    ],
)
@pytest.mark.parametrize("observation", ["raw", "qwop_gym"])
def test_outputs_of_every_kind_of_network(network, spec, observation, tmp_path):
    path = stored(tmp_path / "x.safetensors", network(), spec)
    export_onnx(path, tmp_path / "x.onnx", observation, episodes=0)
    raw, hip_mode, keys = observations()
    found = OnnxSession(tmp_path / "x.onnx").run(raw, hip_mode, keys)
    policy = Policy.load(path)
    scores = policy.scores(encode(raw, hip_mode, keys))
    tolerance = 2e-4 if observation == "raw" else 0.02  # x in [-1, 1] has 3e-5 of the units of x
    np.testing.assert_allclose(found["scores"], scores, rtol=0, atol=tolerance)
    assert np.array_equal(found["action"], found["scores"].argmax(1))
    assert len(set(found["action"])) > 2
    assert (
        np.array_equal(found["keys"], spec.action_masks[found["action"]]) and found["keys"].dtype == np.uint8
    )
    assert np.array_equal(found["next_hip_mode"], next_hip_modes(hip_mode, found["keys"]))
    assert ("value" in found) == policy.has_values == (not policy.is_q_network)
    if "value" in found:
        values = policy.values(encode(raw, hip_mode, keys))
        assert found["value"].shape == (400,)
        np.testing.assert_allclose(found["value"], values, rtol=0, atol=tolerance)


@pytest.mark.parametrize("observation", ["raw", "qwop_gym"])
def test_whole_episodes_are_the_policys(observation, tmp_path, capsys):
    """The shipped policy over 12 disturbed episodes: all actions, as PyTorch's player takes them, too."""
    path, output = shipped_policy_path(), tmp_path / "x.onnx"
    flags = ["--observation", observation, "--episodes", "12"]
    assert main(["export", str(path), str(output), *flags]) == 0
    assert "12 of 12 episodes and " in capsys.readouterr().out
    check = check_onnx(output, CheckpointPlayer(path), 12)
    assert check.same_episodes == check.episodes == 12
    assert check.same_actions == check.decisions > 15_000
    assert 0 < check.largest_difference < (1e-4 if observation == "raw" else 5e-3)


def test_a_loop_with_onnxruntime_alone_plays_the_policys_run(tmp_path):
    """As a program without this project's policies plays: it feeds back what the model returns."""
    path = shipped_policy_path()
    export_onnx(path, tmp_path / "x.onnx", episodes=0)
    model = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    settings = json.loads(model.get_modelmeta().custom_metadata_map[METADATA])
    env = QWOPEnv(frame_skip=settings["frame_skip"], action_set=settings["action_set"])
    _, info = env.reset()
    hip_mode, keys, held, over = np.zeros(1, np.uint8), np.zeros(1, np.uint8), [], False
    while not over:
        raw = info["raw_observation"][None]
        inputs = {"raw_observation": raw, "hip_mode": hip_mode, "last_keys": keys}
        names = ["action", "keys", "next_hip_mode"]
        (action,), keys, hip_mode = model.run(names, inputs)
        _, _, terminated, truncated, info = env.step(int(action))
        over = terminated or truncated
        held += keys.tolist()
    (expected,) = play(CheckpointPlayer(path), [0], perturbed=False)
    assert held == expected.keys.tolist() and expected.success and info["is_success"]


def test_the_model_says_how_to_play(tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)), PolicySpec("reduced", 3))
    assert export_onnx(path, tmp_path / "x.onnx", "qwop_gym", episodes=0) is None
    model = onnx.load(tmp_path / "x.onnx")
    onnx.checker.check_model(model, full_check=True)
    (settings,) = (json.loads(p.value) for p in model.metadata_props if p.key == METADATA)
    assert settings["observation"] == "qwop_gym" and settings["frame_skip"] == 3
    assert settings["action_masks"] == PolicySpec("reduced").action_masks.tolist()
    assert settings["checkpoint_sha256"] == CheckpointPlayer(path).sha256
    assert [value.name for value in model.graph.input] == ["observation", "hip_mode", "last_keys"]
    assert all(value.doc_string for value in [*model.graph.input, *model.graph.output])


def test_keys_that_do_not_exist_are_refused(tmp_path):
    path = stored(tmp_path / "x.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    export_onnx(path, tmp_path / "x.onnx", episodes=0)
    session = OnnxSession(tmp_path / "x.onnx")
    raw = np.zeros((1, OBSERVATION_SIZE), np.float32)
    for hip_mode, keys in ((3, 0), (0, 16)):
        with pytest.raises(Exception, match="indices element out of data bounds"):
            session.run(raw, np.array([hip_mode], np.uint8), np.array([keys], np.uint8))


def test_a_graph_that_is_not_the_policy_is_not_written(tmp_path, monkeypatch, capsys):
    path = stored(tmp_path / "x.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    real = exporting.policy_graph

    def wrong(policy, *arguments):
        policy.arrays["policy.2.bias"][4] += 0.5
        graph = real(policy, *arguments)
        policy.arrays["policy.2.bias"][4] -= 0.5
        return graph

    monkeypatch.setattr(exporting, "policy_graph", wrong)
    output = tmp_path / "x.onnx"
    assert main(["export", str(path), str(output), "--episodes", "1"]) == 2
    error = capsys.readouterr().err
    assert "not written, the graph is not the policy" in error and "differ by at most 0.5" in error
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_exported_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    good = stored(tmp_path / "x.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    old = stored(tmp_path / "old.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)), feature_version=0)
    other = stored(tmp_path / "other.safetensors", ActorCritic(7, 9, (8,)), feature_size=7)
    there = tmp_path / "there.onnx"
    there.write_text("", encoding="utf-8")

    def refused(message, *arguments):
        assert main(["export", *map(str, arguments)]) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1 and not captured.out

    new = tmp_path / "new.onnx"
    refused("old.safetensors: feature_version is 0, expected 1", old, new)
    refused("other.safetensors: feature_size is 7", other, new)
    refused("no such checkpoint", tmp_path / "none", new)
    refused("exists; --force replaces it", good, there)
    refused("is the same place", good, good)
    refused("--episodes -1: expected 0 or more", good, new, "--episodes", -1)
    refused("invalid choice", good, new, "--observation", "pixels")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    refused("onnxruntime is missing: pip install 'qwop-stride[onnx]'", good, new)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    refused("onnx is missing: pip install 'qwop-stride[onnx]'", good, new)
    assert not new.exists() and there.read_text(encoding="utf-8") == ""
    monkeypatch.undo()
    assert main(["export", str(good), str(there), "--force", "--episodes", "0"]) == 0
    assert capsys.readouterr().out == f"{there}: not compared with the policy\n"


def test_features_of_another_release(tmp_path):
    network = ActorCritic(7, 9, (8,))
    save_checkpoint(tmp_path / "x", prefixed("network", network.state_dict()), network.architecture)
    policy = NumpyPolicy.load(tmp_path / "x")
    with pytest.raises(CheckpointError, match="takes 7 features, this release has 98"):
        exporting.policy_graph(policy, PolicySpec(), "raw", {})
    with pytest.raises(CheckpointError):
        PolicyPlayer(policy)


@pytest.mark.slow
def test_export_without_torch(without_torch, tmp_path):
    output = tmp_path / "x.onnx"
    result = without_torch("qwop_policy.cli", "export", shipped_policy_path(), output, "--episodes", 1)
    assert (result.returncode, result.stderr) == (0, "") and "1 of 1 episodes" in result.stdout
    assert check_onnx(output, CheckpointPlayer(shipped_policy_path()), 1).same_episodes == 1
