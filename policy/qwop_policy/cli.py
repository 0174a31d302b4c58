"""`qwop-policy`: what a checkpoint holds, critics for look-ahead, means of policies, ONNX, the Hub."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_cli.hub import check_access
from qwop_datasets import DatasetError
from qwop_policy.critic_config import CriticConfig
from qwop_policy.exporting import export_onnx
from qwop_policy.graph import import_onnx
from qwop_policy.information import policy_info
from qwop_policy.sharing import ShareConfig, has_onnx, pull_policy, push_policy, write_repository
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
class Critic:
    """Train a new critic for a policy on recorded runs: look-ahead and search judge states by it.

    The policy itself stays as it is. Record runs with `qwop-eval CHECKPOINT --lookahead --save RUNS.h5`.
    """

    checkpoint: Checkpoint
    """Policy that gets the critic."""
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUNS.h5...")]
    """Datasets of runs to learn from."""
    out: Path
    """Checkpoint to write."""
    fit: tyro.conf.OmitArgPrefixes[CriticConfig] = field(default_factory=CriticConfig)
    force: Flag = False
    """Replace a file that exists."""

    def run(self) -> None:
        """Run the subcommand."""
        if not self.runs:
            raise CommandError("RUNS.h5: name at least one dataset")
        inputs = {"CHECKPOINT": self.checkpoint, **{f"RUNS.h5 {path}": path for path in self.runs}}
        check_outputs({"--out": self.out}, inputs=inputs)
        _check_absent(self.out, self.force)
        from qwop_policy.critic import checkpoint_parts, train_critic  # needs PyTorch
        from qwop_rl_core import Policy, save_checkpoint

        policy = Policy.load(self.checkpoint)
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.runs if path.is_file()]
        with tqdm(desc="gradient steps", disable=None, leave=False) as bar:

            def show(done: int, steps: int) -> None:
                bar.total = steps
                bar.update(done - bar.n)

            trained = train_critic(policy, self.runs, self.fit, show)
        save_checkpoint(self.out, *checkpoint_parts(policy, trained, self.fit, hashes))
        print(f"{self.out}: {trained}")


@dataclass(frozen=True)
class Average:
    """Write the mean of several policies' weights, which often plays better than each of them.

    They must be fine-tunings of one policy, with other seeds or settings. The critics are averaged as well;
    before looking ahead, train a new one (`qwop-policy critic`).
    """

    checkpoints: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CHECKPOINT CHECKPOINT...")
    ]
    """Policies to average, two or more."""
    out: Path
    """Checkpoint to write."""
    force: Flag = False
    """Replace a file that exists."""

    def run(self) -> None:
        """Run the subcommand."""
        inputs = {f"CHECKPOINT {path}": path for path in self.checkpoints}
        check_outputs({"--out": self.out}, inputs=inputs)
        _check_absent(self.out, self.force)
        from qwop_policy.average import average_policies  # needs PyTorch
        from qwop_rl_core import save_checkpoint

        save_checkpoint(self.out, *average_policies(self.checkpoints))
        print(f"{self.out}: the mean of {len(self.checkpoints)} policies")


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
        _check_absent(self.output, self.force)
        self.output.parent.mkdir(parents=True, exist_ok=True)
        with tqdm(total=self.episodes, desc="episodes over", disable=None, leave=False) as bar:

            def show(_frame: int, over: int) -> None:
                bar.update(over - bar.n)

            check = export_onnx(self.checkpoint, self.output, self.observation, self.episodes, show)
        print(f"{self.output}: {'not compared with the policy' if check is None else check}")


@dataclass(frozen=True)
class Push:
    """Put a policy on the Hugging Face Hub, with a model card, its figures, a film and an ONNX model."""

    checkpoint: Checkpoint
    """Policy to push."""
    repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="USER/NAME")]
    """Repository of the Hub; it is made if it does not exist."""
    share: tyro.conf.OmitArgPrefixes[ShareConfig] = field(default_factory=ShareConfig)
    private: Flag = False
    """Make a new repository private."""
    preview: Path | None = None
    """Write the files into this new folder, and push nothing."""

    def run(self) -> None:
        """Run the subcommand."""
        share = self.share
        check_outputs({}, {"--preview": self.preview}, {"CHECKPOINT": self.checkpoint})
        if self.preview is not None and self.preview.exists():
            raise CommandError(f"--preview {self.preview}: exists; name a new folder")
        if self.preview is None:
            check_access(self.repository)
        with tqdm(total=share.episodes, desc="episodes over", disable=None, leave=False) as bar:

            def show(_frame: int, over: int) -> None:
                bar.update(over - bar.n)

            if self.preview is None:
                place = push_policy(self.checkpoint, self.repository, share, self.private, show)
            else:
                place = self.preview
                self._write(place, show)
        if share.onnx and not has_onnx():
            print(f"{PROGRAM}: no ONNX model: pip install 'qwop-stride[onnx]', or --no-onnx", file=sys.stderr)
        print(place)

    def _write(self, folder: Path, show: Callable[[int, int], None]) -> None:
        folder.mkdir(parents=True)
        try:
            files = write_repository(self.checkpoint, self.repository, folder, self.share, show)
            for name, source in files.items():
                if source == self.checkpoint:
                    shutil.copyfile(source, folder / name)
        except BaseException:
            shutil.rmtree(folder)
            raise


@dataclass(frozen=True)
class Pull:
    """Get a policy from the Hugging Face Hub, if this release can play it."""

    repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="USER/NAME")]
    """Repository of the Hub."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Checkpoint (.safetensors) to write."""
    file: str | None = None
    """Name of the policy in the repository, where there are several."""
    revision: str | None = None
    """Branch, tag or commit; without it, the main branch."""

    def run(self) -> None:
        """Run the subcommand."""
        check_outputs({"OUTPUT": self.output})
        got = pull_policy(self.repository, self.output, self.file, self.revision)
        print(f"{self.output}: {got.name} of {self.repository}, commit {got.commit}")


def _check_absent(path: Path, force: bool) -> None:
    """Raise CommandError if a file exists that may not be replaced."""
    if path.exists() and not force:
        raise CommandError(f"{path}: exists; --force replaces it")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(PROGRAM, lambda: _run(arguments), CheckpointError, DatasetError, ValueError)


def _run(arguments: Sequence[str] | None) -> None:
    description = "Describe policies, train their critics, average, export and share them."
    subcommands = Info | Critic | Average | Export | Push | Pull
    parse_config(PROGRAM, subcommands, arguments, description=description).run()


if __name__ == "__main__":
    raise SystemExit(main())
