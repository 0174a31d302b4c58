"""Search the frames in which the keys of a tape change, where the tape does not tell them exactly.

A tape that was read off a video is exact while the video shows every frame of the game. Where it drops some,
a change of keys is known to a frame or two, and one frame decides over a fall. The search plays the tape as
it is, up to some seconds before it fails. From there on a beam of games plays frame by frame. In each frame a
game may take the next change or wait, as far as the change may move. Games that fall are dropped, and those
that agree best with the tape are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.exact_replay import Replay, replay_keys
from qwop_game import FRAME_SECONDS, UNITS_PER_METER, Simulator
from qwop_game.rules import FINISH, has_finished, is_over

_LANES = 512  # games that are stepped at once
_FIRST_FRAMES_BACK = 60  # where the first search begins, before the frame in which the tape fails
_PATIENCE = 60  # frames to play on after the first game that finished
_AT_THE_END = 15  # frames: a fall so shortly before the last change is the one on the tape
_SPLIT_TOLERANCE = 0.07  # s: two frames
_SPLIT_ERROR = 0.1  # s: a larger one is a failure
_SHOWN_TOLERANCE = 0.2  # m: the video shows tenths, some frames late
_PACE_TOLERANCE = 0.3  # m: speed varies within a stride
_FAILED_METERS = 0.2  # beyond the tolerance
_COST_PER_METER = 10.0  # of disagreement, in frames by which changes move
_COST_PER_SECOND = 25.0  # a meter takes 0.4 s

Progress = Callable[[int, int], None]
"""Called as progress(done, total), in frames."""


@dataclass(frozen=True)
class KeyChanges:
    """The changes of keys of a tape, in frames of the game (0 is the first frame of the run)."""

    first_mask: int
    """Keys before the first change."""
    earliest: NDArray[np.int64]
    """int64 [E], ascending: first frame that may have the new keys. It is before `latest` where rows of the
    tape are unreadable."""
    latest: NDArray[np.int64]
    """int64 [E], ascending: first frame with the new keys, if the tape is exact."""
    masks: NDArray[np.uint8]
    """uint8 [E]: the new keys."""
    frames: int
    """Length of the tape."""

    def keys(self) -> NDArray[np.uint8]:
        """The keys of each frame as the tape has them, uint8 [T]."""
        rows = np.searchsorted(self.latest, np.arange(self.frames), side="right") - 1
        held = np.r_[np.uint8(self.first_mask), self.masks]
        return held[rows + 1]


@dataclass(frozen=True)
class Evidence:
    """What else is known of the run."""

    split_meters: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """float64 [P], ascending. 100 is the landing."""
    split_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """float64 [P]: the game's clock there."""
    shown: NDArray[np.float64] | None = None
    """float64 [T]: meters after each frame of the tape, NaN where they are not known."""

    @property
    def finishes(self) -> bool:
        """Whether the run is known to have finished."""
        return bool((self.split_meters >= FINISH).any())

    def may_end_at(self, meters: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the run may have fallen there: it is not known to go on."""
        if self.finishes:
            return np.zeros(meters.shape, bool)
        shown = self.shown[np.isfinite(self.shown)] if self.shown is not None else np.zeros(0)
        furthest = float(shown.max(initial=-np.inf))
        return meters + _SHOWN_TOLERANCE + _FAILED_METERS >= furthest

    def split_errors(self, times: NDArray[np.float64], meters: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far a run, given after every frame, is off each split, s; infinite where it did not get."""
        errors = np.full(len(self.split_meters), np.inf)
        for i, (split, seconds) in enumerate(zip(self.split_meters, self.split_seconds, strict=True)):
            there = np.flatnonzero(meters >= split)
            if split >= FINISH:
                errors[i] = abs(times[-1] - seconds)
            elif len(there):
                errors[i] = abs(times[there[0]] - seconds)
        return errors


@dataclass(frozen=True)
class EdgeSearch:
    """How to search."""

    edges: int = 1
    """Frames by which a change may move against the one before it."""
    drift: int = 1
    """Frames by which a change may move altogether."""
    beam: int = 1500
    """Games that are kept in each frame."""


@dataclass(frozen=True)
class FoundTape:
    """Keys that a search found."""

    keys: NDArray[np.uint8]
    """uint8 [T]."""
    moved: int
    """Changes that are not where the tape has them."""
    searched_from: int
    """Frame from which keys may differ from the tape's; T: none."""
    reached: bool
    """The run finishes, or lasts as long as the tape."""
    finished: bool
    uncertain: NDArray[np.bool_]
    """bool [T]: frames that may have other keys as far as the tape says, where it was searched."""


@dataclass(frozen=True)
class _Games:
    """N games before a frame."""

    snapshots: NDArray[np.uint8]
    next_change: NDArray[np.int64]
    shift: NDArray[np.int64]
    """Frames by which the last change was moved."""
    moves: NDArray[np.float64]
    """Frames by which changes moved, against the tape or the ones before them, in total."""
    missed: NDArray[np.float64]
    """Cost of the splits so far."""
    meters: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.next_change)

    def __getitem__(self, rows: NDArray[np.int64]) -> _Games:
        return _Games(
            self.snapshots[rows],
            self.next_change[rows],
            self.shift[rows],
            self.moves[rows],
            self.missed[rows],
            self.meters[rows],
        )


