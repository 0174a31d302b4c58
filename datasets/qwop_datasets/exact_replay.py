"""Replay stored keys: many episodes at once, one per lane of the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qwop_game import DEFAULT_TRIG, Simulator
from qwop_game.rules import FLAG_GAME_ENDED, FLAG_JUMP_LANDED, has_finished, is_over


@dataclass(frozen=True)
class Replay:
    """The replay of T keys from the start of an episode: observations, clock and flags."""

    raw_observations: NDArray[np.float32]
    """float32 [T + 1, 60]."""
    times: NDArray[np.float64]
    """float64 [T + 1], s."""
    flags: NDArray[np.uint8]
    """uint8 [T + 1]: the simulator's flags."""

    @property
    def landed(self) -> bool:
        """Whether the game counts the run as won: the jump landed in the sand."""
        return bool(self.flags[-1] & FLAG_JUMP_LANDED)

    @property
    def over(self) -> bool:
        """Whether the game has ended or the torso is out of bounds, see `qwop_game.rules.is_over`."""
        return bool(is_over(self.flags[-1:], np.array([self.distance]))[0])

    @property
    def finished(self) -> bool:
        """Whether the run is over and finished, see `qwop_game.rules.has_finished`."""
        return self.over and bool(has_finished(self.flags[-1:], np.array([self.distance]))[0])

    @property
    def distance(self) -> float:
        """X of the torso after the last frame, m."""
        return float(self.raw_observations[-1, 0]) / 10

    @property
    def frames_until_end(self) -> int:
        """Frames up to and including the one that ended the game; all of them if none did."""
        ended = np.flatnonzero(self.flags & FLAG_GAME_ENDED)
        return int(ended[0]) if len(ended) else len(self.flags) - 1


def replay_keys(
    keys: Sequence[NDArray[np.uint8]],
    *,
    starts: Sequence[NDArray[np.uint32] | None] | None = None,
    stop_at_end: bool = True,
    engine: str = "auto",
    trig: str = DEFAULT_TRIG,
) -> list[Replay]:
    """Play N key sequences side by side, one per game. Memory: N * max(T_i) * 260 bytes.

    Args:
        keys: N sequences of key masks, uint8 [T_i].
        starts: Episode.start of each; None: all begin at the canonical start.
        stop_at_end: Whether a game stops when it is over; False: it continues, as the real one does.
        engine: The simulator's engine, see `Simulator`.
        trig: Variant of sine and cosine, Episode.trig.

    Returns:
        N replays, in the order of `keys`.
    """
    if not keys:
        return []
    lengths = [len(k) for k in keys]
    held = np.zeros((max(lengths), len(keys)), np.uint8)
    for lane, k in enumerate(keys):
        held[: len(k), lane] = k
    simulator = Simulator(len(keys), stop_at_end=stop_at_end, engine=engine, trig=trig)
    for lane, start in enumerate(starts or ()):
        if start is not None:
            simulator.begin(start, lane)
    rows = np.empty((len(held) + 1, *simulator.raw_observation.shape), np.float32)
    times = np.empty((len(held) + 1, len(keys)))
    flags = np.empty((len(held) + 1, len(keys)), np.uint8)
    for t in range(len(held) + 1):
        rows[t], times[t], flags[t] = simulator.raw_observation, simulator.time, simulator.flags
        if t < len(held):
            simulator.step(held[t])
    simulator.close()
    return [Replay(rows[: n + 1, i], times[: n + 1, i], flags[: n + 1, i]) for i, n in enumerate(lengths)]
