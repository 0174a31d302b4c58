"""Results of tasks on disk, so that a job that died repeats only what was lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from qwop_cli.command import CommandError, json_text
from qwop_cli.writing import write_whole

R = TypeVar("R")


@dataclass
class KeptResults(Generic[R]):
    """The results of one job: a folder with job.json and one file per task that is done.

    Raises:
        CommandError: the folder holds the tasks of another job, or can't be written.
    """

    folder: Path
    job: Mapping[str, Any]
    """Plain data that determines the results: settings, hashes of inputs."""
    save: Callable[[Path, R], None]
    """Writes one result to a file that does not exist yet."""
    load: Callable[[Path], R]
    """Reads what `save` wrote."""
    suffix: str = ".json"
    """Suffix of the files of results."""
    _ready: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._open()

    def _open(self) -> None:
        wanted = json.loads(json_text(self.job))
        file = self.folder / "job.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if file.exists():
                found = json.loads(file.read_text(encoding="utf-8"))
                changed = sorted(k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k))
                if changed:
                    name = changed[0]
                    raise CommandError(
                        f"--tasks {self.folder}: holds the tasks of another job: {name} was "
                        f"{_short(found.get(name))}, now {_short(wanted.get(name))}; choose another folder"
                    )
            elif any(self.folder.iterdir()):
                raise CommandError(f"--tasks {self.folder}: is not a folder of tasks; choose an empty one")
            else:
                write_whole(file, lambda path: _write_text(path, json_text(wanted, indent=1)))
        except (OSError, ValueError, AttributeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CommandError(f"--tasks {self.folder}: can't be used: {reason}; choose another") from None

    def path(self, name: str) -> Path:
        """Return the file of a task's result, whether it exists or not."""
        return self.folder / f"{name}{self.suffix}"

    def has(self, name: str) -> bool:
        """Return whether the task is done."""
        return self.path(name).exists()

    def read(self, name: str) -> R:
        """Return the result of a task that is done.

        Raises:
            CommandError: its file is damaged.
        """
        path = self.path(name)
        try:
            return self.load(path)
        except Exception as error:  # of any format
            text = " ".join(str(error).split())[:100]
            raise CommandError(f"{path}: damaged ({text}): delete it, and its task is repeated") from error

    def write(self, name: str, result: R) -> None:
        """Store the result of a task. A crash leaves all of it or nothing."""
        write_whole(self.path(name), lambda path: self.save(path, result))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
