"""Keys of several runs in one array, two frames a byte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def packed(runs: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pack key masks of runs.

    Args:
        runs: N arrays of key masks, uint8 [T_i].

    Returns:
        Bytes of two masks each, the first one in the low half, uint8; and the lengths, int64 [N].
    """
    keys = np.concatenate([np.zeros(0, np.uint8), *runs])
    keys = np.append(keys, np.zeros(len(keys) % 2, np.uint8))
    data = (keys[0::2] | keys[1::2] << 4).astype(np.uint8)
    return data, np.array([len(run) for run in runs], np.int64)


def unpacked(data: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Undo `packed`.

    Raises:
        ValueError: the lengths do not fit the bytes.
    """
    if data.dtype != np.uint8 or data.ndim != 1 or lengths.dtype != np.int64 or lengths.ndim != 1:
        raise ValueError("the keys are not uint8 [B] with lengths int64 [N]")
    keys = np.stack([data & 15, data >> 4], axis=1).reshape(-1).astype(np.uint8)
    total = sum(lengths.tolist())  # exact: lengths of a hostile file may overflow an int64
    if (lengths < 0).any() or len(keys) != total + total % 2:
        raise ValueError(f"the keys have {len(keys)} frames, the lengths say {total}")
    ends = np.cumsum(lengths).tolist()
    return [keys[end - length : end] for end, length in zip(ends, lengths.tolist(), strict=True)]
