"""Recover the keys of every frame from a log that sampled the state every few frames.

The state has 60 numbers and a frame has nine different key masks, so the frames between two samples can be
searched. Only the true keys lead to a state that is equal in all 60 doubles: nothing else is accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from qwop_game import FoundKeys, Operation, Session, Simulator, canonical_keys, find_keys
from qwop_game.rules import FLAG_GAME_ENDED

_WIDTH = 48  # games kept after a sample: different states with equal numbers
_ANY = 9  # changes: as many as there are frames
_RETRIES = (1, 3, 8)  # samples to go back where the search fails
_IDLE = 40  # most frames between the end of a run and the reset
_LAST_STEP = 12  # most frames of a step of the log
_MOMENT = 3  # frames by which the log's state of the runner can lag behind that of the game
_WAITS = 200  # most frames before the first click
_OTHERS = 12  # starts from which to search all the way
_EFFORT = 5  # levels to try from one of many starts
_SKIPS = 8  # most damaged samples of an episode
_STARTS = 400  # most starts of an episode to look at
_SCAN = 3  # samples that tell starts apart
# Levels to search, from how many starts; None: all levels.
_PASSES: tuple[tuple[int | None, int], ...] = ((None, 1), (1, _STARTS), (2, _STARTS), (None, 12))
_PASSES_OF_RESTART: tuple[tuple[int | None, int], ...] = ((1, 80),)
_PASSES_OF_PROBE: tuple[tuple[int | None, int], ...] = ((_EFFORT, 2), (1, _STARTS))

Level = tuple[int, int, int]
"""Least frames, most frames, most changes."""


@dataclass(frozen=True)
class SampledEpisode:
    """What a log holds of an episode."""

    samples: NDArray[np.float64]
    """float64 [N, 60], in the order of a raw observation."""
    relative: bool = False
    """Each x is measured from the torso's."""
    labels: NDArray[np.uint8] | None = None
    """uint8 [N]: key mask held in the frame after the sample, as recorded."""
    last_reward: float | None = None
    """QWOP-RL's reward of the step after the last sample."""


@dataclass(frozen=True)
class Recovered:
    """Frames that lead from a start through samples. If it is `complete`, through all of the episode."""

    start: Session
    keys: NDArray[np.uint8]
    """uint8 [T]."""
    undetermined: NDArray[np.bool_]
    """bool [T]: other keys in this frame give the same numbers."""
    sample_frames: NDArray[np.int64]
    """int64 [M]: frames from the start to each sample that was reached."""
    first_sample: int
    """Number of the first of these samples in the episode."""
    ended: bool
    """The frames after the last sample are recovered up to the end of the run."""
    idle_keys: NDArray[np.uint8]
    """uint8: frames after the end of the run in which the log still looked at the game."""
    skipped: tuple[int, ...] = ()
    """Samples that no keys lead to, though others lead past them: damaged ones."""
    restarted: bool = False
    """The player pressed R after the last of these frames."""
    complete: bool = True


@dataclass
class _Node:
    """A state after a sample."""

    snapshot: NDArray[np.uint8]
    edges: list[tuple[int, bytes]] = field(default_factory=lambda: [])
    """(Number of a node of the sample before, keys from there)."""

    @property
    def last_keys(self) -> int:
        keys = self.edges[0][1] if self.edges else b""
        return keys[-1] if keys else 0


Layer = list[_Node]


@dataclass(frozen=True)
class _Start:
    session: Session
    snapshot: NDArray[np.uint8]


