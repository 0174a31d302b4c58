"""What a session is doing, and what a person can ask of it."""

from enum import Enum, auto


class Phase(Enum):
    """What the session is doing."""

    COUNTDOWN = auto()
    """Play begins, or goes on, in a moment."""
    PLAYING = auto()
    """Each tick plays a frame."""
    PAUSED = auto()
    """The run waits for the person."""
    ENDED = auto()
    """The run is over; the person has not kept it yet."""
    REWOUND = auto()
    """The person has stepped back in the run; nothing is cut off yet."""
    DONE = auto()
    """The session is over."""


class Command(Enum):
    """What the person asks for. `session.TRANSITIONS` says what it does in each phase."""

    GO = auto()
    """Start, pause, continue; after a run: keep it and play the next; after a step back: take over."""
    RESTART = auto()
    """Start this run over. What was played of it is thrown away."""
    DISCARD = auto()
    """Throw away the last finished run."""
    BACK = auto()
    """Step back some seconds."""
    FORWARD = auto()
    """After a step back: step forward again."""
    FINISH = auto()
    """During play: pause. Otherwise end the session."""
    CLOSE = auto()
    """End the session now: the window was closed, or a signal asks the process to end."""
    FOCUS_LOST = auto()
    """Another window has the keyboard."""
    FOCUS_GAINED = auto()
    """The game has the keyboard again."""
