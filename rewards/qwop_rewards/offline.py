"""Rewards of stored runs, equal to those that the environment pays for the same decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qwop_rewards.function import make_reward
from qwop_rewards.transition import Transition


class StoredRun(Protocol):
    """The fields of `qwop_datasets.Episode` that rewards are computed from."""

    @property
    def keys(self) -> NDArray[np.uint8]: ...
    @property
    def raw_observations(self) -> NDArray[np.float32]: ...
    @property
    def times(self) -> NDArray[np.float64]: ...
    @property
    def terminated(self) -> bool: ...
    @property
    def success(self) -> bool: ...


Run = TypeVar("Run", bound=StoredRun)


@dataclass(frozen=True)
class RunReward:
    """The rewards of one stored run."""

    rewards: NDArray[np.float32]
    """Reward per decision, float32 [S]. A failed run ends at its failure."""
    failed_frame: int | None
    """Frame at which the knee rule ended the run; None if it did not."""

    @property
    def total(self) -> float:
        """Undiscounted return."""
        return float(self.rewards.sum(dtype=np.float64))


def run_rewards(name: str, runs: Sequence[StoredRun], frame_skip: int = 4, **options: Any) -> list[RunReward]:
    """Compute the rewards of stored runs.

    As in the environment, the last decision of a run may be shorter than `frame_skip` frames. The key mask of
    a decision is that of its first frame.

    Args:
        name: name of the reward, see `make_reward`.
        runs: the runs.
        frame_skip: frames per decision, 1 or more.
        **options: options of the reward, see `make_reward`.

    Returns:
        The rewards of each run.

    Raises:
        ValueError: the reward or an option is unknown, or a value is out of range.
    """
    if frame_skip < 1:
        raise ValueError(f"frame_skip is {frame_skip}: it must be 1 or more")
    if not runs:
        make_reward(name, 1, **options)  # an unknown name is an error even without runs
        return []
    reward = make_reward(name, len(runs), **options)
    reward.reset(np.ones(len(runs), bool))
    frames = np.array([len(run.keys) for run in runs])
    decisions = -(-frames // frame_skip)
    rewards = np.zeros((int(decisions.max()), len(runs)), np.float32)
    ended_at = decisions.copy()  # decisions until a run ended or failed
    failed_frame: list[int | None] = [None] * len(runs)
    for step in range(len(rewards)):
        if not (ended_at > step).any():
            break
        # A run that has ended repeats its last frame; the rewards after its end are dropped below.
        before = np.minimum(step * frame_skip, frames)
        after = np.minimum((step + 1) * frame_skip, frames)
        last = decisions - 1 == step
        rewards[step], failed = reward(
            Transition(
                raw=_rows(runs, "raw_observations", before),
                next_raw=_rows(runs, "raw_observations", after),
                time=_rows(runs, "times", before),
                next_time=_rows(runs, "times", after),
                terminated=last & np.array([run.terminated for run in runs]),
                success=last & np.array([run.success for run in runs]),
                keys=_rows(runs, "keys", np.minimum(before, frames - 1)),
                frames=frame_skip,
            )
        )
        for index in np.flatnonzero(failed & (ended_at > step)):
            failed_frame[index] = int(after[index])
            ended_at[index] = step + 1
    return [RunReward(rewards[:n, i].copy(), failed_frame[i]) for i, n in enumerate(ended_at)]


def batches(runs: Iterable[Run], size: int = 128) -> Iterator[list[Run]]:
    """Yield runs in lists of up to `size`, so that a file may be larger than memory."""
    batch: list[Run] = []
    for run in runs:
        batch.append(run)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _rows(runs: Sequence[StoredRun], field: str, at: NDArray[np.integer[Any]]) -> NDArray[Any]:
    return np.stack([getattr(run, field)[row] for run, row in zip(runs, at, strict=True)])
