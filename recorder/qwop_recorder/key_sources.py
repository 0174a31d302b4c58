"""Where a person's keys come from.

A key source watches the keyboard and puts each press and release of Q, W, O and P into a `KeyQueue`, which
filters and stamps them. Two sources are here: pynput's hook, which stamps each key in its own thread at the
moment it arrives, and the game window's own events, stamped when the window is asked for them.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import pygame

from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KEYS, KeyQueue

HOOK_START_SECONDS = 5.0
"""How long pynput's hook may take to start. It never does where the X server lacks the RECORD extension."""

INSTALL_PYNPUT = "pip install --no-deps pynput python-xlib six"
"""For Linux; elsewhere pynput is a dependency. With its own dependencies pip would compile evdev, unused."""


class KeySource(Protocol):
    """A thing that watches the keyboard.

    `name` is stored with every event. `start` raises RecorderError where the source can't work here.
    `handle` is given each event of the window. `alive` turns False when the source has stopped on its own.
    """

    name: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def handle(self, event: pygame.event.Event) -> None: ...
    def alive(self) -> bool: ...


class WindowKeys:
    """The game window's own key events."""

    name = "window"

    def __init__(self, queue: KeyQueue) -> None:
        self._queue = queue

    def start(self) -> None:
        """Nothing to start: the window is there."""

    def stop(self) -> None:
        """Nothing to stop."""

    def handle(self, event: pygame.event.Event) -> None:
        """Take a KEYDOWN or KEYUP of Q, W, O or P; leave every other event."""
        if event.type in (pygame.KEYDOWN, pygame.KEYUP) and 0 <= event.key < 128:
            key = KEYS.get(chr(event.key).lower())
            if key is not None:
                self._queue.put(key, event.type == pygame.KEYDOWN, self.name)

    def alive(self) -> bool:
        """Always: it ends with the window."""
        return True


class PynputKeys:
    """pynput's global hook. The queue lets its keys in only while the window has the focus."""

    name = "pynput"

    def __init__(self, queue: KeyQueue) -> None:
        self._queue = queue
        self._listener: Any = None

    def start(self) -> None:
        """Start the hook's thread and wait until it listens.

        Raises RecorderError where pynput is missing, finds no display, or is not allowed to listen.
        """
        # pynput logs a warning of its own about macOS; one line from us is enough.
        logging.getLogger("pynput").setLevel(logging.CRITICAL)
        try:
            # Imported here because the import itself fails without a display.
            from pynput import keyboard
        except ModuleNotFoundError as error:
            raise RecorderError(f"{error.name} is not installed: `{INSTALL_PYNPUT}`") from None
        except Exception as error:  # pynput passes on whatever its platform's backend raises
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise RecorderError(f"pynput does not work here ({reason[0]})") from None
        listener = keyboard.Listener(on_press=self._on_press, on_release=self._on_release)
        listener.daemon = True
        listener.start()
        # listener.wait() never returns if the hook's thread dies before it is ready.
        ready = threading.Thread(target=listener.wait, daemon=True)
        ready.start()
        ready.join(HOOK_START_SECONDS)
        if ready.is_alive() or not listener.is_alive():
            listener.stop()
            raise RecorderError("pynput's keyboard hook did not start")
        if not getattr(listener, "IS_TRUSTED", True):  # macOS only
            listener.stop()
            raise RecorderError(
                "macOS does not let this terminal watch the keyboard: allow it in System Settings, "
                "Privacy & Security, Accessibility and Input Monitoring, then start again"
            )
        self._listener = listener

    def stop(self) -> None:
        """End the hook's thread."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def handle(self, event: pygame.event.Event) -> None:
        """Nothing: the hook sees the keys itself."""

    def alive(self) -> bool:
        """Whether the hook's thread still runs."""
        return self._listener is not None and self._listener.is_alive()

    def _on_press(self, key: Any) -> None:
        self._put(key, True)

    def _on_release(self, key: Any) -> None:
        self._put(key, False)

    def _put(self, key: Any, pressed: bool) -> None:
        # The character follows shift and caps lock, even between a press and its release: "P", then "p".
        bit = KEYS.get((getattr(key, "char", None) or "").lower())
        if bit is not None:
            self._queue.put(bit, pressed, self.name)


def pynput_obstacle(environ: Mapping[str, str], platform: str) -> str | None:
    """Why pynput would be blind here though it starts without complaint, or None."""
    wayland = environ.get("WAYLAND_DISPLAY") or environ.get("XDG_SESSION_TYPE") == "wayland"
    if platform.startswith("linux") and wayland:
        return "Wayland hides the keyboard from pynput"
    return None


def open_key_source(
    choice: str,
    queue: KeyQueue,
    environ: Mapping[str, str] = os.environ,
    platform: str = sys.platform,
) -> tuple[KeySource, str | None]:
    """A started key source, and a line for the user where it is not the one that comes first.

    choice: "pynput", "window", or "auto": pynput where it works, else the window.

    Raises RecorderError where pynput was asked for by name and can't work.
    """
    if choice == "window":
        return WindowKeys(queue), None
    reason = pynput_obstacle(environ, platform)
    if reason is None:
        source = PynputKeys(queue)
        try:
            source.start()
            return source, None
        except RecorderError as error:
            reason = str(error)
    if choice == "pynput":
        raise RecorderError(f"--keys pynput: {reason}; --keys window needs no hook")
    return WindowKeys(queue), f"keys come from the game window's own events: {reason}"
