"""Run a recording session with the real game: the page plays the frames, and this module records them.

The page (qwop_game/real/person.js) plays 30 frames per second with the keys that it gets. This module fetches
its frames in batches and passes them to the same `Session` as those of the embedded game, one tick per frame.
It also starts and stops play in the page.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import KeyEvent
from qwop_game import DEFAULT_TRIG, FRAME_SECONDS, STATE_SIZE
from qwop_game.real import BrowserLost, PageError, RealGame, RealGameError
from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KEYS
from qwop_recorder.loop import Clock
from qwop_recorder.phases import Command, Phase
from qwop_recorder.session import Session
from qwop_recorder.texts import counts, help_lines, title

BATCH_SECONDS = 0.1
"""Time between two batches during play, s. If this program is killed, a run loses at most so much."""
_FRAME_SIZE = STATE_SIZE + 5  # the state; keys, instant, lateness, events so far, when it was drawn


@dataclass(frozen=True)
class PageFrame:
    """One frame that the page played. Times: s on the session's clock."""

    state: NDArray[np.float64]
    """float64 [92], the state after the frame."""
    keys: int
    instant: float
    lateness: float
    drawn: float
    events: list[KeyEvent]
    """Key events since the frame before."""


@dataclass(frozen=True)
class Batch:
    """News from the page, in this order: frames, key events after them, commands."""

    frames: list[PageFrame]
    events: list[KeyEvent]
    commands: list[Command]
    playing: bool
    focused: bool


class PlayedGame(RealGame):
    """The real game for a session: `step` uses the frame that the page has already played.

    If there is none, as when a session takes over after a rewind, `step` plays one.
    """

    def __init__(
        self,
        headless: bool,
        browser: Any,
        driver: Any,
        clock: Clock,
        trig: str | None = DEFAULT_TRIG,
        keep_page: bool = False,
    ) -> None:
        # recover=False: when the browser is lost, the session ends, and the frames played so far are kept.
        super().__init__(
            headless,
            browser,
            driver,
            recover=False,
            scripts=("person.js",),
            trig=trig,
            keep_page=keep_page,
        )
        self._clock = clock
        self._page_to_session = 0.0  # s
        self._played: PageFrame | None = None
        self.failure: str | None = None
        """Why the last reset failed; the session has to end. None if it worked."""

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        # An error here would interrupt the storing of a run. The session continues to the next run, and
        # `play` ends it there.
        try:
            super().reset(mask)
            self._set_clock()
        except (RealGameError, BrowserLost, PageError) as error:
            self.failure = str(error)

    def next_step_is(self, frame: PageFrame) -> None:
        """Let the next `step` use this frame."""
        self._played = frame

    def step(self, keys: NDArray[np.uint8], frames: int = 1) -> None:
        played, self._played = self._played, None
        if played is None:
            super().step(keys, frames)
            return
        if played.keys != int(keys[0]):
            raise RealGameError(
                f"the page played keys {played.keys} in a frame whose events say {int(keys[0])}"
            )
        self.accept(played.state[None], [played.keys])

    def take(self, idle: bool) -> Batch:
        """Fetch what has happened since the last call.

        Args:
            idle: Whether nothing is played; then key events without a frame are fetched, too.

        Raises:
            BrowserLost, PageError: The page does not answer.
        """
        raw = self.page("return bridge.person.take(arguments[0])", idle)
        rows = np.frombuffer(base64.b64decode(raw["frames"]), "<f8").reshape(-1, _FRAME_SIZE)
        events = [
            KeyEvent(self._time(time), key, pressed, source) for time, key, pressed, source in raw["events"]
        ]
        frames: list[PageFrame] = []
        used = 0
        for row in rows:
            keys, instant, lateness, so_far, drawn = row[STATE_SIZE:]
            mine, used = events[used : int(so_far)], int(so_far)
            frames.append(
                PageFrame(
                    row[:STATE_SIZE],
                    int(keys),
                    self._time(instant),
                    lateness / 1000,
                    self._time(drawn),
                    mine,
                )
            )
        commands = [Command[name] for name in raw["commands"]]
        return Batch(frames, events[used:], commands, raw["playing"], raw["focused"])

    def start(self, now: float) -> None:
        """Let the page play from `now` on, s on the session's clock."""
        self.page("bridge.person.start(arguments[0])", 1000 * (now - self._page_to_session))

    def show(self, texts: dict[str, str]) -> None:
        """Show texts on the page, by name: state, title, line, help."""
        self.page("bridge.person.show(arguments[0])", texts)

    def _time(self, page_ms: float) -> float:
        return page_ms / 1000 + self._page_to_session

    def _set_clock(self) -> None:
        """Compare the page's clock with the session's. The fastest of five answers counts."""
        quickest = float("inf")
        for _ in range(5):
            before = self._clock.now()
            page = self.page("return performance.now()") / 1000
            after = self._clock.now()
            if after - before < quickest:
                quickest = after - before
                self._page_to_session = (before + after) / 2 - page


def play(
    session: Session, game: PlayedGame, clock: Clock, signals: list[int], log: Callable[[str], None]
) -> None:
    """Run a session in the page until it is done.

    Args:
        session: A session with `game`.
        game: The real game.
        clock: The session's clock.
        signals: Numbers of the signals received so far; the session ends once there is one.
        log: Called with a line about each run that is stored in the file.

    Raises:
        RecorderError: The page is lost. The frames played so far are kept as a run that was cut short.
    """
    focused, loads, shown, printed = True, game.loads, "", 0
    try:
        while session.phase is not Phase.DONE:
            if game.failure:
                raise RealGameError(game.failure)
            idle = session.phase is not Phase.PLAYING
            batch = game.take(idle)
            for frame in batch.frames:
                game.next_step_is(frame)
                session.tick(frame.events, frame.instant, frame.lateness)
                session.drawn(frame.drawn)
            commands = batch.commands
            if batch.focused != focused:
                focused = batch.focused
                commands.append(Command.FOCUS_GAINED if focused else Command.FOCUS_LOST)
            if signals:
                commands.append(Command.CLOSE)
            for command in commands:
                session.command(command, clock.now())
            if idle:
                session.tick(batch.events, clock.now(), 0.0)
            if game.loads != loads:
                # The new page does not know which keys are down.
                loads = game.loads
                now = clock.now()
                released = [key for key in KEYS.values() if session.down & key]
                session.tick([KeyEvent(now, key, False, "focus") for key in released], now, 0.0)
            elif session.phase is Phase.PLAYING and not batch.playing and focused:
                game.start(clock.now())
            for line in session.log[printed:]:
                log(line)
            printed = len(session.log)
            texts = _texts(session)
            if (text := json.dumps([loads, texts])) != shown:
                shown = text
                game.show(texts)
            clock.sleep(BATCH_SECONDS if session.phase is Phase.PLAYING else FRAME_SECONDS)
    except (BrowserLost, PageError, RealGameError) as error:
        session.command(Command.CLOSE)
        for line in session.log[printed:]:
            log(line)
        raise RecorderError(f"{error}; the session has ended, and the run so far is kept") from None


def _texts(session: Session) -> dict[str, str]:
    return {
        "state": ("practice, " if session.practice else "REC, ") + counts(session),
        "title": title(session) or "",
        "line": session.message,
        "help": "\n".join(help_lines(session)),
    }
