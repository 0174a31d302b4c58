"""The game: an exact embedded QWOP, its keys, observations, geometry and Gymnasium environments."""

from .disturbance import MAX_IDLE_FRAMES, REPEAT_PROBABILITY, DisturbedVectorEnv
from .encoder import FEATURE_SIZE, FEATURE_VERSION, encode
from .env import QWOPEnv
from .games import StartStates
from .geometry import foot_clearance, knee_clearance, pelvis_height, torso_tilt
from .keys import (
    ACTION_SETS,
    KEY_O,
    KEY_P,
    KEY_Q,
    KEY_W,
    action_masks,
    canonical_keys,
    distinct_action,
    hip_modes,
    key_text,
    last_keys,
    next_hip_modes,
)
from .observation import (
    FIELDS,
    FRAME_SECONDS,
    PARTS,
    TRACK_Y,
    UNITS_PER_METRE,
    denormalise,
    normalise,
    raw_from_state,
)
from .registration import ENV_ID, REAL_ENV_ID, register_env
from .simulator import DEFAULT_TRIG, TRIG_VARIANTS, Simulator, Trig, check_trig, engines
from .vector_env import QWOPVectorEnv

__all__ = [
    "ACTION_SETS",
    "DEFAULT_TRIG",
    "ENV_ID",
    "FEATURE_SIZE",
    "FEATURE_VERSION",
    "FIELDS",
    "FRAME_SECONDS",
    "KEY_O",
    "KEY_P",
    "KEY_Q",
    "KEY_W",
    "MAX_IDLE_FRAMES",
    "PARTS",
    "REAL_ENV_ID",
    "REPEAT_PROBABILITY",
    "TRACK_Y",
    "TRIG_VARIANTS",
    "UNITS_PER_METRE",
    "DisturbedVectorEnv",
    "QWOPEnv",
    "QWOPVectorEnv",
    "Simulator",
    "StartStates",
    "Trig",
    "action_masks",
    "canonical_keys",
    "check_trig",
    "denormalise",
    "distinct_action",
    "encode",
    "engines",
    "foot_clearance",
    "hip_modes",
    "key_text",
    "knee_clearance",
    "last_keys",
    "next_hip_modes",
    "normalise",
    "pelvis_height",
    "raw_from_state",
    "torso_tilt",
]

register_env()
