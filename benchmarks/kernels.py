"""Compare slow operations of PyTorch with the trainer's replacements on this CPU: microseconds, one thread.

    python benchmarks/kernels.py [--repeats 100] [--compile]

Each line is an operation on a minibatch (2048 samples, 256 units, 9 actions) or a rollout (8192 samples, 98
features), in PyTorch and in the trainer. The figure is the lower quartile of CPU times; the two alternate. If
a ratio is below 1, the replacement can be removed. --compile also measures torch.compile on a network's
gradient. It needs a C++ compiler and half a minute.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from qwop_cli import CommandError, parse_config, run_command
from qwop_rl_core import ActorCritic
from qwop_rl_core.devices import keep_freed_memory
from qwop_rl_core.losses import log_softmax
from qwop_rl_core.normalizer import RunningNormalizer
from qwop_rl_core.tanh_mlp import linear_tanh

PROGRAM = "kernels"


def cases() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Return operations by name, each in PyTorch's version and the trainer's."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2048, 256, generator=generator)
    rounded, weight = hidden.bfloat16(), torch.randn(256, 256, generator=generator) / 16
    logits, features = torch.randn(2048, 9, generator=generator), torch.randn(8192, 98, generator=generator)
    normalizer = RunningNormalizer(98)
    normalizer.update(features)
    rounded_weight, bias = weight.bfloat16(), torch.zeros(256, dtype=torch.bfloat16)
    index = torch.randperm(8192, generator=generator)[:2048]

    def statistics() -> tuple[Tensor, Tensor]:
        return torch.var_mean(features.double(), dim=0, correction=0)

    return {
        "hidden layer's product, float32 -> bfloat16": (
            lambda: nn.functional.linear(hidden, weight),
            lambda: nn.functional.linear(rounded, rounded_weight),
        ),
        "hidden layer with tanh in float32": (
            lambda: nn.functional.linear(hidden, weight, weight[0]).tanh(),
            lambda: linear_tanh(hidden, weight, weight[0]),
        ),
        "hidden layer with tanh in bfloat16": (
            lambda: nn.functional.linear(rounded, rounded_weight, bias).tanh(),
            lambda: linear_tanh(rounded, rounded_weight, bias),
        ),
        "a minibatch's rows of a rollout": (lambda: features[index], lambda: features.index_select(0, index)),
        "log-softmax of 9 actions": (lambda: logits.log_softmax(-1), lambda: log_softmax(logits)),
        "statistics of a rollout in float64": (statistics, lambda: normalizer.update(features)),
    }


def gradients(compiled: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the gradient of a sum over a minibatch, by autograd under autocast and by the trainer."""
    generator = torch.Generator().manual_seed(0)
    network = ActorCritic(98, 9, (256, 256), generator).compute_in(torch.bfloat16).policy
    features = torch.randn(2048, 98, generator=generator)
    *hidden_layers, head = network

    def under_autocast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
            for layer in hidden_layers:
                x = layer(x)
        return head(x.float()).sum()

    summed = torch.compile(under_autocast) if compiled else under_autocast
    return lambda: summed(features).backward(), lambda: network(features).sum().backward()


def compare(cases: dict[str, tuple[Callable[[], object], Callable[[], object]]], repeats: int) -> None:
    """Print a line for each of the cases."""
    for name, ways in cases.items():
        spent: tuple[list[int], list[int]] = ([], [])
        for way in ways:  # compilers and caches warm up
            way()
        for _ in range(repeats):
            for way, times in zip(ways, spent, strict=True):
                began = time.process_time_ns()
                way()
                times.append(time.process_time_ns() - began)
        own, ours = (float(np.quantile(times, 0.25)) / 1e3 for times in spent)
        print(f"{name:46} {own:6,.0f} us {ours:6,.0f} us {own / ours:6.1f}")


@dataclass(frozen=True)
class KernelsConfig:
    """Compare PyTorch's operations with the trainer's."""

    repeats: int = 100
    """Times that each operation is measured."""
    compile: tyro.conf.FlagCreatePairsOff[bool] = False
    """Measure torch.compile, too. It needs a C++ compiler and half a minute."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise CommandError(f"--repeats {self.repeats}: expected 1 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: measure(parse_config(PROGRAM, KernelsConfig, arguments, description=__doc__))
    )


def measure(config: KernelsConfig) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'operation':46} {'PyTorch':>9} {'trainer':>9} {'ratio':>6}")
    with torch.inference_mode():
        compare(cases(), config.repeats)
    compare({"a network's gradient in bfloat16": gradients(compiled=False)}, config.repeats)
    if config.compile:
        compare({"a network's gradient, torch.compile": gradients(compiled=True)}, config.repeats)


if __name__ == "__main__":
    raise SystemExit(main())