@dataclass(frozen=True)
class _Ended:
    """A game that left the beam: in which frame, which of the games played then, what it costs."""

    frame: int
    row: int
    cost: float
    finished: bool
    reached: bool


def _goodness(run: _Ended) -> tuple[bool, bool, int, float]:
    return run.reached, run.finished, 0 if run.reached else run.frame, -run.cost


def search_tape(
    tape: KeyChanges,
    config: EdgeSearch,
    trig: str,
    evidence: Evidence | None = None,
    progress: Progress = lambda done, total: None,
) -> FoundTape:
    """Find keys near those of a tape with which the run goes on to where the tape ends.

    Args:
        tape: The changes of keys.
        config: How far they may move, and the size of the beam.
        trig: The variant of sine and cosine.
        evidence: Splits and distances that the run should have.
        progress: Called after every frame.

    Returns:
        The tape itself if it does not fail. Else the run that reaches the end of the tape, keeps the splits
        and moves the fewest changes; if none does, the one that gets furthest.
    """
    evidence = evidence or Evidence()
    keys = tape.keys()
    (played,) = replay_keys([keys], trig=trig)
    frames = played.frames_until_end
    failure = first_failure(tape, evidence, played)
    if failure is None:
        return FoundTape(keys[:frames], 0, frames, True, played.finished, np.zeros(frames, bool))
    best: tuple[tuple[bool, bool, float], FoundTape] | None = None
    back = _FIRST_FRAMES_BACK
    while True:
        first = max(failure - back, 0)
        search = _Search(tape, config, trig, evidence, first)
        found, cost, errors = search.run(progress)
        rank = (found.reached, found.finished, -cost)
        if best is None or rank > best[0]:
            best = rank, found
        if (found.reached and errors <= _SPLIT_ERROR) or first == 0:
            return best[1]
        back *= 2


def _meters(played: Replay) -> NDArray[np.float64]:
    """Return the distance before each frame and after the last one, m, [T + 1]."""
    return played.raw_observations[:, 0].astype(np.float64) / UNITS_PER_METER


def first_failure(tape: KeyChanges, evidence: Evidence, played: Replay) -> int | None:
    """The frame in which a replay of the tape shows that it is wrong; None if it does not."""
    frames = played.frames_until_end
    times = played.times[: frames + 1]
    meters = _meters(played)[: frames + 1]
    failures: list[int] = []
    last = int(tape.latest[-1]) if len(tape.latest) else 0
    may_end = frames >= last - _AT_THE_END and bool(evidence.may_end_at(meters[-1:])[0])
    if played.over and not played.finished and not may_end:
        failures.append(frames)
    for split, seconds in zip(evidence.split_meters, evidence.split_seconds, strict=True):
        there = np.flatnonzero(meters >= split)
        at = frames if split >= FINISH else int(there[0]) if len(there) else None
        if at is not None and (played.finished or split < FINISH) and abs(times[at] - seconds) > _SPLIT_ERROR:
            failures.append(at)
    off = _pace_error(evidence, times, meters)[1:]
    shown = _shown(evidence, np.arange(frames), np.zeros(frames, np.int64))
    off = np.maximum(off, np.nan_to_num(np.abs(meters[1:] - shown) - _SHOWN_TOLERANCE))
    failures += np.flatnonzero(off > _FAILED_METERS)[:1].tolist()
    return min(failures) if failures else None


