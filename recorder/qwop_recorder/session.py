"""A recording session as a state machine, without window, clock or disk.

The loop calls `Session.tick` 30 times per second with the key events since the last tick. `Session.command`
handles the player's commands; TRANSITIONS has their effects.

    COUNTDOWN -> PLAYING -> ENDED -> (kept or discarded) -> COUNTDOWN ...
    PLAYING <-> PAUSED, and from PLAYING, PAUSED or ENDED: REWOUND -> COUNTDOWN -> PLAYING, on the same run
"""

# The table below the class names its methods.
# pyright: reportPrivateUsage=false

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qwop_datasets import End, Frame, KeyEvent, Recording, Rewind
from qwop_game import FRAME_SECONDS, Simulator
from qwop_game.rules import has_finished, is_over
from qwop_recorder.keeping import Keeper, Store, reason_to_reject
from qwop_recorder.key_events import apply_events, reconcile
from qwop_recorder.loop import FrameTiming
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.phases import Command, Phase
from qwop_recorder.rewind import Rewinder

if TYPE_CHECKING:
    from qwop_game.real import RealGame

FRAMES_PER_SECOND = 30
AGAIN_SECONDS = 1.0
"""Maximum length of later countdowns, s: before the next run, after a pause, after a rewind."""
AUTO_RESTART_SECONDS = 1.0
"""How long a fallen runner is shown before --auto-restart keeps the run and starts the next one, s."""


@dataclass(frozen=True)
class SessionOptions:
    """The options of `qwop-record` that a session needs. RecordConfig documents them."""

    episodes: int | None = None
    min_distance: float | None = None
    max_knee_share: float | None = None
    auto_restart: bool = False
    countdown: float = 3.0
    rewind: float = 2.0


