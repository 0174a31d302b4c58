"""Schedules, with the arithmetic worked out."""

import pytest

from qwop_rl_core.schedules import half_life_decay, linear, linear_to_zero


def test_linear():
    assert [linear(1.0, 0.2, progress) for progress in (0.0, 0.25, 1.0)] == pytest.approx([1.0, 0.8, 0.2])


def test_linear_to_zero_stays_at_zero():
    assert [linear_to_zero(0.4, steps, 1000) for steps in (0, 250, 1000, 1010)] == pytest.approx(
        [0.4, 0.3, 0, 0]
    )


def test_half_life_decay():
    assert half_life_decay(8.0, 100.0, 300) == pytest.approx(1.0)  # three half-lives
    assert half_life_decay(8.0, 0.0, 300) == 8.0  # a half-life of 0: constant
