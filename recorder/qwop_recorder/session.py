"""A recording session as a state machine: no window, no clock, no disk of its own.

The loop calls `Session.tick` 30 times a second with the key events since the last tick; the person's
commands come through `Session.command`. The game and the store are handed in.

    COUNTDOWN -> PLAYING -> ENDED -> (kept or thrown away) -> COUNTDOWN ...
    PLAYING <-> PAUSED, and from PLAYING, PAUSED or ENDED: REWOUND -> COUNTDOWN -> PLAYING, on the same run

A finished run is held back until the next one is finished too, so that it can still be thrown away; the
journal has it all the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import numpy as np

from qwop_game import FRAME_SECONDS, Simulator
from qwop_game.gait import gait_metrics
from qwop_game.rules import FLAG_GAME_ENDED, TOO_FAR_AHEAD, TOO_FAR_BACK, has_finished
from qwop_recorder.key_events import KeyEvent, apply_events, reconcile
from qwop_recorder.loop import FrameTiming

if TYPE_CHECKING:
    from qwop_game.real import RealGame

FRAMES_PER_SECOND = 30
SNAPSHOT_FRAMES = 30
"""Frames between two snapshots of a run: a rewind replays at most this many, less than a millisecond."""
HURDLE_IN_SIGHT = 45.0
"""From this distance on (m) the picture needs to know where the hurdle is: it may have been run into."""
AGAIN_SECONDS = 1.0
"""Longest countdown when a session is under way: the next run, after a pause, after a rewind."""
AUTO_RESTART_SECONDS = 1.0
"""How long a fallen runner is shown before --auto-restart keeps the run and starts the next."""


class Phase(Enum):
    """What the session is doing."""

    COUNTDOWN = auto()
    PLAYING = auto()
    PAUSED = auto()
    ENDED = auto()
    REWOUND = auto()
    DONE = auto()


class Command(Enum):
    """What the person wants."""

    GO = auto()
    """Start, pause, go on; after a run: keep it and play the next; after a rewind: take over."""
    RESTART = auto()
    """This run again from the start; what was played of it is thrown away."""
    DISCARD = auto()
    """Throw away the last finished run, and play another in its place."""
    BACK = auto()
    """Step back some seconds."""
    FORWARD = auto()
    """After stepping back: forward again."""
    FINISH = auto()
    """Pause; where nothing moves: end the session."""
    CLOSE = auto()
    """End the session now, as when the window is closed or on Ctrl-C."""
    FOCUS_LOST = auto()
    FOCUS_GAINED = auto()


@dataclass(eq=False)
class Run:
    """One attempt as it is played: one exact run from the start, whatever was rewound meanwhile.

    observations: T + 1 of float32 [60], raw; times: T + 1, the game's clock, s; keys: T masks
    sampled, lateness: T, s, on the session's clock
    events: the key events of these frames, in order
    rewinds: (session's clock, frames before, frames after); discarded_keys: what they cut off, in order
    snapshots: frame -> the game's exact state before it
    states: frame -> Simulator.state's row, float64 [92], where the hurdle may be in sight, for the picture
    """

    observations: list[np.ndarray]
    times: list[float]
    keys: list[int] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    events: list[KeyEvent] = field(default_factory=list)
    rewinds: list[tuple[float, int, int]] = field(default_factory=list)
    discarded_keys: list[int] = field(default_factory=list)
    snapshots: dict[int, np.ndarray] = field(default_factory=dict)
    states: dict[int, np.ndarray] = field(default_factory=dict)
    ended: bool = False
    success: bool = False

    @property
    def frames(self) -> int:
        """T."""
        return len(self.keys)

    @property
    def distance(self) -> float:
        """The torso's x after the last frame, m."""
        return float(self.observations[-1][0]) / 10

    @property
    def time(self) -> float:
        """The game's clock after the last frame, s."""
        return self.times[-1]


class StoreError(Exception):
    """The disk did not take something; one line. Nothing is lost yet: the same call may be tried again."""


class Store(Protocol):
    """Where runs go. Every call is safe against a crash at once.

    All raise StoreError where the disk refuses. What was given to begin, frame, event, rewind or end is
    then kept in memory and comes first at the next call, or at `flush`.
    """

    def begin(self, run: Run) -> None:
        """A run starts; its first observation is there."""

    def event(self, run: Run, event: KeyEvent) -> None: ...
    def frame(self, run: Run) -> None:
        """The run has one more frame, its last."""

    def rewind(self, run: Run, time: float, frame: int) -> None:
        """Play of the run goes on at `frame`."""

    def end(self, run: Run) -> None:
        """The run is over and worth keeping; it may still be dropped."""

    def drop(self, run: Run) -> None:
        """Throw the run away, for ever."""

    def commit(self, run: Run) -> str:
        """Put the run into the file; a line that says how its exact replay went."""
        ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class SessionOptions:
    """What `qwop-record`'s options say about the session; see there."""

    episodes: int | None = None
    min_distance: float | None = None
    max_knee_share: float | None = None
    auto_restart: bool = False
    countdown: float = 3.0
    rewind: float = 2.0


@dataclass
class PersonalBest:
    """The farthest run, and the fastest over 100 m; None until there is one."""

    distance: float | None = None
    time: float | None = None

    def update(self, distance: float, time: float, success: bool) -> bool:
        """Take in a run (m, s); True where it is a new best: faster, or farther while none was finished."""
        farther = self.distance is None or distance > self.distance
        faster = success and (self.time is None or time < self.time)
        if farther:
            self.distance = distance
        if faster:
            self.time = time
        return faster or (farther and self.time is None)


class Session:
    """See the module's text. `store` None: practice, nothing is recorded or kept.

    phase: what is going on; message: the latest news, one line ("" for none); run: the current run;
    cursor: the frame on show; down: keys that the person holds now; kept: runs kept so far;
    attempts: runs begun so far; best; timing; log: lines about the runs kept, for the terminal;
    problem: why the store refuses, or None.
    """

    def __init__(
        self,
        game: "Simulator | RealGame",
        store: Store | None,
        options: SessionOptions,
        best: PersonalBest | None = None,
    ) -> None:
        self._game = game
        self._store = store
        self.options = options
        self.best = best or PersonalBest()
        self.timing = FrameTiming()
        self.phase = Phase.COUNTDOWN
        self.message = ""
        self.problem: str | None = None
        self.reject: str | None = None
        self.kept = 0
        self.attempts = 0
        self.down = 0
        self.log: list[str] = []
        self.unsaved: list[Run] = []
        self._held: Run | None = None
        self._recorded_down = 0
        self._resumed: list[KeyEvent] = []
        self._presses: list[float] = []
        self._ticks_left = 0
        self._scrubbed = False
        self._new_run(options.countdown)

    # -- what the window shows -----------------------------------------------------------------------

    @property
    def observation(self) -> np.ndarray:
        """The raw observation on show, float32 [60]."""
        return self.run.observations[self.cursor]

    @property
    def shown_keys(self) -> int:
        """Keys to light up: those of the frame on show, or those held while nothing is played."""
        if self.phase is Phase.REWOUND:
            return self.run.keys[self.cursor - 1] if self.cursor else 0
        if self.phase is Phase.PLAYING and self.run.frames:
            return self.run.keys[-1]
        return self.down

    @property
    def countdown_seconds(self) -> float:
        """Time left before play starts, s."""
        return self._ticks_left * FRAME_SECONDS if self.phase is Phase.COUNTDOWN else 0.0

    @property
    def practice(self) -> bool:
        """Whether nothing is recorded."""
        return self._store is None

    @property
    def can_discard(self) -> bool:
        """Whether a run before the current one can still be thrown away."""
        return self._held is not None

    @property
    def enough(self) -> bool:
        """Whether the run that has just ended is the last one that was asked for."""
        return (
            self.phase is Phase.ENDED
            and self.reject is None
            and self.options.episodes is not None
            and self.kept + 1 >= self.options.episodes
        )

    # -- the clock's side ----------------------------------------------------------------------------

    def tick(self, events: list[KeyEvent], now: float, lateness: float) -> None:
        """One thirtieth of a second: plays a frame where the phase is PLAYING.

        events: all key events since the last tick; now: the instant of this one, not earlier than any of
        them; lateness: how long after its due time it came. All s.
        """
        self._presses = []
        self.down, _ = apply_events(self.down, events)
        if self.phase is Phase.PLAYING:
            self._frame(events, now, lateness)
        elif self.phase is Phase.COUNTDOWN:
            self._ticks_left -= 1
            if self._ticks_left <= 0:
                self._play(now)
        elif self.phase is Phase.ENDED and self._restarts_alone:
            self._ticks_left -= 1
            if self._ticks_left <= 0:
                self._keep_and_next()

    def drawn(self, now: float) -> None:
        """The picture of the latest tick is on the screen."""
        self.timing.drawn(self._presses, now)

    def _play(self, now: float) -> None:
        # Keys that the person holds at this moment count; what was typed while nothing moved does not.
        self._resumed = reconcile(self._recorded_down, self.down, now)
        if not self._begun:
            self._begun = True
            if not self._stored(lambda store: store.begin(self.run)):
                self.phase = Phase.PAUSED
                return
        self.phase = Phase.PLAYING
        self.message = ""
        self.timing.begin()

    def _frame(self, events: list[KeyEvent], now: float, lateness: float) -> None:
        run, game = self.run, self._game
        events = self._resumed + events
        self._resumed = []
        if run.frames % SNAPSHOT_FRAMES == 0:
            run.snapshots[run.frames] = game.snapshot()
        self._recorded_down, keys = apply_events(self._recorded_down, events)
        game.step(np.array([keys], np.uint8))

        run.events.extend(events)
        run.keys.append(keys)
        run.sampled.append(now)
        run.lateness.append(lateness)
        run.observations.append(game.raw_observation[0].copy())
        run.times.append(float(game.time[0]))
        if run.distance > HURDLE_IN_SIGHT:
            run.states[run.frames] = game.state[0]
        self.cursor = run.frames
        self.timing.frame(now, lateness)
        self._presses = [event.time for event in events if event.pressed and event.source != "resume"]

        def record(store: Store) -> None:
            # every call, though an earlier one may fail: the store keeps what it could not write
            _all([lambda e=e: store.event(run, e) for e in events] + [lambda: store.frame(run)])

        out_of_bounds = not TOO_FAR_BACK <= run.distance <= TOO_FAR_AHEAD
        over = bool(game.flags[0] & FLAG_GAME_ENDED) or out_of_bounds
        stored = self._stored(record)
        if over:
            self._end()
        elif not stored:
            self.phase = Phase.PAUSED

    def _end(self) -> None:
        run = self.run
        run.ended = True
        run.success = bool(has_finished(self._game.flags, self._game.distance)[0])
        self.phase = Phase.ENDED
        # Whoever steps back from a fall wants to look at it: no automatic restart from there.
        self._scrubbed = False
        self._ticks_left = round(AUTO_RESTART_SECONDS * FRAMES_PER_SECOND)
        self.reject = self._reason_to_reject(run)
        news = [] if run.success else [f"after {run.time:.1f} s"]
        # A run with a rewind is no feat of one go.
        if not run.rewinds and self.best.update(run.distance, run.time, run.success):
            news.append("your best")
        if self.reject:
            news.append(f"not kept: {self.reject}")
        self.message = ", ".join(news)
        if self.reject is None:
            self._stored(lambda store: store.end(run))

    @property
    def _restarts_alone(self) -> bool:
        wanted = self.options.auto_restart and not self._scrubbed
        return wanted and not self.run.success and not self.enough and self.problem is None

    def _reason_to_reject(self, run: Run) -> str | None:
        if self.practice:
            return None
        least, most = self.options.min_distance, self.options.max_knee_share
        if least is not None and run.distance < least:
            return f"{run.distance:.1f} m is under --min-distance {least:g}"
        if most is not None:
            share = gait_metrics(np.array(run.observations)).knee_near
            if share > most:
                return f"a knee near the track {share:.1%} of the time is over --max-knee-share {most:g}"
        return None

    # -- the person's side ---------------------------------------------------------------------------

    def command(self, command: Command, now: float = 0.0) -> None:
        """Do what the person asks; a command that means nothing in this phase does nothing.

        now: s, on the clock of the ticks.
        """
        if self.phase is Phase.DONE:
            return
        actions: dict[Command, Callable[[], None]] = {
            Command.GO: lambda: self._go(now),
            Command.RESTART: self._restart,
            Command.DISCARD: self._discard,
            Command.BACK: lambda: self._scrub(-1),
            Command.FORWARD: lambda: self._scrub(+1),
            Command.FINISH: self._pause_or_finish,
            Command.CLOSE: self._finish,
            Command.FOCUS_LOST: self._focus_lost,
            Command.FOCUS_GAINED: self._focus_gained,
        }
        actions[command]()

    def _go(self, now: float) -> None:
        if self.phase is Phase.PLAYING:
            self._pause("")
        elif self.phase is Phase.PAUSED:
            if self._stored(lambda store: store.flush()):
                self._count_down(AGAIN_SECONDS)
        elif self.phase is Phase.ENDED:
            self._keep_and_next()
        elif self.phase is Phase.REWOUND:
            self._take_over(now)

    def _pause(self, message: str) -> None:
        self.phase = Phase.PAUSED
        self.message = message

    def _focus_lost(self) -> None:
        if self.phase in (Phase.PLAYING, Phase.COUNTDOWN):
            self._pause("paused: another window has the keyboard")

    def _focus_gained(self) -> None:
        # Nothing of this run was played yet: no reason to wait for a key.
        if self.phase is Phase.PAUSED and self.run.frames == 0:
            self._count_down(self.options.countdown)

    def _pause_or_finish(self) -> None:
        if self.phase is Phase.PLAYING:
            self._pause("")
        else:
            self._finish()

    def _restart(self) -> None:
        if self.phase is Phase.ENDED:
            self._discard()
        elif self.run.frames:
            self._drop_run()
            self._new_run(AGAIN_SECONDS)
            self.message = "run started over"

    def _discard(self) -> None:
        if self.phase is Phase.ENDED:
            self._drop_run()
            self._new_run(AGAIN_SECONDS)
            self.message = "run thrown away" if not self.practice else ""
        elif self._held is not None:
            held, self._held = self._held, None
            self._stored(lambda store: store.drop(held))
            self.kept -= 1
            self.message = f"the run before ({held.distance:.1f} m) was thrown away"

    def _drop_run(self) -> None:
        if self._begun:
            self._stored(lambda store: store.drop(self.run))

    def _scrub(self, direction: int) -> None:
        """Move the cursor by the rewind's seconds, within what was played."""
        if self.phase not in (Phase.PLAYING, Phase.PAUSED, Phase.ENDED, Phase.REWOUND):
            return
        if direction > 0 and self.phase is not Phase.REWOUND:
            return
        if self.run.frames == 0:
            return
        self._scrubbed = True
        step = max(1, round(self.options.rewind * FRAMES_PER_SECOND))
        self.cursor = min(max(self.cursor + direction * step, 0), self.run.frames)
        if self.cursor == self.run.frames:
            self.phase = Phase.ENDED if self.run.ended else Phase.PAUSED
            self.message = "back at the end" if self.run.ended else ""
        else:
            self.phase = Phase.REWOUND
            self.message = ""

    def _take_over(self, now: float) -> None:
        """Cut the run at the cursor and bring the game there: exactly, from a snapshot and the keys since."""
        run, frame = self.run, self.cursor
        if not self._stored(lambda store: store.rewind(run, now, frame)):
            # What the store could not write it still holds, so the rewind is done all the same.
            self.message = self.problem or ""
        run.rewinds.append((now, run.frames, frame))
        run.discarded_keys.extend(run.keys[frame:])
        near = max(start for start in run.snapshots if start <= frame)
        self._game.restore(run.snapshots[near])
        for keys in run.keys[near:frame]:
            self._game.step(np.array([keys], np.uint8))
        if self._game.raw_observation[0].tobytes() != run.observations[frame].tobytes():
            raise AssertionError(f"the game did not come back to frame {frame} exactly")
        last = run.sampled[frame - 1] if frame else -1.0
        del run.keys[frame:], run.sampled[frame:], run.lateness[frame:]
        del run.observations[frame + 1 :], run.times[frame + 1 :]
        run.events = [event for event in run.events if event.time <= last]
        run.snapshots = {start: state for start, state in run.snapshots.items() if start <= frame}
        run.ended = run.success = False
        self._recorded_down, _ = apply_events(0, run.events)
        self._count_down(AGAIN_SECONDS)

    def _keep_and_next(self) -> None:
        if self.enough:
            self._finish()
        else:
            last = f"{self.run.distance:.1f} m"
            self.message = "" if self.practice else f"{last} not kept" if self.reject else f"{last} kept"
            self._keep()
            self._new_run(AGAIN_SECONDS)

    def _keep(self) -> None:
        """The current run counts: hold it, and put the one held before into the file."""
        if self.practice:
            return
        if self.reject:
            self._drop_run()
            return
        self.kept += 1
        before, self._held = self._held, self.run
        if before is not None:
            self.unsaved.append(before)
        self._save()

    def _save(self) -> None:
        """Put what is due into the file, the oldest first; what the disk refuses stays due."""
        while self.unsaved:
            run = self.unsaved[0]
            if not self._stored(lambda store, run=run: self.log.append(store.commit(run))):
                return
            self.unsaved.pop(0)

    def _finish(self) -> None:
        """End the session: what was played is kept, a run that is not over as one cut short."""
        if self.phase is not Phase.ENDED and self.run.frames:
            if not self.run.ended:
                self.reject = self._reason_to_reject(self.run)
            if self.reject is None:
                self._stored(lambda store: store.end(self.run))
            self._keep()
        elif self.phase is Phase.ENDED:
            self._keep()
        else:
            self._drop_run()  # begun, then rewound to its start
        if self._held is not None:
            self.unsaved.append(self._held)
            self._held = None
        self._save()
        self.phase = Phase.DONE

    # -- both ----------------------------------------------------------------------------------------

    def _new_run(self, countdown: float) -> None:
        self._game.reset()
        self.run = Run([self._game.raw_observation[0].copy()], [float(self._game.time[0])])
        self.cursor = 0
        self.attempts += 1
        self.reject = None
        self._begun = False
        self._recorded_down = 0
        self._count_down(countdown)

    def _count_down(self, seconds: float) -> None:
        self.phase = Phase.COUNTDOWN
        self._ticks_left = max(1, round(min(seconds, self.options.countdown) * FRAMES_PER_SECOND))

    def _stored(self, action: Callable[[Store], None]) -> bool:
        """Have the store do something; False, and the reason on show, where the disk refuses."""
        if self._store is None:
            return True
        try:
            action(self._store)
        except StoreError as error:
            self.problem = str(error)
            self.message = f"not saved yet: {error}; make room, then SPACE"
            return False
        self.problem = None
        return True


def _all(calls: Iterable[Callable[[], None]]) -> None:
    """Make every call, then raise the first StoreError there was."""
    failed = None
    for call in calls:
        try:
            call()
        except StoreError as error:
            failed = failed or error
    if failed:
        raise failed
