"""Reward functions: a weighted sum of named terms, optionally with the knee rule."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwop_game.gait import KNEE_NEAR_METERS
from qwop_rewards.terms import (
    Alternation,
    Default,
    Energy,
    Knee,
    KneeRule,
    Speed,
    Stride,
    Switches,
    Torso,
    Upright,
)
from qwop_rewards.transition import Transition

TERMS: dict[str, type] = {
    "default": Default,
    "torso": Torso,
    "stride": Stride,
    "speed": Speed,
    "alternation": Alternation,
    "knee": Knee,
    "upright": Upright,
    "energy": Energy,
    "switches": Switches,
}
"""Name of each term that `make_reward` and `qwop-rewards compare` know."""

STRIDE_KNEE_SECONDS = 1.0
"""Default of `knee_seconds`, s, if the sum has the term `stride`."""


class Term(Protocol):
    """Interface of the classes in `qwop_rewards.terms`."""

    memory: dict[str, NDArray[Any]]

    def reset(self, mask: NDArray[np.bool_]) -> None: ...
    def __call__(self, transition: Transition) -> NDArray[np.floating[Any]]: ...


class RewardFunction:
    """Weighted sum of terms for N games, optionally with the knee rule. `make_reward` builds it."""

    def __init__(self, terms: Sequence[tuple[float, Term]], knee_rule: KneeRule | None = None) -> None:
        self._terms = tuple(terms)
        self._knee_rule = knee_rule
        remembering = [term for _, term in self._terms] + ([knee_rule] if knee_rule is not None else [])
        self._memory = {
            f"{type(part).__name__}.{name}": array
            for part in remembering
            for name, array in part.memory.items()
        }

    def reset(self, mask: NDArray[np.bool_]) -> None:
        """Forget what is remembered of the games of `mask`, bool [N], which start an episode."""
        for _, term in self._terms:
            term.reset(mask)
        if self._knee_rule is not None:
            self._knee_rule.reset(mask)

    def __call__(self, transition: Transition) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Compute the rewards of one step. Steps must come in order of time.

        Args:
            transition: the step of N games.

        Returns:
            reward: float32 [N].
            failed: bool [N], games that the knee rule ends here. The terms see them as terminated without
                success, so a failure costs as much as a fall. A game that the game itself ended in this step
                has not failed.
        """
        if self._knee_rule is None:
            failed = np.zeros(len(transition.terminated), bool)
        else:
            failed = self._knee_rule(transition) & ~transition.terminated
            transition = replace(transition, terminated=transition.terminated | failed)
        total = np.zeros(len(failed), np.float64)
        for weight, term in self._terms:
            total += weight * term(transition)
        return total.astype(np.float32), failed

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Return what the function remembers of the N games, for `set_state`: name to array [N]."""
        return {name: array.copy() for name, array in self._memory.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `get_state` returned. Raises ValueError for the state of another reward."""
        shapes = {name: array.shape for name, array in state.items()}
        expected = {name: array.shape for name, array in self._memory.items()}
        if shapes != expected:
            raise ValueError(f"this reward remembers {expected}, the state holds {shapes}")
        for name, array in state.items():
            self._memory[name][:] = array

    def __getstate__(self) -> bytes:
        # The terms write into arrays that `_memory` shares. A pickle within the pickle keeps them shared, and
        # keeps them writable if the reader puts arrays into read-only memory, as Ray does.
        return pickle.dumps(self.__dict__)

    def __setstate__(self, state: bytes) -> None:
        self.__dict__.update(pickle.loads(state))


def make_reward(name: str, num_envs: int, **options: Any) -> RewardFunction:
    """Return a reward function by name.

    Args:
        name: a term ("default", "torso", "stride", "speed", "alternation", "knee", "upright", "energy")
            or a weighted sum of them: "stride+0.5*alternation".
        num_envs: number N of games.
        **options: options of the terms (see their classes) and of the knee rule: an episode fails when a knee
            stays within `knee_meters` (0.12) of the track for `knee_seconds`. The default of `knee_seconds`
            is 1.0 if the sum has `stride`, else None (or "none"), which means no rule. With 0 an episode
            fails at the first step that ends with a knee there.

    Raises:
        ValueError: a name or option is unknown, or a value is out of range; one line with the choices.
    """
    weights = parse_name(name)
    default_knee_seconds = STRIDE_KNEE_SECONDS if "stride" in weights else None
    knee_seconds = options.pop("knee_seconds", default_knee_seconds)
    knee_meters = _number("knee_meters", options.pop("knee_meters", KNEE_NEAR_METERS))
    accepted = {term: _options_of(TERMS[term]) for term in weights}
    for option in options:
        if not any(option in names for names in accepted.values()):
            known = sorted(
                {"knee_meters", "knee_seconds", *(n for names in accepted.values() for n in names)}
            )
            raise ValueError(f"reward {name!r} has no option {option!r}: choose from {', '.join(known)}")
    numbers = {option: _number(option, value) for option, value in options.items()}
    terms = [
        (weight, TERMS[term](num_envs, **{k: v for k, v in numbers.items() if k in accepted[term]}))
        for term, weight in weights.items()
    ]
    if knee_seconds is None or knee_seconds == "none":
        return RewardFunction(terms)
    return RewardFunction(terms, KneeRule(num_envs, _number("knee_seconds", knee_seconds), knee_meters))


def parse_name(name: str) -> dict[str, float]:
    """Return the terms and weights in a reward's name: "stride+0.5*knee" -> {"stride": 1.0, "knee": 0.5}.

    Raises ValueError (one line) for anything else.
    """
    weights: dict[str, float] = {}
    for part in name.split("+"):
        match = re.fullmatch(r"\s*(?:(\d+(?:\.\d*)?|\.\d+)\s*\*\s*)?([a-z_]+)\s*", part)
        if match is None or match[2] not in TERMS:
            known = ", ".join(TERMS)
            raise ValueError(f"unknown reward {name!r}: choose from {known}, or a sum: stride+0.5*knee")
        if match[2] in weights:
            raise ValueError(f"reward {name!r} names {match[2]} twice: give it one weight")
        weights[match[2]] = float(match[1] or 1.0)
    return weights


def parse_options(assignments: Sequence[str]) -> dict[str, str]:
    """Return options such as "power=1.6" as a mapping. Values stay text; `make_reward` reads them.

    Raises ValueError if one is not NAME=VALUE or comes twice.
    """
    options: dict[str, str] = {}
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if not (option and equals and value):
            raise ValueError(f"reward option {assignment!r} is not NAME=VALUE, such as power=1.6")
        if option in options:
            raise ValueError(f"reward option {option!r} is given twice")
        options[option] = value
    return options


def _options_of(term: type) -> list[str]:
    return [name for name in inspect.signature(term).parameters if name != "num_envs"]


def _number(option: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"reward option {option} is {value!r}: it must be a number") from None
    if not np.isfinite(number):
        raise ValueError(f"reward option {option} is {value!r}: it must be finite")
    return number
