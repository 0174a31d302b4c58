"""`qwop-policy`: what a checkpoint holds, its ONNX export, and the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_policy.exporting import export_onnx
from qwop_policy.graph import import_onnx
from qwop_policy.information import policy_info
from qwop_rl_core import CheckpointError

PROGRAM = "qwop-policy"
Flag = tyro.conf.FlagCreatePairsOff[bool]
Checkpoint = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT")]


@dataclass(frozen=True)
class Info:
    """Print what a checkpoint says of itself: how it plays, and how it was made."""

    checkpoint: Checkpoint
    """Policy to describe."""
    json: Flag = False
    """Print one JSON object with the whole metadata."""

    def run(self) -> None:
        """Run the subcommand."""
        info = policy_info(self.checkpoint)
        print(json_text(info.as_json()) if self.json else info)


@dataclass(frozen=True)
class Export:
    """Write a policy as an ONNX model, with the features inside, and compare it over whole episodes."""

    checkpoint: Checkpoint
    """Policy to export."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT.onnx")]
    """Model to write."""
    observation: Literal["raw", "qwop_gym"] = "raw"
    """What the model takes: info["raw_observation"] of our environments, or qwop-gym's observation."""
    episodes: int = 10
    """Episodes of protocol P over which onnxruntime is compared with the policy; 0: none."""
    force: Flag = False
    """Replace a file that exists."""

    def run(self) -> None:
        """Run the subcommand."""
        if self.episodes < 0:
            raise CommandError(f"--episodes {self.episodes}: expected 0 or more")
        import_onnx()
        check_outputs({"OUTPUT.onnx": self.output}, inputs={"CHECKPOINT": self.checkpoint})
        if self.output.exists() and not self.force:
            raise CommandError(f"{self.output}: exists; --force replaces it")
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with tqdm(total=self.episodes, desc="episodes over", disable=None, leave=False) as bar:

            def show(_frame: int, over: int) -> None:
                bar.update(over - bar.n)

            check = export_onnx(self.checkpoint, self.output, self.observation, self.episodes, show)
        print(f"{self.output}: {'not compared with the policy' if check is None else check}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(PROGRAM, lambda: _run(arguments), CheckpointError)


def _run(arguments: Sequence[str] | None) -> None:
    description = "Describe, export and share policies."
    parse_config(PROGRAM, Info | Export, arguments, description=description).run()


if __name__ == "__main__":
    raise SystemExit(main())
