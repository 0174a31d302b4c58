"""What happened in an open page of the game before an episode: a list of operations that leads to its start.

Most episodes begin at the canonical start. One that begins in a page that has been played before is
different: the track lies where the last run left it, and its place in the collision tree decides the order of
contacts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


_OPERATIONS = frozenset(int(operation) for operation in Operation)


@dataclass(frozen=True)
class Session:
    """Operations from the load of the page on.

    `Session()` is an empty list. Each method returns a longer session; the object itself does not change.
    """

    rows: tuple[tuple[int, int, int], ...] = ()
    """(operation, keys, count)."""

    @staticmethod
    def of(array: NDArray[np.integer[Any]]) -> Session:
        """Make a session of its `array`.

        Raises:
            ValueError: The array has another shape or type.
        """
        if array.ndim != 2 or array.shape[1] != 3 or array.dtype.kind not in "ui":
            raise ValueError(f"a session is {array.dtype} {list(array.shape)}, not whole numbers [N, 3]")
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < 1 << 32:
            raise ValueError("a session holds a number that is not 0 to 4294967295")
        return Session(tuple((int(a), int(b), int(c)) for a, b, c in array.tolist()))

    def start_problem(self) -> str | None:
        """Say why an episode can't begin after this session; None if it can.

        It begins with a load of the page. Keys are held only before the last reset: no later frame hides what
        they changed.
        """
        last = -1
        for number, (operation, keys, count) in enumerate(self.rows):
            if operation not in _OPERATIONS or keys > 15 or count == 0:
                return f"has a row ({operation}, {keys}, {count}), which is no operation"
            if keys and operation != Operation.PLAY:
                return "holds keys where no frame is played"
            if operation in (Operation.OPEN, Operation.RESET):
                last = number
        if not self.rows or self.rows[0][0] != Operation.OPEN:
            return "does not begin with the load of the page"
        if any(keys for _, keys, _ in self.rows[last:]):
            return "holds keys after the last reset"
        if sum(count for _, _, count in self.rows) > MAX_SESSION_FRAMES:
            return "is longer than ten hours"
        return None

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
    def array(self) -> NDArray[np.uint32]:
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
