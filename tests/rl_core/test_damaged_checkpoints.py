"""Damaged and hostile checkpoints, in every command that reads one: one line, no code run, little memory."""

import json
import os
import struct
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from qwop_bc.cli import main as qwop_bc
from qwop_datasets import DatasetReader, DatasetWriter
from qwop_evaluation.player import CheckpointPlayer
from qwop_finetune import cli as finetune
from qwop_finetune.drills import Drills
from qwop_finetune.resume import file_sha256
from qwop_game import FEATURE_SIZE, FEATURE_VERSION, QWOPVectorEnv
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    NumpyPolicy,
    Policy,
    load_checkpoint,
    save_checkpoint,
)
from qwop_rl_core.checkpoint import load_network, prefixed

try:
    import resource
except ImportError:
    resource = None

KINDS = "ppo", "expert", "dqn", "pqn"
MUTATIONS = int(os.environ.get("QWOP_MUTATIONS", "150"))
"""Mutated checkpoints of each kind."""
DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
SMALL = "--num-envs 4 --threads 1 --device cpu --rollout-length 8 --hidden 8 --total-steps 32".split()
VALUES = [None, True, -1, 0, 10**9, 2**70, 1e308, "x", "", [], {}, [10**9] * 3, [[[]]], {"a": [None]}, ["x"]]


