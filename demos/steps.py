"""Commands that each write one file, and are not repeated once it is there."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwop_cli import CommandError, write_whole
from qwop_finetune.cli import main as qwop_finetune
from qwop_rl_core import load_checkpoint

COMMANDS = "commands.json"


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
        words = self.filled(self.inputs, unfinished)
        print(f"\n$ {shlex.join(words)}", flush=True)
        if code := self.command(words[1:]):
            return code
        unfinished.rename(self.output)
        return 0

    def filled(self, inputs: Sequence[str | Path], output: str | Path) -> list[str]:
        """Return the words with these inputs and this output."""
        names = iter(map(str, inputs))
        words = [next(names) if word == "{}" else word for word in self.words.split()]
        return [str(output) if word == "OUT" else word for word in words]


@dataclass(frozen=True)
class Training(Step):
    """A `qwop-finetune`, which goes on where it was stopped. It is done after its last environment step."""

    def run(self) -> int:
        """Start or resume the training unless it is done. Returns the command's exit code."""
        words = self.filled(self.inputs, self.output)
        if self.output.exists():
            training = load_checkpoint(self.output).metadata["training"]
            if training["steps"] >= training["config"]["total_steps"]:
                return 0
            words = ["qwop-finetune", "--resume", str(self.output)]
        print(f"\n$ {shlex.join(words)}", flush=True)
        return qwop_finetune(words[1:])


def run_steps(steps: Sequence[Step], out: Path) -> int:
    """Run the steps in order. OUT/commands.json keeps the command of each file.

    Returns:
        The exit code of the first one that fails, else 0.

    Raises:
        CommandError: a file is there already, and another command made it.
    """
    path = out / COMMANDS
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise CommandError(f"{path}: not readable: {error}") from error

    def relative(file: Path) -> str:
        return Path(os.path.relpath(file, out)).as_posix()

    commands = {
        relative(step.output): shlex.join(step.filled([relative(file) for file in step.inputs], "OUT"))
        for step in steps
    }
    for step in steps:
        name = relative(step.output)
        if step.output.exists() and known.get(name, commands[name]) != commands[name]:
            raise CommandError(
                f"{step.output} has other settings ({known[name]}): choose another --out, or delete the file"
            )

    def write(file: Path) -> None:
        file.write_text(json.dumps({**known, **commands}, indent=1) + "\n", encoding="utf-8")

    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, write)
    for step in steps:
        if code := step.run():
            return code
    return 0
