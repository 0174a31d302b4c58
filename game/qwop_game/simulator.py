"""The C++ engine from Python: many games stepped by one call, over NumPy buffers bound once."""

import ctypes
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from .observation import OBSERVATION_SIZE, STATE_SIZE

FLAG_FALLEN, FLAG_JUMPED, FLAG_JUMP_LANDED, FLAG_GAME_ENDED, FLAG_PAUSED = 1, 2, 4, 8, 16

MAX_THREADS = 256

FINISH = 100.0
"""Metres."""


def has_landed(flags: np.ndarray) -> np.ndarray:
    """Whether runs were won by a foot's landing beyond 100 m, not by a fall after the jump, bool [...]."""
    return (flags & FLAG_JUMP_LANDED != 0) & (flags & FLAG_FALLEN == 0)


def has_finished(flags: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Whether runs that are over count as finished, bool [...]; flags uint8 [...], distance in metres [...].

    A left foot that lands beyond 100 m wins the game, wherever the torso is; and, as in qwop-gym, a run that
    ends with its torso past 100 m is finished. A fall after the jump, which the game takes for a landing, is
    none by itself.
    """
    return has_landed(flags) | (distance > FINISH)


_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_LIBRARY = Path(__file__).with_name("_engine" + _SUFFIX)


@cache
def _library() -> ctypes.CDLL:
    """The engine's library. ctypes.CDLL lets go of the GIL during every call."""
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
        ("qwop_restore", integer, [pointer, pointer, pointer, integer]),
        ("qwop_play", None, [pointer, pointer]),
        ("qwop_observe", None, [pointer, integer, integer, *[pointer] * 4]),
        ("qwop_teleport", None, [pointer, pointer, real, real, real, real]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def engines() -> tuple[str, ...]:
    """Engines that this CPU can run, fastest first; "scalar" is always there.

    Raises ImportError where the engine is not built.
    """
    return tuple(_library().qwop_engines().decode().split(","))


Trig = Literal["rounded", "glibc", "glibc-fma", "fdlibm", "msun"]
TRIG_VARIANTS: tuple[str, ...] = get_args(Trig)
"""Whose sine and cosine a game computes with, to the last bit. JavaScript leaves them to the browser:

rounded: the correctly rounded values, as Chromium and Google Chrome compute them from version 153 on.
glibc: glibc compiled without FMA; Chromium and Google Chrome of about 2023 to mid 2026.
glibc-fma: glibc compiled with FMA; a Chromium that uses the system's C library, as Debian's does.
fdlibm: V8's fdlibm; Google Chrome of about 2014 to 2023, Node.
msun: FreeBSD's fdlibm; Firefox.

Two runs of one variant with the same keys agree for good; runs of two variants part after some frames.
"""

DEFAULT_TRIG: Trig = "rounded"
"""The canonical game: defined by mathematics, so the same on every machine."""


def check_trig(trig: str) -> str:
    """`trig` itself; raises ValueError where it names no variant."""
    if trig not in TRIG_VARIANTS:
        raise ValueError(f"unknown trigonometry variant {trig!r}: choose one of {', '.join(TRIG_VARIANTS)}")
    return trig


def _suited(available: tuple[str, ...], num_envs: int) -> str:
    """The fastest engine for so many games: for a few, eight lanes cost more than they bring."""
    few = num_envs <= 4 and "avx2" in available
    return "avx2" if few else available[0]


class Simulator:
    """`num_envs` games behind one C++ call each for reset, step and restore; the GIL is released meanwhile.

    After creation all games stand at the canonical start. Every engine gives the same bits.

    num_envs: games, at least 1.
    stop_at_end: an ended game stands still until it is reset. False: it goes on as in the game, where
        a fallen runner keeps sliding.
    engine: one of `engines()`, or "auto" for the one that suits so many games.
    threads: how many cores share the games; the bits are the same with any number. Each call wakes them, so
        a few games are faster with one.
    trig: one of TRIG_VARIANTS, the sine and cosine of the browser whose game this is.

    Attributes, read-only arrays that reset, step and restore overwrite in place (copy what you keep):
    raw_observation: float32 [num_envs, 60]
    time: float64 [num_envs], scoreTime in seconds
    distance: float64 [num_envs], the torso's x in metres
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
        library = _library()
        available = engines()
        if engine == "auto":
            engine = _suited(available, num_envs)
        if engine not in available:
            raise ValueError(
                f"engine {engine!r} does not run here: choose auto or one of {', '.join(available)}"
            )
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}: at least 1 game is needed")
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
            raise MemoryError(f"the engine {engine!r} could not make {num_envs} games")
        # Kept as a ctypes pointer: copying or pickling a Simulator then fails instead of freeing it twice.
        self._handle = ctypes.c_void_p(handle)
        self._library = library
        if threads > 1:
            library.qwop_set_threads(self._handle, threads)

        buffers = (
            np.zeros((self.num_envs, OBSERVATION_SIZE), np.float32),
            np.zeros(self.num_envs, np.float64),
            np.zeros(self.num_envs, np.float64),
            np.zeros(self.num_envs, np.uint8),
        )
        self._keys = np.zeros(self.num_envs, np.uint8)
        self._keys_address = self._keys.ctypes.data
        library.qwop_bind(self._handle, *(buffer.ctypes.data for buffer in buffers))
        # The finalizer holds the buffers, so that they outlive the engine that writes into them.
        self._close = weakref.finalize(self, _destroy, library, self._handle, buffers)
        self.raw_observation, self.time, self.distance, self.flags = (
            _read_only(buffer) for buffer in buffers
        )
        self.reset()

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Put the games where `mask` (bool [num_envs]; None: all) is true at the canonical start."""
        mask = self._checked_mask(mask)
        self._library.qwop_reset(self._open_handle(), _address(mask))

    def step(self, keys: np.ndarray, frames: int = 1) -> None:
        """Play `frames` frames in every game with `keys` held, uint8 [num_envs] masks.

        A game that ends meanwhile stands still from there on (unless stop_at_end=False).
        """
        keys = np.asarray(keys)
        if keys.dtype != np.uint8 or keys.shape != (self.num_envs,):
            raise ValueError(f"keys are {keys.dtype} {list(keys.shape)}: needed are uint8 [{self.num_envs}]")
        if frames < 0:
            raise ValueError(f"frames is {frames}: it can't be negative")
        handle = self._open_handle()
        self._keys[:] = keys
        if self._library.qwop_step(handle, self._keys_address, frames) != 0:
            raise ValueError(f"keys hold {int(keys.max())}: a mask is 0 to 15 (Q = 1, W = 2, O = 4, P = 8)")

    def play(self, episodes: ctypes.c_void_p) -> None:
        """Play and judge a step of the native `episodes`, see episodes.py."""
        self._library.qwop_play(self._open_handle(), episodes)

    @property
    def state(self) -> np.ndarray:
        """All that a golden trace stores, a new float64 [num_envs, 92].

        Columns: STATE_PARTS x STATE_FIELDS, then STATE_GLOBALS.
        """
        out = np.empty((self.num_envs, STATE_SIZE), np.float64)
        self._library.qwop_state(self._open_handle(), out.ctypes.data)
        return out

    def snapshot(self) -> np.ndarray:
        """The exact state of every game as plain bytes, a new uint8 [num_envs, snapshot_size].

        Any engine restores it; row i may go into any game.
        """
        out = np.empty((self.num_envs, self.snapshot_size), np.uint8)
        self._library.qwop_snapshot(self._open_handle(), out.ctypes.data)
        return out

    def restore(self, snapshot: np.ndarray, mask: np.ndarray | None = None, convert: bool = False) -> None:
        """Put the games where `mask` is true (None: all) into the states of `snapshot`, uint8 [num_envs, S].

        convert: a state of a game with another `trig` is taken too, and goes on with this simulator's.

        Raises ValueError for bytes that are no snapshot and, without convert, for one of a game with another
        `trig`.
        """
        snapshot = np.ascontiguousarray(snapshot)
        if snapshot.dtype != np.uint8 or snapshot.shape != (self.num_envs, self.snapshot_size):
            raise ValueError(
                f"the snapshot is {snapshot.dtype} {list(snapshot.shape)}: "
                f"needed is uint8 [{self.num_envs}, {self.snapshot_size}]"
            )
        mask = self._checked_mask(mask)
        handle = self._open_handle()
        result = self._library.qwop_restore(handle, snapshot.ctypes.data, _address(mask), int(convert))
        if result == -2:
            raise ValueError(
                f"the snapshot is of a game with another sine and cosine than {self.trig}: "
                "restore it into a Simulator with the trig of the one that took it"
            )
        if result != 0:
            raise ValueError(
                "these bytes are no snapshot of this engine: take them from Simulator.snapshot()"
            )

    def teleport(
        self, mask: np.ndarray | None, dx: float, dy: float, dvx: float = 0.0, dvy: float = 0.0
    ) -> None:
        """For tests: move all parts of the masked runners by (dx, dy) units, add (dvx, dvy) to velocities."""
        mask = self._checked_mask(mask)
        self._library.qwop_teleport(self._open_handle(), _address(mask), dx, dy, dvx, dvy)

    def close(self) -> None:
        """Free the games. Calling it again does nothing."""
        self._close()

    def _open_handle(self) -> ctypes.c_void_p:
        if not self._close.alive:
            raise ValueError("this Simulator is closed: make a new one")
        return self._handle

    def _checked_mask(self, mask: np.ndarray | None) -> np.ndarray | None:
        if mask is None:
            return None
        mask = np.ascontiguousarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"the mask is {mask.dtype} {list(mask.shape)}: needed is bool [{self.num_envs}]")
        return mask


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def _read_only(buffer: np.ndarray) -> np.ndarray:
    view = buffer.view()
    view.flags.writeable = False
    return view


def _destroy(library: ctypes.CDLL, handle: ctypes.c_void_p, _buffers: tuple[np.ndarray, ...]) -> None:
    library.qwop_destroy(handle)
