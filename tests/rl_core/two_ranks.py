"""What two ranks do, in one launch for all tests: torchrun --nproc-per-node 2 two_ranks.py FLAG..."""

import contextlib
import io
import shutil
import sys
from pathlib import Path

import torch
from torch import distributed

from qwop_finetune.cli import main
from qwop_rl_core import ranks
from qwop_rl_core.normalizer import RunningNormalizer


def merge() -> None:
    samples = torch.load("samples.pt")
    own = samples[:300] if ranks.rank() == 0 else samples[300:]
    normalizer = RunningNormalizer(4)
    normalizer.update(own[: len(own) // 2])
    normalizer.update(own[len(own) // 2 :])
    mean, std = ranks.mean_and_std(own[:, 0])
    gradient = ranks.average(own[:4].sum(0))
    figures = {"episode/count": 1.0 + 2 * ranks.rank(), "episode/return": float(ranks.rank())}
    figures |= {"speed/steps_per_second": 10.0, "ppo/loss": float(ranks.rank())}
    merged = ranks.merged_metrics(figures)
    seeds = ranks.all_of(ranks.seed_of_rank(3))
    result = {"m": mean, "s": std, "g": gradient, "merged": merged, "seeds": seeds}
    torch.save({**normalizer.state_dict(), **result}, f"merged{ranks.rank()}.pt")


def train(flags: list[str], out: str, *more: str) -> None:
    assert main(["--out", out, *flags, *more]) == 0
    distributed.barrier()


def refused(*flags: str) -> str:
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        code = main(list(flags))
    return f"{code} {error.getvalue().strip()}\n"


def work(flags: list[str]) -> None:
    merge()
    train(flags, "again.safetensors")
    train(flags, "half.safetensors", "--total-steps", "128")
    for name in ("resumed0.safetensors", "resumed1.safetensors"):
        if ranks.rank() == 0:
            shutil.copy("half.safetensors", name)
        distributed.barrier()
        train(flags, name, "--resume", name)
    text = refused(*flags, "--num-envs", "9")
    text += refused("--algorithm", "ddqn", "--total-steps", "100")
    Path(f"refused{ranks.rank()}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    with ranks.joined_ranks("cpu"):
        work(sys.argv[1:])
