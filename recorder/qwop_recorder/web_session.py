"""The runs of one page, played again here: every change is checked, played, and stored.

The page plays by itself and sends each change of a run, in order. This side plays the same keys in its own
simulator and stores what that shows, so a stored run is exact whatever the page claims.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import (
    KEY_SOURCES,
    About,
    Change,
    End,
    Frame,
    KeyEvent,
    Recording,
    Rewind,
    name_problem,
    page_play_fields,
)
from qwop_game import Simulator
from qwop_game.rules import TOO_FAR_AHEAD, TOO_FAR_BACK, has_finished, is_over
from qwop_recorder.config import RecordConfig
from qwop_recorder.keeping import reason_to_reject
from qwop_recorder.loop import FrameTiming
from qwop_recorder.personal_best import PersonalBest

MAX_FRAMES = 30 * 3600
"""Longest run, frames: an hour. What is played beyond is not recorded."""
MAX_EVENTS_PER_FRAME = 64
"""Four keys can't go down and up more often in a thirtieth of a second."""
MAX_REWINDS = 1000
"""Of a run."""
SNAPSHOT_FRAMES = 300
"""Frames between two snapshots of a run: a rewind replays at most this many, 3 ms."""

_MASKS = [np.array([keys], np.uint8) for keys in range(16)]


class PageError(Exception):
    """The page sent what it never sends; one line."""


class Runs(Protocol):
    """Where a page's runs go."""

    def recording(self, raw_observation: NDArray[np.float32], time: float) -> Recording:
        """Make the recording of a run that starts in this state (float32 [60], s)."""
        ...

    def begin(self, run: Recording) -> object:
        """Store the start of a run."""

    def write(self, run: Recording, *changes: Change) -> object:
        """Store changes that were added to the run."""

    def drop(self, run: Recording) -> None:
        """Throw the run away."""

    def keep(self, run: Recording) -> dict[str, Any]:
        """Keep the run; returns news for the page."""
        ...


