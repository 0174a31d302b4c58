"""The whole pipeline in one import.

    import qwop_stride as qs

    qs.record(qs.RecordConfig("runs.h5"))  # play in a window
    clone = qs.clone("runs.h5")  # clone.safetensors
    print(qs.evaluate(clone.path).summary.finish_rate)

Names are imported at their first use, so that importing the package imports neither PyTorch nor pygame.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qwop_bc import CloneConfig as CloneConfig
    from qwop_bc import CloneResult as CloneResult
    from qwop_bc import clone as clone
    from qwop_datasets import DatasetReader as Dataset  # noqa: F401 # pyright: ignore[reportUnusedImport]
    from qwop_datasets import DatasetWriter as DatasetWriter
    from qwop_datasets import Episode as Episode
    from qwop_evaluation import Evaluation as Evaluation
    from qwop_evaluation import evaluate as evaluate
    from qwop_finetune import DQNFinetuneConfig as DQNFinetuneConfig
    from qwop_finetune import ExpertFinetuneConfig as ExpertFinetuneConfig
    from qwop_finetune import FinetuneResult as FinetuneResult
    from qwop_finetune import PPOFinetuneConfig as PPOFinetuneConfig
    from qwop_finetune import PQNFinetuneConfig as PQNFinetuneConfig
    from qwop_finetune import finetune as finetune
    from qwop_game import QWOPEnv as QWOPEnv
    from qwop_game import QWOPVectorEnv as QWOPVectorEnv
    from qwop_game import Simulator as Simulator
    from qwop_recorder import RecordConfig as RecordConfig
    from qwop_recorder import record as record
    from qwop_replay import replay as replay
    from qwop_rewards import make_reward as make_reward
    from qwop_rl_core import Policy as Policy

    __version__: str

_NAMES = {
    "qwop_bc": ("CloneConfig", "CloneResult", "clone"),
    "qwop_datasets": ("DatasetWriter", "Episode"),
    "qwop_evaluation": ("Evaluation", "evaluate"),
    "qwop_finetune": (
        "DQNFinetuneConfig",
        "ExpertFinetuneConfig",
        "FinetuneResult",
        "PPOFinetuneConfig",
        "PQNFinetuneConfig",
        "finetune",
    ),
    "qwop_game": ("QWOPEnv", "QWOPVectorEnv", "Simulator"),
    "qwop_recorder": ("RecordConfig", "record"),
    "qwop_replay": ("replay",),
    "qwop_rewards": ("make_reward",),
    "qwop_rl_core": ("Policy",),
}
_SOURCES = {name: (package, name) for package, names in _NAMES.items() for name in names}
_SOURCES["Dataset"] = ("qwop_datasets", "DatasetReader")

__all__ = sorted([*_SOURCES, "__version__"])  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return metadata.version("qwop-stride")
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package, source = _SOURCES[name]
    value = getattr(importlib.import_module(package), source)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return __all__
