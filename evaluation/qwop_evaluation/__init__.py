"""Judge policies under protocol P, and show runs: windows, videos, pages.

What shows runs (`html`, `video`, `replay_cli`, ...) draws with pygame and is imported by its own name.
"""

from qwop_evaluation.player import CheckpointPlayer, Player, shipped_policy_path
from qwop_evaluation.protocol import play
from qwop_evaluation.summary import Summary, summarise, summary_json, wilson_interval
from qwop_evaluation.table import results_table

__all__ = [
    "CheckpointPlayer",
    "Player",
    "Summary",
    "play",
    "results_table",
    "shipped_policy_path",
    "summarise",
    "summary_json",
    "wilson_interval",
]
