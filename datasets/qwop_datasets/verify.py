"""Verify episodes: replay their keys and compare every observation bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from qwop_datasets.episode import VERIFIED_EXACT, Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import Replay, replay_keys
from qwop_datasets.format import OBSERVATION_FIELDS
from qwop_datasets.reader import DatasetReader

LANES = 64
PART = 8 * LANES  # episodes of one task: some seconds
CLOCK_TOLERANCE = 1e-6  # s; the real game's clock may start at another value, so its rounding differs


@dataclass(frozen=True)
class Verification:
    """The result of a replay. All fields but `exact` are None if it is exact."""

    exact: bool
    frame: int | None = None
    """The first observation that differs: 0 is the start, t the observation after t frames."""
    field: str | None = None
    """The field that differs most there, such as "torso.x"; or "time", "terminated", "success"."""
    stored: float | None = None
    replayed: float | None = None

    @property
    def text(self) -> str:
        """Text for Episode.verified: "exact", or "differs: ..." with frame, field and amount."""
        if self.exact:
            return VERIFIED_EXACT
        if self.stored is None or self.replayed is None:
            raise ValueError("an inexact verification needs frame, field and values")
        amount = abs(self.stored - self.replayed)
        numbers = f"{self.stored:.9g} stored, {self.replayed:.9g} replayed"
        return f"differs: frame {self.frame}, {self.field} by {amount:.3g} ({numbers})"


def verify_episode(episode: Episode, *, engine: str = "auto") -> Verification:
    """Replay one episode and compare every raw observation with ==. A 100 m run takes milliseconds.

    Args:
        episode: The episode.
        engine: The simulator's engine, see `Simulator`.
    """
    return next(verify_episodes([episode], engine=engine))


def verify_episodes(
    episodes: Iterable[Episode], *, lanes: int = LANES, engine: str = "auto"
) -> Iterator[Verification]:
    """Replay episodes and compare every raw observation with ==. Each uses its own variant, Episode.trig.

    Args:
        episodes: Read on demand: at most `lanes` are in memory.
        lanes: Episodes to replay at once.
        engine: The simulator's engine, see `Simulator`.

    Yields:
        A result per episode, in order.
    """
    iterator = iter(episodes)
    while batch := list(islice(iterator, lanes)):
        results: dict[int, Verification] = {}
        # One simulator per game and variant: after a fall, the runner of the real game keeps sliding, and
        # that of the embedded game stops.
        for game, trig in sorted({(episode.game, episode.trig) for episode in batch}):
            chosen = [i for i, e in enumerate(batch) if (e.game, e.trig) == (game, trig)]
            played = [batch[i].keys for i in chosen]
            starts = [batch[i].start for i in chosen]
            stop = game == "embedded"
            replays = replay_keys(played, starts=starts, stop_at_end=stop, engine=engine, trig=trig)
            results |= {i: compare_replay(batch[i], r) for i, r in zip(chosen, replays, strict=True)}
        for i in range(len(batch)):
            yield results[i]


@dataclass(frozen=True)
class PartToVerify:
    """Some episodes of a file: a task."""

    path: Path
    """Absolute; the same on every node."""
    numbers: tuple[int, ...]
    ids: tuple[str, ...]
    """Their ids, to find out if the file is another one on a node."""


def verify_part(engine: str, part: PartToVerify) -> dict[int, str]:
    """Verify some episodes of a file. Returns `Verification.text` by number.

    Raises:
        DatasetError: the file can't be read where the task runs, or has other episodes there.
    """

    def episodes(reader: DatasetReader) -> Iterator[Episode]:
        for number, identity in zip(part.numbers, part.ids, strict=True):
            if number >= len(reader) or (episode := reader[number]).id != identity:
                raise DatasetError(f"{part.path}: a node has another file there; mount one folder on all")
            yield episode

    with DatasetReader(part.path) as reader:
        checks = verify_episodes(episodes(reader), engine=engine)
        return {number: result.text for number, result in zip(part.numbers, checks, strict=True)}


def compare_replay(episode: Episode, replayed: Replay) -> Verification:
    """Compare an episode with the replay of its keys."""
    stored, again = episode.raw_observations, replayed.raw_observations
    rows = np.flatnonzero((stored != again).any(axis=1))
    if len(rows):
        frame = int(rows[0])
        worst = int(np.abs(stored[frame].astype(np.float64) - again[frame]).argmax())
        field = OBSERVATION_FIELDS[worst]
        return Verification(False, frame, field, float(stored[frame, worst]), float(again[frame, worst]))
    clock, clock_again = episode.times - episode.times[0], replayed.times - replayed.times[0]
    frames = np.flatnonzero(np.abs(clock - clock_again) > CLOCK_TOLERANCE)
    if len(frames):
        frame = int(frames[0])
        return Verification(False, frame, "time", float(clock[frame]), float(clock_again[frame]))
    last = episode.num_frames
    if episode.terminated != replayed.over:
        return Verification(False, last, "terminated", float(episode.terminated), float(replayed.over))
    if episode.success != replayed.finished:
        return Verification(False, last, "success", float(episode.success), float(replayed.finished))
    return Verification(True)
