"""Reward functions: a sum of named terms and, where asked for, the knee rule."""

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
}
"""Every term's name: what `make_reward` adds up and `qwop-rewards compare` lists."""

STRIDE_KNEE_SECONDS = 1.0
"""With the term `stride` the knee rule holds unless told otherwise."""


class Term(Protocol):
    """What the classes of `qwop_rewards.terms` share."""

    memory: dict[str, NDArray[Any]]

    def reset(self, mask: NDArray[np.bool_]) -> None: ...
    def __call__(self, transition: Transition) -> NDArray[np.floating]: ...


class RewardFunction:
    """The weighted sum of terms over N games, with the knee rule where there is one."""

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
        """Forget the games where `mask`, bool [N], is true: their episodes start anew."""
        for _, term in self._terms:
            term.reset(mask)
        if self._knee_rule is not None:
            self._knee_rule.reset(mask)

    def __call__(self, transition: Transition) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """One step of every game, in order of time: reward float32 [N], failed bool [N].

        `failed` games were ended by the knee rule; the terms see them as terminated without success, so a
        failure costs what a fall costs. A game that ended by itself in this step has not failed.
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
        """What the function remembers of the N games, for `set_state`: name -> array [N]."""
        return {name: array.copy() for name, array in self._memory.items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where `get_state` was called. Raises ValueError for the state of another reward."""
        shapes = {name: array.shape for name, array in state.items()}
        expected = {name: array.shape for name, array in self._memory.items()}
        if shapes != expected:
            raise ValueError(f"this reward remembers {expected}, the state holds {shapes}")
        for name, array in state.items():
            self._memory[name][:] = array

    def __getstate__(self) -> bytes:
        # The terms write into arrays that `_memory` shares. A pickle within the pickle keeps them shared, and
        # writable where whoever unpickles would put arrays into read-only memory, as Ray does.
        return pickle.dumps(self.__dict__)

    def __setstate__(self, state: bytes) -> None:
        self.__dict__.update(pickle.loads(state))


def make_reward(name: str, num_envs: int, **options: Any) -> RewardFunction:
    """A reward function by name.

    Args:
        name: a term ("default", "torso", "stride", "speed", "alternation", "knee", "upright", "energy")
            or a weighted sum of them: "stride+0.5*alternation".
        num_envs: N, the games that it will see.
        options: of the named terms (see their classes) and of the knee rule: a knee that stays within
            `knee_meters` (0.12) of the track for `knee_seconds` fails the episode. knee_seconds is 1.0 if the
            sum has `stride`, else None (or "none"): no rule. 0 fails at the first step that ends so.

    Raises:
        ValueError: an unknown name or option, or a value out of range; one line that names the choices.
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
    """Terms and weights of a reward's name: "stride+0.5*knee" -> {"stride": 1.0, "knee": 0.5}.

    Raises ValueError, in one line, for anything else.
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
    """Command-line options "power=1.6" as a mapping; values stay text until `make_reward` reads them.

    Raises ValueError where one is no NAME=VALUE or comes twice.
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
