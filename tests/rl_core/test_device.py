"""PPO's device path on PyTorch's "meta" device: its tensors have a shape and a device, and no values.

PyTorch refuses an operation between such a tensor and one of the CPU, as it does for a GPU, so a tensor that
is left on the CPU is found without a GPU. Not covered: what becomes NumPy's (play, `collect_rollout`), random
numbers, speed.
"""

from typing import cast

import numpy as np
import pytest
import torch

from qwop_rl_core import ActorCritic, PPOConfig
from qwop_rl_core.optimizer import OPTIMIZERS, OptimizerName, flat_optimizer
from qwop_rl_core.ppo import update_critic, update_policy
from qwop_rl_core.ppo_anchors import Anchors
from qwop_rl_core.ppo_rollout import Minibatch, Rollout, compute_targets
from qwop_rl_core.ppo_state import PPOState
from qwop_rl_core.vector_env import EpisodeStatistics

ELSEWHERE = torch.device("meta")
STEPS, GAMES, FEATURES = 4, 6, 5


def state_on(device: torch.device, precision: torch.dtype, optimizer: OptimizerName = "adam") -> PPOState:
    """Return the state of a PPO training with its networks and optimizers on a device."""
    policy = ActorCritic(FEATURES, 9, (16, 16), torch.Generator().manual_seed(0)).to(device)
    policy.compute_in(precision)
    optimizers = {
        name: flat_optimizer(getattr(policy, name), 1e-3, optimizer) for name in ("policy", "value")
    }
    for one in optimizers.values():
        one.param_groups[0]["fused"] = device.type == "cpu"  # the one kernel that "meta" lacks
    return PPOState(
        policy=policy,
        optimizers=optimizers,
        generator=cast("torch.Generator", None),  # there is none for this device
        statistics=EpisodeStatistics(GAMES),
        observation=np.zeros((GAMES, FEATURES), np.float32),
    )


def learn(
    device: torch.device, precision: torch.dtype, optimizer: OptimizerName = "adam"
) -> dict[str, torch.Tensor]:
    """Compute the targets of a rollout and take a step of both networks. Returns the figures."""
    config = PPOConfig(num_envs=GAMES, rollout_length=STEPS, target_kl=0.0)
    state = state_on(device, precision, optimizer)
    rollout = Rollout.allocate(STEPS, GAMES, state.policy, device)
    with torch.no_grad():
        rollout.inputs.copy_(state.policy.normalizer(rollout.features))
        rollout.logits[0] = state.policy.policy(rollout.inputs[0])
    rollout.truncated[1, 2] = True
    rollout.final_observations.append(np.zeros((1, FEATURES), np.float32))
    targets = compute_targets(rollout, state, config.gamma, config.gae_lambda, None)
    batch = Minibatch(
        torch.arange(STEPS * GAMES, device=device),
        targets.inputs,
        targets.actions,
        targets.log_prob_old,
        targets.advantages,
        targets.values,
    )
    figures = update_policy(config, state, batch, Anchors(None, 0.0, None, None))
    assert figures is not None
    return {**figures, "value_loss": update_critic(config, state, batch)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_iteration_stays_on_its_device(precision, optimizer):
    figures = learn(ELSEWHERE, precision, optimizer)
    assert {figure.device for figure in figures.values()} == {ELSEWHERE}
    assert "value_loss" in figures and "policy_loss" in figures


def test_a_tensor_on_the_other_device_is_found():
    state = state_on(ELSEWHERE, torch.float32)
    with pytest.raises(RuntimeError, match="device"):
        state.policy.policy(torch.zeros(3, FEATURES))


def test_the_same_steps_on_the_cpu():
    figures = learn(torch.device("cpu"), torch.float32)
    assert all(torch.isfinite(figure) for figure in figures.values())
