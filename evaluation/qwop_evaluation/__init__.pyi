from .comparison import bootstrap_interval, interquartile_mean
from .evaluation import Evaluation, evaluate
from .lookahead import Lookahead
from .player import CheckpointPlayer, LoadedPolicy, Player, PolicyPlayer
from .protocol import Disturbance, choose, play
from .shipped import shipped_policy_path
from .summary import SPLIT_METERS, Summary, split_times, summarize, summary_json, wilson_interval
from .table import format_number, results_table

__all__ = [
    "SPLIT_METERS",
    "CheckpointPlayer",
    "Disturbance",
    "Evaluation",
    "LoadedPolicy",
    "Lookahead",
    "Player",
    "PolicyPlayer",
    "Summary",
    "bootstrap_interval",
    "choose",
    "evaluate",
    "format_number",
    "interquartile_mean",
    "play",
    "results_table",
    "shipped_policy_path",
    "split_times",
    "summarize",
    "summary_json",
    "wilson_interval",
]
