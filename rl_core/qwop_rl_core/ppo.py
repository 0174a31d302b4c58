"""Proximal policy optimisation (Schulman et al. 2017), one loop read from the top, and its anchors.

Implementation details that matter, in the order of the code; the marks [1]... stand at their lines.
 1. Orthogonal initialisation, separate policy and value networks (networks.py).
 2. Observations are normalised by running statistics that are part of the policy. They move only between
    iterations, so a rollout and its update see the same normalisation and ratios start at exactly 1.
 3. Adam with epsilon 1e-5, one for each network, over all of its weights as one vector: the time goes into
    the arithmetic then, not into the calls.
 4. The learning rate falls linearly to zero over the budget, counted in environment steps.
 5. Actions are sampled under inference mode into preallocated arrays; values are computed once for the whole
    rollout, not step by step: half the inference work, in batches that keep the cores busy.
 6. Time limits: a truncated step bootstraps from the value of its own final observation.
 7. GAE; the critic's target is advantage + value, TD(lambda), in units of the running mean and standard
    deviation of those targets (Pop-Art, networks.py).
 8. Advantages are normalised to zero mean and unit variance over the whole rollout.
 9. Every epoch visits the rollout in a fresh random order, in minibatches.
10. Clipped surrogate objective, value loss without clipping, entropy bonus.
11. Early stop: once a minibatch's KL exceeds 1.5 target_kl, the rest of the iteration's updates are dropped;
    the critic has taken its step on that minibatch by then.
12. Gradients are clipped by global norm, policy and value networks apart: a critic's large first gradients
    must not shrink the policy's.
13. As the two networks share no weights, on a CPU with two threads or more they learn side by side, each at
    its own pace until the iteration's end, which changes no bit.

Anchors for fine-tuning a cloned policy, each off by default:
14. Critic warm-up: for the first critic_warmup_steps only the value network learns; the policy and its
    normaliser stand still. A random critic's advantages would otherwise wash the clone out at once.
15. KL to a reference policy, coefficient halved every reference_kl_half_life steps.
16. Demonstrations in the policy loss (DAPG, Rajeswaran et al. 2018), decaying likewise.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor
from tqdm import tqdm

from qwop_rl_core.checkpoint import (
    Checkpoint,
    CheckpointError,
    check_kinds,
    explained,
    load_network,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    section,
)
from qwop_rl_core.logging import Logger
from qwop_rl_core.losses import (
    decayed,
    demonstration_loss,
    kl_between,
    log_prob,
    log_prob_and_entropy,
    ppo_loss,
    value_loss,
)
from qwop_rl_core.networks import ActorCritic, flatten_parameters
from qwop_rl_core.policy import sample_actions
from qwop_rl_core.returns import gae
from qwop_rl_core.training import (
    PRECISIONS,
    EpisodeStatistics,
    Precision,
    TrainingError,
    check_spaces,
    environment_state,
    final_observations,
    keep_freed_memory,
    restore_environment,
    restored,
    select_device,
    select_precision,
    side_by_side,
    start_call,
)

RETURN_STATISTICS_RATE = (
    0.1  # per iteration: the critic's units follow the returns within some ten iterations
)


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO. Every budget is in environment steps, one decision of one environment each."""

    total_steps: int = 5_000_000
    """Environment steps to train for, all environments together; rounded up to whole rollouts."""
    num_envs: int = 256
    """Environments stepped side by side."""
    rollout_length: int = 32
    """Steps of every environment between two updates."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatch_size: int = 2048
    """Samples per gradient step."""
    learning_rate: float = 3e-4
    """Adam's step size at the start."""
    anneal_learning_rate: bool = True
    """Let the learning rate fall linearly to zero at total_steps."""
    gamma: float = 0.995
    """Discount per step."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Clipping range of the probability ratio."""
    entropy_coef: float = 0.02
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Bound of the gradient's norm, for the policy and the value network each."""
    target_kl: float = 0.0
    """Stop an iteration's updates once the policy moved further than 1.5 times this (nats); 0: never."""
    update_normaliser: bool = True
    """Let the observation statistics follow the rollouts; turn off to keep those of the initial policy."""
    critic_warmup_steps: int = 0
    """For so many first steps only the value network learns and the policy stands still."""
    reference_kl_coef: float = 0.0
    """Weight of KL(policy || reference policy) in the loss."""
    reference_kl_half_life: float = 1_000_000
    """Steps in which the weight of the reference KL halves; 0: it stays."""
    demo_coef: float = 0.0
    """Weight of the demonstrations' log-likelihood in the loss (DAPG's lambda_0)."""
    demo_half_life: float = 1_000_000
    """Steps in which the weight of the demonstrations halves; 0: it stays."""
    demo_batch_size: int = 512
    """Demonstrated steps mixed into every minibatch."""
    seed: int = 0
    """Seed of the environments, the action sampling and the minibatch order."""
    device: str = "auto"
    """auto (CUDA where there is some), cpu, cuda, cuda:1, ..."""
    precision: Precision = "float32"
    """What the hidden layers compute in: float32; bfloat16, faster where the device has units for it (CPUs
    with AMX, GPUs since Ampere) and slower elsewhere; auto, bfloat16 where it is faster, so that results
    differ between machines. Everything else, and the checkpoint, stays float32."""
    threads: int = 0
    """CPU threads; 0: as many as PyTorch would use. One and two give the same results to the last bit, more
    may not."""

    def __post_init__(self) -> None:
        for name in (
            "total_steps",
            "num_envs",
            "rollout_length",
            "epochs",
            "minibatch_size",
            "demo_batch_size",
        ):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if self.precision not in PRECISIONS:
            raise TrainingError(f"precision is {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it has to lie in [0, 1]")
        for name in ("learning_rate", "clip", "max_grad_norm"):
            if not getattr(self, name) > 0.0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it has to be above 0")
        for name in (
            "target_kl",
            "critic_warmup_steps",
            "reference_kl_coef",
            "reference_kl_half_life",
            "demo_coef",
            "demo_half_life",
            "threads",
        ):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it cannot be negative")


