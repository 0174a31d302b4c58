"""Proximal policy optimization (Schulman et al. 2017), with anchors for fine-tuning a cloned policy.

`train` below is the loop; read it first. Implementation details that matter, in the order of the code; [n]
marks the line, here, in ppo_rollout.py ([5] to [9]) or in ppo_anchors.py ([15], [16]):
 1. Orthogonal initialization, separate policy and value networks (networks.py).
 2. Observations are normalized by running statistics that are part of the policy. They change only between
    iterations, so a rollout and its update see the same normalization, and ratios start at exactly 1.
 3. Adam with epsilon 1e-5, one for each network, over all of its weights as one vector (optimizer.py): a few
    large operations instead of many small ones. Or Muon.
 4. The learning rate falls linearly to zero over the budget, counted in environment steps.
 5. Actions are sampled under inference mode into preallocated arrays. Values are computed once for the whole
    rollout, not at every step: half the inference work, in batches that keep the cores busy.
 6. Time limits: a truncated step bootstraps from the value of its own final observation.
 7. Generalized advantage estimation. The critic's target is advantage + value, TD(lambda), in units of the
    running mean and standard deviation of those targets (Pop-Art, networks.py).
 8. Advantages are normalized to zero mean and unit variance over the whole rollout.
 9. Every epoch visits the rollout in a new random order, in minibatches.
10. Clipped surrogate objective (losses.py), value loss without clipping, entropy bonus.
11. Early stopping: once a minibatch's KL exceeds 1.5 target_kl, the iteration's other updates are skipped.
    The critic has already taken its step on that minibatch.
12. Gradients are clipped by norm for each network separately (optimizer.py): a critic's large first gradients
    must not shrink the policy's.
13. The two networks share no weights. On a CPU with two threads or more they learn in parallel, each at its
    own pace until the end of the iteration, with the same results to the last bit.

Anchors for fine-tuning a cloned policy, each off by default:
14. Critic warm-up: for the first critic_warmup_steps only the value network learns; the policy and its
    normalizer do not change. Otherwise the advantages of a new critic destroy the clone at once.
15. KL to a reference policy; its coefficient halves every reference_kl_half_life steps.
16. Demonstrations in the policy loss (DAPG, Rajeswaran et al. 2018); their weight halves likewise.

17. A checkpoint can play a running mean of the policy's weights (Polyak and Juditsky 1992), off by default.
    The training does not notice: it plays and learns with the newest weights.
18. Started by torchrun, each process has a share of the environments; ranks.py merges what they compute.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from qwop_rl_core.config_checks import (
    check_at_least_one,
    check_choice,
    check_fraction,
    check_not_negative,
    check_positive,
)
from qwop_rl_core.devices import PRECISIONS, Precision, keep_freed_memory
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import demonstration_loss, kl_between, log_prob_and_entropy, ppo_loss, value_loss
from qwop_rl_core.networks import ActorCritic
from qwop_rl_core.optimizer import OPTIMIZERS, OptimizerName, optimizer_step, set_learning_rate
from qwop_rl_core.ppo_anchors import Anchors, Demonstrations, make_anchors
from qwop_rl_core.ppo_rollout import Minibatch, Rollout, collect_rollout, compute_targets, minibatches
from qwop_rl_core.ppo_state import PPOState, resume, save_state, start
from qwop_rl_core.ranks import average, merged_metrics, num_ranks
from qwop_rl_core.schedules import linear_to_zero
from qwop_rl_core.two_networks import start_call, two_network_executor
from qwop_rl_core.vector_env import Environments

__all__ = ["Demonstrations", "PPOConfig", "PPOState", "Progress", "resume", "save_state", "start", "train"]


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO. Every budget is in environment steps, one decision of one environment each."""

    total_steps: int = 5_000_000
    """Environment steps to train for, all environments together; rounded up to whole rollouts."""
    num_envs: int = 256
    """Environments stepped in parallel."""
    rollout_length: int = 32
    """Steps of every environment between two updates."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch_size: int = 2048
    """Samples per gradient step."""
    optimizer: OptimizerName = "adam"
    """adam, or muon: from nothing it needs fewer epochs and smaller minibatches (docs/design/trainer.md)."""
    learning_rate: float = 3e-4
    """Adam's step size at the start; Muon's is in the same units."""
    anneal_learning_rate: bool = True
    """Let the learning rate fall linearly to zero at total_steps."""
    gamma: float = 0.995
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of generalized advantage estimation."""
    clip: float = 0.2
    """Clipping range of the probability ratio."""
    entropy_coef: float = 0.02
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Bound of the gradient's norm, for the policy and the value network each."""
    target_kl: float = 0.0
    """Stop an iteration's updates once the policy moved further than 1.5 times this (nats); 0: never."""
    average_steps: float = 0.0
    """Checkpoints play the mean of the policy's weights over some so many steps; 0: its newest weights."""
    update_normalizer: bool = True
    """Update the observation statistics with every rollout; off: keep those of the initial policy."""
    critic_warmup_steps: int = 0
    """Number of first steps in which only the value network learns."""
    reference_kl_coef: float = 0.0
    """Weight of KL(policy || reference policy) in the loss."""
    reference_kl_half_life: float = 1_000_000.0
    """Steps in which the weight of the reference KL halves; 0: constant weight."""
    demo_coef: float = 0.0
    """Weight of the demonstrations' log-likelihood in the loss (DAPG's lambda_0)."""
    demo_half_life: float = 1_000_000.0
    """Steps in which the weight of the demonstrations halves; 0: constant weight."""
    demo_batch_size: int = 512
    """Demonstrated steps mixed into every minibatch."""
    seed: int = 0
    """Seed of the environments, the action sampling and the minibatch order."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    precision: Precision = "float32"
    """Number format of the hidden layers: float32; bfloat16, faster on CPUs with AMX and GPUs since Ampere,
    slower elsewhere; auto, bfloat16 where it is faster, so results differ between machines. Everything else,
    and the checkpoint, stays float32."""
    threads: int = 0
    """CPU threads; 0: PyTorch's default. One and two give the same results to the last bit; more may not."""

    def __post_init__(self) -> None:
        check_at_least_one(self, "total_steps", "num_envs", "rollout_length", "epochs")
        check_at_least_one(self, "minibatch_size", "demo_batch_size")
        check_choice(self, "precision", PRECISIONS)
        check_choice(self, "optimizer", OPTIMIZERS)
        check_fraction(self, "gamma", "gae_lambda")
        check_positive(self, "learning_rate", "clip", "max_grad_norm")
        check_not_negative(self, "target_kl", "average_steps", "critic_warmup_steps", "reference_kl_coef")
        check_not_negative(self, "reference_kl_half_life", "demo_coef", "demo_half_life", "threads")


