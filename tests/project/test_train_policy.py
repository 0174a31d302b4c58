"""`demos/train_policy.py`: stages follow each other, each goes on where it was left, and the result plays."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from qwop_finetune import PPOFinetuneConfig, parse
from qwop_game import FEATURE_SIZE
from qwop_rl_core import Policy, load_checkpoint

pytestmark = pytest.mark.slow

TINY = " --num-envs 8 --rollout-length 16 --minibatch-size 64 --hidden 16"


@pytest.fixture
def train_policy(load_demo) -> ModuleType:
    return load_demo("train_policy")


def test_every_stage_is_a_training_that_qwop_finetune_knows(train_policy):
    skips = []
    for i, stage in enumerate(train_policy.STAGES):
        before = Path("before.safetensors") if i else None
        run = parse(train_policy.arguments(stage, Path("out.safetensors"), before, 7, stage.steps))
        assert (
            isinstance(run, PPOFinetuneConfig)
            and run.learner.seed == 7
            and run.learner.total_steps == stage.steps
        )
        assert run.learner.update_normalizer and run.learner.reference_kl_coef == 0.0
        skips.append(run.environment.frame_skip)
    assert skips == sorted(skips, reverse=True) and skips[-1] == 1


def test_stages_follow_each_other_and_go_on_where_they_were_left(train_policy, tmp_path, monkeypatch, capsys):
    stages = [replace(stage, steps=256, flags=stage.flags + TINY) for stage in train_policy.STAGES]
    for i, stage in enumerate(stages[1:], 1):  # a policy that falls at once has no gait to collapse
        stages[i] = replace(stage, flags=stage.flags + " --on-collapse ignore --rollout-length 16")
    monkeypatch.setattr(train_policy, "STAGES", tuple(stages))
    rounds = [replace(each, episodes=1) for each in train_policy.ROUNDS[:2]]
    rounds = [replace(each, flags="--candidates 2 --max-seconds 20") for each in rounds]
    monkeypatch.setattr(train_policy, "ROUNDS", tuple(rounds))
    monkeypatch.setattr(sys, "argv", ["train_policy.py", "--out", str(tmp_path), "--seed", "3"])
    assert train_policy.main() == 0
    first, last = (load_checkpoint(tmp_path / f"{stages[i].name}.safetensors") for i in (0, -1))
    assert first.metadata["finetune"]["config"]["init"] is None
    assert last.metadata["finetune"]["config"]["init"] == str(tmp_path / f"{stages[-2].name}.safetensors")
    policy = load_checkpoint(tmp_path / "policy.safetensors")
    assert all(name.startswith("network.") for name in policy.tensors)
    same = {name: torch.equal(tensor, last.tensors[name]) for name, tensor in policy.tensors.items()}
    assert {name for name, equal in same.items() if equal} >= {n for n in same if ".value" not in n}
    assert not same["network.value.0.weight"] and policy.metadata["critic"]["runs"] == 2
    assert policy.metadata["made_by"] == "demos/train_policy.py --seed 3"
    assert str(tmp_path) not in str(policy.metadata)
    player = Policy.load(tmp_path / "policy.safetensors")
    assert player.act(np.zeros((2, FEATURE_SIZE), np.float32)).shape == (2,)

    # All is done: nothing is trained again. A longer last stage is gone on with.
    capsys.readouterr()
    assert train_policy.main() == 0
    assert "$ qwop-" not in capsys.readouterr().out
    stages[-1] = replace(stages[-1], steps=512)
    monkeypatch.setattr(train_policy, "STAGES", tuple(stages))
    assert train_policy.main() == 0
    printed = capsys.readouterr().out
    assert (
        f"--resume {tmp_path / stages[-1].name}.safetensors" in printed and "runs-2-unfinished.h5" in printed
    )
    longer = load_checkpoint(tmp_path / f"{stages[-1].name}.safetensors")
    assert longer.metadata["training"]["steps"] == 512

    (tmp_path / f"{stages[0].name}.safetensors").write_bytes(b"damaged")
    assert train_policy.main() == 2
    assert "not a readable checkpoint" in capsys.readouterr().err
