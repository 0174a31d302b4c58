"""Keys between two moments of a game of which only the numbers are known, as in a sampled log."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwop_game.observation import OBSERVATION_SIZE
from qwop_game.simulator import native_library

MAX_SEARCH_FRAMES = 16  # as qwop.h has it


class _Target(ctypes.Structure):
    """qwop_target of qwop.h."""

    _fields_ = [
        ("numbers", ctypes.c_double * OBSERVATION_SIZE),
        ("reward", ctypes.c_double),
        ("relative", ctypes.c_int32),
        ("by_reward", ctypes.c_int32),
        ("min_frames", ctypes.c_int32),
        ("max_frames", ctypes.c_int32),
        ("max_changes", ctypes.c_int32),
        ("last_keys", ctypes.c_int32),
        ("most", ctypes.c_int32),
        ("is_given", ctypes.c_int32),
        ("given", ctypes.c_uint8 * MAX_SEARCH_FRAMES),
    ]


@dataclass(frozen=True)
class FoundKeys:
    """A sequence of keys, and the game that it leads to."""

    keys: bytes
    """A mask per frame."""
    snapshot: NDArray[np.uint8]
    """uint8 [S]."""


def find_keys(
    snapshot: NDArray[np.uint8],
    sample: NDArray[np.float64] | None,
    *,
    relative: bool = False,
    reward: float = 0.0,
    ended: bool = True,
    frames: tuple[int, int] = (1, 4),
    changes: int = 1,
    last_keys: int = 0,
    given: bytes | None = None,
    most: int = 64,
) -> list[FoundKeys]:
    """Search the keys that lead from a snapshot to a sample of the state, or to a reward.

    Sequences with keys that have no effect on the sample are found too: all that differ from one found by a
    chain of single frames.

    Args:
        snapshot: uint8 [S], from `Simulator.snapshot`.
        sample: float64 [60], the exact numbers in the order of a raw observation; None: search by the
            reward.
        relative: Whether each x of the sample is measured from the torso's.
        reward: From the snapshot to the end of the keys, by QWOP-RL's formula, where `sample` is None.
        ended: The run has to be over then.
        frames: The least and the most frames, at most MAX_SEARCH_FRAMES.
        changes: The most changes of keys; the first frame counts from `last_keys`.
        last_keys: The mask of the frame before.
        given: Look at this sequence alone, and at what differs from it without effect.
        most: The most sequences to return.

    Raises:
        ValueError: The snapshot is none of this engine, or a number is out of range.
    """
    least, longest = frames if given is None else (len(given), len(given))
    if not 0 <= least <= longest <= MAX_SEARCH_FRAMES or not 1 <= most <= 4096 or not 0 <= last_keys <= 15:
        raise ValueError(f"can't search {least} to {longest} frames for {most} sequences")
    library = native_library()
    size: int = library.qwop_snapshot_size()
    snapshot = np.array(snapshot, np.uint8, order="C")
    if snapshot.shape != (size,):
        raise ValueError(f"the snapshot has shape {list(snapshot.shape)}, expected [{size}]")
    target = _Target(
        reward=reward,
        relative=relative,
        by_reward=0 if sample is not None else 1 if ended else 2,
        min_frames=least,
        max_frames=longest,
        max_changes=changes,
        last_keys=last_keys,
        most=most,
        is_given=given is not None,
    )
    if given is not None:
        target.given[: len(given)] = given
    if sample is not None:
        target.numbers[:] = np.asarray(sample, np.float64).tolist()
    keys = np.empty((most, MAX_SEARCH_FRAMES), np.uint8)
    counts = np.empty(most, np.int32)
    snapshots = np.empty((most, size), np.uint8)
    found: int = library.qwop_find_keys(
        snapshot.ctypes.data,
        ctypes.addressof(target),
        keys.ctypes.data,
        counts.ctypes.data,
        snapshots.ctypes.data,
    )
    if found < 0:
        raise ValueError("these bytes are no snapshot of this engine: take them from Simulator.snapshot()")
    return [FoundKeys(keys[i, : counts[i]].tobytes(), snapshots[i].copy()) for i in range(found)]
