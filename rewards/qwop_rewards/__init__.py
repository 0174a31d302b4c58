"""Named reward functions, with the same results live and on stored runs: see `make_reward`."""

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
