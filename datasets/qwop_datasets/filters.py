"""Choose episodes by their index rows: `source=human success time<60 knee_share<0.02`.

A filter is a list of conditions, separated by spaces. All of them must hold. `trig == 'rounded'` means the
same as `trig=rounded`.

    name            a flag that is set: success, terminated, truncated, fallen, verified
    !name           a flag that is not
    name=value      also != < <= > >=; texts allow = and != only
    trig=rounded    played with that variant of sine and cosine
    mask=train      in the stored mask `train`
    tag=warmup      has the tag `warmup`
    number=7        number in the file, from 0
    id=3f2a         the first digits of the id are enough
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.errors import DatasetError

_TEXTS = ("created", "source", "player", "game", "trig", "action_set")
_NUMBERS = ("frames", "time", "distance", "knee_share", "upright_share", "strides", "number")
_FLAGS = ("success", "terminated", "truncated", "fallen", "verified")
_CONDITION = re.compile(r"^(?P<name>[a-z_]+)(?:(?P<compare>!=|<=|>=|=|<|>)(?P<value>.*))?$")
_OPERATOR = re.compile(r"\s*(==|!=|<=|>=|=|<|>)\s*")
_COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matching(
    index: NDArray[np.void], where: str, masks: Mapping[str, NDArray[np.bool_]] | None = None
) -> NDArray[np.bool_]:
    """Apply a filter to the rows of an index. An unknown figure (NaN) matches no comparison.

    Args:
        index: INDEX_DTYPE [N].
        where: The filter.
        masks: Stored masks by name, bool [N].

    Returns:
        Whether each row matches, bool [N].

    Raises:
        DatasetError: The filter is wrong.
    """
    chosen = np.ones(len(index), bool)
    for condition in _OPERATOR.sub(lambda match: match[1].replace("==", "="), where).split():
        negated = condition.startswith("!")
        match = _CONDITION.match(condition.removeprefix("!"))
        if not match or (negated and match["compare"]):
            raise DatasetError(f"filter {condition!r}: write name, !name, or name=value (= != < <= > >=)")
        name, compare, value = match["name"], match["compare"], match["value"]
        if value and len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if compare is None:
            hit = _flag(index, name, condition)
            chosen &= ~hit if negated else hit
        else:
            chosen &= _compared(index, name, compare, value, condition, masks or {})
    return chosen


def _flag(index: NDArray[np.void], name: str, condition: str) -> NDArray[np.bool_]:
    if name not in _FLAGS:
        raise DatasetError(f"filter {condition!r}: no such flag; there are {', '.join(_FLAGS)}")
    if name == "fallen":
        return index["terminated"] & ~index["success"]
    return index[name] == 1


def _compared(
    index: NDArray[np.void],
    name: str,
    compare: str,
    value: str,
    condition: str,
    masks: Mapping[str, NDArray[np.bool_]],
) -> NDArray[np.bool_]:
    if name in _NUMBERS:
        try:
            number = float(value)
        except ValueError:
            raise DatasetError(f"filter {condition!r}: {value!r} is not a number") from None
        column = np.arange(len(index)) if name == "number" else index[name]
        if name == "strides":
            column = np.where(column < 0, np.nan, column)
        return _COMPARE[compare](column, number) & ~np.isnan(column)
    if name not in (*_TEXTS, *_FLAGS, "tag", "mask", "id"):
        known = ", ".join((*_NUMBERS, *_TEXTS, "tag", "mask", "id", *_FLAGS))
        raise DatasetError(f"filter {condition!r}: unknown name; there are {known}")
    if compare not in ("=", "!="):
        raise DatasetError(f"filter {condition!r}: {name} allows = and != only")
    if name in _FLAGS:
        truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            value.lower()
        )
        if truth is None:
            raise DatasetError(f"filter {condition!r}: a flag is true or false")
        hit = _flag(index, name, condition) == truth
    elif name == "tag":
        hit = np.array([value.encode() in tags.split() for tags in index["tags"].tolist()], bool)
    elif name == "id":
        hit = np.char.startswith(index["id"], value.encode()) if len(index) else np.zeros(0, bool)
    elif name == "mask":
        if value not in masks:
            there = f"there are {', '.join(masks)}" if masks else "the file has none (see qwop-data split)"
            raise DatasetError(f"filter {condition!r}: no such mask; {there}")
        hit = masks[value]
    else:
        hit = index[name] == value.encode()
    return hit if compare == "=" else ~hit
