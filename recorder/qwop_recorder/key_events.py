"""Key events, and the one rule that turns them into the keys of each frame.

A frame is sampled at one instant. A key counts as held in that frame when it is down at the instant, or
was pressed at any time since the frame before: a tap shorter than a frame counts for exactly one frame.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from qwop_datasets import KeyEvent
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W

KEYS: dict[str, int] = {"q": KEY_Q, "w": KEY_W, "o": KEY_O, "p": KEY_P}
"""Character -> bit of the key mask."""

TICK = 2e-6
"""The least time between a sample and the next event, s. Unix time in a float64 resolves a quarter of a
microsecond, so "before" and "after" stay apart even where the file stores samples as Unix times."""


class KeyQueue:
    """Where key sources put what they see, from any thread, and the loop takes it, once a frame.

    Keeps the pressed set: auto-repeat, and releases of keys that were not down, are filtered. While the
    window is without the focus nothing is let in, whatever a hook may see of other windows' typing; losing
    the focus releases all keys.

    Stamps and samples are taken under one lock: an event is in a sample if and only if its stamp is not
    later than the sample's instant. So the stored stamps alone give back every frame's keys.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._events: list[KeyEvent] = []
        self._earliest = 0.0
        self._down = 0
        self._focused = False

    def put(self, key: int, pressed: bool, source: str) -> None:
        """A key went down or up, just now, as `source` saw it."""
        with self._lock:
            if self._focused and pressed != bool(self._down & key):
                self._append(key, pressed, source)

    def set_focus(self, focused: bool) -> None:
        """The window got or lost the keyboard focus."""
        with self._lock:
            if self._focused and not focused:
                for key in KEYS.values():
                    if self._down & key:
                        self._append(key, False, "focus")
            self._focused = focused

    def sample(self) -> tuple[list[KeyEvent], float]:
        """All events since the last sample, in order, and the instant of this one, s."""
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
    """Keys down after `events`, and keys held in the frame that those events belong to.

    down: mask of the keys down before the events.
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
    """Events that lead from the keys `recorded` as down to those `actual`ly down, stamped `time`.

    What was typed during a pause is no part of the run; these say in its place what the run goes on with.
    """
    changed = recorded ^ actual
    return [KeyEvent(time, key, bool(actual & key), "resume") for key in KEYS.values() if changed & key]


def keys_from_events(events: Sequence[KeyEvent], sample_times: Sequence[float] | np.ndarray) -> np.ndarray:
    """Each frame's keys, from the stored events and the frames' sample instants alone. uint8 [T].

    events: in the order in which they happened.
    sample_times: [T], s, on the events' clock, ascending.

    Raises ValueError where either is out of order.
    """
    times = np.asarray(sample_times, np.float64)
    stamps = np.array([event.time for event in events], np.float64)
    if (np.diff(times) < 0).any() or (np.diff(stamps) < 0).any():
        raise ValueError("key events and sample times must ascend: this file's stamps do not")
    # event i belongs to the first frame whose sample is not earlier than it
    frames = np.searchsorted(times, stamps, side="left")
    keys = np.zeros(len(times), np.uint8)
    down = first = 0
    for frame in range(len(times)):
        end = int(np.searchsorted(frames, frame, side="right"))
        down, keys[frame] = apply_events(down, events[first:end])
        first = end
    return keys
