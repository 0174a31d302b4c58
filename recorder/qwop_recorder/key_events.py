"""Turn key events into the keys of each frame.

A frame samples the keyboard at one instant. A key counts as held in the frame if it is down at that instant,
or was pressed since the previous frame. So a tap shorter than a frame counts for exactly one frame.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import KeyEvent
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W

KEYS: dict[str, int] = {"q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P}
"""Character -> bit of the key mask."""

TICK = 2e-6
"""Minimum time between a sample and the next event, s. Files store samples as Unix times, which a float64
resolves to a quarter of a microsecond, so the order of samples and events is preserved."""


class KeyQueue:
    """A queue of key events: key sources add to it from any thread, the loop empties it once per frame.

    It ignores auto-repeat, and releases of keys that were not down. It also ignores events while the window
    does not have the focus, because a hook sees the typing in other windows, too. Losing the focus releases
    all keys.

    Time stamps and samples are taken under one lock: a sample has an event if and only if the event's stamp
    is not later than the sample's instant. So the stored stamps determine the keys of every frame.

    Args:
        now: The session's clock, s.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._events: list[KeyEvent] = []
        self._earliest = 0.0
        self._down = 0
        self._focused = False

    def put(self, key: int, pressed: bool, source: str) -> None:
        """Add an event: a key goes down or up now, reported by `source`."""
        with self._lock:
            if self._focused and pressed != bool(self._down & key):
                self._append(key, pressed, source)

    def set_focus(self, focused: bool) -> None:
        """Set whether the window has the keyboard focus."""
        with self._lock:
            if self._focused and not focused:
                for key in KEYS.values():
                    if self._down & key:
                        self._append(key, False, "focus")
            self._focused = focused

    def sample(self) -> tuple[list[KeyEvent], float]:
        """Return all events since the last sample, in order, and the instant of this sample, s."""
        with self._lock:
            instant = max(self._now(), self._earliest)
            self._earliest = instant + TICK
            events, self._events = self._events, []
            return events, instant

    def _append(self, key: int, pressed: bool, source: str) -> None:
        time = max(self._now(), self._earliest)
        self._earliest = time
        self._down = self._down | key if pressed else self._down & ~key
        self._events.append(KeyEvent(time, key, pressed, source))


def apply_events(down: int, events: Iterable[KeyEvent]) -> tuple[int, int]:
    """Apply the events of one frame.

    Args:
        down: Mask of the keys that are down before the events.
        events: In order.

    Returns:
        Masks of the keys that are down after the events, and of those held in their frame.
    """
    pressed = 0
    for event in events:
        if event.pressed:
            down |= event.key
            pressed |= event.key
        else:
            down &= ~event.key
    return down, down | pressed


def reconcile(recorded: int, actual: int, time: float) -> list[KeyEvent]:
    """Make the events that lead from the recorded keys to the actual ones.

    They replace the key events of a pause, which are not part of the run.

    Args:
        recorded: Mask of the keys that are down according to the run's events.
        actual: Mask of the keys that are down.
        time: Stamp of the events, s.
    """
    changed = recorded ^ actual
    return [KeyEvent(time, key, bool(actual & key), "resume") for key in KEYS.values() if changed & key]


def keys_from_events(
    events: Sequence[KeyEvent], sample_times: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Compute each frame's keys from stored events and sample instants.

    Args:
        events: In the order in which they happened.
        sample_times: Instants of the frames' samples on the events' clock, s, ascending, [T].

    Returns:
        Key masks, uint8 [T].

    Raises:
        ValueError: Events or instants are not in order.
    """
    times = np.asarray(sample_times, np.float64)
    stamps = np.array([event.time for event in events], np.float64)
    if (np.diff(times) < 0).any() or (np.diff(stamps) < 0).any():
        raise ValueError("key events or sample times are not in ascending order")
    # event i belongs to the first frame whose sample is not earlier than it
    frames = np.searchsorted(times, stamps, side="left")
    keys = np.zeros(len(times), np.uint8)
    down = first = 0
    for frame in range(len(times)):
        end = int(np.searchsorted(frames, frame, side="right"))
        down, keys[frame] = apply_events(down, events[first:end])
        first = end
    return keys