@dataclass(frozen=True)
class Demonstrations:
    """Demonstrated decisions: features float32 [M, D] as the policy sees them, actions int64 [M]."""

    features: Tensor
    actions: Tensor

    def __post_init__(self) -> None:
        if len(self.features) != len(self.actions) or len(self.actions) == 0:
            raise TrainingError(
                f"{len(self.features)} demonstrated observations, {len(self.actions)} actions"
            )
        if not torch.isfinite(self.features).all():
            raise TrainingError("the demonstrations hold NaN or infinity")


@dataclass
class PPOState:
    """Everything that changes while training. `steps` counts environment steps done."""

    policy: ActorCritic
    optimizers: dict[str, torch.optim.Adam]  # of the "policy" network and the "value" network
    generator: torch.Generator
    statistics: EpisodeStatistics
    observation: np.ndarray  # [N, D], what the environments show now
    steps: int = 0
    iteration: int = 0

    def capture(self) -> Any:
        """A copy of the networks and their optimizers, for `roll_back`."""
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return copy.deepcopy((self.policy.state_dict(), optimizers))

    def roll_back(self, captured: Any) -> None:
        """Return networks and optimizers to a capture; steps, schedules and environments go on."""
        network, optimizers = copy.deepcopy(captured)
        self.policy.load_state_dict(network)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(optimizers[name])


@dataclass(frozen=True)
class Progress:
    """What the callback sees after every iteration."""

    state: PPOState
    config: PPOConfig
    envs: VectorEnv
    metrics: dict[str, float]

    @property
    def steps(self) -> int:
        return self.state.steps

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
        save_state(path, self.state, self.envs, self.config, metadata)


Callback = Callable[[Progress], bool | None]  # True stops the training


