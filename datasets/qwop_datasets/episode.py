"""One attempt at the run, frame by frame: the data class that datasets store."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from qwop_cli import escape_unprintable
from qwop_game import (
    DEFAULT_TRIG,
    FRAME_SECONDS,
    TRIG_VARIANTS,
    UNITS_PER_METER,
    Session,
    action_masks,
    canonical_keys,
)
from qwop_game.gait import gait_metrics

OBSERVATION_SIZE = 60
Source = Literal["human", "policy", "script", "search"]
"""Who played an episode."""
Game = Literal["embedded", "real"]
"""Where an episode was played."""
SOURCES: tuple[str, ...] = get_args(Source)
GAMES: tuple[str, ...] = get_args(Game)
# Sources of key events; key_events["source"] is an index into this. "focus": the window lost the focus,
# which releases all keys. "resume": the key was down, or had been released, when play began or continued.
KEY_SOURCES = ("unknown", "pynput", "window", "page", "script", "focus", "resume")

# One press or release. time: seconds on the player's monotonic clock (see Episode.wall_clock_offset).
KEY_EVENT_DTYPE = np.dtype([("time", "<f8"), ("key", "u1"), ("pressed", "?"), ("source", "u1")])
# One rewind: after from_frame frames, play continued at to_frame.
REWIND_DTYPE = np.dtype([("wall_time", "<f8"), ("from_frame", "<i4"), ("to_frame", "<i4")])

VERIFIED_EXACT, VERIFIED_UNKNOWN = "exact", "unknown"  # or "differs: ..."; see verify.py

Value = str | bool | int | float


def new_id() -> str:
    """Make an episode id: 32 hexadecimal digits. An episode keeps its id through every edit and copy."""
    return uuid.uuid4().hex


def now() -> str:
    """Return the current time: ISO 8601, UTC, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_problem(name: str, longest: int = 64) -> str | None:
    """Explain why a text can't be the name of an episode's player; None if it can.

    Args:
        name: The text.
        longest: Maximum number of bytes in UTF-8.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if size > longest:
        return f"the name has {size} bytes of UTF-8; at most {longest} are stored"
    if not name.isprintable():
        return f"the name has {next(c for c in name if not c.isprintable())!r}, which can't be printed"
    return None


def storable_name(text: str) -> str:
    """Convert a text, such as a file name, to a valid Episode.player: printable, at most 64 bytes."""
    return escape_unprintable(text).encode()[:64].decode(errors="ignore")


def action_indices(keys: NDArray[np.integer[Any]] | Sequence[int], action_set: str) -> NDArray[np.uint8]:
    """Find the action of each key mask.

    That is the mask itself if the set has it, else the first action with the same effect in the engine (W has
    no effect with Q, P has none with O).

    Args:
        keys: Key masks, uint8 [T].
        action_set: Name of the action set.

    Returns:
        Indices in the action set, uint8 [T].

    Raises:
        ValueError: The set has no such action, as qwop-gym's `reduced` for Q+O.
    """
    masks = action_masks(action_set)
    table = np.full(16, 255, np.uint8)
    for mask in range(16):
        same = np.flatnonzero(masks == mask)
        if not len(same):
            same = np.flatnonzero(canonical_keys(masks) == canonical_keys(mask))
        if len(same):
            table[mask] = same[0]
    actions = table[np.asarray(keys, np.uint8)]
    missing = np.flatnonzero(actions == 255)
    if len(missing):
        frame = int(missing[0])
        raise ValueError(
            f"action set {action_set!r} has no action for key mask {keys[frame]} at frame {frame}"
        )
    return actions


def _frozen(value: Any, dtype: Any) -> NDArray[Any]:
    """Return a contiguous read-only array: the value itself if it is one, else a copy."""
    array = np.asarray(value, dtype=dtype)
    if array.flags.writeable or not array.flags.c_contiguous:
        array = np.array(array, order="C")
        array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Episode:
    """T frames of play. The arrays are read-only; writable ones are copied.

    Optional arrays are None if they were not measured: a policy has no key events.

    Raises:
        ValueError: The fields can't be an episode.
    """

    keys: NDArray[np.uint8]
    """uint8 [T]: key mask held during frame t; Q = 1, W = 2, O = 4, P = 8."""
    raw_observations: NDArray[np.float32]
    """float32 [T + 1, 60]: row t is the state before frame t, in world units (10 = 1 m), unclipped."""
    times: NDArray[np.float64]
    """float64 [T + 1]: the game's clock (scoreTime), s. It stops when the run is over."""
    terminated: bool
    """The game ended the run: a fall, the landing, or out of bounds."""
    truncated: bool
    """Cut short from outside: a frame limit, the player's restart, a crash."""
    success: bool
    """The run was won: 100 m and the jump."""
    source: str
    """Who pressed the keys: "human", "policy", "script", or "search" (see qwop_search)."""
    player: str = ""
    """The person's or policy's name, at most 64 bytes of UTF-8."""
    game: str = "embedded"
    """Where it was played: "embedded" (this simulator) or "real" (the game in a browser)."""
    trig: str = DEFAULT_TRIG
    """The game's variant of sine and cosine, one of qwop_game.TRIG_VARIANTS. A replay needs the same."""
    action_set: str = "distinct"
    """The action set that `actions` indexes; its masks are qwop_game.ACTION_SETS[action_set]."""
    start: NDArray[np.uint32] | None = None
    """uint32 [N, 3]: what happened in the page before frame 0, from its load on; rows of a qwop_game.Session.
    None: the canonical start."""
    undetermined: NDArray[np.bool_] | None = None
    """bool [T]: frames whose keys the record of a converted episode does not determine: other keys give the
    same numbers. None: all keys are known."""
    wall_times: NDArray[np.float64] | None = None
    """float64 [T]: Unix time at which frame t took its keys, s."""
    lateness: NDArray[np.float32] | None = None
    """float32 [T]: how long after its due time frame t began, s."""
    wall_clock_offset: float = 0.0
    """Unix time minus the monotonic clock of key_events, s (0 without key events)."""
    key_events: NDArray[np.void] | None = None
    """KEY_EVENT_DTYPE [E]: every press and release, in order of time."""
    rewinds: NDArray[np.void] | None = None
    """REWIND_DTYPE [R]. The other arrays have only the frames that are left: one exact run from the start."""
    discarded_keys: NDArray[np.uint8] | None = None
    """uint8 [sum(from_frame - to_frame)]: keys of the frames that the rewinds cut off, in their order."""
    rewards: Mapping[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])
    """Reward function's name -> float32 [T]."""
    provenance: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """Where the episode comes from: engine, trig_source, game_sha256, package, browser, driver, seed, ..."""
    gait: Mapping[str, float] = field(default_factory=dict[str, float])
    """Gait figures by name, from qwop_game.gait (see with_gait)."""
    verified: str = VERIFIED_UNKNOWN
    """"exact" (replays bit for bit), "unknown", or "differs: ..." with the first differing frame."""
    tags: tuple[str, ...] = ()
    """Free labels without spaces."""
    id: str = field(default_factory=new_id)
    """32 hexadecimal digits, which never change."""
    created: str = field(default_factory=now)
    """When it was played, ISO 8601 UTC."""

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        self._check_types()
        put("keys", _frozen(self.keys, np.uint8))
        put("raw_observations", _frozen(self.raw_observations, np.float32))
        put("times", _frozen(self.times, np.float64))
        if self.start is not None:
            put("start", Session.of(np.asarray(self.start)).array)
        optional = {
            "start": np.uint32,
            "undetermined": np.bool_,
            "wall_times": np.float64,
            "lateness": np.float32,
            "key_events": KEY_EVENT_DTYPE,
            "rewinds": REWIND_DTYPE,
            "discarded_keys": np.uint8,
        }
        for name, dtype in optional.items():
            if getattr(self, name) is not None:
                put(name, _frozen(getattr(self, name), dtype))
        for name in ("terminated", "truncated", "success"):
            put(name, bool(getattr(self, name)))
        put("rewards", MappingProxyType({k: _frozen(v, np.float32) for k, v in self.rewards.items()}))
        plain = {k: plain_scalar(v) for k, v in self.provenance.items()}
        put("provenance", MappingProxyType(plain))
        put("gait", MappingProxyType({k: float(v) for k, v in self.gait.items()}))
        put("wall_clock_offset", float(self.wall_clock_offset))
        put("tags", tuple(self.tags))
        self._check()

    def _check_types(self) -> None:
        """Check the types: fields that were read from JSON may have any."""
        for name in ("id", "created", "source", "player", "game", "trig", "action_set", "verified"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(f"an episode's {name} is {value!r:.40}, not text")
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    raise ValueError(f"an episode's {name} is not UTF-8: {value!a:.80}") from None
        for name in ("terminated", "truncated", "success"):
            if not isinstance(getattr(self, name), bool | np.bool_ | int):
                raise ValueError(f"an episode's {name} is {getattr(self, name)!r:.40}, not true or false")
        for name in ("rewards", "provenance", "gait"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"an episode's {name} is {getattr(self, name)!r:.40}, not names and values")
        if not isinstance(self.tags, tuple | list) or not all(isinstance(tag, str) for tag in self.tags):
            raise ValueError(f"an episode's tags are {self.tags!r:.40}, not texts")

    def _check(self) -> None:
        def require(fact: bool, message: str) -> None:
            if not fact:
                raise ValueError(f"episode {self.id}: {message}")

        t = len(self.keys) if self.keys.ndim == 1 else 0
        require(t >= 1, f"keys must be uint8 [T] with T >= 1, not shape {self.keys.shape}")
        require(int(self.keys.max()) < 16, "a key mask is above 15")
        shape = (t + 1, OBSERVATION_SIZE)
        require(
            self.raw_observations.shape == shape,
            f"raw_observations has shape {self.raw_observations.shape}; {t} keys need {shape}",
        )
        require(bool(np.isfinite(self.raw_observations).all()), "raw_observations holds NaN or infinity")
        require(self.times.shape == (t + 1,), f"times has shape {self.times.shape}; {t} keys need {(t + 1,)}")
        require(bool(np.isfinite(self.times).all()), "times holds NaN or infinity")
        require(bool((np.diff(self.times) >= 0).all()), "times runs backwards")
        per_frame = {"wall_times": self.wall_times, "lateness": self.lateness}
        per_frame |= {f"reward {name!r}": reward for name, reward in self.rewards.items()}
        for name, array in per_frame.items():
            if array is not None:
                require(array.shape == (t,), f"{name} has shape {array.shape}; {t} keys need {(t,)}")
                require(bool(np.isfinite(array).all()), f"{name} holds NaN or infinity")
        if self.start is not None:
            problem = Session.of(self.start).start_problem()
            require(problem is None, f"its start {problem}")
        undetermined = self.undetermined
        if undetermined is not None:
            require(
                undetermined.shape == (t,),
                f"undetermined has shape {undetermined.shape}; {t} keys need {(t,)}",
            )
        require(self.terminated or not self.success, "success without terminated")
        require(self.source in SOURCES, f"source {self.source!r} is not one of {', '.join(SOURCES)}")
        require(self.game in GAMES, f"game {self.game!r} is not one of {', '.join(GAMES)}")
        require(
            self.trig in TRIG_VARIANTS,
            f"trig {self.trig!r} is not one of {', '.join(TRIG_VARIANTS)}; upgrade qwop-stride",
        )
        require(len(self.player.encode()) <= 64, "player is longer than 64 bytes")
        require("\0" not in self.player, "player has a NUL character")
        for tag in self.tags:
            require(bool(tag) and not any(c.isspace() or c == "\0" for c in tag), f"bad tag {tag!r}")
        require(len(" ".join(self.tags).encode()) <= 256, "tags are longer than 256 bytes together")
        hexadecimal = len(self.id) == 32 and all(c in "0123456789abcdef" for c in self.id)
        require(hexadecimal, "id must be 32 hexadecimal digits")
        for name in (*self.rewards, *self.provenance, *self.gait):
            require(bool(name) and "/" not in name and "\0" not in name, f"bad name {name!r}")
        for name, value in self.provenance.items():
            plain = isinstance(value, str | bool | int | float)
            require(plain, f"provenance {name!r} must be text, a number or a bool, not {value!r}")
        events = self.key_events
        if events is not None:
            require(events.ndim == 1, "key_events must be one-dimensional")
            require(bool(np.isin(events["key"], (1, 2, 4, 8)).all()), "a key event's key is not 1, 2, 4 or 8")
            require(bool((events["source"] < len(KEY_SOURCES)).all()), "a key event's source is unknown")
            require(bool((np.diff(events["time"]) >= 0).all()), "key_events runs backwards in time")
        require(
            (self.rewinds is None) == (self.discarded_keys is None), "rewinds and discarded_keys go together"
        )
        if self.rewinds is not None and self.discarded_keys is not None:
            length = self.rewinds["from_frame"].astype(np.int64) - self.rewinds["to_frame"]
            in_order = bool((length > 0).all() and (self.rewinds["to_frame"] >= 0).all())
            require(self.rewinds.ndim == 1 and in_order, "a rewind goes forward or before the start")
            require(self.discarded_keys.shape == (int(length.sum()),), "discarded_keys does not fit rewinds")
        try:
            object.__setattr__(
                self, "_actions", _frozen(action_indices(self.keys, self.action_set), np.uint8)
            )
        except ValueError as error:
            raise ValueError(f"episode {self.id}: {error}") from None

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        end = "success" if self.success else "fell" if self.terminated else "cut short"
        return f"Episode({self.id[:8]}, {len(self)} frames, {self.time:.2f} s, {self.distance:.2f} m, {end})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings can't be pickled, but DataLoader workers pickle episodes.
        return _rebuild, ({f.name: _without_proxy(getattr(self, f.name)) for f in fields(self)},)

    @property
    def actions(self) -> NDArray[np.uint8]:
        """uint8 [T]: index of each frame's keys in `action_set`."""
        return self._actions  # type: ignore[attr-defined]

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.keys)

    @property
    def time(self) -> float:
        """The game's clock after the last frame, s. It is the time of a finished run."""
        return float(self.times[-1])

    @property
    def distance(self) -> float:
        """X of the torso after the last frame, m."""
        return float(self.raw_observations[-1, 0]) / UNITS_PER_METER

    @property
    def seconds(self) -> float:
        """Length of play, s: frames / 30."""
        return self.num_frames * FRAME_SECONDS

    def frame_at(self, time: float) -> int:
        """Return the frame at a time of the game's clock, s: 0 before the start, T after the end."""
        return min(max(round((time - float(self.times[0])) / FRAME_SECONDS), 0), self.num_frames)

    def replace(self, **changes: Any) -> Episode:
        """Copy the episode with some fields changed. The id stays, unless it is one of them."""
        return replace(self, **changes)


