"""The table of a group's best runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwop_datasets import DatasetError, DatasetReader
from qwop_recorder.errors import RecorderError
from qwop_recorder.personal_best import REWOUND_TAG, PersonalBest


@dataclass
class _Row:
    best: PersonalBest
    runs: int = 0


def counts_as_best(source: str, tags: Iterable[str]) -> bool:
    """Whether a run was played by a person alone, in real time and in one go."""
    return source == "human" and not {REWOUND_TAG, "slow-motion", "taken-over"} & set(tags)


class BestTable:
    """The best run of each player.

    Args:
        path: The dataset, whose runs are the first; it may be missing.

    Raises:
        RecorderError: The file is no dataset, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._rows: dict[str, _Row] = {}
        if not path.exists():
            return
        try:
            with DatasetReader(path) as reader:
                index = reader.index
        except DatasetError as error:
            raise RecorderError(str(error)) from None
        for row in index[index["source"] != b"script"]:
            counts = counts_as_best(row["source"].decode(), row["tags"].decode().split())
            player = row["player"].decode()
            self.add(player, float(row["distance"]), float(row["time"]), bool(row["success"]), counts)

    def add(self, player: str, distance: float, time: float, success: bool, counts: bool) -> None:
        """Add a run: meters, seconds, and whether it may be the player's best."""
        row = self._rows.setdefault(player, _Row(PersonalBest()))
        row.runs += 1
        if counts:
            row.best.update(distance, time, success)

    @property
    def overall(self) -> PersonalBest:
        """The best of all players."""
        best = PersonalBest()
        for row in self._rows.values():
            if row.best.distance is not None:
                best.update(row.best.distance, row.best.time or 0.0, row.best.time is not None)
        return best

    def rows(self) -> list[dict[str, Any]]:
        """As table.js shows them: the fastest over 100 m first, then the farthest."""
        found = [
            {"player": name, "distance": row.best.distance, "time": row.best.time, "runs": row.runs}
            for name, row in self._rows.items()
        ]
        return sorted(found, key=lambda row: (row["time"] or float("inf"), -(row["distance"] or 0.0)))