def start(config: PPOConfig, envs: VectorEnv, policy: ActorCritic) -> PPOState:
    """A training at step 0: environments reset, a fresh optimizer. TrainingError where they do not fit."""
    device = select_device(config.device)
    policy.to(device).compute_in(select_precision(config.precision, device))
    check_spaces(envs, config.num_envs, policy.feature_size, policy.num_actions)
    observation, _ = envs.reset(seed=config.seed)
    return PPOState(
        policy=policy,
        optimizers={
            name: torch.optim.Adam(  # [3]
                [flatten_parameters(policy.get_submodule(name))],
                lr=config.learning_rate,
                eps=1e-5,
                fused=True,
            )
            for name in ("policy", "value")
        },
        generator=torch.Generator(device).manual_seed(config.seed),
        statistics=EpisodeStatistics(config.num_envs),
        observation=observation,
    )


def train(
    config: PPOConfig,
    envs: VectorEnv,
    state: PPOState,
    *,
    reference: ActorCritic | None = None,
    demonstrations: Demonstrations | None = None,
    logger: Logger | None = None,
    callback: Callback | None = None,
    progress_bar: bool = False,
) -> PPOState:
    """Train `state` (from `start` or `resume`) until config.total_steps, in place.

    reference: policy of the KL anchor, needed when config.reference_kl_coef > 0
    demonstrations: needed when config.demo_coef > 0; if given, agreement with them is measured anyway
    callback: called after every iteration; may log, evaluate, save, roll back; returns True to stop
    Raises TrainingError: an anchor without its data, or losses or rewards that are no longer finite.
    """
    if config.reference_kl_coef > 0 and reference is None:
        raise TrainingError(
            "reference_kl_coef is set, but there is no reference policy (start from a checkpoint)"
        )
    if config.demo_coef > 0 and demonstrations is None:
        raise TrainingError("demo_coef is set, but there are no demonstrations")
    policy, generator = state.policy, state.generator
    device = generator.device
    if reference is not None:
        reference = copy.deepcopy(reference).to(device).requires_grad_(False)  # never moves with the policy
        reference.compute_in(policy.policy.precision)  # else roundings would count as a distance
    if demonstrations is not None:
        demonstrations = Demonstrations(demonstrations.features.to(device), demonstrations.actions.to(device))

    keep_freed_memory()
    num_envs, length = config.num_envs, config.rollout_length
    batch_size = num_envs * length
    features = torch.zeros((length + 1, num_envs, policy.feature_size), device=device)
    inputs = torch.zeros_like(features, dtype=policy.policy.precision)  # features, normalised
    logits = torch.zeros((length, num_envs, policy.num_actions), device=device)
    actions = torch.zeros((length, num_envs), dtype=torch.int64, device=device)
    rewards = np.zeros((length, num_envs), np.float32)
    terminated = np.zeros((length, num_envs), bool)
    truncated = np.zeros((length, num_envs), bool)

    @torch.no_grad()
    def values_of(x: Tensor) -> Tensor:
        return policy.value_mean + policy.value_std * policy.value(x).squeeze(-1)

    def descend(loss: Tensor, optimizer: torch.optim.Adam) -> None:
        (weights,) = optimizer.param_groups[0]["params"]
        weights.grad.zero_()
        loss.backward()
        weights.grad.mul_((config.max_grad_norm / (weights.grad.norm() + 1e-6)).clamp(max=1.0))  # [12]
        optimizer.step()

    def improve_critic(x: Tensor, target: Tensor) -> Tensor:
        """A step down the value loss []."""
        loss = value_loss(policy.value(x).squeeze(-1), target)
        descend(loss, state.optimizers["value"])
        return loss.detach()

    bar = tqdm(
        total=config.total_steps, initial=state.steps, unit="step", unit_scale=True, disable=not progress_bar
    )
    with bar, side_by_side(config.threads, device) as pool:  # [13]
        while state.steps < config.total_steps:
            started = time.perf_counter()
            warming_up = state.steps < config.critic_warmup_steps  # [14]
            learning_rate = config.learning_rate
            if config.anneal_learning_rate:  # [4]
                learning_rate *= 1.0 - state.steps / config.total_steps
            for optimizer in state.optimizers.values():
                optimizer.param_groups[0]["lr"] = learning_rate

            # Roll out the policy.
            finals: list[np.ndarray] = []  # final observations of the truncated steps, in their order
            with torch.inference_mode():  # [5]
                for t in range(length):
                    features[t] = torch.as_tensor(state.observation)
                    inputs[t] = policy.normaliser(features[t])
                    logits[t] = policy.policy(inputs[t])
                    actions[t] = sample_actions(logits[t], generator)
                    observation, rewards[t], terminated[t], truncated[t], infos = envs.step(
                        actions[t].cpu().numpy()
                    )
                    if truncated[t].any():
                        finals.append(final_observations(infos, truncated[t], observation)[truncated[t]])
                    state.statistics.step(rewards[t], terminated[t] | truncated[t], infos)
                    state.observation = observation
                features[length] = torch.as_tensor(state.observation)
                inputs[length] = policy.normaliser(features[length])
            rollout_seconds = time.perf_counter() - started
            if not np.isfinite(rewards).all():
                raise TrainingError(
                    f"a reward is NaN or infinite, near step {state.steps}; look at the reward function"
                )

            # Advantages and return targets.
            with torch.no_grad():
                half = (length + 1) // 2
                first_values = start_call(pool, values_of, inputs[:half])  # [13]
                later_values = values_of(inputs[half:])
                values = torch.cat((first_values(), later_values))
                value_tm1, value_t = values[:-1], values[1:].clone()
                if finals:  # [6]
                    final = torch.as_tensor(np.concatenate(finals), dtype=torch.float32, device=device)
                    t, index = (torch.as_tensor(i, device=device) for i in truncated.nonzero())
                    value_t[t, index] = policy.values(final)
                advantages = gae(  # [7]
                    torch.as_tensor(rewards, device=device),
                    value_tm1,
                    value_t,
                    torch.as_tensor(terminated, device=device),
                    torch.as_tensor(truncated, device=device),
                    config.gamma,
                    config.gae_lambda,
                )
                targets = advantages + value_tm1
                weight = 1.0 if state.iteration == 0 else RETURN_STATISTICS_RATE
                mean = policy.value_mean + weight * (targets.mean() - policy.value_mean)
                std = policy.value_std + weight * (targets.std() - policy.value_std)
                std = torch.maximum(std, 0.02 * mean.abs() + 1e-4)  # were all returns equal
                policy.rescale_values(mean, std)
                explained = 1.0 - (targets - value_tm1).var() / (targets.var() + 1e-8)
                advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)  # [8]
                max_advantage = advantages.max()

                flat_inputs = inputs[:-1].flatten(0, 1)
                flat_actions, flat_advantages = actions.flatten(), advantages.flatten()
                flat_targets = ((targets - mean) / std).flatten()
                log_prob_old = log_prob(logits, actions).flatten()
                rollout = features[:-1].flatten(0, 1)
                next_normaliser = copy.deepcopy(policy.normaliser)
                observed = start_call(pool, next_normaliser.update, rollout)
                reference_logits = reference.logits(rollout) if reference is not None else None

            # Improve the policy and the critic.
            kl_coef = decayed(config.reference_kl_coef, config.reference_kl_half_life, state.steps)  # [15]
            demo_coef = decayed(config.demo_coef, config.demo_half_life, state.steps)  # [16]
            totals: dict[str, Tensor] = {}  # read once an iteration: a GPU does not wait for us in between
            updates = 0
            critic_losses: list[Callable[[], Tensor]] = []
            arrays = flat_inputs, flat_actions, log_prob_old, flat_advantages, flat_targets
            for index, x, action, old, advantage, target in _minibatches(config, generator, *arrays):  # [9]
                critic_losses.append(start_call(pool, improve_critic, x, target))  # [13]
                figures: dict[str, Tensor] = {}
                if not warming_up:
                    new_logits = policy.policy(x)
                    log_prob_new, entropies = log_prob_and_entropy(new_logits, action)
                    surrogate = ppo_loss(log_prob_new, old, advantage, config.clip)  # [10]
                    if config.target_kl and surrogate.approx_kl > 1.5 * config.target_kl:  # [11]
                        break
                    mean_entropy = entropies.mean()
                    loss = surrogate.loss - config.entropy_coef * mean_entropy
                    figures |= {
                        "policy_loss": surrogate.loss,
                        "approx_kl": surrogate.approx_kl,
                        "clip_fraction": surrogate.clip_fraction,
                        "entropy": mean_entropy,
                    }
                    if reference_logits is not None:
                        reference_kl = kl_between(new_logits, reference_logits[index]).mean()
                        loss = loss + kl_coef * reference_kl
                        figures["reference_kl"] = reference_kl
                    if demonstrations is not None:
                        pick = torch.randint(
                            len(demonstrations.actions),
                            (config.demo_batch_size,),
                            generator=generator,
                            device=device,
                        )
                        demo_logits = policy.logits(demonstrations.features[pick])
                        demo_actions = demonstrations.actions[pick]
                        demo_loss = demonstration_loss(demo_logits, demo_actions)
                        if config.demo_coef > 0:
                            loss = loss + demo_coef * max_advantage * demo_loss
                        figures["demo_loss"] = demo_loss
                        agreement = (demo_logits.argmax(-1) == demo_actions).float().mean()
                        figures["demo_agreement"] = agreement
                    descend(loss, state.optimizers["policy"])
                updates += 1
                for name, figure in figures.items():
                    totals[name] = totals.get(name, 0.0) + figure.detach()
            value_losses = torch.stack([loss() for loss in critic_losses])
            totals["value_loss"] = value_losses[:updates].sum()
            observed()
            if config.update_normaliser and not warming_up:  # [2]
                policy.normaliser.load_state_dict(next_normaliser.state_dict())

            state.steps += batch_size
            state.iteration += 1
            metrics = {f"ppo/{name}": float(total) / max(updates, 1) for name, total in totals.items()}
            seconds = time.perf_counter() - started
            if not all(math.isfinite(value) for value in metrics.values()):
                raise TrainingError(
                    f"training diverged: a loss is NaN at step {state.steps}; lower the learning rate"
                )
            metrics |= state.statistics.flush()
            metrics |= {
                "ppo/explained_variance": float(explained),
                "ppo/learning_rate": learning_rate,
                "ppo/updates": float(updates),
                "ppo/reference_kl_coef": kl_coef if reference is not None else 0.0,
                "speed/steps_per_second": batch_size / seconds,
                "speed/rollout_share": rollout_seconds / seconds,
            }
            bar.update(batch_size)
            bar.set_postfix({"return": f"{metrics.get('episode/return', math.nan):.2f}"}, refresh=False)
            if logger is not None:
                logger.scalars(metrics, state.steps)
            if callback is not None and callback(Progress(state, config, envs, metrics)):
                break
    return state


