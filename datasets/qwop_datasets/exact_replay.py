"""Play stored keys again, many episodes at once, one per lane of the simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwop_game import DEFAULT_TRIG, Simulator
from qwop_game.rules import FLAG_GAME_ENDED, FLAG_JUMP_LANDED, TOO_FAR_AHEAD, TOO_FAR_BACK, has_finished


@dataclass(frozen=True)
class Replay:
    """T frames from the canonical start. What an Episode stores, from the keys alone."""

    raw_observations: np.ndarray
    """float32 [T + 1, 60]."""
    times: np.ndarray
    """float64 [T + 1], s."""
    flags: np.ndarray
    """uint8 [T + 1]: the simulator's flags."""

    @property
    def landed(self) -> bool:
        """The game calls it won: the jump landed in the sand."""
        return bool(self.flags[-1] & FLAG_JUMP_LANDED)

    @property
    def over(self) -> bool:
        """The game ended, or the torso is out of qwop-gym's bounds."""
        distance = self.distance
        ended = bool(self.flags[-1] & FLAG_GAME_ENDED)
        return ended or distance < TOO_FAR_BACK or distance > TOO_FAR_AHEAD

    @property
    def finished(self) -> bool:
        """Over, and by the landing or with the torso past 100 m."""
        return self.over and bool(has_finished(self.flags[-1:], np.array([self.distance]))[0])

    @property
    def distance(self) -> float:
        """x of the torso after the last frame, m."""
        return float(self.raw_observations[-1, 0]) / 10

    @property
    def frames_until_end(self) -> int:
        """Frames up to and with the one that ended the game; all of them where none did."""
        ended = np.flatnonzero(self.flags & FLAG_GAME_ENDED)
        return int(ended[0]) if len(ended) else len(self.flags) - 1


def replay_keys(
    keys: Sequence[np.ndarray],
    *,
    stop_at_end: bool = True,
    engine: str = "auto",
    trig: str = DEFAULT_TRIG,
) -> list[Replay]:
    """Play each of N key sequences, uint8 [T_i], in a lane of its own. Memory: N * max(T_i) * 260 bytes.

    trig: the variant of sine and cosine that they were played with, Episode.trig.
    stop_at_end: a game that is over stands still; False: it goes on as the real one does.
    """
    if not keys:
        return []
    lengths = [len(k) for k in keys]
    held = np.zeros((max(lengths), len(keys)), np.uint8)
    for lane, k in enumerate(keys):
        held[: len(k), lane] = k
    simulator = Simulator(len(keys), stop_at_end=stop_at_end, engine=engine, trig=trig)
    rows = np.empty((len(held) + 1, *simulator.raw_observation.shape), np.float32)
    times = np.empty((len(held) + 1, len(keys)))
    flags = np.empty((len(held) + 1, len(keys)), np.uint8)
    for t in range(len(held) + 1):
        rows[t], times[t], flags[t] = simulator.raw_observation, simulator.time, simulator.flags
        if t < len(held):
            simulator.step(held[t])
    simulator.close()
    return [Replay(rows[: n + 1, i], times[: n + 1, i], flags[: n + 1, i]) for i, n in enumerate(lengths)]