class Recovery:
    """Recovers the episodes of one page, in their order: each starts where the one before left the track.

    Args:
        trig: The variant of sine and cosine of the browser.
        progress: Called after every sample.
    """

    def __init__(self, trig: str, progress: Callable[[], None] = lambda: None) -> None:
        self._simulator = Simulator(trig=trig, engine="scalar", stop_at_end=False)
        self._progress = progress
        self._starts: Iterator[_Start] = self._first_starts()
        self._lengths: deque[int] = deque(maxlen=50)

    # ---- episodes --------------------------------------------------------------------------------------

    def recover(self, episode: SampledEpisode) -> list[Recovered]:
        """Recover an episode: one part, or one more for every restart within it."""
        parts: list[Recovered] = []
        first = 0
        while True:
            part = self._recover_from(episode, first)
            if part is None:
                return parts
            parts.append(part)
            if not part.restarted:
                return parts
            first = part.first_sample + len(part.sample_frames) + len(part.skipped)

    def reach(self, episode: SampledEpisode) -> int:
        """Count the samples of a page's first episode that the plain search reaches."""
        search = _Search(episode.samples, episode.relative)
        starts = _Lazy(self._first_starts())
        _, layers = self._find_start(starts, search, _PASSES_OF_PROBE)
        if layers is None:
            return 0
        self._forward(layers, search, effort=_EFFORT)
        return len(layers) - 1

    def _recover_from(self, episode: SampledEpisode, first: int) -> Recovered | None:
        samples = episode.samples[first:]
        labels = None if episode.labels is None else episode.labels[first:]
        starts = _Lazy(self._starts)
        search = _Search(samples, episode.relative)
        skipped: list[int] = []
        number, layers = self._find_start(starts, search)
        if layers is None:
            self._starts = (start for _, start in starts.items())
            return None
        start = starts[number]
        while not self._forward(layers, search):
            stuck = len(layers) - 1
            if self._restarts(search, stuck):
                break
            better = self._other_start(layers, search, labels, starts)
            if better is None and len(skipped) < _SKIPS:
                rest = self._without_sample(layers, search)
                if rest is not None:
                    skipped.append(stuck + len(skipped))
                    labels = None if labels is None else np.delete(labels, stuck)
                    search = rest
                    continue
            better = (
                better
                or self._look_back(layers, search)
                or self._other_way(layers, search, labels, starts, start)
            )
            if better is None:
                break
            start, layers = better[0] or start, better[1]
        samples = search.samples
        complete = len(layers) > len(samples)
        end: Layer = []
        if complete and episode.last_reward is not None:
            end = self._end(layers[-1], episode.last_reward)
        part = self._part(start.session, layers, labels, end, first, complete)
        part = replace(part, skipped=tuple(skipped))
        self._starts = islice(self._later_starts(part, starts, search), _STARTS)
        if not complete:
            restarts = _Lazy(self._starts)
            rest = _Search(samples[len(layers) - 1 :], episode.relative)
            _, after = self._find_start(restarts, rest, _PASSES_OF_RESTART)
            if after is not None and len(layers) > 1:
                part = replace(part, restarted=True)
            self._starts = (start for _, start in restarts.items())
        return part

    def _find_start(
        self, starts: _Lazy, search: _Search, passes: Sequence[tuple[int | None, int]] = _PASSES
    ) -> tuple[int, list[Layer] | None]:
        """The first start from which the first samples can be reached, with its layers."""
        beginning = replace(search, samples=search.samples[:_SCAN])
        for effort, most in passes:
            for number, start in islice(starts.items(), most):
                layers: list[Layer] = [[_Node(start.snapshot)]]
                if self._forward(layers, beginning, effort=effort):
                    return number, layers
                if effort is None and len(layers) > 1 and self._restarts(search, len(layers) - 1):
                    return number, layers
        return -1, None

    def _restarts(self, search: _Search, number: int) -> bool:
        """Whether the samples from `number` on are those of a new run."""
        rest = replace(search, samples=search.samples[number:])
        fresh = _Lazy(islice(self._first_starts(), 1))
        return self._find_start(fresh, rest, ((1, 1),))[1] is not None

    # ---- where a sample can't be reached ---------------------------------------------------------------

    def _other_start(
        self, layers: list[Layer], search: _Search, labels: NDArray[np.uint8] | None, starts: _Lazy
    ) -> tuple[_Start | None, list[Layer]] | None:
        """Another start from which the same keys lead to the same samples, and then to the next one."""
        path = self._best(layers, labels)
        reached = len(layers) - 1
        for _, start in islice(starts.items(), _STARTS):
            state = self._after(start, path, search)
            if state is None or not self._reach(
                [_Node(state, [(0, path[-1])])], search, reached, effort=_EFFORT
            ):
                continue
            again: list[Layer] = [[_Node(start.snapshot)]]
            self._forward(again, search, hints=path)
            if len(again) > len(layers):
                return start, again
        return None

    def _look_back(self, layers: list[Layer], search: _Search) -> tuple[_Start | None, list[Layer]] | None:
        """A way that leaves the one that was found some samples ago, among all of the sequences."""
        for back in _RETRIES:
            again = layers[: max(1, len(layers) - back)]
            until = replace(search, samples=search.samples[: len(layers)])
            if self._forward(again, until, widely=True):
                return None, again
        return None

    def _other_way(
        self,
        layers: list[Layer],
        search: _Search,
        labels: NDArray[np.uint8] | None,
        starts: _Lazy,
        tried: _Start,
    ) -> tuple[_Start | None, list[Layer]] | None:
        """Another start that leads further, with other keys where it needs them."""
        path = self._best(layers, labels)
        until = replace(search, samples=search.samples[: len(layers)])
        for _, start in islice(starts.items(), _OTHERS):
            if start is tried:
                continue
            again: list[Layer] = [[_Node(start.snapshot)]]
            if self._forward(again, until, hints=path, effort=_EFFORT):
                return start, again
        return None

    def _without_sample(self, layers: list[Layer], search: _Search) -> _Search | None:
        """The search without the sample that is not reached; None where the next one is not either."""
        number = len(layers) - 1
        rest = replace(search, samples=np.delete(search.samples, number, axis=0))
        if number == len(rest.samples):
            return rest
        for level in ((2, 8, 1), (2, 8, 2), (9, 14, 1)):
            if found := rest.find(layers[-1], rest.samples[number], level=level):
                layers.append(found)
                return rest
        return None

    def _after(self, start: _Start, path: list[bytes], search: _Search) -> NDArray[np.uint8] | None:
        """The state after the keys of the path; None where a sample on the way differs."""
        self._simulator.restore(start.snapshot[None])
        for keys, sample in zip(path, search.samples, strict=False):
            self._simulator.operate(Session().play(keys).array)
            if not search.equal(self._simulator, sample):
                return None
        return self._simulator.snapshot()[0]

    # ---- samples ---------------------------------------------------------------------------------------

    def _forward(
        self,
        layers: list[Layer],
        search: _Search,
        *,
        hints: Sequence[bytes] = (),
        widely: bool = False,
        effort: int | None = None,
    ) -> bool:
        """Append a layer for each further sample. False where one is not reached."""
        while len(layers) <= len(search.samples):
            number = len(layers) - 1
            hint = hints[number] if number < len(hints) else None
            layer = self._reach(layers[-1], search, number, hint=hint, widely=widely, effort=effort)
            if not layer:
                return False
            layers.append(layer)
            self._progress()
        return True

    def _reach(
        self,
        layer: Layer,
        search: _Search,
        number: int,
        *,
        hint: bytes | None = None,
        widely: bool = False,
        effort: int | None = None,
    ) -> Layer:
        """The states in which sample `number` was taken."""
        sample = search.samples[number]
        if hint is not None and (found := search.find(layer, sample, given=hint)):
            return found
        if number == 0 and (found := search.find(layer, sample, level=(0, 0, 0))):
            return found
        merged: Layer = []
        for level in self._levels()[:effort]:
            found = search.find(layer, sample, level=level)
            if found and not widely:
                self._lengths.append(len(found[0].edges[0][1]))
                return found
            _merge(merged, found)
        return merged[:_WIDTH]

    def _levels(self) -> list[Level]:
        """Ranges of sequences to search, the likely ones first."""
        rare = 0 if len(self._lengths) < 10 else 1
        usual = min(8, max([4, *(n for n in set(self._lengths) if self._lengths.count(n) > rare)]))
        slow = min(8, usual + 1) if usual > 5 else usual  # logs with few samples
        levels = [
            (1, usual, 1),
            (1, usual, 2),
            (usual + 1, max(6, usual + 1), 1),
            (1, min(usual, 5), 3),
            (usual + 1, 6, 2),
            (1, 4, _ANY),
            (5, 5, 3),
            (max(7, usual + 1), 10, 1),
            (max(7, usual + 1), 9, 2),
            (6, slow, 3),
            (6, slow, 4),
        ]
        return [level for level in levels if level[0] <= level[1]]

    def _end(self, layer: Layer, reward: float) -> Layer:
        """The states after the last step of the log, of which it has the reward alone."""
        for ended in (True, False):
            for level in ((1, 8, 1), (1, 8, 2), (1, 5, 3), (1, 4, _ANY)):
                reached: Layer = []
                known: dict[bytes, _Node] = {}
                for number, node in enumerate(layer):
                    found = find_keys(
                        node.snapshot,
                        None,
                        reward=reward,
                        ended=ended,
                        frames=level[:2],
                        changes=level[2],
                        last_keys=node.last_keys,
                    )
                    for result in found:
                        _add(reached, known, number, result)
                if reached:
                    return reached
        return []

    # ---- the way through the layers --------------------------------------------------------------------

    def _best(self, layers: list[Layer], labels: NDArray[np.uint8] | None) -> list[bytes]:
        """The keys of each interval, along the best way through the layers."""
        return _best_path(layers, labels)

    def _part(
        self,
        session: Session,
        layers: list[Layer],
        labels: NDArray[np.uint8] | None,
        end: Layer,
        first: int,
        complete: bool,
    ) -> Recovered:
        layers = [*layers, end] if end else layers
        path = _best_path(layers, labels)
        options = _options(layers)
        keys = b"".join(path)
        undetermined = np.concatenate(
            [np.zeros(0, bool), *map(_undetermined, path, options)],
        )
        counts = np.cumsum([len(keys) for keys in path], dtype=np.int64)
        over = self._frames_until_end(session, keys)
        if over is None and end:
            # The log has the state of the runner a moment before that of the game.
            keys, undetermined, over = self._with_end(keys, undetermined, _MOMENT, range(11))
        elif over is None and complete and labels is not None:
            keys, undetermined, over = self._with_end(keys, undetermined, _LAST_STEP, labels[-1:].tolist())
        length = len(keys) if over is None else over
        return Recovered(
            session,
            np.frombuffer(keys[:length], np.uint8),
            undetermined[:length],
            counts[: len(counts) - bool(end)],
            first,
            over is not None,
            np.frombuffer(keys[length:], np.uint8),
            complete=complete,
        )

    def _frames_until_end(self, session: Session, keys: bytes) -> int | None:
        self._simulator.operate(session.array)
        for frame, mask in enumerate(keys):
            self._simulator.step(np.array([mask], np.uint8))
            if self._simulator.flags[0] & FLAG_GAME_ENDED:
                return frame + 1
        return None

    def _with_end(
        self, keys: bytes, undetermined: NDArray[np.bool_], most: int, masks: Iterable[int]
    ) -> tuple[bytes, NDArray[np.bool_], int | None]:
        """Add the fewest frames, up to `most` with one mask held, that end the run. They are undetermined."""
        state = self._simulator.snapshot()
        held = keys[-1] if keys else 0
        choices = [held] + [m for m in masks if canonical_keys(m) == m != held]
        for frames in range(1, most + 1):
            for mask in choices:
                self._simulator.restore(state)
                self._simulator.step(np.array([mask], np.uint8), frames)
                if self._simulator.flags[0] & FLAG_GAME_ENDED:
                    keys += bytes([mask]) * frames
                    return keys, np.append(undetermined, np.ones(frames, bool)), len(keys)
        return keys, undetermined, None

    # ---- starts ----------------------------------------------------------------------------------------

    def _start(self, session: Session) -> _Start:
        self._simulator.operate(session.array)
        return _Start(session, self._simulator.snapshot()[0])

    def _first_starts(self) -> Iterator[_Start]:
        """Starts of the first episode after the page's load."""
        opened = Session().then(Operation.OPEN)
        for frames in (1, 0, 2):
            yield self._start(opened.then(Operation.PLAY, frames).then(Operation.RESET))
        yield self._start(opened)
        for waits in range(1, _WAITS):
            yield self._start(opened.then(Operation.PLAY).then(Operation.RESET).then(Operation.WAIT, waits))

    def _later_starts(self, part: Recovered, starts: _Lazy, search: _Search) -> Iterator[_Start]:
        """Starts of the next episode: resets of the last state, told apart by their states."""
        seen: set[bytes] = set()
        played = np.concatenate([part.keys, part.idle_keys])
        intervals = np.split(part.keys, part.sample_frames)[:-1]
        path = [keys.tobytes() for keys in intervals]
        yield from self._resets(part.start.play(played), seen)
        yield from islice(self._first_starts(), 4)  # the page may have been loaded anew
        for _, start in islice(starts.items(), _STARTS):
            if start.session != part.start and self._after(start, path, search) is not None:
                yield from self._resets(start.session.play(played), seen)
        yield from islice(self._first_starts(), 4, None)

    def _resets(self, session: Session, seen: set[bytes]) -> Iterator[_Start]:
        simulator = self._simulator
        simulator.operate(session.array)
        state = simulator.snapshot()
        for idle in range(_IDLE):
            for resets in (1, 2):
                simulator.restore(state)
                simulator.operate(Session().then(Operation.RESET, resets).array)
                snapshot = simulator.snapshot()[0]
                digest = snapshot.tobytes()
                if digest not in seen:
                    seen.add(digest)
                    path = session.then(Operation.PLAY, idle).then(Operation.RESET, resets)
                    yield _Start(path, snapshot)
            simulator.restore(state)
            simulator.step(np.zeros(1, np.uint8))
            state = simulator.snapshot()


