"""`qwop-bc DATASET`: clone a dataset's player into a policy checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from qwop_bc.adversarial import AdversarialConfig
from qwop_bc.cloning import CloneConfig, EpochReport
from qwop_bc.dagger import DaggerConfig
from qwop_bc.self_imitation import SelfImitationConfig
from qwop_bc.trainer import EPOCH_NAMES, METHOD_SETTINGS, Method, check_method, clone
from qwop_cli import ProgressTimer, log_progress, parse_config, run_command
from qwop_datasets import DatasetError
from qwop_rl_core import CheckpointError, TrainingError

PROGRAM = "qwop-bc"


@dataclass(frozen=True)
class Options:
    """Clone a dataset's player with `imitation`, on this project's policy network."""

    # The fields are the arguments of `clone`.
    dataset: tyro.conf.Positional[Path]
    """HDF5 dataset of episodes."""
    out: Path = Path("clone.safetensors")
    """Checkpoint to write. It plays (qwop-eval, qwop-replay) and starts qwop-finetune --init."""
    config: tyro.conf.OmitArgPrefixes[CloneConfig] = field(default_factory=CloneConfig)
    method: Method = "bc"
    """bc: behavioral cloning. self-imitation: the clone then plays, goes back where it falls, and trains on
    its best decisions; for people's runs. dagger: the clone plays and --expert corrects it. gail, airl: PPO
    against a discriminator. docs/experiments/cloning.md compares them."""
    expert: Path | None = None
    """dagger: policy checkpoint that says what the clone should have done, with the clone's frame skip and
    action set. A person can't be the expert: the clone asks up to 30 times a second."""
    init: Path | None = None
    """Policy to start from; not for dagger. With bc its critic stays as it is. Default: a new network."""
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    self_imitation: SelfImitationConfig = field(default_factory=SelfImitationConfig)
    where: str = ""
    """Filter of the episodes, such as "success knee_share<0.02". Default: all."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Continue the cloning in --out, with the same bits as if it had not stopped."""
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace --out if it exists."""
    logdir: Path | None = None
    """TensorBoard's folder. Default: the name of --out without its suffix, or with -logs if it has none."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Also log to Weights & Biases."""
    track_project: str = "qwop-stride"
    """Project of Weights & Biases."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return run_command(
        PROGRAM,
        lambda: command(parse(arguments)),
        CheckpointError,
        DatasetError,
        TrainingError,
    )


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the settings that a command line describes.

    Args:
        arguments: what follows `qwop-bc`. None: what this process was started with.

    Raises:
        CommandError, TrainingError: a mistake in the command line; one line.
        SystemExit: with code 0 after --help.
    """
    options = parse_config(PROGRAM, Options, arguments)
    check_method(options.method, options.config, {name: getattr(options, name) for name in METHOD_SETTINGS})
    return options


def command(options: Options) -> None:
    """Clone with a progress bar, or a line now and then without a terminal; print the result."""
    total = {
        "bc": options.config.epochs,
        "self-imitation": options.self_imitation.rounds,
        "dagger": options.dagger.rounds,
    }.get(options.method, options.adversarial.reports)
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    unit = EPOCH_NAMES[options.method]
    with tqdm(total=total, unit=unit, disable=None, leave=False) as bar:
        result = clone(**given, on_epoch=_progress(bar, f"{unit} {{}} of {total}"))
    if len(result.trigs) > 1:
        variants = ", ".join(result.trigs)
        print(f"{options.dataset}: mixes the variants {variants}; cloning uses the states as stored")
    print(result)


def _progress(bar: tqdm[Any], line: str) -> Callable[[EpochReport], None]:
    """Return what shows an epoch: on the bar, or as `line` with its number where the bar is off."""
    pace = ProgressTimer()

    def show(epoch: EpochReport) -> None:
        figures = {"loss": f"{epoch.agreement.loss:.3f}", "accuracy": f"{epoch.agreement.accuracy:.3f}"}
        if epoch.rollouts is not None:
            metrics = epoch.rollouts.metrics
            figures |= {"meters": f"{metrics.mean_distance:.1f}", "finish": f"{metrics.finish_rate:.0%}"}
        if "practice/failures_per_minute" in epoch.practice:
            figures["failures a minute"] = f"{epoch.practice['practice/failures_per_minute']:.2f}"
        bar.update(epoch.epoch - bar.n)
        bar.set_postfix(figures)
        if bar.disable and pace.due():
            text = ", ".join(f"{name} {value}" for name, value in figures.items())
            log_progress(f"{line.format(epoch.epoch)}: {text}")

    return show


if __name__ == "__main__":
    raise SystemExit(main())
