"""`demos/train_policy.py`: its steps follow each other, each is done once, and the result plays."""

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from qwop_finetune import PPOFinetuneConfig, parse
from qwop_finetune.environment import TrainingEnv
from qwop_game import FEATURE_SIZE
from qwop_rl_core import Policy, load_checkpoint

pytestmark = pytest.mark.slow

TINY = " --num-envs 8 --rollout-length 16 --minibatch-size 64 --on-collapse ignore"


@pytest.fixture
def train_policy(load_demo) -> ModuleType:
    return load_demo("train_policy")


def test_every_stage_is_a_training_that_qwop_finetune_knows(train_policy):
    out = Path("out")
    made, trained = set(), []
    for step in train_policy.steps(out, 7, 1.0):
        assert step.output not in made and made.issuperset(
            path for path in step.inputs if path.parent.name != "logs"
        )
        made.add(step.output)
        if step.words.startswith("qwop-finetune"):
            run = parse(step.filled(step.inputs, step.output)[1:])
            assert isinstance(run, PPOFinetuneConfig)
            assert run.learner.update_normalizer and run.learner.reference_kl_coef == 0.0
            trained.append(run)
    stages = [*train_policy.STAGES, *train_policy.SAFE_STAGES]
    assert [run.learner.total_steps for run in trained[: len(stages)]] == [stage.steps for stage in stages]
    skips = [run.environment.frame_skip for run in trained]
    assert skips == sorted(skips, reverse=True) and skips[-1] == 1
    seeds = [run.learner.seed for run in trained]
    assert seeds == [7] * len(stages) + [8, 9, 10]
    # After the search the critic, which learned for looking ahead, is a new one.
    assert [run.fresh_critic for run in trained].index(True, 2) == len(train_policy.STAGES)


@pytest.fixture
def tiny(train_policy, tmp_path, monkeypatch) -> ModuleType:
    """The script with trainings of 256 steps, a search that copies the policy, and two critics."""
    for name in ("STAGES", "SAFE_STAGES", "BRANCHES"):
        few = [replace(stage, steps=256, flags=stage.flags + TINY) for stage in getattr(train_policy, name)]
        monkeypatch.setattr(train_policy, name, tuple(few))
    first, *others = train_policy.STAGES
    monkeypatch.setattr(train_policy, "STAGES", (replace(first, flags=first.flags + " --hidden 16"), *others))
    rounds = [replace(each, episodes=1) for each in train_policy.ROUNDS[:2]]
    rounds = [replace(each, flags="--candidates 2 --max-seconds 20") for each in rounds]
    monkeypatch.setattr(train_policy, "ROUNDS", tuple(rounds))

    def copy(arguments):
        Path(arguments[1]).parent.mkdir(exist_ok=True)
        shutil.copy(*arguments)
        return 0

    def search(config):
        made = [("copy", config.out / "policy-1.safetensors"), ("long", config.out / "records.h5")]
        return [train_policy.Step(copy, f"{name} {{}} OUT", [config.policy], path) for name, path in made]

    monkeypatch.setattr(train_policy, "search_steps", search)
    monkeypatch.setattr(sys, "argv", ["train_policy.py", "--out", str(tmp_path), "--seed", "3"])
    return train_policy


def test_the_policy_is_the_mean_of_the_branches_with_the_last_critic(tiny, tmp_path, monkeypatch, capsys):
    assert tiny.main() == 0
    paths = [tmp_path / f"{stage.name}.safetensors" for stage in (*tiny.STAGES, *tiny.SAFE_STAGES)]
    begun = [load_checkpoint(path).metadata["finetune"]["config"]["init"] for path in paths]
    searched = tmp_path / "search" / "policy-1.safetensors"
    expected = [None, *paths[: len(tiny.STAGES) - 1], searched, *paths[len(tiny.STAGES) : -1]]
    assert begun == [path and str(path) for path in expected]
    assert not (tmp_path / "search" / "records.h5").exists()

    policy = load_checkpoint(tmp_path / "policy.safetensors")
    mean = load_checkpoint(tmp_path / "mean.safetensors")
    assert len(mean.metadata["average_of"]) == 4
    assert all(name.startswith("network.") for name in policy.tensors)
    same = {name: torch.equal(tensor, mean.tensors[name]) for name, tensor in policy.tensors.items()}
    assert {name for name, equal in same.items() if equal} >= {n for n in same if ".value" not in n}
    assert not same["network.value.0.weight"] and policy.metadata["critic"]["runs"] == 2
    assert policy.metadata["made_by"] == "demos/train_policy.py --seed 3"
    assert str(tmp_path) not in str(policy.metadata)
    player = Policy.load(tmp_path / "policy.safetensors")
    assert player.act(np.zeros((2, FEATURE_SIZE), np.float32)).shape == (2,)

    # All is done: nothing is repeated.
    capsys.readouterr()
    assert tiny.main() == 0
    assert "$ qwop-" not in capsys.readouterr().out

    # A training that is stopped in the middle goes on to the same weights.
    last = tmp_path / f"{tiny.SAFE_STAGES[-1].name}.safetensors"
    expected = load_checkpoint(last).tensors
    last.unlink()
    step, calls = TrainingEnv.step, []

    def stop(self, actions):
        calls.append(actions)
        if len(calls) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, actions)

    monkeypatch.setattr(TrainingEnv, "step", stop)
    assert tiny.main() == 143
    assert load_checkpoint(last).metadata["training"]["steps"] == 128
    capsys.readouterr()
    assert tiny.main() == 0
    printed = capsys.readouterr().out
    assert printed.count("$ qwop-") == 1 and f"$ qwop-finetune --resume {last}\n" in printed
    again = load_checkpoint(last).tensors
    learned = [name for name in expected if not name.startswith("environment.")]
    assert all(again[name].equal(expected[name]) for name in learned)


def test_a_folder_of_other_settings_and_damaged_files_are_one_line(tiny, tmp_path, capsys):
    assert tiny.run_steps(tiny.steps(tmp_path, 3, 1.0)[:1], tmp_path) == 0
    capsys.readouterr()
    first = tmp_path / f"{tiny.STAGES[0].name}.safetensors"
    for flags in (["--seed", "4"], ["--seed", "3", "--budget", "0.5"]):
        assert tiny.main(["--out", str(tmp_path), *flags]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"train_policy: {first} has other settings (qwop-finetune ")
        assert error.count("\n") == 1
    commands = json.loads((tmp_path / "commands.json").read_text(encoding="utf-8"))
    assert commands[first.name].endswith("256 --out OUT")

    first.write_bytes(b"damaged")
    assert tiny.main() == 2
    assert "not a readable checkpoint" in capsys.readouterr().err
    (tmp_path / "commands.json").write_text("{", encoding="utf-8")
    assert tiny.main() == 2
    assert "commands.json: not readable" in capsys.readouterr().err
