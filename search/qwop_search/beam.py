"""Beam search over keys: simulate many continuations of many runs, and keep the best ones.

The game is deterministic and its snapshots are exact, so its keys determine a run, and a run can be continued
from any of its frames. Each run in the beam is continued by actions drawn from a policy. A stride that is too
long ends in a fall only later, so each continuation is then played on by the policy's best actions. Its score
is the distance reached by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_evaluation import Player
from qwop_game import ACTION_SETS, DEFAULT_TRIG, FRAME_SECONDS, Simulator, features, next_hip_modes
from qwop_game.gait import knee_near, upright
from qwop_game.rules import FINISH, FLAG_GAME_ENDED, has_landed

LANES = 512
"""Games that one thread steps at a time. Random numbers are drawn per block of this size, so the result does
not depend on the number of threads."""
KNEE_COST, NOT_UPRIGHT_COST = 0.05, 0.02
"""Cost of a decision with a knee near the track, or not upright, m. The best runs differ by centimeters, so
the search avoids such postures if it can."""
_LONG = 1 << 30
"""Stands for the frames before a run: its first keys may be any, and are counted from its first frame."""
FULL_SPEED = 2.5
"""Speed at which a run that has landed is assumed to run on, m/s."""


@dataclass(frozen=True)
class BeamConfig:
    """Size and selection of the beam.

    A pass over 100 m plays about width * children * 1300 * (1 + lookahead / segment) frames.
    """

    width: int = 256
    """Runs that are kept after each segment."""
    children: int = 16
    """Continuations of each run."""
    segment: int = 16
    """Frames between two selections, rounded up to whole decisions."""
    lookahead: int = 28
    """Frames that a continuation is played further before it is judged, rounded up to whole decisions."""
    per_parent: int = 2
    """Continuations of one run that may be kept. Without a limit, all runs soon share one start."""
    temperature: float = 1.0
    """Temperature of the proposals: above 1 they stray further from the policy's best action."""
    value_weight: float = 0.7
    """Meters that a unit of the critic's value at the end of the look-ahead counts; 0 ignores the critic."""
    hold: int = 1
    """Frames for which keys are held at least. With 3, 0.1 s, a person could play the run."""

    def __post_init__(self) -> None:
        for name in ("width", "children", "segment", "per_parent", "hold"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if self.lookahead < 0:
            raise ValueError(f"lookahead is {self.lookahead}: it can't be negative")
        if not 0 <= self.value_weight < np.inf:
            raise ValueError(f"value_weight is {self.value_weight}: it must be 0 or more")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature is {self.temperature}: it must be above 0")


@dataclass(frozen=True)
class States:
    """States of N games between two decisions, from which play continues with the same bits."""

    snapshots: NDArray[np.uint8]
    """Snapshots of S bytes, [N, S]."""
    hip_mode: NDArray[np.uint8]
    """[N]"""
    last_keys: NDArray[np.uint8]
    """[N]"""
    cost: NDArray[np.float64]
    """Cost of bad postures so far, [N], m."""
    held_for: NDArray[np.int64]
    """Frames since the keys last changed, [N]; at the start, as many as any `BeamConfig.hold` asks for."""

    def __len__(self) -> int:
        return len(self.last_keys)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> States:
        return States(*(getattr(self, field.name)[index] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[States]) -> States:
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    @classmethod
    def after(cls, keys: NDArray[np.uint8], trig: str = DEFAULT_TRIG) -> States:
        """Return the state of one game after these keys, uint8 [T]; without keys, the canonical start."""
        simulator = Simulator(1, trig=trig)
        hip_mode, held = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
        held_for = _LONG
        for mask in keys:
            held_for = held_for + 1 if mask == held[0] and held_for < _LONG else 1
            held = np.array([mask], np.uint8)
            simulator.step(held)
            hip_mode = next_hip_modes(hip_mode, held)
        return cls(simulator.snapshot(), hip_mode, held, np.zeros(1), np.array([held_for]))


@dataclass(frozen=True)
class SearchProgress:
    """The beam after a segment."""

    frame: int
    """Frames of the game from its start."""
    distances: NDArray[np.float64]
    """Torso x of the runs in the beam, [B], m; the highest score first."""
    frames: int
    """Frames played in this pass so far, with those of dropped continuations."""


@dataclass(frozen=True)
class Found:
    """A run that arrived."""

    keys: NDArray[np.uint8]
    """uint8 [T], from the canonical start to the frame that ended it."""
    seconds: float
    """The game's clock at that frame, s."""


@dataclass(frozen=True)
class _Block:
    """Up to LANES continuations, played and scored."""

    keys: NDArray[np.uint8]
    """[n, segment]"""
    states: States
    """After the segment, [n]."""
    distance: NDArray[np.float64]
    """[n], m."""
    seconds: NDArray[np.float64]
    """The game's clock when the run arrived, [n], s; inf if it did not arrive within the segment."""
    score: NDArray[np.float64]
    """Score, [n], m; -inf for a run that has ended."""


class BeamSearch:
    """Passes of beam search with the proposals of one policy.

    Args:
        player: the policy.
        config: settings of the beam.
        threads: blocks of games to play at a time.
        meters: length of a run, m. At 100, a run ends as in the game, when a left foot lands past 100 m. At
            less, it ends when the torso has got there at the end of a decision.
        trig: the game's variant of sine and cosine, see `Simulator`.
    """

    def __init__(
        self,
        player: Player,
        config: BeamConfig,
        threads: int = 1,
        meters: float = FINISH,
        trig: str = DEFAULT_TRIG,
    ) -> None:
        self.player = player
        self.trig = trig
        self.config = config
        self.meters = meters
        self._threads = threads
        self._masks = ACTION_SETS[player.action_set]
        self._segment = -(-config.segment // player.frame_skip)
        self._lookahead = -(-config.lookahead // player.frame_skip)
        self._clock_start = float(Simulator(1, trig=trig).time[0])
        self._pool = ThreadPoolExecutor(threads)
        self._simulators: SimpleQueue[Simulator] = SimpleQueue()
        self._lanes = min(LANES, config.width * config.children)
        for _ in range(threads):
            self._simulators.put(Simulator(self._lanes, trig=trig))

    def policys_run(self, max_seconds: float) -> tuple[Found | None, int]:
        """Play the policy's best actions.

        Args:
            max_seconds: time limit, s of play.

        Returns:
            The run, None if it does not arrive; and its number of frames.
        """
        simulator = Simulator(1, trig=self.trig)
        states = States.after(np.zeros(0, np.uint8), self.trig)
        decisions = round(max_seconds / FRAME_SECONDS / self.player.frame_skip)
        keys: list[NDArray[np.uint8]] = []
        while sum(map(len, keys)) < decisions:
            block = self._play(simulator, states, np.zeros(1, np.int64), None, self._segment, 0)
            keys.append(block.keys[0])
            if np.isfinite(block.seconds[0]):
                frames = self._frames(keys)
                return self._found(frames, float(block.seconds[0])), len(frames)
            if np.isneginf(block.score[0]):
                break
            states = block.states
        return None, len(self._frames(keys))

    def run(
        self,
        seed: Sequence[int],
        known: NDArray[np.uint8] | None = None,
        on_segment: Callable[[SearchProgress], bool] = lambda progress: False,
    ) -> list[Found]:
        """Search from a start to the finish.

        Args:
            seed: seed of the draws of this pass.
            known: keys of the frames before the start, uint8 [T]; None: the canonical start.
            on_segment: called after each segment; True stops the pass.

        Returns:
            The different runs that arrived in the same segment as the first one, the fastest first. Empty if
            all fell or the pass was stopped.
        """
        c = self.config
        start = np.zeros(0, np.uint8) if known is None else np.asarray(known, np.uint8)
        beam = States.after(start, self.trig)
        history: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []  # parent, keys of each in the beam
        played = 0
        while True:
            parents = np.resize(np.arange(len(beam)), c.width * c.children)
            jobs = [
                self._pool.submit(
                    self._play_block,
                    beam,
                    chosen,
                    np.random.default_rng([*seed, len(history), number]),
                )
                for number, chosen in enumerate(
                    np.split(parents, range(self._lanes, len(parents), self._lanes))
                )
            ]
            blocks = [job.result() for job in jobs]
            played += len(parents) * (self._segment + self._lookahead) * self.player.frame_skip
            keys = np.concatenate([block.keys for block in blocks])
            seconds = np.concatenate([block.seconds for block in blocks])
            arrived = np.isfinite(seconds)
            if arrived.any():
                found: dict[bytes, Found] = {}
                for i in np.flatnonzero(arrived)[np.argsort(seconds[arrived], kind="stable")]:
                    segments = [keys[i], *self._ancestry(history, int(parents[i]))]
                    run = self._found(
                        np.concatenate([start, self._frames(segments[::-1])]), float(seconds[i])
                    )
                    found.setdefault(run.keys.tobytes(), run)
                runs = list(found.values())
                on_segment(SearchProgress(len(runs[0].keys), np.array([self.meters]), played))
                return runs

            distance = np.concatenate([block.distance for block in blocks])
            score = np.concatenate([block.score for block in blocks])
            best = self._choose(parents, score, distance, len(beam))
            if len(best) == 0:
                return []
            chosen = np.sort(best)  # block by block
            beam = States.joined(
                [
                    block.states[chosen[chosen // self._lanes == n] % self._lanes]
                    for n, block in enumerate(blocks)
                ]
            )
            history.append((parents[chosen], keys[chosen]))
            now = len(start) + len(history) * self._segment * self.player.frame_skip
            if on_segment(SearchProgress(now, distance[best], played)):
                return []

    def __reduce__(self) -> tuple[Any, ...]:
        # There is no state between passes.
        return type(self), (self.player, self.config, self._threads, self.meters, self.trig)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _choose(
        self,
        parents: NDArray[np.int64],
        score: NDArray[np.float64],
        distance: NDArray[np.float64],
        num_parents: int,
    ) -> NDArray[np.int64]:
        """Choose the best `width` continuations, at most `per_parent` of one parent, none twice.

        If there are too few parents to fill the beam, as at the start, each may have more.

        Returns:
            Their indices, the best first.
        """
        c = self.config
        limit = max(c.per_parent, -(-c.width // num_parents))
        children = np.zeros(num_parents, np.int64)
        chosen: list[int] = []
        seen: set[float] = set()  # equal to the last bit: the same keys from the same state
        for i in np.argsort(-score, kind="stable").tolist():
            if len(chosen) == c.width or np.isneginf(score[i]):
                break
            parent, x = parents[i], float(distance[i])
            if children[parent] < limit and x not in seen:
                chosen.append(i)
                children[parent] += 1
                seen.add(x)
        return np.array(chosen, np.int64)

    def _play_block(self, beam: States, parents: NDArray[np.int64], generator: np.random.Generator) -> _Block:
        """Continue the runs `parents` of the beam, up to `_lanes`, in a thread of the pool."""
        simulator = self._simulators.get()
        n = len(parents)
        try:
            # A smaller last block is filled up with repeats; their results are dropped.
            full = np.resize(parents, self._lanes)
            block = self._play(simulator, beam, full, generator, self._segment, self._lookahead)
        finally:
            self._simulators.put(simulator)
        if n == self._lanes:
            return block
        return _Block(
            block.keys[:n], block.states[:n], block.distance[:n], block.seconds[:n], block.score[:n]
        )

    def _play(
        self,
        simulator: Simulator,
        states: States,
        parents: NDArray[np.int64],
        generator: np.random.Generator | None,
        segment: int,
        lookahead: int,
    ) -> _Block:
        """Continue games by a segment, then look ahead.

        Args:
            simulator: as many games as `parents`.
            states: where to continue, [N].
            parents: the state that each game continues, [n].
            generator: draws the actions of the segment; None: take the policy's best actions.
            segment: decisions of the segment.
            lookahead: decisions of the look-ahead, always the policy's best actions.
        """
        simulator.restore(states.snapshots, index=parents)
        hip_mode, held, cost = states.hip_mode[parents], states.last_keys[parents], states.cost[parents]
        held_for, frames = states.held_for[parents], self.player.frame_skip
        keys = np.zeros((len(parents), segment), np.uint8)

        def decide(generator: np.random.Generator | None) -> None:
            nonlocal hip_mode, held, cost, held_for
            scores = self.player.scores(features(simulator.raw_observation, hip_mode, held))
            if generator is not None:
                # The Gumbel-max trick: argmax(logit - ln E), E ~ Exp(1), draws from the distribution.
                scores = scores / self.config.temperature
                scores -= np.log(generator.standard_exponential(scores.shape))
            chosen = np.where(held_for < self.config.hold, held, self._masks[scores.argmax(axis=1)])
            held_for = np.where((chosen == held) & (held_for < _LONG), held_for + frames, frames)
            held = chosen
            simulator.step(held, frames)
            hip_mode = next_hip_modes(hip_mode, held)
            raw = simulator.raw_observation
            cost += KNEE_COST * knee_near(raw) + NOT_UPRIGHT_COST * ~upright(raw)

        seconds = np.full(len(parents), np.inf)
        for decision in range(segment):
            decide(generator)
            keys[:, decision] = held
            arriving = np.isinf(seconds) & self._arrived(simulator)
            seconds[arriving] = simulator.time[arriving]
        over = simulator.flags & FLAG_GAME_ENDED != 0
        after = States(simulator.snapshot(), hip_mode, held, cost.copy(), held_for)
        distance = simulator.distance.copy()
        for _ in range(lookahead):
            decide(None)
        # Games that are over keep their clock; all others show the same time.
        landed = has_landed(simulator.flags)
        gained = np.where(landed, FULL_SPEED * (simulator.time.max() - simulator.time), 0.0)
        score = simulator.distance + gained - cost
        if self.config.value_weight:
            values = self.player.values(features(simulator.raw_observation, hip_mode, held))
            if values is not None:
                score[~landed] += self.config.value_weight * values[~landed]
                # The critic has no value for a landing: it gets the best value of the others.
                score[landed] += self.config.value_weight * values.max()
        score[over | (simulator.flags & FLAG_GAME_ENDED != 0) & ~landed] = -np.inf
        return _Block(keys, after, distance, seconds, score)

    def _arrived(self, simulator: Simulator) -> NDArray[np.bool_]:
        if self.meters < FINISH:
            return simulator.distance >= self.meters
        # A dive with the torso past 100 m also finishes the game, but it is not a stride.
        return has_landed(simulator.flags)

    def _frames(self, segments: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Turn keys of decisions, one array per segment, into keys of frames, uint8 [T]."""
        return np.repeat(np.concatenate([np.zeros(0, np.uint8), *segments]), self.player.frame_skip)

    @staticmethod
    def _ancestry(
        history: Sequence[tuple[NDArray[np.int64], NDArray[np.uint8]]], index: int
    ) -> list[NDArray[np.uint8]]:
        """Return the keys of the segments that led to run `index` of the last beam, the last one first."""
        segments: list[NDArray[np.uint8]] = []
        for parents, keys in reversed(history):
            segments.append(keys[index])
            index = int(parents[index])
        return segments

    def _found(self, keys: NDArray[np.uint8], seconds: float) -> Found:
        """Return the run that arrived at `seconds` on its clock, without the keys of later frames."""
        return Found(keys[: round((seconds - self._clock_start) / FRAME_SECONDS)], seconds)