def save_state(
    path: str | os.PathLike[str],
    state: PPOState,
    envs: VectorEnv,
    config: PPOConfig,
    metadata: Mapping[str, Any],
) -> None:
    """Write a checkpoint that plays (`Policy.load`) and from which `resume` goes on exactly.

    metadata: what the policy needs to play and how it was made. The environments' own state is stored
    where they offer it (see `training.environment_state`).
    """
    environment = environment_state(envs)
    tensors = {
        **prefixed("network", state.policy.state_dict()),
        **prefixed("optimizer.policy", optimizer_tensors(state.optimizers["policy"])),
        **prefixed("optimizer.value", optimizer_tensors(state.optimizers["value"])),
        "generator": state.generator.get_state(),
        "observation": torch.as_tensor(state.observation),
        "episode_return": torch.as_tensor(state.statistics.episode_return),
        "episode_length": torch.as_tensor(state.statistics.episode_length),
        **prefixed("environment", {name: torch.as_tensor(a) for name, a in (environment or {}).items()}),
    }
    training = {
        "algorithm": "ppo",
        "steps": state.steps,
        "iteration": state.iteration,
        "environment": environment is not None,
        "config": dataclasses.asdict(config),
    }
    save_checkpoint(path, tensors, {**metadata, **state.policy.architecture, "training": training})


