"""The rules and observations of `game_batch.py` in native code: one call plays a step of one or many games.

The native code is used only if it gives the same bits as `GameBatch` in NumPy. NumPy's float32 sine has other
bits on a CPU without fused multiply-adds, and may have others in a later version.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_game import encoder, geometry, observation, rules
from qwop_game.body import JOINTS
from qwop_game.observation import FIELDS, OBSERVATION_SIZE, PARTS
from qwop_game.simulator import CLOSED, Simulator, native_library

_PARTS, _FIELDS, _JOINTS = len(PARTS), len(FIELDS), len(JOINTS)
_FEATURES = 98  # the size in qwop.h, which `agrees` compares with FEATURE_SIZE
_float, _int32, _pointer = ctypes.c_float, ctypes.c_int32, ctypes.c_void_p


class _Encoder(ctypes.Structure):
    """qwop_encoder of qwop.h."""

    _fields_ = [
        ("center", _float * (_PARTS * _FIELDS)),
        ("deviation", _float * (_PARTS * _FIELDS)),
        ("raw_low", _float * _FIELDS),
        ("raw_high", _float * _FIELDS),
        ("reference_angle", _float * _JOINTS),
        ("feet_half_width", _float * 2),
        ("feet_half_height", _float * 2),
        ("knee_end", _float * 4),
        ("knee_half_height", _float * 4),
        ("landmark", _float * 4),
        ("landmark_reach", _float * 4),
        ("pelvis_x", _float),
        ("pelvis_y", _float),
        ("track_y", _float),
        ("units_per_meter", _float),
        ("meters", _float),
        ("speed", _float),
        ("clearance", _float),
        ("joint_a", _int32 * _JOINTS),
        ("joint_b", _int32 * _JOINTS),
        ("feet", _int32 * 2),
        ("knee_parts", _int32 * 4),
    ]


class _Episodes(ctypes.Structure):
    """qwop_episodes of qwop.h."""

    _fields_ = [
        ("keys", _pointer),
        ("hip_mode", _pointer),
        ("frame", _pointer),
        ("last_distance", _pointer),
        ("last_tenths", _pointer),
        ("reward", _pointer),
        ("success", _pointer),
        ("terminated", _pointer),
        ("truncated", _pointer),
        ("observation", _pointer),
        ("encoder", ctypes.POINTER(_Encoder)),
        ("too_far_back", ctypes.c_double),
        ("too_far_ahead", ctypes.c_double),
        ("finish", ctypes.c_double),
        ("max_frames", ctypes.c_int64),
        ("speed_weight", _float),
        ("time_cost", _float),
        ("success_reward", _float),
        ("failure_cost", _float),
        ("frame_skip", _int32),
        ("features", _int32),
    ]


@cache
def _encoder() -> _Encoder:
    """The constants of the Python encoder."""
    values: dict[str, Any] = {
        "center": observation.CENTER,
        "deviation": observation.DEVIATION,
        "raw_low": observation.RAW_LOW[:_FIELDS],
        "raw_high": observation.RAW_HIGH[:_FIELDS],
        "reference_angle": encoder.REFERENCE_ANGLE,
        "feet_half_width": geometry.FEET_HALF_WIDTH,
        "feet_half_height": geometry.FEET_HALF_HEIGHT,
        "knee_end": geometry.KNEE_END,
        "knee_half_height": geometry.KNEE_HALF_HEIGHT,
        "landmark": encoder.LANDMARKS,
        "landmark_reach": encoder.LANDMARK_REACH,
        "pelvis_x": geometry.PELVIS_X,
        "pelvis_y": geometry.PELVIS_Y,
        "track_y": np.float32(observation.TRACK_Y),
        "units_per_meter": np.float32(observation.UNITS_PER_METER),
        "meters": encoder.METERS,
        "speed": encoder.SPEED,
        "clearance": encoder.CLEARANCE_SCALE,
        "joint_a": encoder.JOINT_A,
        "joint_b": encoder.JOINT_B,
        "feet": geometry.FEET,
        "knee_parts": geometry.KNEE_PARTS,
    }
    result = _Encoder()
    for name, kind, *_ in _Encoder._fields_:
        array = np.ravel(values[name]).tolist()
        setattr(result, name, kind(*array) if hasattr(kind, "_length_") else array[0])
    return result


def encoder_bytes() -> bytes:
    """Return the constants of the features as the engine reads them: the bytes of a qwop_encoder."""
    return bytes(_encoder())


def observe(
    features: bool, raw: NDArray[np.float32], hip_mode: NDArray[np.uint8], keys: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Compute `encode(raw, hip_mode, keys)`, or `normalize(raw)`, of n games in native code: float32 [n, D].

    raw is float32 [n, 60]. hip_mode and keys are uint8 [n]; only features need them.
    """
    arrays = [np.ascontiguousarray(array) for array in (raw, hip_mode, keys)]
    out = np.empty((len(raw), _FEATURES if features else OBSERVATION_SIZE), np.float32)
    pointers = (array.ctypes.data for array in (*arrays, out))
    native_library().qwop_observe(ctypes.addressof(_encoder()), features, len(raw), *pointers)
    return out


