"""Turn episodes, stored per frame, into decisions of a policy that acts every `frame_skip` frames."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.episode import Episode, action_indices
from qwop_datasets.errors import DatasetError
from qwop_datasets.reader import DatasetReader
from qwop_game import action_masks, canonical_keys, encode, hip_modes, last_keys


@dataclass(frozen=True)
class Decisions:
    """One episode as M decisions.

    features: float32 [M + 1, D], what the policy sees before each decision, and after the last one
    actions: int64 [M], index in the action set
    starts: int64 [M], frame at which each decision was taken
    kept: share of the frames whose keys do the same in the engine as their decision's action
    determined: bool [M], decisions none of whose frames is Episode.undetermined; None: all
    """

    features: NDArray[np.float32]
    actions: NDArray[np.int64]
    starts: NDArray[np.int64]
    kept: float
    determined: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if not len(self.features) - 1 == len(self.actions) == len(self.starts):
            raise ValueError("features, actions and starts differ in length")

    def __len__(self) -> int:
        return len(self.actions)


def decisions_of(episode: Episode, frame_skip: int, action_set: str = "distinct") -> Decisions:
    """Cut an episode into windows of `frame_skip` frames; each window is one decision.

    The action of a window is the one that is held for most of its frames; after a tie, the first. The first
    window starts at the first frame with a key, because waiting before it is not a decision, or up to
    frame_skip - 1 frames later: where the windows fit the changes of keys best. For a policy's episode, this
    finds its decisions as they were. The last window may be shorter.

    Args:
        episode: The episode.
        frame_skip: Frames per decision.
        action_set: Name of the action set.

    Raises:
        ValueError: The action set has no action for the episode's keys.
    """
    keys = canonical_keys(episode.keys)  # W has no effect with Q, P has none with O
    pressed = np.flatnonzero(keys)
    first = int(pressed[0]) if len(pressed) else 0
    held = action_indices(keys, action_set).astype(np.int64)
    held_mask = canonical_keys(action_masks(action_set))[held]

    best: tuple[float, int, NDArray[np.int64]] | None = None
    for start in range(first, min(first + frame_skip, len(keys))):
        actions = _most_held(held[start:], frame_skip)
        chosen_mask = canonical_keys(action_masks(action_set))[np.repeat(actions, frame_skip)]
        kept = float((chosen_mask[: len(keys) - start] == held_mask[start:]).mean())
        if best is None or kept > best[0]:
            best = kept, start, actions
    assert best is not None
    kept, start, actions = best
    starts = np.arange(start, len(keys), frame_skip)
    rows = np.append(starts, len(keys))
    features = encode(
        episode.raw_observations[rows], hip_modes(episode.keys)[rows], last_keys(episode.keys)[rows]
    )
    determined = None
    if episode.undetermined is not None:
        determined = ~np.logical_or.reduceat(episode.undetermined, starts)
    return Decisions(features, actions, starts, kept, determined)


def _most_held(held: NDArray[np.int64], frame_skip: int) -> NDArray[np.int64]:
    """Return the action held longest in each window: int64 [T] per frame -> int64 [ceil(T / frame_skip)]."""
    padded = np.full(-(-len(held) // frame_skip) * frame_skip, -1)
    padded[: len(held)] = held
    windows = padded.reshape(-1, frame_skip)
    same = windows[:, :, None] == windows[:, None, :]  # [M, frame, other frame]
    # argmax returns the first of equal counts, so the earlier action wins a tie
    most = np.where(windows >= 0, same.sum(axis=2), 0).argmax(axis=1)
    return windows[np.arange(len(windows)), most]


def load_decisions(
    path: str | os.PathLike[str], frame_skip: int, action_set: str = "distinct", where: str = ""
) -> tuple[list[Episode], list[Decisions]]:
    """Read episodes and their decisions. Of episodes with equal keys it returns only one.

    A copy of a training episode in the validation set would make the validation loss too low.

    Args:
        path: The dataset.
        frame_skip: Frames per decision.
        action_set: Name of the action set.
        where: A filter, see filters.py.

    Raises:
        DatasetError: The file is not a dataset or is damaged, there are no episodes, or keys have no action.
    """
    with DatasetReader(path, where) as reader:
        episodes = list({episode.keys.tobytes(): episode for episode in reader}.values())
    if not episodes:
        matching = f" that match {where!r}" if where else ""
        raise DatasetError(f"{path}: no episodes{matching}; record some with qwop-record")
    try:
        return episodes, [decisions_of(episode, frame_skip, action_set) for episode in episodes]
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None
