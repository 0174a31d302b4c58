"""Python interface of the C++ engine: one call steps many games, in NumPy buffers that are bound once."""

import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray

from qwop_game.observation import OBSERVATION_SIZE, STATE_SIZE
from qwop_game.rules import FINISH as FINISH
from qwop_game.rules import FLAG_FALLEN as FLAG_FALLEN
from qwop_game.rules import FLAG_GAME_ENDED as FLAG_GAME_ENDED
from qwop_game.rules import FLAG_JUMP_LANDED as FLAG_JUMP_LANDED
from qwop_game.rules import FLAG_JUMPED as FLAG_JUMPED
from qwop_game.rules import FLAG_PAUSED as FLAG_PAUSED
from qwop_game.rules import has_finished as has_finished
from qwop_game.rules import has_landed as has_landed

MAX_THREADS = 256

CLOSED = "this Simulator is closed: make a new one"

_Method = TypeVar("_Method", bound=Callable[..., Any])
_Scalar = TypeVar("_Scalar", bound=np.generic)


def exclusive(method: _Method) -> _Method:
    """Decorate a method so that it holds the object's `lock`: it runs in one thread at a time."""

    @wraps(method)
    def alone(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self.lock:
            return method(self, *args, **kwargs)

    return cast(_Method, alone)


_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_LIBRARY = Path(__file__).with_name("_engine" + _SUFFIX)


@cache
def native_library() -> ctypes.CDLL:
    """Load the engine's library. ctypes.CDLL releases the GIL during every call."""
    try:
        library = ctypes.CDLL(str(_LIBRARY))
    except OSError as error:
        if _LIBRARY.exists():
            raise ImportError(
                f"the game engine {_LIBRARY} does not load here ({error}): build it again"
            ) from None
        raise ImportError(
            f"the game engine is not built ({_LIBRARY} is missing): install the project with a C++17 compiler"
        ) from None
    pointer, integer, size, real = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_double
    for name, result, arguments in (
        ("qwop_engines", ctypes.c_char_p, []),
        ("qwop_trig_variants", ctypes.c_char_p, []),
        ("qwop_snapshot_size", size, []),
        ("qwop_create", pointer, [ctypes.c_char_p, ctypes.c_char_p, integer, integer]),
        ("qwop_destroy", None, [pointer]),
        ("qwop_set_threads", None, [pointer, integer]),
        ("qwop_bind", None, [pointer] * 5),
        ("qwop_reset", None, [pointer, pointer]),
        ("qwop_step", integer, [pointer, pointer, integer]),
        ("qwop_state", None, [pointer, pointer]),
        ("qwop_snapshot", None, [pointer, pointer]),
        ("qwop_restore", integer, [pointer, pointer, integer, pointer, pointer, integer]),
        ("qwop_operate", integer, [pointer, integer, pointer, integer]),
        ("qwop_find_keys", integer, [pointer] * 5),
        ("qwop_play", None, [pointer, pointer]),
        ("qwop_observe", None, [pointer, integer, integer, *[pointer] * 4]),
        ("qwop_constants", None, [pointer] * 3),
        ("qwop_teleport", None, [pointer, pointer, real, real, real, real]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def engines() -> tuple[str, ...]:
    """Return the engines that this CPU can run, fastest first. "scalar" is always one of them.

    Raises ImportError if the engine is not built.
    """
    return tuple(native_library().qwop_engines().decode().split(","))


Trig = Literal["rounded", "glibc", "glibc-fma", "fdlibm", "msun", "llvm"]
TRIG_VARIANTS: tuple[str, ...] = get_args(Trig)
"""Implementations of sine and cosine. JavaScript does not define their last bits, so browsers differ:

rounded: the correctly rounded values. No browser uses these itself, but a page can use them in any browser.
glibc: glibc compiled without FMA; Chromium and Google Chrome of about 2023 to mid 2026.
glibc-fma: glibc compiled with FMA; a Chromium that uses the system's C library, as Debian's does.
fdlibm: V8's fdlibm; Google Chrome of about 2014 to 2023, Node.
msun: FreeBSD's fdlibm; Firefox.
llvm: LLVM's libc; Chromium and Google Chrome from version 153 on (x86-64). It differs from `rounded` in one
    cosine in 200,000, for angles below 1/16.

Runs of one variant with the same keys are equal. Runs of two variants diverge after some frames.
"""

DEFAULT_TRIG: Trig = "rounded"
"""The variant of the canonical game. Mathematics defines it, so it is the same on every machine."""


def check_trig(trig: str) -> str:
    """Return `trig`. Raises ValueError if there is no such variant."""
    if trig not in TRIG_VARIANTS:
        raise ValueError(f"unknown trigonometry variant {trig!r}: choose one of {', '.join(TRIG_VARIANTS)}")
    return trig


def _suited(available: tuple[str, ...], num_envs: int) -> str:
    """Return the fastest engine for this number of games. For a few games, AVX2 is faster than AVX-512."""
    few = num_envs <= 4 and "avx2" in available
    return "avx2" if few else available[0]


class Simulator:
    """Simulates `num_envs` games. Reset, step and restore are one C++ call each, which releases the GIL.

    All games start at the canonical start. Every engine gives the same bits.

    Threads may share a simulator: one method runs at a time, and the others wait. The arrays below change
    with every call. To read them while another thread steps, hold the lock: `with simulator.lock: ...`.

    copy, deepcopy and pickle make another simulator whose games continue bit for bit from the same states. If
    the machine that unpickles can't run the engine, it uses its fastest one.

    num_envs: number of games, at least 1.
    stop_at_end: an ended game stops until it is reset. False: it continues as in the real game, where a
        fallen runner keeps sliding.
    engine: one of `engines()`, or "auto" for the fastest with this number of games.
    threads: number of cores that share the games. It does not change the bits. Each call wakes the threads,
        so a few games are faster with one.
    trig: sine and cosine of the game, one of TRIG_VARIANTS.

    Attributes, read-only arrays that reset, step and restore overwrite in place (copy what you keep):
    raw_observation: float32 [num_envs, 60]
    time: float64 [num_envs], scoreTime in seconds
    distance: float64 [num_envs], the torso's x in meters
    flags: uint8 [num_envs], bits FLAG_FALLEN | FLAG_JUMPED | FLAG_JUMP_LANDED | FLAG_GAME_ENDED | FLAG_PAUSED

    Raises ValueError for an unknown engine or trig, num_envs or threads below 1, ImportError if the engine is
    not built.
    """

    def __init__(
        self,
        num_envs: int = 1,
        stop_at_end: bool = True,
        engine: str = "auto",
        threads: int = 1,
        trig: str = DEFAULT_TRIG,
    ) -> None:
        library = native_library()
        available = engines()
        if engine == "auto":
            engine = _suited(available, num_envs)
        if engine not in available:
            raise ValueError(
                f"engine {engine!r} does not run here: choose auto or one of {', '.join(available)}"
            )
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}: it must be 1 or more")
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads is {threads}: it must be 1 to {MAX_THREADS}")
        self.engine = engine
        self.trig = check_trig(trig)
        self.num_envs = int(num_envs)
        self.threads = int(threads)
        self.stop_at_end = bool(stop_at_end)
        self.snapshot_size: int = library.qwop_snapshot_size()

        handle = library.qwop_create(engine.encode(), trig.encode(), self.num_envs, int(self.stop_at_end))
        if not handle:
            raise MemoryError(f"the engine {engine!r} has no memory for {num_envs} games: lower num_envs")
        self.handle = ctypes.c_void_p(handle)  # null once the games are freed
        self._library = library
        self.lock = threading.RLock()
        if threads > 1:
            library.qwop_set_threads(self.handle, threads)

        buffers = (
            np.zeros((self.num_envs, OBSERVATION_SIZE), np.float32),
            np.zeros(self.num_envs, np.float64),
            np.zeros(self.num_envs, np.float64),
            np.zeros(self.num_envs, np.uint8),
        )
        self._keys = np.zeros(self.num_envs, np.uint8)
        self._keys_address = self._keys.ctypes.data
        library.qwop_bind(self.handle, *(buffer.ctypes.data for buffer in buffers))
        # The finalizer references the buffers, so that they outlive the engine that writes into them.
        self._free = weakref.finalize(self, _destroy, library, self.handle, buffers)
        self._free.atexit = False  # a daemon thread may still step games when the interpreter exits
        self.raw_observation, self.time = _read_only(buffers[0]), _read_only(buffers[1])
        self.distance, self.flags = _read_only(buffers[2]), _read_only(buffers[3])
        _open.add(self)
        self.reset()

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Put the games of `mask` (bool [num_envs]; None: all) at the canonical start."""
        mask = self._checked_mask(mask)
        self._call(self._library.qwop_reset, _address(mask))

    def step(self, keys: NDArray[np.uint8], frames: int = 1) -> None:
        """Play `frames` frames in every game with `keys` held, uint8 [num_envs] masks.

        A game that ends before that stops there (unless stop_at_end=False).
        """
        keys = np.asarray(keys)
        if keys.dtype != np.uint8 or keys.shape != (self.num_envs,):
            raise ValueError(f"keys are {keys.dtype} {list(keys.shape)}: expected uint8 [{self.num_envs}]")
        if frames < 0:
            raise ValueError(f"frames is {frames}: it can't be negative")
        with self.lock:
            self._keys[:] = keys
            if not self.handle:
                raise ValueError(CLOSED)
            result = self._library.qwop_step(self.handle, self._keys_address, frames)
        if result != 0:
            raise ValueError(f"keys have {int(keys.max())}: a mask is 0 to 15 (Q = 1, W = 2, O = 4, P = 8)")

    def play(self, episodes: ctypes.c_void_p) -> None:
        """Play a step of the native `episodes` and apply the rules, see episodes.py."""
        self._call(self._library.qwop_play, episodes)

    @property
    def state(self) -> NDArray[np.float64]:
        """Return all numbers of a game's state, as golden traces store them: a new float64 [num_envs, 92].

        Columns: STATE_PARTS x STATE_FIELDS, then STATE_GLOBALS.
        """
        out = np.empty((self.num_envs, STATE_SIZE), np.float64)
        self._call(self._library.qwop_state, out.ctypes.data)
        return out

    def snapshot(self) -> NDArray[np.uint8]:
        """Return the exact state of every game as bytes, a new uint8 [num_envs, snapshot_size].

        Any engine can restore it, and any row into any game.
        """
        out = np.empty((self.num_envs, self.snapshot_size), np.uint8)
        self._call(self._library.qwop_snapshot, out.ctypes.data)
        return out

    def restore(
        self,
        snapshot: NDArray[np.uint8],
        mask: NDArray[np.bool_] | None = None,
        convert: bool = False,
        *,
        index: NDArray[np.integer[Any]] | None = None,
    ) -> None:
        """Put the games of `mask` (None: all) into the states of `snapshot`, uint8 [num_envs, S].

        index: int [num_envs], game i gets row index[i] of `snapshot`, uint8 [M, S]. It is like
            `restore(snapshot[index])`, and faster: no row is copied, and each is read once.
        convert: also accept a state of a game with another `trig`. It continues with this simulator's.

        Raises ValueError for bytes that are not a snapshot, for an index of a row that does not exist and,
        without convert, for a snapshot of a game with another `trig`. Rows that no game gets may hold
        anything.
        """
        snapshot = np.ascontiguousarray(snapshot)
        rows = len(snapshot) if index is not None and snapshot.ndim else self.num_envs
        if snapshot.dtype != np.uint8 or snapshot.shape != (rows, self.snapshot_size):
            raise ValueError(
                f"the snapshot is {snapshot.dtype} {list(snapshot.shape)}: "
                f"expected uint8 [{'M' if index is not None else self.num_envs}, {self.snapshot_size}]"
            )
        row_of = None if index is None else self._checked_index(index, rows)
        mask = self._checked_mask(mask)
        result = self._call(
            self._library.qwop_restore,
            snapshot.ctypes.data,
            rows,
            _address(row_of),
            _address(mask),
            int(convert),
        )
        if result == -2:
            raise ValueError(
                f"the snapshot is from a game with another trig than {self.trig}: "
                "restore it into a Simulator with the same trig, or pass convert=True"
            )
        if result != 0:
            raise ValueError(
                "these bytes are not a snapshot of this engine: take them from Simulator.snapshot()"
            )

    def operate(self, operations: NDArray[np.uint32], env: int = 0) -> None:
        """Do in one game what happens in an open page, see `qwop_game.session.Session`.

        operations: uint32 [N, 3], rows of (operation, keys, count).
        env: Which game.

        Raises ValueError for rows that are no operations.
        """
        operations = np.array(operations, np.uint32, order="C")
        if operations.ndim != 2 or operations.shape[1] != 3:
            raise ValueError(f"operations have shape {list(operations.shape)}, expected [N, 3]")
        if not 0 <= env < self.num_envs:
            raise ValueError(f"env is {env}: there are {self.num_envs} games")
        if self._call(self._library.qwop_operate, env, operations.ctypes.data, len(operations)) != 0:
            raise ValueError("the operations hold a row that does not exist: see qwop_game.session")

    def begin(self, start: NDArray[np.uint32] | None, env: int = 0) -> None:
        """Put one game at the start of a stored episode.

        start: uint32 [N, 3], Episode.start; None: the canonical start.
        env: Which game.
        """
        if start is None:
            mask = np.zeros(self.num_envs, bool)
            mask[env] = True
            self.reset(mask)
        else:
            self.operate(start, env)

    def teleport(
        self, mask: NDArray[np.bool_] | None, dx: float, dy: float, dvx: float = 0.0, dvy: float = 0.0
    ) -> None:
        """Move the masked runners by (dx, dy) units and add (dvx, dvy) to velocities, for tests."""
        mask = self._checked_mask(mask)
        self._call(self._library.qwop_teleport, _address(mask), dx, dy, dvx, dvy)

    def close(self) -> None:
        """Free the games. Calling it again does nothing."""
        with self.lock:
            self._free()

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "num_envs": self.num_envs,
            "stop_at_end": self.stop_at_end,
            "engine": self.engine,
            "threads": self.threads,
            "trig": self.trig,
        }
        with self.lock:
            return _copied, (type(self), options, self.snapshot() if self.handle else None)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call into the engine, one thread at a time."""
        with self.lock:
            handle = self.handle
            # Nothing can run between this check and the call, not even a signal handler that closes.
            if not handle:
                raise ValueError(CLOSED)
            return function(handle, *arguments)

    def _checked_index(self, index: NDArray[np.integer[Any]], rows: int) -> NDArray[np.int32]:
        index = np.asarray(index)
        if not np.issubdtype(index.dtype, np.integer) or index.shape != (self.num_envs,):
            shape = list(index.shape)
            raise ValueError(f"the index is {index.dtype} {shape}: expected int [{self.num_envs}]")
        if index.min() < 0 or index.max() >= rows:
            raise ValueError(f"the index has {index.min()} to {index.max()}: there are rows 0 to {rows - 1}")
        return np.array(index, np.int32)

    def _checked_mask(self, mask: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        if mask is None:
            return None
        mask = np.ascontiguousarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"the mask is {mask.dtype} {list(mask.shape)}: expected bool [{self.num_envs}]")
        return mask


_open: weakref.WeakSet[Simulator] = weakref.WeakSet()
_forking: list[Simulator] = []


def _before_fork() -> None:
    # A child process has one thread. A lock that another thread holds at the fork would never be released
    # there, and a game in the middle of a step would stay there. A simulator that stays busy is skipped.
    for simulator in list(_open):
        if simulator.lock.acquire(timeout=1):
            _forking.append(simulator)


def _after_fork() -> None:
    while _forking:
        _forking.pop().lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _address(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data


def _read_only(buffer: NDArray[_Scalar]) -> NDArray[_Scalar]:
    view = buffer.view()
    view.flags.writeable = False
    return view


def _destroy(library: ctypes.CDLL, handle: ctypes.c_void_p, _buffers: tuple[NDArray[Any], ...]) -> None:
    pointer, handle.value = handle.value, None
    library.qwop_destroy(pointer)


def _copied(cls: type[Simulator], options: dict[str, Any], snapshot: NDArray[np.uint8] | None) -> Simulator:
    """Rebuild a Simulator from its pickle. snapshot: None for a closed one."""
    if options["engine"] not in engines():
        options = {**options, "engine": "auto"}
    simulator = cls(**options)
    if snapshot is None:
        simulator.close()
    else:
        simulator.restore(snapshot)
    return simulator
