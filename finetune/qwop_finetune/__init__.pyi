from .cli import parse
from .config import (
    DQNFinetuneConfig,
    EnvironmentConfig,
    ExpertFinetuneConfig,
    FinetuneConfig,
    PPOFinetuneConfig,
    PQNFinetuneConfig,
    defaults,
)
from .environment import TrainingEnv, make_environment
from .resume import resume_config
from .training import FinetuneResult, finetune

__all__ = [
    "DQNFinetuneConfig",
    "EnvironmentConfig",
    "ExpertFinetuneConfig",
    "FinetuneConfig",
    "FinetuneResult",
    "PPOFinetuneConfig",
    "PQNFinetuneConfig",
    "TrainingEnv",
    "defaults",
    "finetune",
    "make_environment",
    "parse",
    "resume_config",
]
