"""The real game with the Simulator's interface: one game, in a browser, played frame by frame."""

import base64
import io
import logging
import os
import threading
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game.observation import STATE_GLOBALS, STATE_SIZE, UNITS_PER_METER, raw_from_state
from qwop_game.real.browser import Browser, BrowserLost, PageError
from qwop_game.real.errors import RealGameError
from qwop_game.simulator import (
    DEFAULT_TRIG,
    FLAG_FALLEN,
    FLAG_GAME_ENDED,
    FLAG_JUMP_LANDED,
    FLAG_JUMPED,
    FLAG_PAUSED,
    TRIG_VARIANTS,
    Simulator,
    check_trig,
    exclusive,
)

logger = logging.getLogger("qwop_game.real")

CHUNK = 500
"""Frames of one call into the page at most, so that a slow machine answers in time."""

_GLOBAL = {name: STATE_SIZE - len(STATE_GLOBALS) + i for i, name in enumerate(STATE_GLOBALS)}
_FLAG_COLUMNS = [_GLOBAL[n] for n in ("fallen", "jumped", "jump_landed", "game_ended", "pause")]
_FLAG_BITS = np.array([FLAG_FALLEN, FLAG_JUMPED, FLAG_JUMP_LANDED, FLAG_GAME_ENDED, FLAG_PAUSED], np.uint8)
_CLOSED = "the game is closed"
_LAUNCHES = 3  # tries to bring an episode back after the browser was lost


