"""Several processes that train one policy: what they merge, and that they take the same steps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qwop_rl_core import load_checkpoint, ranks
from qwop_rl_core.normalizer import RunningNormalizer

SMALL = (
    "--total-steps 768 --num-envs 8 --rollout-length 16 --minibatch-size 64 --hidden 16 --max-seconds 20 "
    "--epochs 2"
)


def torchrun(folder: Path, processes: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=500
    )


def test_one_process_changes_nothing():
    x = torch.randn(7, generator=torch.Generator().manual_seed(0))
    assert ranks.num_ranks() == 1 and ranks.rank() == 0
    assert torch.equal(ranks.average(x.clone()), x)
    mean, std = ranks.mean_and_std(x)
    assert torch.equal(mean, x.mean()) and torch.equal(std, x.std())
    assert ranks.merged_metrics({"a": 1.0}) == {"a": 1.0}
    assert ranks.seed_of_rank(5) == 5


MERGING = """
import torch
from torch import distributed
from qwop_rl_core import ranks
from qwop_rl_core.normalizer import RunningNormalizer

with ranks.joined_ranks("cpu"):
    samples = torch.load("samples.pt")
    own = samples[:300] if ranks.rank() == 0 else samples[300:]
    normalizer = RunningNormalizer(4)
    normalizer.update(own[: len(own) // 2])
    normalizer.update(own[len(own) // 2 :])
    mean, std = ranks.mean_and_std(own[:, 0])
    gradient = ranks.average(own[:4].sum(0))
    own = {"episode/count": 1.0 + 2 * ranks.rank(), "episode/return": float(ranks.rank())}
    own |= {"speed/steps_per_second": 10.0, "ppo/loss": float(ranks.rank())}
    merged = ranks.merged_metrics(own)
    seeds = ranks.all_of(ranks.seed_of_rank(3))
    result = {"m": mean, "s": std, "g": gradient, "merged": merged, "seeds": seeds}
    torch.save({**normalizer.state_dict(), **result}, f"result{ranks.rank()}.pt")
"""


@pytest.mark.slow
def test_two_processes_merge_their_samples_exactly(tmp_path):
    samples = torch.randn((1000, 4), generator=torch.Generator().manual_seed(1)) * 3 + 100
    torch.save(samples, tmp_path / "samples.pt")
    (tmp_path / "merging.py").write_text(MERGING, encoding="utf-8")
    done = torchrun(tmp_path, 2, "merging.py")
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"result{i}.pt") for i in range(2))
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
def test_two_processes_train_one_policy(tmp_path):
    """The same launch gives the same bits, resumed or not; the number of processes may change."""

    def train(out: str, processes: int, *words: str) -> dict[str, torch.Tensor]:
        command = ["-m", "qwop_finetune", "--out", out, *SMALL.split(), *words]
        done = torchrun(tmp_path, processes, *command)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(f"{out}: done") == 1
        return load_checkpoint(tmp_path / out).tensors

    whole = train("a.safetensors", 2)
    again = train("b.safetensors", 2)
    assert whole.keys() == again.keys() and len(whole) > 20
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())
    training = load_checkpoint(tmp_path / "a.safetensors").metadata["training"]
    assert training["ranks"] == 2 and training["steps"] == 768 and training["config"]["num_envs"] == 8
    assert float(whole["network.normalizer.count"]) == 768
    assert len(whole["episode_return"]) == len(whole["rank1.episode_return"]) == 4
    assert not torch.equal(whole["observation"], whole["rank1.observation"])

    train("c.safetensors", 2, "--total-steps", "384")
    halfway = (tmp_path / "c.safetensors").read_bytes()
    # The learning rate follows total_steps, so the second half is compared between two resumed trainings.
    resumed = train("c.safetensors", 2, "--resume", "c.safetensors")
    (tmp_path / "d.safetensors").write_bytes(halfway)
    twice = train("d.safetensors", 2, "--resume", "d.safetensors")
    assert all(torch.equal(tensor, twice[name]) for name, tensor in resumed.items())
    (tmp_path / "e.safetensors").write_bytes(halfway)
    alone = train("e.safetensors", 1, "--resume", "e.safetensors")
    assert float(alone["network.normalizer.count"]) == 768
    assert len(alone["episode_return"]) == 8 and not any(name.startswith("rank") for name in alone)


@pytest.mark.slow
def test_what_processes_can_not_share_is_one_line(tmp_path):
    done = torchrun(tmp_path, 2, "-m", "qwop_finetune", *SMALL.split(), "--num-envs", "9")
    assert done.returncode != 0
    assert "qwop-finetune: --num-envs 9: 2 processes can't share it; give a multiple of 2" in done.stderr
    done = torchrun(tmp_path, 2, "-m", "qwop_finetune", "--algorithm", "ddqn", "--total-steps", "100")
    assert "qwop-finetune: torchrun is for PPO: start ddqn as one process" in done.stderr