class Session:
    """A recording session of one player; see the module's docstring.

    Args:
        game: One game.
        store: Storage of the runs; None: practice, nothing is recorded.
        options: See SessionOptions.
        best: The player's best so far.

    phase: The current phase. message: The latest message, one line ("" for none). run: The current run.
    down: Mask of the keys that are held now. attempts: Runs started so far. reject: Why the run that has
        ended is not kept, or None. best, timing: Figures of the session.
    """

    def __init__(
        self,
        game: "Simulator | RealGame",
        store: Store | None,
        options: SessionOptions,
        best: PersonalBest | None = None,
    ) -> None:
        self._game = game
        self._keeper = Keeper(store, self._tell)
        self.options = options
        self.best = best or PersonalBest()
        self.timing = FrameTiming()
        self.phase = Phase.COUNTDOWN
        self.message = ""
        self.reject: str | None = None
        self.attempts = 0
        self.down = 0
        self._now = 0.0  # instant of the latest tick or command, s
        self._recorded_down = 0  # keys that are down according to the run's events
        self._resume_events: list[KeyEvent] = []  # they belong to the next frame
        self._presses: list[float] = []  # stamps of the presses in the latest frame, s
        self._ticks_left = 0  # of the countdown, or of the wait before an automatic restart
        self._stepped_back = False  # since the run ended
        self._new_run(options.countdown)

    # -- for the window ------------------------------------------------------------------------------

    @property
    def cursor(self) -> int:
        """The frame that is shown, 0 to T."""
        return self._rewinder.cursor

    @property
    def observation(self) -> NDArray[np.float32]:
        """The raw observation that is shown, float32 [60]."""
        return self.run.raw_observations[self.cursor]

    @property
    def game_state(self) -> NDArray[np.float64] | None:
        """`Simulator.state` of the frame that is shown, float64 [92]; None if the hurdle is out of sight."""
        return self._rewinder.state

    @property
    def shown_keys(self) -> int:
        """Keys to highlight: those of the frame that is shown, or those held while nothing is played."""
        if self.phase is Phase.REWOUND:
            return self.run.keys[self.cursor - 1] if self.cursor else 0
        if self.phase is Phase.PLAYING and self.run.num_frames:
            return self.run.keys[-1]
        return self.down

    @property
    def countdown_seconds(self) -> float:
        """Time left before play starts, s."""
        return self._ticks_left * FRAME_SECONDS if self.phase is Phase.COUNTDOWN else 0.0

    @property
    def practice(self) -> bool:
        """Whether nothing is recorded."""
        return self._keeper.practice

    @property
    def kept(self) -> int:
        """Runs kept so far."""
        return self._keeper.kept

    @property
    def log(self) -> list[str]:
        """A line about each run that is in the file."""
        return self._keeper.log

    @property
    def unsaved(self) -> list[Recording]:
        """Kept runs that the disk has refused."""
        return self._keeper.unsaved

    @property
    def problem(self) -> str | None:
        """Why the disk refuses, or None."""
        return self._keeper.problem

    @property
    def can_discard(self) -> bool:
        """Whether the previous run can still be discarded."""
        return self._keeper.previous is not None

    @property
    def enough(self) -> bool:
        """Whether the run that has just ended is the last one that --episodes requires."""
        return (
            self.phase is Phase.ENDED
            and self.reject is None
            and self.options.episodes is not None
            and self.kept + 1 >= self.options.episodes
        )

    # -- time ----------------------------------------------------------------------------------------

    def tick(self, events: list[KeyEvent], now: float, lateness: float) -> None:
        """Advance by 1/30 s. In PLAYING this plays a frame.

        Args:
            events: All key events since the last tick.
            now: The instant of this tick, s, not earlier than any event.
            lateness: How long after its due time the tick starts, s.
        """
        self._now = now
        self._presses = []
        self.down, _ = apply_events(self.down, events)
        if self.phase is Phase.PLAYING:
            self._play_frame(events, lateness)
        elif self.phase is Phase.COUNTDOWN:
            self._ticks_left -= 1
            if self._ticks_left <= 0:
                self._play()
        elif self.phase is Phase.ENDED and self._restarts_alone:
            self._ticks_left -= 1
            if self._ticks_left <= 0:
                self._keep_and_play_next()

    def drawn(self, now: float) -> None:
        """Record that the picture of the latest tick is on the screen since `now` (s)."""
        self.timing.drawn(self._presses, now)

    def _play(self) -> None:
        # Keys that are held now count. Earlier events, while nothing was played, do not.
        self._resume_events = reconcile(self._recorded_down, self.down, self._now)
        if not self._keeper.has_begun(self.run):
            self.run = self._recording()  # made now, so that `created` is the start of play
            if not self._keeper.begin(self.run):
                self.phase = Phase.PAUSED
                return
        self.phase = Phase.PLAYING
        self.message = ""
        self.timing.begin()

    def _play_frame(self, events: list[KeyEvent], lateness: float) -> None:
        run, game = self.run, self._game
        events = self._resume_events + events
        self._resume_events = []
        self._recorded_down, keys = apply_events(self._recorded_down, events)
        self._rewinder.before_frame(run)
        game.step(np.array([keys], np.uint8))
        wall_time = self._now + run.wall_clock_offset
        frame = Frame(keys, game.raw_observation[0], float(game.time[0]), wall_time, lateness)
        changes = [*events, frame]
        for change in changes:
            run.add(change)
        self._rewinder.after_frame(run)
        self.timing.frame(self._now, lateness)
        self._presses = [event.time for event in events if event.pressed and event.source != "resume"]

        stored = self._keeper.write(run, *changes)
        if is_over(game.flags, np.array([run.distance]))[0]:
            self._end()
        elif not stored:
            self.phase = Phase.PAUSED

    def _end(self) -> None:
        run = self.run
        success = bool(has_finished(self._game.flags, self._game.distance)[0])
        end = run.add(End(terminated=True, success=success))
        self.phase = Phase.ENDED
        self._stepped_back = False
        self._ticks_left = round(AUTO_RESTART_SECONDS * FRAMES_PER_SECOND)
        self.reject = self._reason_to_reject()
        news = [] if success else [f"after {run.time:.1f} s"]
        if not run.rewinds and self.best.update(run.distance, run.time, success):
            news.append("your best")
        if self.reject:
            news.append(f"not kept: {self.reject}")
        self.message = ", ".join(news)
        if self.reject is None:
            self._keeper.write(run, end)

    @property
    def _restarts_alone(self) -> bool:
        # Not after a step back, because the player wants to see the fall.
        wanted = self.options.auto_restart and not self._stepped_back
        return wanted and not self.run.success and not self.enough and self.problem is None

    # -- commands ------------------------------------------------------------------------------------

    def command(self, command: Command, now: float = 0.0) -> None:
        """Execute a command. One without a transition in this phase does nothing.

        Args:
            command: The command.
            now: The instant, s, on the clock of the ticks.
        """
        self._now = now
        action = TRANSITIONS.get((self.phase, command))
        if action is not None:
            action(self)

    def _pause(self) -> None:
        self.phase = Phase.PAUSED
        self.message = ""

    def _pause_without_focus(self) -> None:
        self.phase = Phase.PAUSED
        self.message = "paused: another window has the keyboard"

    def _go_on(self) -> None:
        if self._keeper.flush():
            self._count_down(AGAIN_SECONDS)

    def _start_with_focus(self) -> None:
        if self.run.num_frames == 0:  # nothing was played yet, so do not wait for a key
            self._count_down(self.options.countdown)

    def _start_over(self) -> None:
        if self.run.num_frames:
            self._keeper.drop(self.run)
            self._new_run(AGAIN_SECONDS)
            self.message = "run started over"

    def _throw_away(self) -> None:
        self._keeper.drop(self.run)
        self._new_run(AGAIN_SECONDS)
        self.message = "run discarded" if not self.practice else ""

    def _throw_previous_away(self) -> None:
        run = self._keeper.discard_previous()
        if run is not None:
            self.message = f"previous run ({run.distance:.1f} m) discarded"

    def _keep_and_play_next(self) -> None:
        if self.enough:
            self._finish()
            return
        last = f"{self.run.distance:.1f} m"
        self.message = "" if self.practice else f"{last} not kept" if self.reject else f"{last} kept"
        self._keep()
        self._new_run(AGAIN_SECONDS)

    def _step_back(self) -> None:
        self._step(-1)

    def _step_forward(self) -> None:
        self._step(+1)

    def _step(self, direction: int) -> None:
        run = self.run
        if run.num_frames == 0:
            return
        self._stepped_back = True
        self._rewinder.move(run, direction * max(1, round(self.options.rewind * FRAMES_PER_SECOND)))
        if self.cursor == run.num_frames:
            self.phase = Phase.ENDED if run.terminated else Phase.PAUSED
            self.message = "back at the end" if run.terminated else ""
        else:
            self.phase = Phase.REWOUND
            self.message = ""

    def _take_over(self) -> None:
        run = self.run
        rewind = run.add(Rewind(self.cursor, self._now + run.wall_clock_offset))
        if not self._keeper.write(run, rewind):  # the store has it in memory, so play can continue
            self.message = self.problem or ""
        self._rewinder.restore(run)
        self._recorded_down, _ = apply_events(0, run.key_events)
        self._count_down(AGAIN_SECONDS)

    def _finish(self) -> None:
        """End the session and keep the current run; if it is not over, it counts as cut short."""
        run = self.run
        if run.num_frames:
            if run.end is None:
                self.reject = self._reason_to_reject()
                if self.reject is None:
                    self._keeper.write(run, run.add(End(truncated=True)))
            self._keep()
        else:
            self._keeper.drop(run)  # begun, then rewound to its start
        self._keeper.finish()
        self.phase = Phase.DONE

    # -- both ----------------------------------------------------------------------------------------

    def _new_run(self, countdown: float) -> None:
        self._game.reset()
        self.run = self._recording()
        self._rewinder = Rewinder(self._game)
        self.attempts += 1
        self.reject = None
        self._recorded_down = 0
        self._count_down(countdown)

    def _recording(self) -> Recording:
        game = self._game
        start = getattr(game, "episode_start", None)  # only the real game can keep its page
        return self._keeper.recording(game.raw_observation[0], float(game.time[0]), start)

    def _count_down(self, seconds: float) -> None:
        self.phase = Phase.COUNTDOWN
        self._ticks_left = max(1, round(min(seconds, self.options.countdown) * FRAMES_PER_SECOND))

    def _keep(self) -> None:
        if self.reject:
            self._keeper.drop(self.run)
        else:
            self._keeper.keep(self.run)

    def _reason_to_reject(self) -> str | None:
        if self.practice:
            return None
        return reason_to_reject(self.run, self.options.min_distance, self.options.max_knee_share)

    def _tell(self, message: str) -> None:
        self.message = message


