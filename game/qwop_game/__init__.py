"""The game: an exact embedded QWOP, its keys, observations, geometry and Gymnasium environments.

Other public modules: `body` (the runner's parts), `gait` (gait metrics of runs), `rules` (when an episode
ends), `render` and `window` (pictures, with pygame), `real` (the game in a browser).
"""

from qwop_game.disturbance import MAX_IDLE_FRAMES, REPEAT_PROBABILITY, DisturbedVectorEnv
from qwop_game.encoder import FEATURE_SIZE, FEATURE_VERSION, encode
from qwop_game.env import QWOPEnv
from qwop_game.episodes import features
from qwop_game.game_batch import GameBatch, StartStates, own_arrays
from qwop_game.geometry import foot_clearance, knee_clearance, pelvis_height, torso_tilt
from qwop_game.key_search import MAX_SEARCH_FRAMES, FoundKeys, find_keys
from qwop_game.keys import (
    ACTION_SETS,
    KEY_NAMES,
    KEY_O,
    KEY_P,
    KEY_Q,
    KEY_W,
    action_masks,
    actions_by_keys,
    canonical_keys,
    check_keys_and_modes,
    distinct_action,
    hip_modes,
    key_text,
    last_keys,
    next_hip_modes,
)
from qwop_game.observation import (
    FIELDS,
    FRAME_SECONDS,
    OBSERVATION_SIZE,
    PARTS,
    SAND_X,
    STATE_SIZE,
    TRACK_Y,
    UNITS_PER_METER,
    denormalize,
    normalize,
    raw_from_state,
)
from qwop_game.policy_spec import PolicySpec
from qwop_game.registration import ENV_ID, REAL_ENV_ID, register_env
from qwop_game.rollout_metrics import RolloutMetrics
from qwop_game.session import CANONICAL_START, MAX_SESSION_FRAMES, Operation, Session
from qwop_game.simulator import DEFAULT_TRIG, TRIG_VARIANTS, Simulator, Trig, check_trig, engines, exclusive
from qwop_game.unpinned import INSTALL_UNPINNED
from qwop_game.vector_env import QWOPVectorEnv
from qwop_game.wrapper import QWOPVectorWrapper

__all__ = [
    "ACTION_SETS",
    "CANONICAL_START",
    "DEFAULT_TRIG",
    "ENV_ID",
    "FEATURE_SIZE",
    "FEATURE_VERSION",
    "FIELDS",
    "FRAME_SECONDS",
    "INSTALL_UNPINNED",
    "KEY_NAMES",
    "KEY_O",
    "KEY_P",
    "KEY_Q",
    "KEY_W",
    "MAX_IDLE_FRAMES",
    "MAX_SEARCH_FRAMES",
    "MAX_SESSION_FRAMES",
    "OBSERVATION_SIZE",
    "PARTS",
    "REAL_ENV_ID",
    "REPEAT_PROBABILITY",
    "SAND_X",
    "STATE_SIZE",
    "TRACK_Y",
    "TRIG_VARIANTS",
    "UNITS_PER_METER",
    "DisturbedVectorEnv",
    "FoundKeys",
    "GameBatch",
    "Operation",
    "PolicySpec",
    "QWOPEnv",
    "QWOPVectorEnv",
    "QWOPVectorWrapper",
    "RolloutMetrics",
    "Session",
    "Simulator",
    "StartStates",
    "Trig",
    "action_masks",
    "actions_by_keys",
    "canonical_keys",
    "check_keys_and_modes",
    "check_trig",
    "denormalize",
    "distinct_action",
    "encode",
    "engines",
    "exclusive",
    "features",
    "find_keys",
    "foot_clearance",
    "hip_modes",
    "key_text",
    "knee_clearance",
    "last_keys",
    "next_hip_modes",
    "normalize",
    "own_arrays",
    "pelvis_height",
    "raw_from_state",
    "torso_tilt",
]

register_env()