@dataclass(frozen=True)
class _Search:
    """The samples that a search has to reach."""

    samples: NDArray[np.float64]
    relative: bool

    def find(
        self,
        layer: Layer,
        sample: NDArray[np.float64],
        *,
        level: Level = (0, 0, 0),
        given: bytes | None = None,
    ) -> Layer:
        """The states with a sample's numbers to which sequences of a level, or the given one, lead."""
        reached: Layer = []
        known: dict[bytes, _Node] = {}
        for number, node in enumerate(layer):
            results = find_keys(
                node.snapshot,
                sample,
                relative=self.relative,
                frames=level[:2],
                changes=level[2],
                last_keys=node.last_keys,
                given=given,
            )
            for result in results:
                _add(reached, known, number, result)
        return reached[:_WIDTH]

    def equal(self, simulator: Simulator, sample: NDArray[np.float64]) -> bool:
        """Whether the game has the numbers of a sample."""
        numbers = simulator.state[0, :72].reshape(12, 6)[:, :5].copy()
        if self.relative:
            numbers[:, 0] -= numbers[0, 0]
        return bool((numbers.reshape(-1) == sample).all())


def samples_equal(recovered: Recovered, episode: SampledEpisode, trig: str) -> int:
    """How many samples, from the first on, a replay from the page's load gives with == in all 60 numbers."""
    simulator = Simulator(trig=trig, engine="scalar", stop_at_end=False)
    simulator.operate(recovered.start.array)
    samples = np.delete(episode.samples[recovered.first_sample :], recovered.skipped, axis=0)
    search = _Search(samples, episode.relative)
    frame = 0
    for count, at in enumerate(recovered.sample_frames.tolist()):
        simulator.operate(Session().play(recovered.keys[frame:at]).array)
        frame = at
        if not search.equal(simulator, samples[count]):
            return count
    return len(recovered.sample_frames)


