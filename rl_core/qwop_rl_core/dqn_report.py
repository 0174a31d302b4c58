"""DQN's schedules, and the metrics that it reports every log_interval steps."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qwop_rl_core.dqn_state import DQNState
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.schedules import linear, linear_to_zero

if TYPE_CHECKING:
    from qwop_rl_core.dqn import DQNConfig


def epsilon_at(config: DQNConfig, steps: int) -> float:
    """Return the share of random actions after `steps` environment steps: linear, then constant."""
    progress = min(steps / config.exploration_steps, 1.0)
    return linear(config.exploration_start, config.exploration_end, progress)


def learning_rate_at(config: DQNConfig, steps: int) -> float:
    """Return Adam's step size after `steps` environment steps."""  # [10]
    if not config.anneal_learning_rate:
        return config.learning_rate
    return linear_to_zero(config.learning_rate, steps, config.total_steps)


class Report:
    """Collects the figures of gradient steps from one report to the next."""

    def __init__(self, steps: int):
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.updates = 0
        self.first_step, self.started = steps, time.perf_counter()

    def add(self, figures: Mapping[str, float]) -> None:
        """Count the figures of one gradient step."""
        self.updates += 1
        for name, figure in figures.items():
            self.sums[name] += figure

    def metrics(self, config: DQNConfig, state: DQNState) -> dict[str, float]:
        """Return means over gradient steps and ended episodes, and the schedules' current values.

        Raises:
            TrainingError: a figure is not finite.
        """
        if not all(math.isfinite(total) for total in self.sums.values()):
            raise TrainingError(
                f"training diverged: a loss is not finite at step {state.steps}; lower the learning rate, "
                "or look for NaN in the rewards"
            )
        metrics = {f"dqn/{name}": total / max(self.updates, 1) for name, total in self.sums.items()}
        metrics |= state.statistics.flush()
        metrics |= {
            "dqn/epsilon": epsilon_at(config, state.steps),
            "dqn/learning_rate": learning_rate_at(config, state.steps),
            "dqn/updates": float(state.updates),
            "dqn/buffer": float(len(state.buffer)),
            "speed/steps_per_second": (state.steps - self.first_step) / (time.perf_counter() - self.started),
        }
        return metrics
