"""What happens between the iterations of a training: reports, checkpoints, gait guard, reasons to stop."""

from __future__ import annotations

import copy
import math
import sys
import time
from pathlib import Path
from typing import Any

from qwop_finetune.config import to_plain
from qwop_finetune.environment import TrainingEnv, training_figures
from qwop_finetune.forgetting import ForgettingMeter
from qwop_finetune.initialization import TrainingSetup
from qwop_finetune.interrupt import InterruptSwitch
from qwop_finetune.report import report_line, say
from qwop_game import RolloutMetrics
from qwop_rl_core import (
    CheckpointError,
    ExpertIterationConfig,
    Logger,
    dqn,
    expert_iteration,
    ppo,
    pqn,
    ranks,
)

Progress = ppo.Progress | expert_iteration.Progress | dqn.Progress | pqn.Progress
State = ppo.PPOState | expert_iteration.ExpertState | dqn.DQNState | pqn.PQNState
MAX_COLLAPSES = 3
"""Training returns to the last checkpoint after so many collapses of the gait; one more ends it."""


class TrainingMonitor:
    """Callback of the training loop: it reports, saves, and decides when the loop ends.

    Args:
        setup: the training.
        logger: where reports go; None: nowhere.
        interrupt: ends the training once it is pressed.
        pause_at: steps after which the training pauses; None: never.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        logger: Logger | None,
        interrupt: InterruptSwitch,
        pause_at: int | None = None,
    ) -> None:
        config = self._config = setup.config
        self._logger, self._interrupt, self._guard = logger, interrupt, setup.guard
        clone = copy.deepcopy(setup.clone.network) if setup.clone else None
        self._meter = ForgettingMeter(clone, setup.demonstrations)
        self._metadata = checkpoint_metadata(setup)
        self._guarded = config.on_collapse != "ignore" and config.init is not None
        self._pause_at = math.inf if pause_at is None else pause_at
        self._deadline = time.monotonic() + 60 * config.minutes if config.minutes else math.inf
        self.figures: dict[str, float] = {}
        """Metrics of the last report."""
        self.goes_on = True
        """Whether the training continues."""
        self.reason = "done"
        """Why it ended: see `FinetuneResult`."""
        self.steps = 0
        """Environment steps so far."""

    @property
    def learning_rate_share(self) -> float:
        """Factor on the learning rate: every collapse of the gait halves it."""
        return 0.5**self._guard.collapses

    def begin(self, state: State) -> None:
        """Capture the state that a collapse before the first checkpoint returns to."""
        self.steps = state.steps
        self._healthy = state.capture()
        self.goes_on = not self._done(state) and state.steps < self._pause_at

    def __call__(self, progress: Progress) -> bool:
        """Look at the training after an iteration.

        Args:
            progress: state of the training.

        Returns:
            True to leave the training loop. The training is over if `goes_on` is False; otherwise the loop
            starts again from the state, with the new learning rate.
        """
        config, before, self.steps = self._config, self.steps, progress.steps
        done = self._done(progress.state)

        def crossed(every: int) -> bool:
            return before // every != self.steps // every or done

        if crossed(config.report_every):
            self._report(progress)
            if self._guarded and self._guard.check(self.figures) == "collapsed":
                return self._collapsed(progress)
        signals = ranks.all_of((self._interrupt.signal, time.monotonic() > self._deadline))
        if any(number for number, _ in signals):
            self._interrupt.signal = max(number for number, _ in signals)
            self.goes_on, self.reason = False, "interrupted"
        elif any(late for _, late in signals):
            self.goes_on, self.reason = False, "time is up"
        elif done:
            self.goes_on = False
        elif self.steps >= self._pause_at:
            self.goes_on, self.reason = False, "paused"
        if crossed(config.checkpoint_every) or not self.goes_on:
            self._healthy = progress.state.capture()
            self._save(progress)
        return not self.goes_on

    def _done(self, state: State) -> bool:
        learner = self._config.learner
        if isinstance(state, expert_iteration.ExpertState):
            assert isinstance(learner, ExpertIterationConfig)
            return expert_iteration.share_spent(learner, state) >= 1.0
        return state.steps >= learner.total_steps

    def _report(self, progress: Progress) -> None:
        envs, state = progress.envs, progress.state
        assert isinstance(envs, TrainingEnv)
        network = state.network if isinstance(state, dqn.DQNState | pqn.PQNState) else state.policy
        figures = training_figures(all_metrics(envs)) | self._meter.measure(network, state.observation)
        self.figures = ranks.all_of(figures)[0]  # the same on all, which decide by them
        envs.metrics = RolloutMetrics()
        if envs.curriculum is not None:
            self.figures["curriculum/seconds_left"] = envs.curriculum.seconds_left
        if self._logger is not None:
            self._logger.scalars(self.figures, self.steps)

    def _collapsed(self, progress: Progress) -> bool:
        """Return to the last healthy state. Returns True: the training loop starts again or ends."""
        report = report_line(self.steps, self.figures)
        progress.state.roll_back(self._healthy)
        given_up = self._config.on_collapse == "stop" or self._guard.collapses > MAX_COLLAPSES
        if given_up or self._done(progress.state):
            self.goes_on, self.reason = False, "the gait collapsed"
            self._save(progress)
        consequence = "stopped there" if given_up else "with half the learning rate"
        say(f"{report}; the gait collapsed: back to the last checkpoint, {consequence}")
        return True

    def _save(self, progress: Progress) -> None:
        envs = progress.envs
        assert isinstance(envs, TrainingEnv)
        state = {"guard": self._guard.state(), "tally": all_metrics(envs).state(), "figures": self.figures}
        metadata = {**self._metadata, "finetune": {**self._metadata["finetune"], **state}}

        def write(path: Path) -> None:
            if isinstance(progress, dqn.Progress):
                progress.save(path, metadata, replay=self._config.save_replay)
            else:
                progress.save(path, metadata)

        try:
            write(self._config.out)
        except CheckpointError as error:  # a disk that is full now may have room at the next checkpoint
            if not self.goes_on:
                raise
            say(f"warning: {error}; training continues", sys.stderr)
        if self._config.keep_checkpoints:
            try:
                write(self._config.log_directory / f"{self.steps:010d}.safetensors")
            except CheckpointError as error:
                say(f"warning: {error}; training continues", sys.stderr)
        if self.figures:
            say(report_line(self.steps, self.figures))


def all_metrics(envs: TrainingEnv) -> RolloutMetrics:
    """Return the counts of the environments of all processes together."""
    counts = [RolloutMetrics(**state) for state in ranks.all_of(envs.metrics.state())]
    return RolloutMetrics(
        steps=sum(c.steps for c in counts),
        knee_near=sum(c.knee_near for c in counts),
        upright=sum(c.upright for c in counts),
        episodes=sum(c.episodes for c in counts),
        meters=sum(c.meters for c in counts),
        finish_times=[seconds for c in counts for seconds in c.finish_times],
    )


def checkpoint_metadata(setup: TrainingSetup) -> dict[str, Any]:
    """Return what a checkpoint says of how its policy plays, and of the training that made it."""
    return {
        **setup.config.environment.policy_spec.metadata(),
        "made_by": "qwop-finetune",
        "finetune": {
            "config": to_plain(setup.config),
            "clone_sha256": setup.clone_sha256,
            "demos_sha256": setup.demonstrations.sha256 if setup.demonstrations else "",
        },
    }
