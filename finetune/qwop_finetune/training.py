"""Fine-tuning from its settings to its checkpoint. Start reading at `finetune`."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwop_cli import CommandError, Interrupted, check_outputs, interrupts
from qwop_finetune.branches import BranchedGames
from qwop_finetune.config import (
    DQNFinetuneConfig,
    ExpertFinetuneConfig,
    FinetuneConfig,
    PPOFinetuneConfig,
    PQNFinetuneConfig,
    to_plain,
)
from qwop_finetune.initialization import (
    TrainingSetup,
    demonstrated_transitions,
    initial_dqn_state,
    initial_expert_state,
    initial_ppo_state,
    initial_pqn_state,
    initialize,
    ppo_demonstrations,
    prepare_logs,
    reference_policy,
    simulator_threads,
)
from qwop_finetune.interrupt import InterruptSwitch
from qwop_finetune.monitor import TrainingMonitor
from qwop_finetune.resume import same_file
from qwop_rl_core import ActorCritic, Logger, dqn, expert_iteration, ppo, pqn, ranks


@dataclass(frozen=True)
class FinetuneResult:
    """How a fine-tuning ended."""

    checkpoint: Path
    """The file that it wrote."""
    steps: int
    """Environment steps done."""
    reason: str
    """"done", "paused", "interrupted", "time is up" or "the gait collapsed"."""
    figures: dict[str, float]
    """Metrics of the last report."""
    interrupt: Interrupted | None = None
    """The interrupt that ended it; its text says how to continue."""


def finetune(config: FinetuneConfig, pause_at: int | None = None) -> FinetuneResult:
    """Train a policy by reinforcement learning and write it to `config.out`.

    Started by torchrun, all processes train one policy with PPO, and the first one logs and saves.

    Ctrl-C, SIGTERM and SIGHUP end the training after the current iteration, with a checkpoint. A second
    signal ends it at once.

    Args:
        config: the settings. `defaults` has those for the algorithm; `resume_config` continues a training.
        pause_at: environment steps after which to stop with a checkpoint, as an interrupt does. Resumed, the
            training gives the same bits as without the pause (DQN: with `save_replay`). None: do not pause.

    Returns:
        How it ended.

    Raises:
        CheckpointError, DatasetError, TrainingError, CommandError: something is missing, does not fit or
            diverges; one line.
    """
    with ranks.joined_ranks(config.learner.device):
        return _finetune(config, pause_at)


def _finetune(config: FinetuneConfig, pause_at: int | None) -> FinetuneResult:
    if ranks.num_ranks() > 1 and not isinstance(config, PPOFinetuneConfig):
        raise CommandError(f"torchrun is for PPO: start {config.algorithm} as one process")
    _check_paths(config)
    setup = initialize(config)
    resumed_at = prepare_logs(setup)
    interrupt = InterruptSwitch()
    track = config.track_project if config.track else None
    with (
        interrupts(interrupt.press),
        Logger(config.log_directory, track, _logged_settings(setup.config), resumed_at)
        if ranks.rank() == 0
        else nullcontext() as logger,
    ):
        monitor = TrainingMonitor(setup, logger, interrupt, pause_at)
        if isinstance(setup.config, PPOFinetuneConfig):
            _train_ppo(setup.config, setup, logger, monitor)
        elif isinstance(setup.config, ExpertFinetuneConfig):
            _train_expert(setup.config, setup, logger, monitor)
        elif isinstance(setup.config, PQNFinetuneConfig):
            _train_pqn(setup.config, setup, logger, monitor)
        else:
            assert isinstance(setup.config, DQNFinetuneConfig)
            _train_dqn(setup.config, setup, logger, monitor)
    setup.envs.close()
    stopped = None
    if monitor.reason == "interrupted":
        stopped = Interrupted(interrupt.signal)
        stopped.args = (f"continue with: qwop-finetune --resume {config.out}",)
    return FinetuneResult(config.out, monitor.steps, monitor.reason, monitor.figures, stopped)


def _train_ppo(
    config: PPOFinetuneConfig, setup: TrainingSetup, logger: Logger | None, monitor: TrainingMonitor
) -> None:
    state = initial_ppo_state(config, setup)
    reference = None
    if setup.clone is not None and config.learner.reference_kl_coef > 0:
        assert isinstance(setup.clone.network, ActorCritic)
        reference = setup.clone.network
    demonstrations = ppo_demonstrations(config, setup)
    monitor.begin(state)
    while monitor.goes_on:
        learning_rate = config.learner.learning_rate * monitor.learning_rate_share
        ppo.train(
            dataclasses.replace(ranks.share_of_rank(config.learner), learning_rate=learning_rate),
            setup.envs,
            state,
            reference=reference,
            demonstrations=demonstrations,
            logger=logger,
            callback=monitor,
            progress_bar=sys.stderr.isatty() and ranks.rank() == 0,
        )


def _train_expert(
    config: ExpertFinetuneConfig, setup: TrainingSetup, logger: Logger | None, monitor: TrainingMonitor
) -> None:
    state = initial_expert_state(config, setup)
    copies = config.learner.num_envs * config.learner.search_actions * config.learner.search_rollouts
    games = BranchedGames(setup.envs, config.environment, simulator_threads(config, copies))
    monitor.begin(state)
    while monitor.goes_on:
        learning_rate = config.learner.learning_rate * monitor.learning_rate_share
        expert_iteration.train(
            dataclasses.replace(config.learner, learning_rate=learning_rate),
            setup.envs,
            games,
            state,
            logger=logger,
            callback=monitor,
            progress_bar=sys.stderr.isatty(),
        )


def _train_dqn(
    config: DQNFinetuneConfig, setup: TrainingSetup, logger: Logger | None, monitor: TrainingMonitor
) -> None:
    learner = dataclasses.replace(config.learner, double=config.algorithm == "ddqn")
    state = initial_dqn_state(dataclasses.replace(config, learner=learner), setup)
    monitor.begin(state)
    while monitor.goes_on:
        learning_rate = learner.learning_rate * monitor.learning_rate_share
        dqn.train(
            dataclasses.replace(learner, learning_rate=learning_rate),
            setup.envs,
            state,
            logger=logger,
            callback=monitor,
            progress_bar=sys.stderr.isatty() and ranks.rank() == 0,
        )


def _train_pqn(
    config: PQNFinetuneConfig, setup: TrainingSetup, logger: Logger | None, monitor: TrainingMonitor
) -> None:
    state = initial_pqn_state(config, setup)
    demonstrations = demonstrated_transitions(setup)
    monitor.begin(state)
    while monitor.goes_on:
        learning_rate = config.learner.learning_rate * monitor.learning_rate_share
        pqn.train(
            dataclasses.replace(config.learner, learning_rate=learning_rate),
            setup.envs,
            state,
            reference=reference_policy(setup),
            demonstrations=demonstrations,
            logger=logger,
            callback=monitor,
            progress_bar=sys.stderr.isatty(),
        )


def _check_paths(config: FinetuneConfig) -> None:
    """Raise CommandError if the outputs can't be written or would overwrite something."""
    inputs = {"--init": config.init, "--demos": config.demos}
    check_outputs({"--out": config.out}, {"--logdir": config.log_directory}, inputs)
    if config.out.exists() and not config.force and not same_file(config.out, config.resume):
        raise CommandError(f"{config.out}: already exists; --force replaces it, --resume continues it")


def _logged_settings(config: FinetuneConfig) -> dict[str, Any]:
    """All settings side by side, as logs show them."""
    plain = to_plain(config)
    return {**plain.pop("environment"), **plain.pop("learner"), **plain}
