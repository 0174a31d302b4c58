"""Several processes that train one policy: what they merge, and that they take the same steps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qwop_finetune.cli import main
from qwop_rl_core import load_checkpoint, ranks
from qwop_rl_core.normalizer import RunningNormalizer

SMALL = (
    "--total-steps 384 --num-envs 8 --rollout-length 16 --minibatch-size 64 --hidden 16 --max-seconds 20 "
    "--epochs 2"
).split()
RANKS = Path(__file__).with_name("two_ranks.py")
SAMPLES = "samples.pt"


def torchrun(folder: Path, *words: str, count: int = 2) -> subprocess.CompletedProcess[str]:
    """Start ranks. It takes seconds, most of them to import PyTorch in each."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    # Otherwise ranks look for each other by the machine's name, which has no address in a bare chroot.
    command += ["--local-addr", "127.0.0.1", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300
    )


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """The folder where one launch of two_ranks.py did all its work."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(torch.randn((1000, 4), generator=torch.Generator().manual_seed(1)) * 3 + 100, folder / SAMPLES)
    done = torchrun(folder, str(RANKS), *SMALL)
    assert done.returncode == 0, done.stderr
    return folder


def test_one_process_changes_nothing():
    x = torch.randn(7, generator=torch.Generator().manual_seed(0))
    assert ranks.num_ranks() == 1 and ranks.rank() == 0
    assert torch.equal(ranks.average(x.clone()), x)
    mean, std = ranks.mean_and_std(x)
    assert torch.equal(mean, x.mean()) and torch.equal(std, x.std())
    assert ranks.merged_metrics({"a": 1.0}) == {"a": 1.0}
    assert ranks.seed_of_rank(5) == 5


@pytest.mark.slow
def test_two_processes_merge_their_samples_exactly(two_ranks):
    samples = torch.load(two_ranks / SAMPLES)
    first, second = (torch.load(two_ranks / f"merged{i}.pt") for i in range(2))
    whole = RunningNormalizer(4)
    whole.update(samples)
    for name, value in whole.state_dict().items():
        assert torch.equal(first[name], second[name])
        np.testing.assert_allclose(first[name], value, rtol=1e-12)
    np.testing.assert_allclose(first["m"], samples[:, 0].mean(), rtol=1e-6)
    np.testing.assert_allclose(first["s"], samples[:, 0].std(), rtol=1e-6)
    assert torch.equal(first["m"], second["m"]) and torch.equal(first["s"], second["s"])
    np.testing.assert_allclose(first["g"], (samples[:4].sum(0) + samples[300:304].sum(0)) / 2, rtol=1e-6)
    assert torch.equal(first["g"], second["g"])
    # 1 episode of return 0, and 3 of return 1.
    expected = {"episode/count": 4.0, "episode/return": 0.75, "speed/steps_per_second": 20.0, "ppo/loss": 0.5}
    assert first["merged"] == second["merged"] == expected
    assert first["seeds"][0] == 3 != first["seeds"][1]


@pytest.mark.slow
def test_two_processes_train_one_policy(two_ranks):
    """The same launch gives the same bits, also within another process."""
    done = torchrun(two_ranks, "-m", "qwop_finetune", "--out", "first.safetensors", *SMALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("first.safetensors: done") == 1
    whole = load_checkpoint(two_ranks / "first.safetensors").tensors
    again = load_checkpoint(two_ranks / "again.safetensors").tensors
    assert whole.keys() == again.keys() and len(whole) > 20
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    training = load_checkpoint(two_ranks / "first.safetensors").metadata["training"]
    assert training["ranks"] == 2 and training["steps"] == 384 and training["config"]["num_envs"] == 8
    assert float(whole["network.normalizer.count"]) == 384
    assert len(whole["episode_return"]) == len(whole["rank1.episode_return"]) == 4
    assert not torch.equal(whole["observation"], whole["rank1.observation"])


@pytest.mark.slow
def test_two_processes_resume_the_same_bits_and_one_process_can_go_on(two_ranks, monkeypatch):
    # The learning rate follows total_steps, so the second part is compared between two resumed trainings.
    resumed, twice = (load_checkpoint(two_ranks / f"resumed{i}.safetensors").tensors for i in range(2))
    assert float(resumed["network.normalizer.count"]) == 384
    assert all(torch.equal(tensor, twice[name]) for name, tensor in resumed.items())
    monkeypatch.chdir(two_ranks)
    assert main(["--out", "alone.safetensors", "--resume", "half.safetensors", *SMALL]) == 0
    alone = load_checkpoint("alone.safetensors").tensors
    assert float(alone["network.normalizer.count"]) == 384
    assert len(alone["episode_return"]) == 8 and not any(name.startswith("rank") for name in alone)


@pytest.mark.slow
def test_four_processes_go_on_where_two_stopped(two_ranks):
    flags = ["--out", "four.safetensors", "--resume", "half.safetensors", *SMALL]
    done = torchrun(two_ranks, "-m", "qwop_finetune", *flags, count=4)
    assert done.returncode == 0, done.stderr
    found = load_checkpoint(two_ranks / "four.safetensors")
    assert found.metadata["training"]["ranks"] == 4 and found.metadata["training"]["steps"] == 384
    assert float(found.tensors["network.normalizer.count"]) == 384
    shapes = {found.tensors[f"{name}episode_return"].shape for name in ("", "rank1.", "rank2.", "rank3.")}
    assert shapes == {(2,)} and "rank4.episode_return" not in found.tensors


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_what_processes_can_not_share_is_one_line(two_ranks, rank):
    refused = (two_ranks / f"refused{rank}.txt").read_text(encoding="utf-8").splitlines()
    assert refused == [
        "2 qwop-finetune: --num-envs 9: 2 processes can't share it; give a multiple of 2",
        "2 qwop-finetune: torchrun is for PPO: start ddqn as one process",
    ]
