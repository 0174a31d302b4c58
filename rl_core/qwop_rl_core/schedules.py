"""Schedules: settings that change with the environment steps done."""

from __future__ import annotations


def linear(start: float, end: float, progress: float) -> float:
    """Return start at progress 0, end at progress 1, and a straight line between them."""
    return start + progress * (end - start)


def linear_to_zero(initial: float, steps: int, total_steps: int) -> float:
    """Return a value that falls from `initial` to 0 over `total_steps`, and stays 0 after them."""
    return initial * max(1.0 - steps / total_steps, 0.0)


def half_life_decay(coefficient: float, half_life_steps: float, steps: int) -> float:
    """Return coefficient * 0.5^(steps / half_life_steps); a half-life of 0 means no decay."""
    if half_life_steps == 0:
        return coefficient
    return coefficient * 0.5 ** (steps / half_life_steps)
