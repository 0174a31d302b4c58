"""How a clone was made: stored in its checkpoint, and checked before training resumes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qwop_bc.adversarial import AdversarialConfig
from qwop_bc.cloning import CloneConfig
from qwop_bc.dagger import DaggerConfig
from qwop_bc.self_imitation import SelfImitationConfig
from qwop_datasets import Decisions
from qwop_rl_core import CheckpointError

MAY_CHANGE = ("epochs", "patience", "play_every", "play_episodes", "device", "threads")
"""Settings that a resumed cloning may change."""


def config_json(
    config: CloneConfig | DaggerConfig | AdversarialConfig | SelfImitationConfig,
) -> dict[str, Any]:
    """Return a config as JSON gives it back, with lists in place of tuples."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def decisions_sha256(decisions: Sequence[Decisions]) -> str:
    """Return the hash of all features and actions, which identifies a dataset wherever it lies."""
    digest = hashlib.sha256()
    for episode in decisions:
        digest.update(episode.features.tobytes() + episode.actions.tobytes())
    return digest.hexdigest()


def check_same_training(metadata: dict[str, Any], out: Path, config: CloneConfig, where: str) -> None:
    """Check that a checkpoint was made with these settings; those of MAY_CHANGE may differ.

    Args:
        metadata: the checkpoint's metadata.
        out: the checkpoint, for messages.
        config: settings to resume with.
        where: filter of the episodes to resume with.

    Raises:
        CheckpointError: it is not a clone's, was made by another method than bc, or with other settings.
    """
    made: dict[str, Any] | None = metadata.get("made")
    if type(made) is not dict or type(made.get("config")) is not dict:
        raise CheckpointError(f"{out}: not a checkpoint of qwop-bc; omit --resume")
    if made.get("method", "bc") != "bc":
        raise CheckpointError(f"{out}: made with --method {made['method']}, which can't be resumed")
    before = {**made["config"], "where": made.get("where")}
    for name, value in {**config_json(config), "where": where}.items():
        if name not in MAY_CHANGE and before.get(name) != value:
            raise CheckpointError(
                f"{out}: made with {name} {before.get(name)!r}, not {value!r}; "
                "resume with the same settings, or omit --resume"
            )


def check_same_data(metadata: dict[str, Any], out: Path, dataset: Path, sha256: str) -> None:
    """Check that a checkpoint was made from the same decisions, wherever the dataset lies now.

    Args:
        metadata: the checkpoint's metadata, after `check_same_training`.
        out: the checkpoint, for messages.
        dataset: dataset to resume with.
        sha256: hash of its decisions.

    Raises:
        CheckpointError: the decisions differ.
    """
    made = metadata["made"]
    known = made.get("decisions_sha256")  # checkpoints of before 29 November 2026 have the path alone
    if made.get("dataset") != str(dataset) if known is None else known != sha256:
        raise CheckpointError(
            f"{out}: was not made with the data of {dataset} but {made.get('dataset')}; "
            "give a dataset of the same content, or omit --resume"
        )
