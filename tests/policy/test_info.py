"""`qwop-policy info`: what a checkpoint says of itself."""

import json

import pytest
import torch

from qwop_evaluation import CheckpointPlayer, shipped_policy_path
from qwop_game import FEATURE_SIZE, PolicySpec
from qwop_policy import policy_info
from qwop_policy.cli import main
from qwop_rl_core import ActorCritic, CheckpointError, prefixed, save_checkpoint


@pytest.fixture
def trained(tmp_path):
    network = ActorCritic(FEATURE_SIZE, 9, (8, 4))
    tensors = prefixed("network", network.state_dict()) | {"optimizer.0.exp_avg": torch.zeros(5, 2)}
    metadata = {**network.architecture, **PolicySpec().metadata()}
    metadata |= {"finetune": {"config": {"seed": 3, "out": "a\nb"}, "x": {}}, "long": "y" * 300}
    save_checkpoint(tmp_path / "run.safetensors", tensors, metadata)
    return tmp_path / "run.safetensors"


def test_info_of_a_training(trained, capsys):
    assert main(["info", str(trained)]) == 0
    rows = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[2:]]
    entries = dict(rows)
    policy = FEATURE_SIZE * 8 + 8 + 8 * 4 + 4
    numbers = 2 * policy + 4 * 9 + 9 + 4 + 1 + 2 * FEATURE_SIZE + 3
    assert entries["network"] == f"policy, sizes [{FEATURE_SIZE}, [8, 4], 9], {numbers:,} numbers"
    assert entries["resume"] == "optimizer 10" and entries["frame_skip"] == "4"
    assert entries["finetune.config.seed"] == "3" and entries["finetune.config.out"] == "a\\nb"
    assert entries["finetune.x"] == "{}" and entries["long"] == "y" * 97 + "..."
    assert entries["playable"] == "yes"


def test_info_as_json(trained, capsys):
    assert main(["info", str(trained), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["metadata"]["long"] == "y" * 300 and printed["numbers"]["optimizer"] == 10
    assert printed["sha256"] == CheckpointPlayer(trained).sha256 and printed["playable"]


def test_info_of_a_policy_that_this_release_can_not_play(tmp_path):
    network = ActorCritic(5, 9, (8,))
    save_checkpoint(tmp_path / "x", prefixed("network", network.state_dict()), {"action_set": "distinct"})
    info = policy_info(tmp_path / "x")
    assert info.problem is not None and "frame_skip is None" in info.problem
    assert "no: frame_skip is None" in str(info)


def test_info_of_the_shipped_policy_names_no_tensor_of_a_training(capsys):
    assert main(["info", str(shipped_policy_path())]) == 0
    assert "no state of a training" in capsys.readouterr().out


def test_info_of_what_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "x").write_bytes(b"12345678")
    with pytest.raises(CheckpointError):
        policy_info(tmp_path / "x")
    assert main(["info", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
