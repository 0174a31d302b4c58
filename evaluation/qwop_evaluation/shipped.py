"""Where the policy lies that comes with the project. Needs no torch: a server of the page starts at once."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def shipped_policy_path() -> Path:
    """Return the path of the policy that comes with the project.

    It is beside this package if that is installed, or in the repository's demos/.

    Raises:
        CheckpointError: it is in neither place.
    """
    installed = Path(str(files("qwop_evaluation"))) / "demos" / "policy.safetensors"
    repository = Path(__file__).resolve().parents[2] / "demos" / "policy.safetensors"
    for path in (installed, repository):
        if path.is_file():
            return path
    from qwop_rl_core import CheckpointError  # imports torch

    raise CheckpointError(f"the shipped policy is missing ({repository}); name a checkpoint")
