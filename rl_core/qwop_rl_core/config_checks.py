"""Range checks for the settings of the trainers."""

from __future__ import annotations

from collections.abc import Sequence

from qwop_rl_core.errors import TrainingError


def check_at_least_one(config: object, *names: str) -> None:
    """Check that settings are at least 1.

    Args:
        config: dataclass of settings.
        *names: names of the fields to check.

    Raises:
        TrainingError: a value is below 1.
    """
    for name in names:
        if getattr(config, name) < 1:
            raise TrainingError(f"{name} is {getattr(config, name)}; expected at least 1")


def check_fraction(config: object, *names: str) -> None:
    """Check that settings lie between 0 and 1, both included. See `check_at_least_one`."""
    for name in names:
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise TrainingError(f"{name} is {getattr(config, name)}; expected a number from 0 to 1")


def check_positive(config: object, *names: str) -> None:
    """Check that settings are above 0; NaN is not. See `check_at_least_one`."""
    for name in names:
        if not getattr(config, name) > 0.0:
            raise TrainingError(f"{name} is {getattr(config, name)}; expected a number above 0")


def check_not_negative(config: object, *names: str) -> None:
    """Check that settings are 0 or more; NaN is not. See `check_at_least_one`."""
    for name in names:
        if not getattr(config, name) >= 0:
            raise TrainingError(f"{name} is {getattr(config, name)}; expected 0 or more")


def check_choice(config: object, name: str, choices: Sequence[str]) -> None:
    """Check that a setting is one of `choices`. See `check_at_least_one`."""
    if getattr(config, name) not in choices:
        raise TrainingError(f"{name} is {getattr(config, name)!r}; choose one of {', '.join(choices)}")
