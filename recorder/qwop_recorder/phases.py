"""The phases of a session, and the player's commands."""

from enum import Enum, auto


class Phase(Enum):
    """Phase of a session."""

    COUNTDOWN = auto()
    """Play starts or continues soon."""
    PLAYING = auto()
    """Each tick plays a frame."""
    PAUSED = auto()
    """The run is paused."""
    ENDED = auto()
    """The run is over, but not kept yet."""
    REWOUND = auto()
    """The player has stepped back in the run. No frame is cut off yet."""
    DONE = auto()
    """The session is over."""


class Command(Enum):
    """A command of the player. `session.TRANSITIONS` has its effect in each phase."""

    GO = auto()
    """Start, pause, continue. After a run: keep it and start the next. After a step back: take over."""
    RESTART = auto()
    """Restart this run and discard its frames."""
    DISCARD = auto()
    """Discard the last finished run."""
    BACK = auto()
    """Step back some seconds."""
    FORWARD = auto()
    """After a step back: step forward again."""
    FINISH = auto()
    """During play: pause. Otherwise end the session."""
    CLOSE = auto()
    """End the session now, because the window was closed or the process got a signal."""
    FOCUS_LOST = auto()
    """The game's window has lost the keyboard focus."""
    FOCUS_GAINED = auto()
    """The game's window has the keyboard focus again."""