def plain_scalar(value: Any) -> Any:
    """Return a NumPy scalar as a plain number or text, anything else as it is."""
    return cast("Any", value).item() if isinstance(value, np.generic) else value


def _without_proxy(value: Any) -> Any:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, MappingProxyType) else value


def _rebuild(values: dict[str, Any]) -> Episode:
    return Episode(**values)


def first_difference(a: Episode, b: Episode) -> str | None:
    """Name the first field in which two episodes differ by a bit; None if they are equal."""
    for f in fields(Episode):
        x: Any = getattr(a, f.name)
        y: Any = getattr(b, f.name)
        if f.name in ("rewards", "gait"):  # by bytes: NaN is equal to itself here
            same = x.keys() == y.keys() and all(
                np.asarray(x[k]).tobytes() == np.asarray(y[k]).tobytes() for k in x
            )
        elif all(isinstance(value, np.ndarray) for value in (x, y)):
            same = _same_bits(x, y)
        else:
            same = type(x) is type(y) and x == y
        if not same:
            return f.name
    return None


def _same_bits(x: NDArray[Any], y: NDArray[Any]) -> bool:
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def with_gait(episode: Episode) -> Episode:
    """Copy the episode with its gait figures computed by `qwop_game.gait.gait_metrics`."""
    figures = asdict(gait_metrics(episode.raw_observations, episode.keys))
    return episode.replace(
        gait={name: figures[name] for name in figures if name not in ("frames", "distance")}
    )