class PageSession:
    """The runs of one page: each change is played and handed on; `stored` counts them.

    Args:
        config: The session's options.
        runs: Where runs go.
        best: The player's best so far.
        player: The player's name, whatever the page says; empty: `config.player`, or what the page says.
        provenance: What is stored with each run.
        rename: Turns the page's id of a run into that of the episode.
        max_frames: Longest run.
        timing: Measures the frames; None: nobody asks.
    """

    def __init__(
        self,
        config: RecordConfig,
        runs: Runs,
        best: PersonalBest,
        *,
        player: str = "",
        provenance: Mapping[str, str | int | float | bool] | None = None,
        rename: Callable[[str], str] = lambda name: name,
        max_frames: int = MAX_FRAMES,
        timing: FrameTiming | None = None,
    ) -> None:
        self._config = config
        self._runs = runs
        self._player = player or config.player
        self._provenance = dict(provenance or {})
        self._rename = rename
        self._max_frames = max_frames
        self._timing = timing
        self.best = best
        self.run: Recording | None = None
        self.attempts = 0
        self.frames = 0
        """Frames that were played."""
        self.stored = 0
        """Changes that were taken in."""
        self._simulator = Simulator(1, trig=config.trig)
        self._snapshots: dict[int, NDArray[np.uint8]] = {}  # frame -> the game before it
        self._cut = False  # the run is longer than max_frames: what is played now is not recorded
        self._events = 0  # since the last frame
        self._kinds: dict[str, Callable[..., dict[str, Any] | None]] = {
            "begin": self._begin,
            "event": self._event,
            "frame": self._frame,
            "rewind": self._rewind,
            "end": lambda: None,
            "keep": self._keep,
            "drop": self._drop,
        }

    def apply(self, first: int, changes: list[Any]) -> list[dict[str, Any]]:
        """Play and store changes; those that were taken in already are skipped.

        Args:
            first: Number of the first one.
            changes: See sync.js.

        Returns:
            News for the page.

        Raises:
            PageError: A change that no page sends; those before it are stored.
        """
        if first > self.stored:
            raise PageError(f"change {self.stored} is missing")
        news: list[dict[str, Any]] = []
        change: list[Any]
        for change in changes[self.stored - first :]:
            kind = change[0] if type(change) is list and change else None
            if not isinstance(kind, str) or kind not in self._kinds:
                raise PageError(f"unknown change {str(change)[:40]}")
            try:
                answer = self._kinds[kind](*change[1:])
            except (TypeError, ValueError, KeyError, OverflowError) as error:
                raise PageError(f"{kind}: {' '.join(str(error).split())[:120]}") from None
            self.stored += 1
            if answer:
                news.append(answer)
        return news

    def close(self) -> None:
        """Keep what was played of the latest run as one cut short."""
        run, self.run = self.run, None
        if run is not None and run.num_frames:
            if run.end is None:
                self._runs.write(run, run.add(End(truncated=True)))
            self._runs.keep(run)
        elif run is not None:
            self._runs.drop(run)
        self._simulator.close()

    # -- the changes -----------------------------------------------------------------------------------

    def _begin(self, about: dict[str, Any]) -> None:
        player = self._player or str(about["player"])
        if problem := name_problem(player):
            raise ValueError(problem)
        if about["trig"] != self._config.trig:
            raise ValueError(f"the page plays {about['trig']!r:.20}, not {self._config.trig}")
        date = re.fullmatch(r"[0-9T:.Z-]{10,40}", about["created"])
        if not date or not re.fullmatch(r"[0-9a-f]{32}", about["id"]):
            raise ValueError("a run's id or date is malformed")
        clock_offset = _number("clock_offset", about["clock_offset"])
        self._drop()
        self._simulator.reset()
        self._snapshots = {}
        self._cut = False
        self._events = 0
        run = self._runs.recording(self._simulator.raw_observation[0], float(self._simulator.time[0]))
        run.fields |= {
            "id": self._rename(about["id"]),
            "created": about["created"],
            "player": player,
            "wall_clock_offset": clock_offset,
            "provenance": {**run.fields.get("provenance", {}), **self._provenance},
        }
        self._runs.begin(run)
        self.run = run
        self.attempts += 1
        if self._timing:
            self._timing.begin()

    def _current(self) -> Recording:
        if self.run is None:
            raise ValueError("no run has begun")
        return self.run

    def _event(self, time: float, key: int, pressed: bool, source: str) -> None:
        run = self._current()
        if key not in (1, 2, 4, 8) or source not in KEY_SOURCES or not isinstance(pressed, bool):
            raise ValueError("not a key event")
        time = _number("an event's time", time)
        if run.key_events and run.key_events[-1].time > time:
            raise ValueError("events run backwards")
        self._events += 1
        if self._events > MAX_EVENTS_PER_FRAME:
            raise ValueError("more key events than anybody types")
        if not self._cut:
            self._runs.write(run, run.add(KeyEvent(time, key, pressed, source)))

    def _frame(self, keys: int, instant: float, lateness: float) -> dict[str, Any] | None:
        run = self._current()
        if type(keys) is not int or not 0 <= keys <= 15:
            raise ValueError(f"{keys!r:.20} is no key mask")
        if run.end is not None:
            raise ValueError("the run is over")
        instant, lateness = _number("an instant", instant), _number("a lateness", lateness)
        self._events = 0
        self.frames += 1
        if self._cut:
            return None
        if run.num_frames >= self._max_frames:
            self._cut = True
            minutes = self._max_frames / 30 / 60
            return {"problem": f"A run of more than {minutes:g} minutes: the rest of it is not recorded."}
        simulator = self._simulator
        if run.num_frames % SNAPSHOT_FRAMES == 0:
            self._snapshots[run.num_frames] = simulator.snapshot()
        simulator.step(_MASKS[keys])
        row, time = simulator.raw_observation[0], float(simulator.time[0])
        wall_time = run.wall_clock_offset + instant
        changes: list[Change] = [run.add(Frame(keys, row, time, wall_time, lateness))]
        if simulator.flags[0] or not TOO_FAR_BACK < simulator.distance[0] < TOO_FAR_AHEAD:
            flags, distance = simulator.flags, simulator.distance
            if is_over(flags, distance)[0]:
                changes.append(run.add(End(terminated=True, success=bool(has_finished(flags, distance)[0]))))
        if self._timing:
            self._timing.frame(instant, lateness)
        self._runs.write(run, *changes)
        return None

    def _rewind(self, frame: int, time: float) -> None:
        run = self._current()
        if type(frame) is not int:
            raise ValueError(f"{frame!r:.20} is no frame")
        if len(run.rewinds) >= MAX_REWINDS:
            raise ValueError(f"more than {MAX_REWINDS} rewinds")
        if self._cut and frame >= run.num_frames:
            return
        wall_time = run.wall_clock_offset + _number("a rewind's time", time)
        self._runs.write(run, run.add(Rewind(frame, wall_time)))
        self._cut = False
        self._events = 0
        self._snapshots = {at: state for at, state in self._snapshots.items() if at <= frame}
        nearest = max(self._snapshots)
        self._simulator.restore(self._snapshots[nearest])
        for keys in run.keys[nearest:]:
            self._simulator.step(_MASKS[keys])
        if self._timing:
            self._timing.begin()

    def _keep(self, about: dict[str, Any]) -> dict[str, Any]:
        run = self._current()
        if not run.num_frames:
            raise ValueError("a run without a frame")
        play = page_play_fields(about["players"], about["pace"])
        observations = np.array(run.raw_observations, np.float32).tobytes()
        digest = None if self._cut else about.get("observations_sha256")
        same = digest is None or digest == hashlib.sha256(observations).hexdigest()
        self.run = None
        reject = reason_to_reject(run, self._config.min_distance, self._config.max_knee_share)
        if reject:
            self._runs.drop(run)
            return {"rejected": reject}
        provenance = {
            "license": str(about.get("license") or "not given")[:40],
            **run.fields["provenance"],  # a license that was agreed to before holds
            **play["provenance"],
            "page_sha256": "checked" if same and digest else "none" if same else "differs",
        }
        changes: list[Change] = [
            run.add(About({"source": play["source"], "tags": play["tags"], "provenance": provenance}))
        ]
        if run.end is None:
            changes.append(run.add(End(truncated=True)))
        self._runs.write(run, *changes)
        if not run.rewinds:
            self.best.update(run.distance, run.time, run.success)
        news = self._runs.keep(run)
        if not same:
            news["problem"] = "the page computed other numbers than the recorder: please report this"
        return news

    def _drop(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            self._runs.drop(run)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is no number")
    return float(value)
