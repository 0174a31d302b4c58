"""Save a checkpoint when Ctrl-C or another signal ends a training."""

from __future__ import annotations

import sys

from qwop_cli import Interrupted
from qwop_finetune.report import say


class InterruptSwitch:
    """A signal handler: the first signal sets a flag, the second raises Interrupted.

    The training looks at `pressed` after each iteration, saves and stops.
    """

    def __init__(self) -> None:
        self.signal = 0
        """Number of the signal; 0: none yet."""

    @property
    def pressed(self) -> bool:
        """Whether a signal has come."""
        return self.signal != 0

    def press(self, number: int, _frame: object) -> None:
        """Handle a signal, as `signal.signal` calls it."""
        if self.pressed:
            raise Interrupted(number)
        self.signal = number
        say("interrupted: finishing the iteration to save it (once more: stop at once)", sys.stderr)