@dataclass(frozen=True)
class Progress:
    """What the callback sees after every iteration."""

    state: PPOState
    config: PPOConfig
    envs: Environments
    metrics: dict[str, float]

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self.state.steps

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
        """Write a checkpoint; see `save_state`."""
        save_state(path, self.state, self.envs, self.config, metadata)


Callback = Callable[[Progress], bool | None]  # True stops the training


def train(
    config: PPOConfig,
    envs: Environments,
    state: PPOState,
    *,
    reference: ActorCritic | None = None,
    demonstrations: Demonstrations | None = None,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> PPOState:
    """Train `state` until config.total_steps, in place.

    Args:
        config: settings.
        envs: environments.
        state: what `start` or `resume` returned.
        reference: policy of the KL anchor, needed if config.reference_kl_coef > 0.
        demonstrations: needed if config.demo_coef > 0; otherwise only agreement with them is measured.
        logger: receives the metrics of every iteration.
        callback: called after every iteration; may log, evaluate, save or roll back; returns True to stop.
        progress_bar: show one on stderr.

    Returns:
        `state`.

    Raises:
        TrainingError: an anchor lacks its data, or losses or rewards are no longer finite.
    """
    if config.reference_kl_coef > 0 and reference is None:
        raise TrainingError(
            "reference_kl_coef is set, but there is no reference policy: start from a checkpoint"
        )
    if config.demo_coef > 0 and demonstrations is None:
        raise TrainingError("demo_coef is set, but there are no demonstrations")
    policy, device = state.policy, state.generator.device
    if reference is not None:
        reference = copy.deepcopy(reference).to(device).requires_grad_(False)  # must not move with the policy
        reference.compute_in(policy.policy.precision)  # otherwise rounding would count as a distance
    if demonstrations is not None:
        demonstrations = Demonstrations(demonstrations.features.to(device), demonstrations.actions.to(device))
    keep_freed_memory()
    rollout = Rollout.allocate(config.rollout_length, config.num_envs, policy, device)
    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    with bar, two_network_executor(config.threads, device) as executor:  # [13]
        while state.steps < config.total_steps:
            started = time.perf_counter()
            warming_up = state.steps < config.critic_warmup_steps  # [14]
            learning_rate = config.learning_rate
            if config.anneal_learning_rate:  # [4]
                learning_rate = linear_to_zero(config.learning_rate, state.steps, config.total_steps)
            for optimizer in state.optimizers.values():
                set_learning_rate(optimizer, learning_rate)

            collect_rollout(rollout, envs, state)
            rollout_seconds = time.perf_counter() - started
            targets = compute_targets(rollout, state, config.gamma, config.gae_lambda, executor)
            observed = rollout.features[:-1].flatten(0, 1)
            next_normalizer = copy.deepcopy(policy.normalizer)
            normalizer_done = start_call(executor, next_normalizer.update, observed)
            anchors = make_anchors(config, state.steps, observed, targets, reference, demonstrations)

            updates = 0
            sums: dict[str, Tensor] = {}  # read once an iteration: a GPU does not wait for Python in between
            value_losses: list[Callable[[], Tensor]] = []
            for batch in minibatches(targets, config.epochs, config.minibatch_size, state.generator):  # [9]
                value_losses.append(start_call(executor, update_critic, config, state, batch))  # [13]
                if not warming_up:
                    figures = update_policy(config, state, batch, anchors)
                    if figures is None:  # [11]
                        break
                    sums = {name: sums.get(name, 0.0) + figure for name, figure in figures.items()}
                updates += 1
            sums["value_loss"] = torch.stack([result() for result in value_losses])[:updates].sum()
            normalizer_done()
            if config.update_normalizer and not warming_up:  # [2]
                policy.normalizer.load_state_dict(next_normalizer.state_dict())
            state.steps += len(targets.actions) * num_ranks()  # [18]
            state.iteration += 1
            if state.average is not None:  # [17]
                state.average.update_parameters(policy.policy)

            metrics = {f"ppo/{name}": float(total) / max(updates, 1) for name, total in sums.items()}
            if not all(math.isfinite(value) for value in metrics.values()):
                raise TrainingError(
                    f"training diverged: a loss is NaN at step {state.steps}; lower the learning rate"
                )
            seconds = time.perf_counter() - started
            metrics |= state.statistics.flush()
            metrics |= {
                "ppo/explained_variance": float(targets.explained_variance),
                "ppo/learning_rate": learning_rate,
                "ppo/updates": float(updates),
                "ppo/reference_kl_coef": anchors.reference_kl_coef,
                "speed/steps_per_second": len(targets.actions) / seconds,
                "speed/rollout_share": rollout_seconds / seconds,
            }
            bar.update(len(targets.actions) * num_ranks())
            bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
            metrics = merged_metrics(metrics)
            if logger is not None:
                logger.scalars(metrics, state.steps)
            if callback is not None and callback(Progress(state, config, envs, metrics)):
                break
    return state


def update_critic(config: PPOConfig, state: PPOState, batch: Minibatch) -> Tensor:
    """Take one step down the value loss, and return that loss []."""
    loss = value_loss(state.policy.value(batch.inputs).squeeze(-1), batch.values)
    optimizer_step(loss, state.optimizers["value"], config.max_grad_norm)  # [12]
    return loss.detach()


def update_policy(
    config: PPOConfig, state: PPOState, batch: Minibatch, anchors: Anchors
) -> dict[str, Tensor] | None:
    """Take one step down the policy loss.

    Args:
        config: settings.
        state: state of the training.
        batch: samples.
        anchors: this iteration's anchors.

    Returns:
        Figures for the log, each []; None, without a step, if the policy has moved too far.
    """
    policy = state.policy
    logits = policy.policy(batch.inputs)
    log_prob_new, entropies = log_prob_and_entropy(logits, batch.actions)
    surrogate = ppo_loss(log_prob_new, batch.log_prob_old, batch.advantages, config.clip)  # [10]
    if config.target_kl and average(surrogate.approx_kl.detach()) > 1.5 * config.target_kl:  # [11]
        return None
    entropy = entropies.mean()
    loss = surrogate.loss - config.entropy_coef * entropy
    figures = {
        "policy_loss": surrogate.loss,
        "approx_kl": surrogate.approx_kl,
        "clip_fraction": surrogate.clip_fraction,
        "entropy": entropy,
    }
    if anchors.reference_logits is not None:  # [15]
        figures["reference_kl"] = kl_between(logits, anchors.reference_logits[batch.sample]).mean()
        loss = loss + anchors.reference_kl_coef * figures["reference_kl"]
    if anchors.demonstrations is not None:  # [16]
        features, actions = anchors.demonstrations.features, anchors.demonstrations.actions
        size, generator = (config.demo_batch_size,), state.generator
        pick = torch.randint(len(actions), size, generator=generator, device=generator.device)
        demo_logits = policy.logits(features[pick])
        figures["demo_loss"] = demonstration_loss(demo_logits, actions[pick])
        figures["demo_agreement"] = (demo_logits.argmax(-1) == actions[pick]).float().mean()
        if anchors.demo_weight is not None:
            loss = loss + anchors.demo_weight * figures["demo_loss"]
    optimizer_step(loss, state.optimizers["policy"], config.max_grad_norm)  # [12]
    return {name: figure.detach() for name, figure in figures.items()}