_COUNTDOWN, _PLAYING, _PAUSED = Phase.COUNTDOWN, Phase.PLAYING, Phase.PAUSED
_ENDED, _REWOUND = Phase.ENDED, Phase.REWOUND

TRANSITIONS: dict[tuple[Phase, Command], Callable[[Session], None]] = {
    (_PLAYING, Command.GO): Session._pause,
    (_ENDED, Command.GO): Session._keep_and_play_next,
    (_REWOUND, Command.GO): Session._take_over,
    (_PAUSED, Command.GO): Session._go_on,
    #
    (_COUNTDOWN, Command.DISCARD): Session._throw_previous_away,
    (_PLAYING, Command.DISCARD): Session._throw_previous_away,
    (_ENDED, Command.DISCARD): Session._throw_away,
    (_REWOUND, Command.DISCARD): Session._throw_previous_away,
    (_PAUSED, Command.DISCARD): Session._throw_previous_away,
    #
    (_COUNTDOWN, Command.RESTART): Session._start_over,
    (_PLAYING, Command.RESTART): Session._start_over,
    (_ENDED, Command.RESTART): Session._throw_away,
    (_REWOUND, Command.RESTART): Session._start_over,
    (_PAUSED, Command.RESTART): Session._start_over,
    #
    (_PLAYING, Command.BACK): Session._step_back,
    (_ENDED, Command.BACK): Session._step_back,
    (_REWOUND, Command.BACK): Session._step_back,
    (_PAUSED, Command.BACK): Session._step_back,
    #
    (_REWOUND, Command.FORWARD): Session._step_forward,
    #
    (_COUNTDOWN, Command.FINISH): Session._finish,
    (_PLAYING, Command.FINISH): Session._pause,
    (_ENDED, Command.FINISH): Session._finish,
    (_REWOUND, Command.FINISH): Session._finish,
    (_PAUSED, Command.FINISH): Session._finish,
    #
    (_COUNTDOWN, Command.CLOSE): Session._finish,
    (_PLAYING, Command.CLOSE): Session._finish,
    (_ENDED, Command.CLOSE): Session._finish,
    (_REWOUND, Command.CLOSE): Session._finish,
    (_PAUSED, Command.CLOSE): Session._finish,
    #
    (_COUNTDOWN, Command.FOCUS_LOST): Session._pause_without_focus,
    (_PLAYING, Command.FOCUS_LOST): Session._pause_without_focus,
    (_PAUSED, Command.FOCUS_GAINED): Session._start_with_focus,
}
"""Effect of a command in a phase; without an entry, none. docs/guides/recording.md ("Keys") has the same
table by key."""
