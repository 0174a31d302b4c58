from .records import Record, Records
from .report import Trial, ranked, table
from .search import next_settings
from .settings import Choices, Judging, Range, Sweep, read_sweep, space_text
from .trial import Rung, judge, rungs, score
from .tuning import Resources, tune_trials

__all__ = [
    "Choices",
    "Judging",
    "Range",
    "Record",
    "Records",
    "Resources",
    "Rung",
    "Sweep",
    "Trial",
    "judge",
    "next_settings",
    "ranked",
    "read_sweep",
    "rungs",
    "score",
    "space_text",
    "table",
    "tune_trials",
]