def resume(config: PPOConfig, envs: VectorEnv, checkpoint: Checkpoint, where: str = "checkpoint") -> PPOState:
    """The training that `save_state` stored, in environments made the same way.

    With the same config it goes on bit for bit as if it had not been interrupted (CPU, same number of
    threads) where the environments can be restored; otherwise new episodes start.
    Raises CheckpointError where it is no checkpoint of a PPO training, TrainingError where it does not fit.
    """
    with explained(where):
        training = checkpoint.metadata.get("training", {})
        if training.get("algorithm") != "ppo":
            raise CheckpointError(
                f"{where}: not a checkpoint of a PPO training, it cannot be resumed (use it as --init)"
            )
        policy = load_network(checkpoint, where)
        if not isinstance(policy, ActorCritic):
            raise CheckpointError(f"{where}: holds a Q-network, PPO needs a policy")
        if training["config"]["num_envs"] != config.num_envs:
            raise CheckpointError(
                f"{where}: trained with {training['config']['num_envs']} environments, not {config.num_envs}"
            )
        state = start(config, envs, policy)
        for name, optimizer in state.optimizers.items():
            restore_optimizer(optimizer, _moments(checkpoint, name, policy))
        check_kinds({name: training[name] for name in ("steps", "iteration")}, state)
        state.steps, state.iteration = training["steps"], training["iteration"]
        state.generator.set_state(checkpoint.tensors["generator"])
        if training["environment"]:
            arrays = section(checkpoint.tensors, "environment")
            restore_environment(envs, {name: t.numpy() for name, t in arrays.items()})
            state.observation = restored(checkpoint.tensors["observation"].numpy(), state.observation)
            state.statistics.episode_return[:] = checkpoint.tensors["episode_return"].numpy()
            state.statistics.episode_length[:] = checkpoint.tensors["episode_length"].numpy()
        return state


