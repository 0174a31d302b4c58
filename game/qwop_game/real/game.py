"""The real game in a browser, frame by frame, with the interface of a `Simulator` of one game."""

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
from qwop_game.session import CANONICAL_START, Operation, Session
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
"""Maximum number of frames per call into the page, so that a slow machine answers in time."""

_GLOBAL = {name: STATE_SIZE - len(STATE_GLOBALS) + i for i, name in enumerate(STATE_GLOBALS)}
_FLAG_COLUMNS = [_GLOBAL[n] for n in ("fallen", "jumped", "jump_landed", "game_ended", "pause")]
_FLAG_BITS = np.array([FLAG_FALLEN, FLAG_JUMPED, FLAG_JUMP_LANDED, FLAG_GAME_ENDED, FLAG_PAUSED], np.uint8)
_CLOSED = "the game is closed"
_LONGEST_PAGE = 30 * 60 * 60  # frames: after an hour of play the page is loaded again
_LAUNCHES = 3  # attempts to restore an episode after the browser was lost


class RealGame:
    """Bennett Foddy's own game in Chrome, Chromium or Firefox, in place of a `Simulator` of one game.

    Each reset loads the page again, so that an episode depends only on its keys, and checks that the game is
    at the canonical start. With `keep_page` only the first one does; a later one is the game's own, as by its
    R key, and `episode_start` says what happened in the page before. Each start is compared with that of the
    embedded game. The clock starts at the same value as that of the embedded game.

    headless: play without a window; this needs no display and no graphics card. Otherwise the window shows a
        frame after each call of `step`.
    browser, driver: paths; None: see find.py.
    stop_at_end: as for `Simulator`.
    recover: when the browser is lost within an episode, start another one, play the episode's keys again,
        check that the state is the same, and continue. The logger "qwop_game.real" warns about it. None: only
        if headless, because the user may close a window on purpose.
    scripts: more scripts of this folder for the page.
    keep_page: do not load the page again for each episode.
    trig: sine and cosine of the game, one of TRIG_VARIANTS, in any browser: exact code replaces the page's
        Math.sin and Math.cos. None: the browser's own; the attribute `trig` then says which variant they are,
        and raises RealGameError if the embedded game has no such variant.

    state, raw_observation, time, distance, flags, step, reset, snapshot and restore are those of `Simulator`.
    A snapshot is the keys since the start. Threads may share a game as they may share a `Simulator`. A copy
    or an unpickled game starts its own browser when it is first played, and restores the episode exactly.

    The first reset starts the browser. It raises RealGameError if that fails. `step` and `restore` raise it
    if the browser is lost; `reset` then starts a new one.
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
        keep_page: bool = False,
    ) -> None:
        self.headless = headless
        self.keep_page = keep_page
        self.stop_at_end = stop_at_end
        self.recover = headless if recover is None else recover
        self.trig_source = "native" if trig is None else "pinned"
        """Where its sine and cosine come from: "pinned" or "native"."""
        self._trig = trig if trig is None else check_trig(trig)
        self._settings = (headless, browser, driver, scripts, trig)
        self.lock = threading.RLock()
        self._keys: list[int] = []
        self._past: tuple[bytes, ...] = ()  # keys of the episodes before, in this page
        self._lost: str | None = "reset() was not called"
        self._is_copy = False  # a copy of a game within an episode, which its browser has not played yet
        self._browser: Browser | None = None
        self.loads = 0
        """Pages loaded so far. A new page does not know which keys are down."""
        self._row = start_state(self._trig or DEFAULT_TRIG)

    # -- the Simulator's interface -------------------------------------------------------------------

    @property
    def state(self) -> NDArray[np.float64]:
        """All numbers of the game, a new float64 [1, 92]."""
        return self._row[None].copy()

    @property
    def trig(self) -> str:
        """Variant of the game's sine and cosine. If it is the browser's own, this starts the browser."""
        if self._trig is None:
            native = self.native_trig
            if native not in TRIG_VARIANTS:
                raise RealGameError(
                    "this browser's sine and cosine equal no variant of the embedded game"
                    f"{'' if native is None else f' ({native})'}: omit --native to replace them by exact ones"
                )
            self._trig = native
        return self._trig

    @property
    def native_trig(self) -> str | None:
        """Variant of the browser's own sine and cosine; None: an unknown one. Starts the browser."""
        return self._launch().native_trig

    @property
    def episode_start(self) -> NDArray[np.uint32] | None:
        """What happened in the page before, rows of a `qwop_game.Session`; None: the canonical start."""
        return _session(self._past).array if self._past else None

    @property
    def raw_observation(self) -> NDArray[np.float32]:
        """Raw observation, a new float32 [1, 60]."""
        return raw_from_state(self._row)[None]

    @property
    def time(self) -> NDArray[np.float64]:
        """scoreTime, s, a new float64 [1]."""
        return self._row[_GLOBAL["score_time"]][None].copy()

    @property
    def distance(self) -> NDArray[np.float64]:
        """X of the torso, m, a new float64 [1]."""
        return self._row[:1] / UNITS_PER_METER

    @property
    def flags(self) -> NDArray[np.uint8]:
        """Flags of the game, see `Simulator`, a new uint8 [1]."""
        return np.array([_FLAG_BITS[self._row[_FLAG_COLUMNS] != 0].sum()], np.uint8)

    @exclusive
    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Start a new episode. mask: bool [1]; if it is false, nothing happens."""
        if mask is not None and not mask[0]:
            return
        if self.keep_page and self._lost is None and not self._is_copy and self._start_softly():
            return
        self._keys, self._past = [], ()
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
        """Play `frames` frames with `keys`, uint8 [1], held; fewer if the run ends before."""
        self._play([int(keys[0])] * frames, every=max(frames, 1))

    @exclusive
    def run(self, keys: Sequence[int] | NDArray[np.uint8]) -> NDArray[np.float64]:
        """Play a sequence of key masks, in few calls into the page.

        returns: float64 [n, 92], the state after each frame; n < len(keys) if the run ended before.
        """
        rows = [self._play([int(k) for k in keys[i : i + CHUNK]], 1) for i in range(0, len(keys), CHUNK)]
        return np.concatenate(rows) if rows else np.empty((0, STATE_SIZE))

    @exclusive
    def snapshot(self) -> NDArray[np.uint8]:
        """Return the state as the keys that lead to it, uint8 [1, T]."""
        return np.array(self._keys, np.uint8)[None]

    @exclusive
    def restore(
        self, snapshot: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None, convert: bool = False
    ) -> None:
        """Restore a state: load the page, and play the keys of `snapshot`, uint8 [1, T], from the same start.

        convert: has no effect here, because a snapshot has only keys.
        """
        if mask is None or mask[0]:
            past = self._past
            kept, self.keep_page = self.keep_page, False
            try:
                self.reset()
            finally:
                self.keep_page = kept
            for keys in past:
                self._play_past(keys)
            self.run(snapshot[0])

    @exclusive
    def close(self) -> None:
        """End the browser."""
        self._give_up(_CLOSED)

    # -- more ----------------------------------------------------------------------------------------

    def picture(self) -> NDArray[np.uint8]:
        """Return the game's own current picture, uint8 [400, 640, 3]."""
        from qwop_game.render import pixels, pygame  # loaded with the first picture only

        try:
            address = self.page("return bridge.picture()")
        except (BrowserLost, PageError) as error:
            raise RealGameError(str(error)) from None
        image = pygame.image.load(io.BytesIO(base64.b64decode(address.partition(",")[2])), "picture.jpg")
        return np.ascontiguousarray(pixels(image))

    def draw(self) -> None:
        """Draw the current state in the page."""
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
        """Add frames that the page has played by itself: states float64 [n, 92] and n key masks."""
        self._keys.extend(keys)
        if len(rows):
            self._row = rows[-1].copy()

    @exclusive
    def provenance(self) -> dict[str, str | int | float | bool]:
        """Return the provenance that a recording stores, in addition to `trig`."""
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
        """Selenium's WebDriver, for tests that press keys."""
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
        """Load the page and start an episode. Raises BrowserLost, PageError, RealGameError."""
        start = start_state(self.trig)
        browser = self._launch()
        browser.load()
        self.loads += 1
        self._row = _rows(
            browser.run("return bridge.begin(arguments[0])", float(start[_GLOBAL["score_time"]]))
        )[0]
        if not np.array_equal(self._row, start):
            column = int(np.flatnonzero(self._row != start)[0])
            raise RealGameError(
                f"the game is not at the canonical start ({self._row[column]!r} in column {column}, expected "
                f"{start[column]!r}): it is another edition of the game, or the browser's arithmetic differs"
            )
        self._lost = None
        self._is_copy = False

    def _start_softly(self) -> bool:
        """Start the next episode in the same page. Returns False if the page has to be loaded again."""
        if not self._keys:  # nothing was played since the start: this episode begins where it stands
            return bool(self._past) or np.array_equal(self._row, start_state(self.trig))
        past = (*self._past, bytes(self._keys))
        if _session(past).frames > _LONGEST_PAGE:
            return False
        expected = session_state(_session(past).array, self.trig)
        try:
            row = self._call_again(expected)
        except (BrowserLost, PageError) as error:
            logger.warning("the page is lost (%s): loading it again", error)
            self._give_up(str(error))
            return False
        if not np.array_equal(row, expected):
            logger.warning(
                "after the game's own reset its state differs from the embedded game's: loading the page"
            )
            return False
        self._row, self._keys, self._past = row, [], past
        return True

    def _call_again(self, expected: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._browser is None:
            raise BrowserLost(self._lost or "the browser is closed")
        time = float(expected[_GLOBAL["score_time"]])
        return _rows(self._browser.run("return bridge.again(arguments[0])", time))[0]

    def _play_past(self, keys: bytes) -> None:
        """Play an earlier episode of the page, up to the start of the next. Raises RealGameError."""
        try:
            for i in range(0, len(keys), CHUNK):
                self._call_play(i, list(keys[i : i + CHUNK]), CHUNK)
            past = (*self._past, keys)
            expected = session_state(_session(past).array, self.trig)
            row = self._call_again(expected)
        except (BrowserLost, PageError) as error:
            self._give_up(str(error))
            raise RealGameError(f"{error}, while the page's earlier episodes were played again") from None
        if not np.array_equal(row, expected):
            self._give_up("another start")
            raise RealGameError(
                "the page's earlier episodes, played again, lead to another start: call reset()"
            )
        self._row, self._keys, self._past = row, [], past

    def _play(self, keys: list[int], every: int) -> NDArray[np.float64]:
        """Play and return the states. With `recover`, a lost episode is restored first."""
        begun = self._keys or self._is_copy
        if self._lost is not None and (self._lost == _CLOSED or not begun):
            raise RealGameError(f"{self._lost}: call reset() first")
        problem = self._lost
        for _ in range(_LAUNCHES):
            try:
                if problem is not None:
                    if not self.recover and not self._is_copy:
                        raise RealGameError(
                            f"{problem}, {len(self._keys)} frames into the episode: the episode is lost; "
                            "reset() starts a new one"
                        )
                    self._bring_back(problem)
                frame, rows = self._call_play(len(self._keys), keys, every)
                self.accept(rows, keys[: frame - len(self._keys)])
                return rows
            except (BrowserLost, PageError) as error:
                problem = str(error)
                self._give_up(problem)
        raise RealGameError(
            f"{problem}, {len(self._keys)} frames into the episode: {_LAUNCHES} attempts to restore it failed"
        )

    def _call_play(self, frame: int, keys: list[int], every: int) -> tuple[int, NDArray[np.float64]]:
        """Play in the page. Returns its frame afterwards, and the states."""
        if self._browser is None:
            raise BrowserLost(self._lost or "the browser is closed")
        script = "return bridge.play(...arguments)"
        after, packed = self._browser.run(script, frame, keys, every, self.stop_at_end, not self.headless)
        return after, _rows(packed)

    def _bring_back(self, why: str) -> None:
        """Play the episode again up to where it was lost, and check that the state is the same."""
        before, keys, expected = self._row.copy(), list(self._keys), self._is_copy
        past, self._past = self._past, ()
        self._begin()
        for earlier in past:
            self._play_past(earlier)
        self._keys = keys
        for i in range(0, len(keys), CHUNK):
            _, rows = self._call_play(i, keys[i : i + CHUNK], CHUNK)
            if len(rows):
                self._row = rows[-1].copy()
        if not np.array_equal(self._row, before):
            self._row = before
            self._give_up(why)
            raise RealGameError(f"{why}, and its replay reached another state: call reset()")
        if expected:
            return
        logger.warning(
            "%s, %d frames into the episode: another browser has restored the same state, bit for bit, "
            "and continues",
            why,
            len(keys),
        )


def start_state(trig: str) -> NDArray[np.float64]:
    """Return the canonical start of the game in a variant, float64 [92]."""
    simulator = Simulator(1, trig=trig)
    state = simulator.state[0]
    simulator.close()
    return state


def session_state(session: NDArray[np.uint32], trig: str) -> NDArray[np.float64]:
    """Return the state of the embedded game after operations in a page, float64 [92]."""
    simulator = Simulator(1, trig=trig, stop_at_end=False)
    simulator.operate(session)
    state = simulator.state[0]
    simulator.close()
    return state


def _session(past: Sequence[bytes]) -> Session:
    """What happened in a page in which these keys were played, each followed by the game's own reset."""
    session = CANONICAL_START
    for keys in past:
        session = session.play(keys).then(Operation.RESET).then(Operation.PLAY, 2)
    return session


def _rows(packed: object) -> NDArray[np.float64]:
    """Unpack the states that bridge.js has packed, float64 [n, 92]."""
    return np.frombuffer(base64.b64decode(str(packed)), "<f8").reshape(-1, STATE_SIZE)
