from .cli import parse
from .config import DQNRun, FinetuneConfig, PPORun, defaults
from .environment import TrainingEnv, make_environment
from .run import Outcome, finetune

__all__ = [
    "DQNRun",
    "FinetuneConfig",
    "Outcome",
    "PPORun",
    "TrainingEnv",
    "defaults",
    "finetune",
    "make_environment",
    "parse",
]