class _Lazy:
    """A sequence that is computed as far as it is looked at."""

    def __init__(self, source: Iterable[_Start]) -> None:
        self._source = iter(source)
        self._known: list[_Start] = []

    def __getitem__(self, i: int) -> _Start:
        return self._known[i]

    def items(self) -> Iterator[tuple[int, _Start]]:
        i = 0
        while True:
            if i == len(self._known):
                item = next(self._source, None)
                if item is None:
                    return
                self._known.append(item)
            yield i, self._known[i]
            i += 1


def _add(reached: Layer, known: dict[bytes, _Node], number: int, result: FoundKeys) -> None:
    state = result.snapshot.tobytes()
    node = known.get(state)
    if node is None:
        known[state] = node = _Node(result.snapshot)
        reached.append(node)
    if (number, result.keys) not in node.edges:
        node.edges.append((number, result.keys))


def _merge(layer: Layer, other: Layer) -> None:
    known = {node.snapshot.tobytes(): node for node in layer}
    for node in other:
        for number, keys in node.edges:
            _add(layer, known, number, FoundKeys(keys, node.snapshot))


def _best_path(layers: list[Layer], labels: NDArray[np.uint8] | None) -> list[bytes]:
    """Keys of each interval on the way that follows the labels and has the fewest changes of keys."""
    costs: list[list[tuple[float, int, int]]] = [[(0.0, 0, 0)] * len(layers[0])]  # cost, edge, last keys
    for number, layer in enumerate(layers[1:]):
        label = int(canonical_keys(labels[number - 1])) if labels is not None and number else None
        row: list[tuple[float, int, int]] = []
        for node in layer:
            ways: list[tuple[float, int, int]] = []
            for i, (parent, keys) in enumerate(node.edges):
                cost, _, last = costs[-1][parent]
                cost += 8 if label is not None and keys and keys[0] != label else 0
                for mask in keys:
                    cost += mask != last
                    last = mask
                ways.append((cost, i, last))
            row.append(min(ways))
        costs.append(row)
    at = min(range(len(costs[-1])), key=lambda i: costs[-1][i][0])
    path: list[bytes] = []
    for layer, row in zip(layers[:0:-1], costs[:0:-1], strict=True):
        at, keys = layer[at].edges[row[at][1]]
        path.append(keys)
    return path[::-1]


def _options(layers: list[Layer]) -> list[set[bytes]]:
    """For each interval, the keys on all ways that lead to the last layer."""
    alive = set(range(len(layers[-1])))
    options: list[set[bytes]] = []
    for layer in layers[:0:-1]:
        edges = [edge for i in alive for edge in layer[i].edges]
        options.append({keys for _, keys in edges})
        alive = {parent for parent, _ in edges}
    return options[::-1]


def _undetermined(keys: bytes, options: set[bytes]) -> NDArray[np.bool_]:
    """Find the frames in which another option holds other keys: bool [len(keys)]."""
    if any(len(other) != len(keys) for other in options):
        return np.ones(len(keys), bool)
    rows = np.array([list(other) for other in options], np.uint8).reshape(len(options), len(keys))
    return (rows != np.frombuffer(keys, np.uint8)).any(axis=0)
