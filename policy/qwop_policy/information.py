"""What a checkpoint says of itself: how it plays, how it was made, what the file holds."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from qwop_cli import escape_unprintable, text_table
from qwop_game import PolicySpec
from qwop_rl_core import load_header

MAX_TEXT = 100
"""Longest value that is printed whole, in characters."""


@dataclass(frozen=True)
class PolicyInfo:
    """A checkpoint's header. `print` it for a summary."""

    path: Path
    sha256: str
    metadata: dict[str, Any]
    numbers: dict[str, int]
    """Numbers stored under each first part of a tensor's name: network, optimizer, ..."""
    problem: str | None
    """Why this release can't play it; None if it can."""

    def as_json(self) -> dict[str, Any]:
        """Return what `qwop-policy info --json` prints."""
        return {
            "file": str(self.path),
            "sha256": self.sha256,
            "playable": self.problem is None,
            "problem": self.problem,
            "numbers": self.numbers,
            "metadata": self.metadata,
        }

    def __str__(self) -> str:
        metadata = self.metadata
        sizes = [metadata.get("feature_size"), metadata.get("hidden"), metadata.get("num_actions")]
        rows = [
            ("file", str(self.path)),
            ("sha256", self.sha256),
            ("playable", "yes" if self.problem is None else f"no: {self.problem}"),
            ("network", f"{metadata.get('kind')}, sizes {sizes}, {self.numbers.get('network', 0):,} numbers"),
            (
                "resume",
                ", ".join(f"{part} {count:,}" for part, count in self.numbers.items() if part != "network")
                or "no state of a training",
            ),
            *self.settings(),
        ]
        return text_table(
            ("entry", "value"), [(name, escape_unprintable(_short(value))) for name, value in rows], 2
        )

    def settings(self) -> list[tuple[str, str]]:
        """Return all other entries of the metadata, nested names joined by dots."""
        shown = {"kind", "feature_size", "hidden", "num_actions"}
        return _flat({name: value for name, value in self.metadata.items() if name not in shown})


def policy_info(path: str | os.PathLike[str]) -> PolicyInfo:
    """Read what a checkpoint says of itself. The tensors are not loaded.

    Args:
        path: the checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
    """
    tensors, metadata = load_header(path)
    numbers: Counter[str] = Counter()
    for name, (shape, _) in tensors.items():
        numbers[name.partition(".")[0]] += math.prod(shape)
    try:
        PolicySpec.from_metadata(metadata)
        problem = None
    except ValueError as error:
        problem = str(error)
    sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return PolicyInfo(Path(path), sha256, metadata, dict(numbers), problem)


def _flat(entries: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in entries.items():
        if isinstance(value, dict) and value:
            rows += _flat(cast("dict[str, Any]", value), f"{before}{name}.")
        else:
            rows.append((f"{before}{name}", value if isinstance(value, str) else json.dumps(value)))
    return rows


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
