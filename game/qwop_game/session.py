"""What happened in an open page of the game before an episode: a list of operations that leads to its start.

Most episodes begin at the canonical start. One that begins in a page that has been played before is
different: the track lies where the last run left it, and its place in the collision tree decides the order of
contacts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

MAX_SESSION_FRAMES = 10 * 3600 * 30
"""The longest session that the engine accepts: ten hours of play."""


class Operation(IntEnum):
    """What can happen to a game in an open page."""

    OPEN = 0
    """The page is loaded anew."""
    RESET = 1
    """The game's own reset, as its R key does it: the track stays as it is."""
    PLAY = 2
    """A frame is played."""
    WAIT = 3
    """A frame passes before the first click: no physics, but the head's torque accumulates."""


@dataclass(frozen=True)
class Session:
    """Operations from the load of the page on.

    `Session()` is an empty list. Each method returns a longer session; the object itself does not change.
    """

    rows: tuple[tuple[int, int, int], ...] = ()
    """(operation, keys, count)."""

    def then(self, operation: Operation, count: int = 1, keys: int = 0) -> Session:
        """Add an operation that happens `count` times."""
        if count == 0:
            return self
        if self.rows and self.rows[-1][:2] == (int(operation), keys):
            return Session((*self.rows[:-1], (int(operation), keys, self.rows[-1][2] + count)))
        return Session((*self.rows, (int(operation), keys, count)))

    def play(self, keys: Iterable[int]) -> Session:
        """Add a frame for each mask of `keys`."""
        rows = [list(row) for row in self.rows]
        for mask in keys:
            if rows and rows[-1][:2] == [int(Operation.PLAY), int(mask)]:
                rows[-1][2] += 1
            else:
                rows.append([int(Operation.PLAY), int(mask), 1])
        return Session(tuple((a, b, c) for a, b, c in rows))

    @property
    def array(self) -> np.ndarray:
        """uint32 [N, 3], for `Simulator.operate`."""
        return np.array(self.rows, np.uint32).reshape(-1, 3)

    @property
    def frames(self) -> int:
        """Frames that were played or waited."""
        return sum(count for operation, _, count in self.rows if operation >= Operation.PLAY)


CANONICAL_START = (
    Session().then(Operation.OPEN).then(Operation.PLAY, 2).then(Operation.RESET).then(Operation.PLAY, 2)
)
"""The canonical start: load, two frames, reset, two frames."""
