"""Path of the shipped policy."""

from __future__ import annotations

from pathlib import Path

from qwop_cli import bundled_file
from qwop_rl_core import CheckpointError


def shipped_policy_path() -> Path:
    """Return the path of the policy that comes with the project.

    Raises:
        CheckpointError: it is missing.
    """
    try:
        return bundled_file("qwop_evaluation", "policy.safetensors")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"the shipped policy is missing ({error.filename}); name a checkpoint"
        ) from None
