"""The trials of a sweep on disk: the state from which it goes on."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from qwop_cli import CommandError, json_text, write_whole

State = Literal["running", "stopped", "done", "failed"]


@dataclass
class Record:
    """One trial."""

    number: int
    settings: dict[str, Any]
    """Flag, without its hyphens, to value."""
    values: list[float] = field(default_factory=list[float])
    """The metric at each rung that it has passed."""
    state: State = "running"
    """stopped: it was among the poor ones at a rung. failed: `error` says why."""
    error: str = ""


class Records:
    """The trials in a folder, in the order in which they began. Each has a folder 0000, 0001, ... in it."""

    def __init__(self, folder: Path) -> None:
        """Read what is there. Raises CommandError if a file is damaged."""
        self.folder = folder
        self.all: list[Record] = []
        while (path := self._file(len(self.all))).exists():
            try:
                record = Record(**cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError) as error:
                raise CommandError(
                    f"{path}: damaged ({' '.join(str(error).split())[:100]}): delete the folders of this "
                    "trial and of all later ones, and they are repeated"
                ) from None
            self.all.append(record)

    def _file(self, number: int) -> Path:
        return self.trial_folder(number) / "trial.json"

    def trial_folder(self, number: int) -> Path:
        """Return the folder with a trial's checkpoints and logs."""
        return self.folder / f"{number:04d}"

    def add(self, settings: dict[str, Any]) -> Record:
        """Begin a trial."""
        record = Record(len(self.all), settings)
        self._write(record)
        self.all.append(record)
        return record

    def report(self, number: int, value: float, state: State) -> None:
        """Store the metric of a trial's next rung, and whether it goes on."""
        record = self.all[number]
        record.values.append(value)
        record.state = state
        self._write(record)

    def fail(self, number: int, error: str) -> None:
        """Store why a trial failed."""
        record = self.all[number]
        record.state, record.error = "failed", error
        self._write(record)

    def _write(self, record: Record) -> None:
        path = self._file(record.number)
        text = json_text(dataclasses.asdict(record), indent=1) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda beside: cast("None", beside.write_text(text, encoding="utf-8")))

    @property
    def unfinished(self) -> list[Record]:
        """Trials that have begun and are not over."""
        return [record for record in self.all if record.state == "running"]
