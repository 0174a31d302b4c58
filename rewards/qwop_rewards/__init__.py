"""Named reward functions, the same live and over stored runs: see `make_reward` and `qwop_rewards.terms`."""

from qwop_rewards.function import TERMS, RewardFunction, make_reward, parse_name, parse_options
from qwop_rewards.offline import RunReward, run_rewards
from qwop_rewards.transition import Transition
from qwop_rewards.wrapper import RewardVectorEnv

__all__ = [
    "TERMS",
    "RewardFunction",
    "RewardVectorEnv",
    "RunReward",
    "Transition",
    "make_reward",
    "parse_name",
    "parse_options",
    "run_rewards",
]
