"""Commands that each write one file, and are not repeated once it is there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """A command that writes one file. It is done when the file exists."""

    command: Callable[[Sequence[str]], int]
    words: str
    """The command, with {} for each input and OUT for the output."""
    inputs: Sequence[Path]
    output: Path

    def run(self) -> int:
        """Run the command unless it is done. Returns its exit code."""
        if self.output.exists():
            return 0
        unfinished = self.output.with_stem(f"{self.output.stem}-unfinished")
        unfinished.unlink(missing_ok=True)
        inputs = iter(map(str, self.inputs))
        words = [next(inputs) if word == "{}" else word for word in self.words.split()]
        words = [str(unfinished) if word == "OUT" else word for word in words]
        print(f"\n$ {shlex.join(words)}", flush=True)
        if code := self.command(words[1:]):
            return code
        unfinished.rename(self.output)
        return 0


def run_steps(steps: Iterable[Step]) -> int:
    """Run the steps in order. Returns the exit code of the first one that fails, else 0."""
    for step in steps:
        if code := step.run():
            return code
    return 0
