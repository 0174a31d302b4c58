"""Sources of the player's key events.

A key source watches the keyboard and puts each press and release of Q, W, O and P into a `KeyQueue`, which
filters and stamps it. There are two sources. pynput's hook stamps a key in its own thread when the key
arrives. Events of the game window are stamped when the loop polls the window.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KEYS, KeyQueue
from qwop_recorder.quiet_pygame import pygame

HOOK_START_SECONDS = 5.0
"""How long pynput's hook may take to start, s. It never starts if the X server lacks the RECORD extension."""

INSTALL_PYNPUT = "pip install --no-deps pynput python-xlib six"
"""Command for Linux; elsewhere pynput is a dependency. With dependencies, pip would compile evdev."""


class KeySource(Protocol):
    """Watches the keyboard.

    `name` is stored with every event. `start` raises RecorderError if the source can't work here. `handle` is
    called with each event of the window. `alive` returns False after the source has stopped by itself.
    """

    name: str

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def handle(self, event: pygame.event.Event) -> None: ...
    def alive(self) -> bool: ...


class WindowKeys:
    """Key source: the events of the game window."""

    name = "window"

    def __init__(self, queue: KeyQueue) -> None:
        self._queue = queue

    def start(self) -> None:
        """Do nothing: the window is already open."""

    def stop(self) -> None:
        """Do nothing."""

    def handle(self, event: pygame.event.Event) -> None:
        """Put a KEYDOWN or KEYUP of Q, W, O or P into the queue; ignore other events."""
        if event.type in (pygame.KEYDOWN, pygame.KEYUP) and 0 <= event.key < 128:
            key = KEYS.get(chr(event.key).lower())
            if key is not None:
                self._queue.put(key, event.type == pygame.KEYDOWN, self.name)

    def alive(self) -> bool:
        """Return True: this source works as long as the window."""
        return True


class PynputKeys:
    """Key source: pynput's global hook. The queue accepts its keys only while the window has the focus."""

    name = "pynput"

    def __init__(self, queue: KeyQueue) -> None:
        self._queue = queue
        self._listener: Any = None

    def start(self) -> None:
        """Start the hook's thread and wait until it listens.

        Raises:
            RecorderError: pynput is missing, finds no display, or is not allowed to listen.
        """
        # pynput logs its own warning about macOS; one line is enough.
        logging.getLogger("pynput").setLevel(logging.CRITICAL)
        try:
            # Imported here, because the import fails without a display.
            from pynput import keyboard
        except ModuleNotFoundError as error:
            raise RecorderError(f"{error.name} is not installed: `{INSTALL_PYNPUT}`") from None
        except Exception as error:  # pynput does not catch the errors of its platform's backend
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
        """Stop the hook's thread."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def handle(self, event: pygame.event.Event) -> None:
        """Do nothing: the hook sees the keys itself."""

    def alive(self) -> bool:
        """Return whether the hook's thread still runs."""
        return self._listener is not None and self._listener.is_alive()

    def _on_press(self, key: Any) -> None:
        self._put(key, True)

    def _on_release(self, key: Any) -> None:
        self._put(key, False)

    def _put(self, key: Any, pressed: bool) -> None:
        # Shift and caps lock change the character, even between a press and its release: "P", then "p".
        bit = KEYS.get((getattr(key, "char", None) or "").lower())
        if bit is not None:
            self._queue.put(bit, pressed, self.name)


def pynput_obstacle(environ: Mapping[str, str], platform: str) -> str | None:
    """Return why pynput would start here but see no keys, or None."""
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
    """Start a key source.

    Args:
        choice: "pynput", "window", or "auto": pynput if it works, else the window.
        queue: Queue for the key events.
        environ: The environment variables.
        platform: sys.platform.

    Returns:
        The source, and a line for the user if "auto" did not choose pynput.

    Raises:
        RecorderError: The choice is "pynput", which can't work here.
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
        raise RecorderError(f"--keys pynput: {reason}; use --keys window")
    return WindowKeys(queue), f"keys come from the game window's own events: {reason}"
