"""Key masks, the action sets, and what the game remembers of earlier keys.

A key mask is a uint8: Q = 1, W = 2, O = 4, P = 8, held during one frame.

The engine reads Q before W and O before P: with Q held, W does nothing; with O held, P does nothing.
So the 16 masks have 9 different effects, and `canonical_keys` returns one mask for each effect.
"""

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_Q, KEY_W, KEY_O, KEY_P = 1, 2, 4, 8
KEY_NAMES = "QWOP"  # bit i of a mask is KEY_NAMES[i]

HIP_AS_CREATED, HIP_SET_BY_O, HIP_SET_BY_P = 0, 1, 2
NUM_HIP_MODES = 3


def _read_only(masks: list[int]) -> NDArray[np.uint8]:
    array = np.array(masks, dtype=np.uint8)
    array.flags.writeable = False
    return array


_FULL = [sum(keys) for n in range(5) for keys in combinations((KEY_Q, KEY_W, KEY_O, KEY_P), n)]
# qwop-gym's reduced_action_set omits these as redundant, but they are not.
_NOT_IN_REDUCED = {KEY_Q | KEY_O, KEY_W | KEY_P}

ACTION_SETS: dict[str, NDArray[Any]] = {
    # qwop-gym's 16 actions in its order: -, Q, W, O, P, QW, QO, QP, WO, WP, OP, QWO, QWP, QOP, WOP, QWOP
    "full": _read_only(_FULL),
    # qwop-gym's 9 with reduced_action_set=True: -, Q, W, O, P, QW, QP, WO, OP
    "reduced": _read_only([m for m in _FULL if m.bit_count() <= 2 and m not in _NOT_IN_REDUCED]),
    # the 9 that differ, index = 3 * {none, Q, W} + {none, O, P}: -, O, P, Q, QO, QP, W, WO, WP
    "distinct": _read_only([thighs | calves for thighs in (0, KEY_Q, KEY_W) for calves in (0, KEY_O, KEY_P)]),
}

_MASKS = np.arange(16, dtype=np.uint8)
_CANONICAL = _MASKS.copy()
_CANONICAL[(_MASKS & KEY_Q) > 0] &= 0xFF ^ KEY_W
_CANONICAL[(_MASKS & KEY_O) > 0] &= 0xFF ^ KEY_P
_DISTINCT_ACTION = np.array([int(np.flatnonzero(ACTION_SETS["distinct"] == m)[0]) for m in _CANONICAL])
# hip mode that a mask sets, or 255 if neither O nor P is held, so that the mode stays
_MODE_STAYS = 255
_MODE_SET = np.select(
    [_MASKS & KEY_O > 0, _MASKS & KEY_P > 0], [HIP_SET_BY_O, HIP_SET_BY_P], _MODE_STAYS
).astype(np.uint8)


def action_masks(name: str) -> NDArray[np.uint8]:
    """Return an action set as key masks, uint8 [A] (read-only). Raises ValueError for an unknown name."""
    if name not in ACTION_SETS:
        raise ValueError(f"action_set {name!r} is unknown: choose one of {', '.join(ACTION_SETS)}")
    return ACTION_SETS[name]


def canonical_keys(keys: NDArray[np.uint8] | int) -> NDArray[np.uint8]:
    """Remove the keys that the engine ignores: W if Q is held, P if O is held. uint8, same shape."""
    return _CANONICAL[keys]


def actions_by_keys(action_masks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the action for each of the 16 key masks, or the one with the same effect: int64 [16].

    It is 0, no keys, if there is none: qwop-gym's reduced set has neither QO nor WP.
    """
    same: NDArray[np.bool_] = canonical_keys(action_masks)[None, :] == _CANONICAL[:, None]
    exact: NDArray[np.bool_] = action_masks[None, :] == _MASKS[:, None]

    nearest: NDArray[np.int64] = same.argmax(axis=1) * same.any(axis=1)
    return np.where(exact.any(axis=1), exact.argmax(axis=1), nearest)


def distinct_action(keys: NDArray[np.uint8] | int) -> NDArray[np.int64]:
    """Return the action of the `distinct` set with the same effect as each key mask. int64, same shape."""
    return _DISTINCT_ACTION[keys]


def key_text(mask: int) -> str:
    """Return a key mask as text: "QP" for 9, "-" for 0."""
    return "".join(name for bit, name in enumerate(KEY_NAMES) if mask >> bit & 1) or "-"


def check_keys_and_modes(keys: NDArray[np.uint8], hip_mode: NDArray[np.uint8]) -> None:
    """Raise ValueError for stored key masks or hip modes that do not exist."""
    if (keys >= len(_MASKS)).any() or (hip_mode >= NUM_HIP_MODES).any():
        raise ValueError("the state has keys that are not 0 to 15, or hip modes that are not 0 to 2")


def next_hip_modes(hip_mode: NDArray[np.uint8], keys: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the hip modes after one or more frames with `keys` held. uint8, broadcast shape of the two."""
    chosen = _MODE_SET[keys]
    return np.where(chosen == _MODE_STAYS, hip_mode, chosen).astype(np.uint8, copy=False)


def hip_modes(keys: NDArray[np.uint8], start: int = HIP_AS_CREATED) -> NDArray[np.uint8]:
    """Return the hip mode before each frame: uint8 [T] keys -> uint8 [T + 1] modes.

    Mode t applies before frame t, the last one after all frames. O sets mode 1, P mode 2 (O wins), and the
    mode stays after release. `start` is the mode before the first frame.
    """
    set_by = np.concatenate([np.array([start], np.uint8), _MODE_SET[np.asarray(keys, np.uint8)]])
    # index of the latest frame that set a mode; row 0 always counts as one
    latest = np.maximum.accumulate(np.where(set_by != _MODE_STAYS, np.arange(len(set_by)), 0))
    return set_by[latest]


def last_keys(keys: NDArray[np.uint8], start: int = 0) -> NDArray[np.uint8]:
    """Return the keys held one frame earlier: uint8 [T] -> uint8 [T + 1]; the first is `start`."""
    return np.concatenate([np.array([start], np.uint8), np.asarray(keys, np.uint8)])
