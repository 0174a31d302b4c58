"""Judge policies under protocol P, and show runs: windows, videos, pages."""

from qwop_evaluation.html import NamedRun, page
from qwop_evaluation.player import CheckpointPlayer, Player, shipped_policy_path
from qwop_evaluation.protocol import play
from qwop_evaluation.summary import Summary, summarise, summary_json, wilson_interval
from qwop_evaluation.table import results_table

__all__ = [
    "CheckpointPlayer",
    "NamedRun",
    "Player",
    "Summary",
    "page",
    "play",
    "results_table",
    "shipped_policy_path",
    "summarise",
    "summary_json",
    "wilson_interval",
]