class RealGame:
    """Bennett Foddy's own game in Chrome, Chromium or Firefox, in place of a `Simulator` of one game.

    Each reset loads the page anew, so that an episode is a function of its keys, and is checked to stand at
    the canonical start. The clock starts as the embedded game's does.

    headless: no window, no display, no graphics card needed. Otherwise a window, and a frame is drawn after
        each call of `step`.
    browser, driver: paths; None: see find.py.
    stop_at_end: as for `Simulator`.
    recover: when the browser is lost within an episode, start another, play the episode's keys again, check
        that it stands at the very same state, and go on; a warning of the logger "qwop_game.real" says so.
        None: where headless, since a window is closed on purpose.
    scripts: of this folder, loaded into the page after its own.
    trig: whose sine and cosine the game computes with, one of TRIG_VARIANTS, whatever the browser: the page's
        Math.sin and Math.cos are replaced by exact code. None: the browser's own; `trig` then says whose they
        are, and RealGameError is raised where they are nobody's that the embedded game knows.

    state, raw_observation, time, distance, flags, step, reset, snapshot and restore are those of `Simulator`.
    A snapshot is the keys since the start. Threads may share a game, as they may share a `Simulator`. A copy,
    or what comes out of a pickle, starts a browser of its own when it is first played, and brings the episode
    back in it, exactly.

    The browser starts with the first reset. Raises RealGameError from there where it can't be started, and
    from `step` and `restore` where it is lost; `reset` then starts a new one.
    """

    num_envs = 1
    engine = "browser"

    def __init__(
        self,
        headless: bool = True,
        browser: str | os.PathLike[str] | None = None,
        driver: str | os.PathLike[str] | None = None,
        stop_at_end: bool = True,
        recover: bool | None = None,
        scripts: tuple[str, ...] = (),
        trig: str | None = DEFAULT_TRIG,
    ) -> None:
        self.headless = headless
        self.stop_at_end = stop_at_end
        self.recover = headless if recover is None else recover
        self.trig_source = "native" if trig is None else "pinned"
        """Where its sine and cosine come from: "pinned" or "native"."""
        self._trig = trig if trig is None else check_trig(trig)
        self._settings = (headless, browser, driver, scripts, trig)
        self.lock = threading.RLock()
        self._keys: list[int] = []
        self._lost: str | None = "reset() was not called"
        self._is_copy = False  # of a game within an episode, which no browser has played yet
        self._browser: Browser | None = None
        self._row = start_state(self._trig or DEFAULT_TRIG)

    # -- the Simulator's interface -------------------------------------------------------------------

    @property
    def state(self) -> NDArray[np.float64]:
        """All numbers, a new float64 [1, 92]."""
        return self._row[None].copy()

    @property
    def trig(self) -> str:
        """Whose sine and cosine the game computes with. Starts the browser where they are its own."""
        if self._trig is None:
            native = self.native_trig
            if native not in TRIG_VARIANTS:
                raise RealGameError(
                    "this browser computes sine and cosine in no variant that the embedded game knows"
                    f"{'' if native is None else f' ({native})'}: omit --native to replace them by exact ones"
                )
            self._trig = native
        return self._trig

    @property
    def native_trig(self) -> str | None:
        """Which variant the browser's own sine and cosine are; None: no known one. Starts the browser."""
        return self._launch().native_trig

    @property
    def raw_observation(self) -> NDArray[np.float32]:
        """float32 [1, 60], new."""
        return raw_from_state(self._row)[None]

    @property
    def time(self) -> NDArray[np.float64]:
        """scoreTime, s, float64 [1], new."""
        return self._row[_GLOBAL["score_time"]][None].copy()

    @property
    def distance(self) -> NDArray[np.float64]:
        """The torso's x, m, float64 [1], new."""
        return self._row[:1] / UNITS_PER_METER

    @property
    def flags(self) -> NDArray[np.uint8]:
        """uint8 [1], see `Simulator`, new."""
        return np.array([_FLAG_BITS[self._row[_FLAG_COLUMNS] != 0].sum()], np.uint8)

    @exclusive
    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """A new episode. mask: bool [1]; nothing happens where it is false."""
        if mask is not None and not mask[0]:
            return
        self._keys = []
        for attempt in range(_LAUNCHES):
            try:
                self._begin()
                return
            except (BrowserLost, PageError) as error:
                self._give_up(str(error))
                if attempt + 1 == _LAUNCHES or (self.recover is False and "window was closed" in str(error)):
                    raise RealGameError(f"the game did not start: {error}") from None
                logger.warning("the game did not start (%s): trying again", error)

    @exclusive
    def step(self, keys: NDArray[np.uint8], frames: int = 1) -> None:
        """Play `frames` frames with `keys`, uint8 [1], held; fewer where the run ends before."""
        self._play([int(keys[0])] * frames, every=max(frames, 1))

    @exclusive
    def run(self, keys: Sequence[int] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Play a sequence of key masks, in few calls into the page.

        returns: float64 [n, 92], the state after each frame; n < len(keys) where the run ended before.
        """
        rows = [self._play([int(k) for k in keys[i : i + CHUNK]], 1) for i in range(0, len(keys), CHUNK)]
        return np.concatenate(rows) if rows else np.empty((0, STATE_SIZE))

    @exclusive
    def snapshot(self) -> NDArray[np.uint8]:
        """The state as the keys that lead to it, uint8 [1, T]."""
        return np.array(self._keys, np.uint8)[None]

    @exclusive
    def restore(
        self, snapshot: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None, convert: bool = False
    ) -> None:
        """Go to where `snapshot`, uint8 [1, T], was taken: a new page, and its keys again.

        convert: means nothing here, keys have no sine and cosine.
        """
        if mask is None or mask[0]:
            self.reset()
            self.run(snapshot[0])

    @exclusive
    def close(self) -> None:
        """End the browser."""
        self._give_up(_CLOSED)

    # -- more ----------------------------------------------------------------------------------------

    def picture(self) -> NDArray[np.uint8]:
        """The game's own picture of now, uint8 [400, 640, 3]."""
        from qwop_game.render import pixels, pygame  # loaded with the first picture only

        try:
            address = self.page("return bridge.picture()")
        except (BrowserLost, PageError) as error:
            raise RealGameError(str(error)) from None
        image = pygame.image.load(io.BytesIO(base64.b64decode(address.partition(",")[2])), "picture.jpg")
        return np.ascontiguousarray(pixels(image))

    def draw(self) -> None:
        """Draw the state of now in the page."""
        self.page("bridge.draw()")

    @exclusive
    def page(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page. Raises BrowserLost, PageError."""
        if self._is_copy:
            self._bring_back("the game is a copy")
        if self._browser is None:
            raise BrowserLost(self._lost or "the browser is closed")
        return self._browser.run(script, *arguments)

    @exclusive
    def accept(self, rows: NDArray[np.float64], keys: Sequence[int]) -> None:
        """Take over frames that the page has played by itself, float64 [n, 92] and their n key masks."""
        self._keys.extend(keys)
        if len(rows):
            self._row = rows[-1].copy()

    @exclusive
    def provenance(self) -> dict[str, str | int | float | bool]:
        """What a recording says about where it comes from, beside `trig`."""
        browser = self._launch()
        game = browser.game
        assert game is not None  # this browser shows the game's page
        return {
            "game_sha256": game.sha256,
            "game_source_sha256": game.source_sha256,
            "game_patched_by": game.patched_by,
            "trig_source": self.trig_source,
            "browser": browser.version,
            "driver": browser.driver.version,
            "qwop_gym": metadata.version("qwop-gym"),
            "selenium": metadata.version("selenium"),
            "headless": self.headless,
            "frame_skip": 1,
        }

    @property
    def selenium(self) -> object:
        """Selenium's WebDriver, for tests that type."""
        return self._browser.selenium if self._browser else None

    @exclusive
    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_row": self._row.copy(), "_keys": list(self._keys), "_browser": None}
        del state["lock"]
        if self._lost is None:
            state |= {"_is_copy": True, "_lost": "the game is a copy"}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = threading.RLock()

    # -- inside --------------------------------------------------------------------------------------

    def _launch(self) -> Browser:
        if self._browser is None:
            self._browser = Browser(*self._settings)
        return self._browser

    def _give_up(self, why: str) -> None:
        if self._browser is not None:
            self._browser.close()
            self._browser = None
        self._lost = why

    def _begin(self) -> None:
        """A loaded page at the canonical start. Raises BrowserLost, PageError, RealGameError."""
        start = start_state(self.trig)
        browser = self._launch()
        browser.load()
        self._row = _rows(
            browser.run("return bridge.begin(arguments[0])", float(start[_GLOBAL["score_time"]]))
        )[0]
        if not np.array_equal(self._row, start):
            column = int(np.flatnonzero(self._row != start)[0])
            raise RealGameError(
                f"the game does not start where it should ({self._row[column]!r} in column {column}, not "
                f"{start[column]!r}): another edition of the game, or another machine's arithmetic"
            )
        self._lost = None
        self._is_copy = False

    def _play(self, keys: list[int], every: int) -> NDArray[np.float64]:
        """Play and return the rows; brings a lost episode back first if it may."""
        begun = self._keys or self._is_copy
        if self._lost is not None and (self._lost == _CLOSED or not begun):
            raise RealGameError(f"{self._lost}: call reset() first")
        problem = self._lost
        for _ in range(_LAUNCHES):
            try:
                if problem is not None:
                    if not self.recover and not self._is_copy:
                        raise RealGameError(
                            f"{problem}, {len(self._keys)} frames into the episode: it is lost; reset() "
                            "starts a new one"
                        )
                    self._bring_back(problem)
                frame, rows = self._call_play(len(self._keys), keys, every)
                self.accept(rows, keys[: frame - len(self._keys)])
                return rows
            except (BrowserLost, PageError) as error:
                problem = str(error)
                self._give_up(problem)
        raise RealGameError(
            f"{problem}, {len(self._keys)} frames into the episode: it did not come back in {_LAUNCHES} tries"
        )

    def _call_play(self, frame: int, keys: list[int], every: int) -> tuple[int, NDArray[np.float64]]:
        """Play in the page; its frame afterwards, and the rows."""
        if self._browser is None:
            raise BrowserLost(self._lost or "the browser is closed")
        script = "return bridge.play(...arguments)"
        after, packed = self._browser.run(script, frame, keys, every, self.stop_at_end, not self.headless)
        return after, _rows(packed)

    def _bring_back(self, why: str) -> None:
        """Play the episode again up to where it was lost, and check that it stands there again, exactly."""
        before, keys, expected = self._row.copy(), list(self._keys), self._is_copy
        self._begin()
        for i in range(0, len(keys), CHUNK):
            _, rows = self._call_play(i, keys[i : i + CHUNK], CHUNK)
            if len(rows):
                self._row = rows[-1].copy()
        if not np.array_equal(self._row, before):
            self._row = before
            self._give_up(why)
            raise RealGameError(f"{why}, and the episode did not come back to the same state: call reset()")
        if expected:
            return
        logger.warning(
            "%s, %d frames into the episode: another browser played it again to the same state, bit for bit, "
            "and it goes on",
            why,
            len(keys),
        )


def start_state(trig: str) -> NDArray[np.float64]:
    """The canonical start of the game in a variant, float64 [92]."""
    simulator = Simulator(1, trig=trig)
    state = simulator.state[0]
    simulator.close()
    return state


def _rows(packed: object) -> NDArray[np.float64]:
    """What bridge.js packs -> float64 [n, 92]."""
    return np.frombuffer(base64.b64decode(str(packed)), "<f8").reshape(-1, STATE_SIZE)
