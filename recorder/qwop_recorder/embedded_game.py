"""A session with the embedded game in a window of our own."""

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
        session: With the embedded game.
        window: Shows the session, and takes commands.
        clock: Time.
        keys: Where the keys come from: "auto", "pynput" or "window".
        signals: Numbers of the signals that ask the process to end; the session ends once there is one.
        log: Takes a line about each run that enters the file.
        warn: Takes a line when the keys come from elsewhere than from the first choice.

    Raises:
        RecorderError: pynput was asked for by name and can't work.
    """
    # The hook's thread stamps keys as soon as it gets the interpreter: after 1 ms at most, not Python's 5.
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
