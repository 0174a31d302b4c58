"""Returns and advantages: pure functions of arrays.

Shapes: T steps (time first), B environments. Suffixes as in rlax: `_tm1` belongs to the state in which an
action was taken, `_t` to what followed: r_t and o_t are the environment's answer to a_tm1 in o_tm1.

`terminated` and `truncated` are never merged. After a termination there is no future; after a truncation
(time limit) there is one that was not played. If both are true, the termination counts.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def gae(
    reward_t: Tensor,
    value_tm1: Tensor,
    value_t: Tensor,
    terminated_t: Tensor,
    truncated_t: Tensor,
    gamma: float,
    lambda_: float,
) -> Tensor:
    """Generalized advantage estimation with time-limit bootstrap.

        delta_t = r_t + gamma * v_t * (1 - terminated_t) - v_tm1           (TD residual, Schulman et al. 2016)
        A_tm1   = delta_t + gamma * lambda * (1 - ended_t) * A_t           (their equation 16, as a recursion)

    Args:
        reward_t: float [T, B].
        value_tm1: float [T, B], value of the observation in which the action was taken.
        value_t: float [T, B], value of the observation that followed. In the step that ended an episode this
            is the episode's own final observation, not the first one of the next episode
            (Pardo et al. 2018, "Time limits in reinforcement learning").
        terminated_t: bool [T, B].
        truncated_t: bool [T, B].
        gamma: discount per step.
        lambda_: weight of longer returns.

    Returns:
        float [T, B]; the critic's target is this + value_tm1 (TD(lambda)).
    """
    delta_t = reward_t + gamma * value_t * (~terminated_t) - value_tm1
    carry_t = gamma * lambda_ * (~(terminated_t | truncated_t)).to(delta_t.dtype)
    advantage_tm1 = torch.empty_like(delta_t)
    advantage_t = torch.zeros_like(delta_t[0])
    for t in reversed(range(delta_t.shape[0])):
        advantage_t = torch.addcmul(delta_t[t], carry_t[t], advantage_t, out=advantage_tm1[t])
    return advantage_tm1


def n_step(
    reward_t: NDArray[np.float32],
    terminated_t: NDArray[np.bool_],
    truncated_t: NDArray[np.bool_],
    gamma: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Compute n-step returns up to the bootstrap, from windows of n consecutive transitions.

        G = r_1 + gamma r_2 + ... + gamma^(k-1) r_k,  target = G + discount * Q(o_k)
                                                       (Sutton & Barto 2018, equation 7.1)
    where k <= n is the first step that ended the episode, or n; discount = gamma^k, or 0 after a
    termination.

    Args:
        reward_t: float32 [n, B]; row 0 is the sampled transition.
        terminated_t: bool [n, B].
        truncated_t: bool [n, B].
        gamma: discount per step.

    Returns:
        G float32 [B]; discount float32 [B]; last int64 [B] = k - 1, the row whose successor bootstraps.
    """
    n, batch = reward_t.shape
    returns = np.zeros(batch, np.float32)
    alive = np.ones(batch, bool)
    last = np.full(batch, n - 1)
    discount = np.full(batch, gamma**n, np.float32)
    for k in range(n):
        returns += np.float32(gamma**k) * reward_t[k] * alive
        ended = alive & (terminated_t[k] | truncated_t[k])
        last[ended] = k
        discount[ended] = np.where(terminated_t[k][ended], 0.0, gamma ** (k + 1))
        alive &= ~ended
    return returns, discount, last


def monte_carlo_returns(
    reward_t: NDArray[np.float32],
    terminated_t: NDArray[np.bool_],
    truncated_t: NDArray[np.bool_],
    gamma: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Compute Monte-Carlo returns of whole episodes, stored one after another.

        G_tm1 = r_t + gamma G_t,  or r_t in the step that ended the episode

    Args:
        reward_t: float32 [M].
        terminated_t: bool [M].
        truncated_t: bool [M]; the last step is terminated or truncated.
        gamma: discount per step.

    Returns:
        G float32 [M]; discount float32 [M], the factor of the value of the episode's final observation:
        gamma^k if a truncation follows in k steps, 0 if a termination does; last int64 [M], the transition
        that ended the episode.
    """
    steps = len(reward_t)
    returns, discount, last = np.zeros(steps), np.zeros(steps), np.zeros(steps, np.int64)
    for t in reversed(range(steps)):
        if terminated_t[t] or truncated_t[t]:
            returns[t], discount[t], last[t] = reward_t[t], 0.0 if terminated_t[t] else gamma, t
        else:
            returns[t] = reward_t[t] + gamma * returns[t + 1]
            discount[t], last[t] = gamma * discount[t + 1], last[t + 1]
    return returns.astype(np.float32), discount.astype(np.float32), last