def _minibatches(config: PPOConfig, generator: torch.Generator, *arrays: Tensor) -> Iterator[list[Tensor]]:
    """Parts [minibatch_size or fewer, ...] of a rollout's flat arrays, in a new order every epoch.

    yields: indices into the rollout int64, and those rows of each array
    """
    for _ in range(config.epochs):
        order = torch.randperm(len(arrays[0]), generator=generator, device=generator.device)
        # once an epoch, and not by array[order], which takes four times as long
        shuffled = [order, *(array.index_select(0, order) for array in arrays)]
        for part in zip(*(array.split(config.minibatch_size) for array in shuffled), strict=True):
            yield list(part)


def _moments(checkpoint: Checkpoint, name: str, policy: ActorCritic) -> dict[str, Tensor]:
    """What `optimizer_tensors` gave for that network, also where it gave it for every parameter by itself."""
    tensors = section(checkpoint.tensors, "optimizer")
    if any(key.startswith(("policy.", "value.")) for key in tensors):
        return section(tensors, name)
    # before 22 November 2026: the policy's parameters, numbered, and then the value network's
    count = len(list(policy.policy.parameters()))
    numbers = range(count) if name == "policy" else range(count, 2 * count)
    if f"{numbers[0]}.step" not in tensors:  # never stepped, in the critic's warm-up
        return {}
    moments = {
        f"0.{moment}": torch.cat([tensors[f"{i}.{moment}"].flatten() for i in numbers])
        for moment in ("exp_avg", "exp_avg_sq")
    }
    return {"0.step": tensors[f"{numbers[0]}.step"], **moments}