def parts(content: bytes) -> tuple[dict, bytes]:
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def whole(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_metadata(content: bytes, text: str) -> bytes:
    header, data = parts(content)
    header["__metadata__"]["metadata"] = text
    return whole(header, data)


def peak_megabytes() -> float:
    if resource is None:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut or doubled anywhere; or a value of the metadata, or a tensor, replaced."""
    kind = rng.integers(5)
    header, data = parts(content)
    if kind == 0:  # any byte, most of them in the header
        changed = bytearray(content)
        for _ in range(rng.integers(1, 8)):
            changed[int(rng.integers(min(len(changed), 6000)))] = int(rng.integers(256))
        return bytes(changed)
    if kind == 1:
        return content[: int(rng.integers(len(content)))]
    if kind == 2:  # numbers of the tensors
        noise = rng.integers(0, 256, len(data), np.uint8)
        kept = rng.random(len(data)) < 0.99
        return whole(header, np.where(kept, np.frombuffer(data, np.uint8), noise).tobytes())
    if kind == 3:  # a tensor under another name, shape or type
        names = [name for name in header if name != "__metadata__"]
        name = names[int(rng.integers(len(names)))]
        entry = header.pop(name)
        change = rng.integers(3)
        if change == 0:
            name += "x"
        elif change == 1:
            entry["shape"] = [*entry["shape"], 1]
        elif entry["dtype"] == "F32":
            entry["dtype"] = "I32"
        return whole({**header, name: entry}, data)
    metadata = json.loads(header["__metadata__"]["metadata"])
    place = metadata
    while True:
        key = list(place)[int(rng.integers(len(place)))]
        if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.2:
            break
        place = place[key]
    if rng.random() < 0.2:
        del place[key]
    else:
        place[key] = VALUES[int(rng.integers(len(VALUES)))]
    return with_metadata(content, json.dumps(metadata))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    assert finetune.main(["--out", str(folder / "ppo"), *SMALL]) == 0
    flags = (
        "--algorithm dqn --num-envs 4 --threads 1 --device cpu --hidden 8 --total-steps 32 --buffer-size 64"
    )
    flags += " --learning-starts 8 --batch-size 8 --save-replay"
    assert finetune.main(["--out", str(folder / "dqn"), *flags.split()]) == 0
    assert finetune.main(["--out", str(folder / "pqn"), "--algorithm", "pqn", *SMALL]) == 0
    expert = ["--algorithm", "expert-iteration", *SMALL]
    assert finetune.main(["--out", str(folder / "expert"), *expert]) == 0
    return {name: (folder / name).read_bytes() for name in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_checkpoints_play_or_say_why_not(kind, checkpoints, tmp_path):
    rng = np.random.default_rng(3)
    path = tmp_path / "mutated"
    damaged = 0
    for _ in range(2 * MUTATIONS):
        path.write_bytes(mutated(checkpoints[kind], rng))
        in_numpy = partial(CheckpointPlayer, numpy=True)
        for loads in ((Policy.load, NumpyPolicy.load), (CheckpointPlayer, in_numpy)):
            loaded = []
            for load in loads:
                try:
                    load(path)
                    loaded.append(True)
                except CheckpointError as error:
                    assert "\n" not in str(error) and len(str(error)) < 600
                    loaded.append(False)
            assert loaded in ([True, True], [False, False])  # NumPy accepts what PyTorch accepts
            damaged += not loaded[0]
    assert damaged > MUTATIONS / 2


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_checkpoints_resume_or_say_why_not(kind, checkpoints, tmp_path, capsys):
    rng = np.random.default_rng(4)
    path = tmp_path / "mutated"
    failed = 0
    before = peak_megabytes()
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(checkpoints[kind], rng))
        code = finetune.main(["--resume", str(path), "--total-steps", "64"])  # an iteration more
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("qwop-finetune: ")]
        assert code in (0, 2) and len(said) == (code == 2)
        failed += code == 2
    assert failed > MUTATIONS / 4
    assert peak_megabytes() - before < 300


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[]", "7", '{"hidden": ' + "9" * 5000 + "}"]
)
def test_metadata_that_is_not_a_flat_object(text, checkpoints, tmp_path, capsys):
    path = tmp_path / "deep"
    path.write_bytes(with_metadata(checkpoints["ppo"], text))
    for load in (Policy.load, load_checkpoint):
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            load(path)
    for main, arguments in (
        (finetune.main, ["--resume", path]),
        (finetune.main, ["--init", path, "--out", tmp_path / "out"]),
        (qwop_bc, [DEMOS, "--out", path, "--resume"]),
    ):
        assert main([str(a) for a in arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "hidden", [[10**6, 10**6], [2**40], [1] * 100_000, [True], [0], [-5], "12", {}, [], [2.0]]
)
def test_a_network_is_no_larger_than_its_weights(hidden):
    network = ActorCritic(FEATURE_SIZE, 9, (8,))
    metadata = {**network.architecture, "hidden": hidden, "feature_version": FEATURE_VERSION}
    from qwop_rl_core.checkpoint import Checkpoint

    with pytest.raises(CheckpointError, match="describes no network"):
        load_network(Checkpoint(prefixed("network", network.state_dict()), metadata))


def test_more_games_than_are_stored(checkpoints, tmp_path):
    header, _ = parts(checkpoints["ppo"])
    metadata = json.loads(header["__metadata__"]["metadata"])
    for config in (metadata["finetune"]["config"]["learner"], metadata["training"]["config"]):
        config["num_envs"] = 10**9
    path = tmp_path / "many"
    path.write_bytes(with_metadata(checkpoints["ppo"], json.dumps(metadata)))
    with pytest.raises(CheckpointError, match="does not store a training"):
        finetune.parse(["--resume", str(path)])


def test_a_pipe_is_not_a_checkpoint(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a file"):
        load_checkpoint(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("ppo", "rollout_length", 10**9),
        ("ppo", "demo_batch_size", 10**8),
        ("ppo", "threads", 10**6),
        ("expert", "rollout_length", 10**9),
        ("expert", "search_rollouts", 10**6),
        ("pqn", "rollout_length", 10**9),
        ("pqn", "minibatch_size", 10**8),
        ("pqn", "demo_fraction", 1.0 - 1e-9),
        ("dqn", "buffer_size", 10**9),
        ("dqn", "batch_size", 10**8),
        ("dqn", "n_step", 10**8),
    ],
)
def test_settings_take_no_more_memory_than_the_file_warrants(
    kind, name, value, checkpoints, tmp_path, capsys
):
    header, _ = parts(checkpoints[kind])
    metadata = json.loads(header["__metadata__"]["metadata"])
    for config in (metadata["finetune"]["config"]["learner"], metadata["training"]["config"]):
        config[name] = value
    path, flag = tmp_path / "large", "--" + name.replace("_", "-")
    path.write_bytes(with_metadata(checkpoints[kind], json.dumps(metadata)))
    before = peak_megabytes()
    assert finetune.main(["--resume", str(path), "--total-steps", "64"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"if you want that, add {flag} {value}" in error
    assert peak_megabytes() - before < 100
    # whoever names the setting means it
    run = finetune.parse(["--resume", str(path), flag, str(value)])
    assert getattr(run.learner, name) == value


@pytest.mark.parametrize("steps", [1e308, 2**70, -1, "7", None])
def test_steps_that_no_training_can_have_done(steps, checkpoints, tmp_path, capsys):
    header, _ = parts(checkpoints["ppo"])
    metadata = json.loads(header["__metadata__"]["metadata"])
    metadata["training"]["steps"] = steps
    path = tmp_path / "steps"
    path.write_bytes(with_metadata(checkpoints["ppo"], json.dumps(metadata)))
    assert finetune.main(["--resume", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "a damaged checkpoint, steps is" in error


def test_a_resumed_training_reads_no_device():
    assert file_sha256(Path("/dev/zero" if os.name == "posix" else "nul")) == ""


def test_kept_states_of_drills_are_checked():
    def environment() -> Drills:
        return Drills(QWOPVectorEnv(2, observation="features"), 0.5, falls=0.5)

    drills = environment()
    drills.reset(seed=1)
    good = drills.get_state()
    drills.set_state(good)
    snapshot = good["snapshot"][0]
    kept = {name: array.copy() for name, array in good.items()}
    kept["drills.count"][3] = 1
    with pytest.raises(ValueError, match="not a snapshot"):  # zeros are none
        drills.set_state(kept)
    kept["drills.snapshots"][3, 0] = snapshot
    drills.set_state(kept)
    for name, array in (
        ("drills.limit", np.zeros(3)),
        ("drills.count", -good["drills.count"] - 1),
        ("drills.snapshots", good["drills.snapshots"][:, :, :-1]),
        ("drills.keys", good["drills.keys"].astype(np.int64)),
    ):
        with pytest.raises(ValueError, match=name):
            drills.set_state({**good, name: array})


def test_mutated_clonings_resume_or_say_why_not(tmp_path, capsys):
    data, path = tmp_path / "data.h5", tmp_path / "clone"
    with DatasetReader(DEMOS) as reader:
        DatasetWriter(data).append_all([reader[0], reader[1]])
    flags = "--hidden 8 --frame-skip 12 --play-every 0 --play-episodes 1 --device cpu --threads 1".split()
    assert qwop_bc([str(data), "--out", str(path), *flags, "--epochs", "1"]) == 0
    good = path.read_bytes()
    rng = np.random.default_rng(5)
    failed, before = 0, peak_megabytes()
    capsys.readouterr()
    for _ in range(MUTATIONS // 5):
        path.write_bytes(mutated(good, rng))
        code = qwop_bc([str(data), "--out", str(path), *flags, "--epochs", "2", "--resume"])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("qwop-bc: ")]
        assert code in (0, 2) and len(said) == (code == 2)
        failed += code == 2
    assert failed > MUTATIONS / 20
    assert peak_megabytes() - before < 300


def test_what_is_no_cloning_is_not_resumed(tmp_path, capsys):
    good = tmp_path / "good"
    network = ActorCritic(FEATURE_SIZE, 9, (8,), torch.Generator().manual_seed(0))
    save_checkpoint(good, prefixed("network", network.state_dict()), {**network.architecture, "made": []})
    assert qwop_bc([str(DEMOS), "--out", str(good), "--resume"]) == 2
    assert "not a checkpoint of qwop-bc" in capsys.readouterr().err
