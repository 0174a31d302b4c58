"""Named reward functions, the same live and over stored runs: see `make_reward` and `qwop_rewards.terms`."""

from qwop_rewards.function import TERMS, RewardFunction, make_reward, parse_name, parse_options
from qwop_rewards.offline import RunReward, run_rewards
from qwop_rewards.transition import Transition

__all__ = [
    "TERMS",
    "RewardFunction",
    "RunReward",
    "Transition",
    "make_reward",
    "parse_name",
    "parse_options",
    "run_rewards",
]