def _pace_error(
    evidence: Evidence, times: NDArray[np.float64], meters: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Meters by which runs are off a steady pace between two splits, beyond the tolerance."""
    if len(evidence.split_meters) < 2:
        return np.zeros(len(times))
    pace = np.interp(times, evidence.split_seconds, evidence.split_meters, left=np.nan, right=np.nan)
    return np.nan_to_num(np.maximum(np.abs(meters - pace) - _PACE_TOLERANCE, 0))


def _shown(evidence: Evidence, frames: NDArray[np.int64], shifts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Meters that the tape shows after a frame, where it is some frames behind."""
    if evidence.shown is None:
        return np.full(len(shifts), np.nan)
    rows = frames - shifts
    inside = (rows >= 0) & (rows < len(evidence.shown))
    return np.where(inside, evidence.shown[np.clip(rows, 0, len(evidence.shown) - 1)], np.nan)


class _Search:
    """One search, from frame `first` on."""

    def __init__(
        self, tape: KeyChanges, config: EdgeSearch, trig: str, evidence: Evidence, first: int
    ) -> None:
        self.tape, self.config, self.evidence, self.first = tape, config, evidence, first
        self._trig = trig
        self._held = np.r_[np.uint8(tape.first_mask), tape.masks]  # before change k: entry k
        self._random = np.random.default_rng(0)  # among equals, so that the beam does not narrow
        self._history: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        self._simulator = Simulator(min(_LANES, config.beam), trig=trig)

    def run(self, progress: Progress) -> tuple[FoundTape, float, float]:
        """Search to the end of the tape. Returns what was found, its cost, and its largest split error, s."""
        games = self._start()
        ended: list[_Ended] = []
        finish = self.evidence.split_seconds[self.evidence.split_meters >= FINISH]
        total = self.tape.frames + self.config.drift
        frame, until = self.first, total
        while frame < until and len(games):
            games = self._play_frame(games, frame, ended)
            frame += 1
            if until == total and any(run.finished for run in ended):
                until = min(total, frame + _PATIENCE)
                if len(finish):
                    until = max(until, min(total, round(finish[0] / FRAME_SECONDS) + 10))
            progress(frame, until)
        # Games that are left have outlasted the tape.
        _, kept, _ = self._history[-1]
        off = self._cost(games, frame - 1) if len(games) else np.zeros(0)
        reached = not self.evidence.finishes
        ended += [_Ended(frame - 1, int(kept[i]), float(off[i]), False, reached) for i in range(len(games))]
        best = max(ended, key=_goodness)
        found = self._traced(best)
        (played,) = replay_keys([found.keys], trig=self._trig)
        errors = self.evidence.split_errors(played.times, _meters(played))
        return found, best.cost, float(errors.max(initial=0))

    def _start(self) -> _Games:
        one = Simulator(1, trig=self._trig)
        for mask in self.tape.keys()[: self.first]:
            one.step(np.array([mask], np.uint8))
        zero = np.zeros(1)
        passed = np.searchsorted(self.tape.latest, self.first, side="left")
        return _Games(
            one.snapshot(), np.array([passed]), np.zeros(1, np.int64), zero, zero, one.distance.copy()
        )

    def _play_frame(self, games: _Games, frame: int, ended: list[_Ended]) -> _Games:
        """Let each game take changes or wait, and play the frame. Returns the best games that go on."""
        parents, changes, shifts, moves = self._choices(games, frame)
        if not len(parents):
            return games[parents]
        played, times, over, finished, raw = self._step(games, parents, changes, shifts, moves)
        cost = self._cost(played, frame, times, finished)
        late = frame >= int(self.tape.latest[-1]) - _AT_THE_END
        may_end = late & self.evidence.may_end_at(played.meters)
        for row in np.flatnonzero(over).tolist():
            won = bool(finished[row])
            ended.append(_Ended(frame, row, float(cost[row]), won, won or bool(may_end[row])))
        kept = self._best(played, cost, over, raw)
        self._history.append((parents, kept, changes))
        return played[kept]

    def _choices(
        self, games: _Games, frame: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Each way to go on: number of the game, its next change, shift, and moves."""
        tape, config, count = self.tape, self.config, len(self.tape.masks)
        parents, changes = np.arange(len(games)), games.next_change
        shifts, moves = games.shift, games.moves
        chosen: list[tuple[NDArray[Any], ...]] = []
        while len(parents):
            at = np.minimum(changes, count - 1)
            low = np.maximum(tape.earliest[at] + np.maximum(shifts - config.edges, -config.drift), 0)
            high = tape.latest[at] + np.minimum(shifts + config.edges, config.drift)
            waits = (changes == count) | (frame < high)
            chosen.append((parents[waits], changes[waits], shifts[waits], moves[waits]))
            takes = (changes < count) & (low <= frame) & (frame <= high)
            at, parents, shifts, moves = at[takes], parents[takes], shifts[takes], moves[takes]
            shift = np.clip(shifts, frame - tape.latest[at], frame - tape.earliest[at])
            # A change that moves back to where the tape has it costs nothing.
            moves = moves + np.minimum(np.abs(shift - shifts), np.abs(shift))
            shifts, changes = shift, changes[takes] + 1
        joined = [np.concatenate(column) for column in zip(*chosen, strict=True)]
        return joined[0], joined[1], joined[2], joined[3]

    def _step(
        self,
        games: _Games,
        parents: NDArray[np.int64],
        changes: NDArray[np.int64],
        shifts: NDArray[np.int64],
        moves: NDArray[np.float64],
    ) -> tuple[_Games, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]:
        """Play one frame of every choice, some lanes at a time."""
        simulator, masks = self._simulator, self._held[changes]
        lanes = simulator.num_envs
        snapshots = np.empty((len(parents), simulator.snapshot_size), np.uint8)
        raw = np.empty((len(parents), simulator.raw_observation.shape[1]), np.float32)
        times, meters = np.empty(len(parents)), np.empty(len(parents))
        flags = np.empty(len(parents), np.uint8)
        for begin in range(0, len(parents), lanes):
            rows = slice(begin, min(begin + lanes, len(parents)))
            block = np.resize(np.arange(rows.start, rows.stop), lanes)
            simulator.restore(games.snapshots, index=parents[block])
            simulator.step(masks[block])
            count = rows.stop - rows.start
            snapshots[rows] = simulator.snapshot()[:count]
            raw[rows], times[rows] = simulator.raw_observation[:count], simulator.time[:count]
            meters[rows], flags[rows] = simulator.distance[:count], simulator.flags[:count]
        missed = games.missed[parents].copy()
        for split, seconds in zip(self.evidence.split_meters, self.evidence.split_seconds, strict=True):
            passed = (games.meters[parents] < split) & (meters >= split) & (split < FINISH)
            missed += passed * _COST_PER_SECOND * np.maximum(np.abs(times - seconds) - _SPLIT_TOLERANCE, 0)
        over = is_over(flags, meters)
        finished = over & has_finished(flags, meters)
        return _Games(snapshots, changes, shifts, moves, missed, meters), times, over, finished, raw

    def _cost(
        self,
        games: _Games,
        frame: int,
        times: NDArray[np.float64] | None = None,
        finished: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """How much games disagree with the tape and the evidence, in frames by which changes move."""
        cost = games.moves + games.missed
        if times is None:
            return cost
        off = _pace_error(self.evidence, times, games.meters)
        shown = _shown(self.evidence, np.full(len(games), frame), games.shift)
        off = np.maximum(off, np.nan_to_num(np.abs(games.meters - shown) - _SHOWN_TOLERANCE))
        if finished is not None:
            off[finished] = 0
            for seconds in self.evidence.split_seconds[self.evidence.split_meters >= FINISH]:
                late = np.maximum(np.abs(times - seconds) - _SPLIT_TOLERANCE, 0)
                cost = cost + finished * _COST_PER_SECOND * late
        return cost + _COST_PER_METER * off

    def _best(
        self,
        games: _Games,
        cost: NDArray[np.float64],
        over: NDArray[np.bool_],
        raw: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """The rows to keep: of equal games one, of the others those that cost least."""
        order = np.lexsort((self._random.random(len(games)), cost))
        states = raw.view(np.uint8).reshape(len(raw), -1)
        seen: set[tuple[bytes, int, int, int]] = set()
        kept: list[int] = []
        for row in order[~over[order]].tolist():
            change = int(games.next_change[row])
            state = states[row].tobytes(), change, int(games.shift[row]), int(self._held[change])
            if state not in seen:
                seen.add(state)
                kept.append(row)
                if len(kept) == self.config.beam:
                    break
        return np.array(kept, np.int64)

    def _traced(self, run: _Ended) -> FoundTape:
        """Collect the keys that led to an ended game."""
        row = run.row
        taken: list[int] = []  # the next change in each frame, backwards
        for frame in range(run.frame, self.first - 1, -1):
            parents, _, changes = self._history[frame - self.first]
            taken.append(int(changes[row]))
            parent = int(parents[row])
            if frame > self.first:
                row = int(self._history[frame - 1 - self.first][1][parent])
        changes = np.array(taken[::-1])
        keys = np.r_[self.tape.keys()[: self.first], self._held[changes]]
        every = np.arange(1, int(changes[-1]) + 1)
        at: NDArray[np.int64] = self.first + np.searchsorted(changes, every)  # frame of each change
        begun = int(np.searchsorted(self.tape.latest, self.first, side="left"))
        numbers = np.arange(begun, int(changes[-1]))
        moved = (at[numbers] < self.tape.earliest[numbers]) | (at[numbers] > self.tape.latest[numbers])
        uncertain = np.zeros(len(keys), bool)
        reach = self.config.drift
        for number in range(begun, len(self.tape.masks)):
            low, high = self.tape.earliest[number] - reach, self.tape.latest[number] + reach
            uncertain[max(low, self.first) : max(high, 0)] = True
        return FoundTape(
            keys.astype(np.uint8), int(moved.sum()), self.first, run.reached, run.finished, uncertain
        )
