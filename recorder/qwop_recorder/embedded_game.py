"""Run a recording session with the embedded game in a window."""

import sys
from collections.abc import Callable

from qwop_recorder.key_events import KeyQueue
from qwop_recorder.key_sources import WindowKeys, open_key_source
from qwop_recorder.loop import Clock, run_loop
from qwop_recorder.phases import Command, Phase
from qwop_recorder.session import Session
from qwop_recorder.window import Window


def play(
    session: Session,
    window: Window,
    clock: Clock,
    keys: str,
    signals: list[int],
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Run a session in a window until it is done.

    Args:
        session: A session with the embedded game.
        window: Shows the session and returns commands.
        clock: The session's clock.
        keys: Source of the keys: "auto", "pynput" or "window".
        signals: Numbers of the signals received so far; the session ends once there is one.
        log: Called with a line about each run that is stored in the file.
        warn: Called with a line if the keys do not come from the preferred source.

    Raises:
        RecorderError: `keys` is "pynput", which can't work here.
    """
    # The hook's thread stamps a key when it gets the interpreter lock: within 1 ms instead of Python's
    # default 5.
    sys.setswitchinterval(0.001)
    queue = KeyQueue(clock.now)
    source, note = open_key_source(keys, queue)
    if note:
        warn(note)
    logged = 0

    def poll() -> None:
        nonlocal source
        if not source.alive():
            warn("the keyboard hook has stopped: keys come from the game window")
            source = WindowKeys(queue)
        for command in window.poll(source, queue):
            session.command(command, clock.now())
        if signals:
            session.command(Command.CLOSE, clock.now())

    def tick(due: float) -> bool:
        nonlocal logged
        events, now = queue.sample()
        session.tick(events, now, now - due)
        window.draw(session)
        session.drawn(clock.now())
        for line in session.log[logged:]:
            log(line)
        logged = len(session.log)
        return session.phase is not Phase.DONE

    try:
        run_loop(clock, poll, tick)
    finally:
        source.stop()