@cache
def agrees() -> bool:
    """Whether the native observations equal NumPy's bit for bit, on a thousand postures."""
    rng = np.random.default_rng(0)
    n = 1000
    middle = (observation.RAW_LOW + observation.RAW_HIGH) / 2
    raw = (middle + 1.1 * (observation.RAW_HIGH - middle) * rng.uniform(-1, 1, (n, OBSERVATION_SIZE))).astype(
        np.float32
    )
    hip_mode, keys = rng.integers(0, 3, n, np.uint8), rng.integers(0, 16, n, np.uint8)
    if encoder.FEATURE_SIZE != _FEATURES:
        return False
    features = encoder.encode(raw, hip_mode, keys)
    return (
        observe(True, raw, hip_mode, keys).tobytes() == features.tobytes()
        and observe(False, raw, hip_mode, keys).tobytes() == observation.normalize(raw).tobytes()
    )


def features(
    raw: NDArray[np.float32], hip_mode: NDArray[np.uint8], keys: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Compute `encoder.encode` of n games, float32 [n, D], in native code if that gives the same bits."""
    return observe(True, raw, hip_mode, keys) if agrees() else encoder.encode(raw, hip_mode, keys)


class Episodes:
    """The native side of a `GameBatch`: plays steps and applies the rules, on the arrays of the batch.

    state: keys, hip_mode, frame, success, last_distance, last_tenths, each [num_envs]; changed in place.

    reward float32, terminated bool, truncated bool, [num_envs]: of the last step. The next step overwrites
    them.
    """

    def __init__(
        self,
        simulator: Simulator,
        state: dict[str, NDArray[Any]],
        frame_skip: int,
        max_frames: int | None,
        features: bool,
    ) -> None:
        n = simulator.num_envs
        self._simulator = simulator
        self.reward = np.zeros(n, np.float32)
        self.terminated, self.truncated = np.zeros((2, n), bool)
        one = np.zeros(_FEATURES if features else OBSERVATION_SIZE, np.float32)
        arrays = {
            **state,
            "reward": self.reward,
            "terminated": self.terminated,
            "truncated": self.truncated,
        }
        self._arrays = arrays  # keeps them alive: the struct has only their addresses
        self._struct = _Episodes(
            observation=one.ctypes.data if n == 1 else None,
            encoder=ctypes.pointer(_encoder()),
            too_far_back=rules.TOO_FAR_BACK,
            too_far_ahead=rules.TOO_FAR_AHEAD,
            finish=rules.FINISH,
            max_frames=max_frames or 0,
            speed_weight=rules.SPEED_WEIGHT,
            time_cost=rules.TIME_COST,
            success_reward=rules.SUCCESS_REWARD,
            failure_cost=rules.FAILURE_COST,
            frame_skip=frame_skip,
            features=features,
            **{name: array.ctypes.data for name, array in arrays.items()},
        )
        self._address = ctypes.c_void_p(ctypes.addressof(self._struct))
        # For a single game: reading a number from a memoryview takes a third of the time of an array.
        columns = [arrays[name] for name in ("keys", "reward", "terminated", "truncated")]
        columns += [simulator.time, simulator.distance, arrays["success"], simulator.flags]
        columns += [arrays["hip_mode"], arrays["frame"]]
        self._columns: tuple[Any, ...] = tuple(column.data for column in columns)
        self._one, self._raw_one = one, simulator.raw_observation[0]
        # The same as `Simulator.play`, without the overhead of its calls.
        self._lock, self._handle, self._play = simulator.lock, simulator.handle, native_library().qwop_play

    def play(self) -> None:
        """Play a step of all games with the state's `keys` held."""
        self._simulator.play(self._address)

    def play_one(self, mask: int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Play a step of a single game with the keys of `mask` held. Returns what `QWOPEnv.step` returns."""
        keys, reward, terminated, truncated, time, distance, success, flags, hip_mode, frame = self._columns
        with self._lock:
            keys[0] = mask
            if not self._handle:
                raise ValueError(CLOSED)
            self._play(self._handle, self._address)
            info = {
                "time": time[0],
                "distance": distance[0],
                "is_success": success[0],
                "fallen": flags[0] & rules.FLAG_FALLEN != 0,
                "keys": mask,
                "hip_mode": hip_mode[0],
                "frame": frame[0],
                "raw_observation": self._raw_one.copy(),
            }
            return self._one.copy(), reward[0], terminated[0], truncated[0], info
