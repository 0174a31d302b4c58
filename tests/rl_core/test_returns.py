"""Worked numbers for advantages and n-step returns."""

import numpy as np
import pytest
import torch

from qwop_rl_core.returns import gae, monte_carlo_returns, n_step


def column(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).unsqueeze(1)  # [T, 1]


NO = column(False, False, False, dtype=torch.bool)


def test_gae_without_an_end():
    # gamma 0.5, lambda 0.5, so gamma lambda = 0.25; v = 4, 8, 2, and 6 after the last step
    # delta: 1 + 0.5*8 - 4 = 1;  2 + 0.5*2 - 8 = -5;  3 + 0.5*6 - 2 = 4
    # A2 = 4;  A1 = -5 + 0.25*4 = -4;  A0 = 1 + 0.25*-4 = 0
    advantage = gae(column(1.0, 2, 3), column(4.0, 8, 2), column(8.0, 2, 6), NO, NO, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [0.0, -4.0, 4.0]


def test_gae_termination_has_no_future():
    # terminated after step 1: delta1 = 2 - 8 = -6 (no bootstrap), A1 = -6 (nothing carried back from A2 = 4)
    # A0 = 1 + 0.25*-6 = -0.5
    ended = column(False, True, False, dtype=torch.bool)
    advantage = gae(column(1.0, 2, 3), column(4.0, 8, 2), column(8.0, 2, 6), ended, NO, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [-0.5, -6.0, 4.0]


def test_gae_truncation_bootstraps_from_its_own_final_observation():
    # truncated after step 1, its final observation worth 10: delta1 = 2 + 0.5*10 - 8 = -1, A1 = -1
    # A0 = 1 + 0.25*-1 = 0.75
    ended = column(False, True, False, dtype=torch.bool)
    advantage = gae(column(1.0, 2, 3), column(4.0, 8, 2), column(8.0, 10, 6), NO, ended, 0.5, 0.5)
    assert advantage.squeeze(1).tolist() == [0.75, -1.0, 4.0]
    # where both are set the termination counts: the same as terminated alone
    both = gae(column(1.0, 2, 3), column(4.0, 8, 2), column(8.0, 10, 6), ended, ended, 0.5, 0.5)
    assert both.squeeze(1).tolist() == [-0.5, -6.0, 4.0]


def test_gae_equals_the_sum_of_discounted_residuals():
    """The definition, not the recursion: A = sum_l (gamma lambda)^l delta_(t+l), up to the episode's end."""
    rng = np.random.default_rng(0)
    steps, batch, gamma, lambda_ = 40, 7, 0.97, 0.9
    reward, value, following = (rng.normal(size=(steps, batch)) for _ in range(3))
    terminated = rng.random((steps, batch)) < 0.1
    truncated = rng.random((steps, batch)) < 0.1
    expected = np.zeros((steps, batch))
    for b in range(batch):
        for t in range(steps):
            factor = 1.0
            for k in range(t, steps):
                bootstrap = 0.0 if terminated[k, b] else gamma * following[k, b]
                expected[t, b] += factor * (reward[k, b] + bootstrap - value[k, b])
                factor *= gamma * lambda_
                if terminated[k, b] or truncated[k, b]:
                    break
    r, v, f, end, cut = (torch.as_tensor(x) for x in (reward, value, following, terminated, truncated))
    result = gae(r, v, f, end, cut, gamma, lambda_)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("terminated", "truncated", "expected"),
    [
        # rewards 1, 2, 4, gamma 0.5: 1 + 1 + 1 = 3, bootstrap times 0.5^3 from the third transition
        ([0, 0, 0], [0, 0, 0], (3.0, 0.125, 2)),
        # terminated in the second: 1 + 1 = 2, no bootstrap
        ([0, 1, 0], [0, 0, 0], (2.0, 0.0, 1)),
        # truncated in the second: the same return, bootstrap times 0.5^2 from its own successor
        ([0, 0, 0], [0, 1, 0], (2.0, 0.25, 1)),
        # truncated in the first; the end in the third belongs to another episode
        ([0, 0, 1], [1, 0, 0], (1.0, 0.5, 0)),
        # both at once: the termination counts
        ([1, 0, 0], [1, 0, 0], (1.0, 0.0, 0)),
        # the end is the last of the window
        ([0, 0, 1], [0, 0, 0], (3.0, 0.0, 2)),
    ],
)
def test_n_step(terminated, truncated, expected):
    def window(values, dtype):
        return np.array(values, dtype)[:, None]

    result = n_step(window([1, 2, 4], np.float32), window(terminated, bool), window(truncated, bool), 0.5)
    assert tuple(x.item() for x in result) == expected


def test_monte_carlo_returns():
    # gamma 0.5; two episodes: rewards 1, 2, 4 and a termination, then 8, 16 and a truncation
    # G: 1 + 0.5 * (2 + 0.5 * 4) = 3, 2 + 0.5 * 4 = 4, 4;  8 + 0.5 * 16 = 16, 16
    reward = np.array([1, 2, 4, 8, 16], np.float32)
    terminated = np.array([False, False, True, False, False])
    truncated = np.array([False, False, False, False, True])
    returns, discount, last = monte_carlo_returns(reward, terminated, truncated, 0.5)
    assert returns.dtype == np.float32 and returns.tolist() == [3, 4, 4, 16, 16]
    # after the truncation there is a future, two and one steps away
    assert discount.tolist() == [0, 0, 0, 0.25, 0.5]
    assert last.tolist() == [2, 2, 2, 4, 4]
    # both at once: the termination counts
    _, discount, _ = monte_carlo_returns(reward[:1], np.array([True]), np.array([True]), 0.5)
    assert discount.tolist() == [0]
