"""`qwop-bc DATASET`: clone a dataset's player into a policy checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from qwop_bc.clone import CloneConfig, Cloning, EpochReport
from qwop_bc.metrics import KEY_NAMES, Agreement, agreement
from qwop_bc.playing import Runs, demonstrated
from qwop_datasets import DatasetError
from qwop_datasets.decisions import load_decisions
from qwop_game import ACTION_SETS, FEATURE_VERSION
from qwop_game.command import CommandError, parse_config, run_command
from qwop_rl_core import CheckpointError, load_checkpoint, save_checkpoint
from qwop_rl_core.logging import Logger
from qwop_rl_core.training import TrainingError

PROGRAM = "qwop-bc"


@dataclass(frozen=True)
class Options:
    """Clone a dataset's player: behavioural cloning with `imitation` on this project's policy network."""

    dataset: tyro.conf.Positional[Path]
    """HDF5 dataset of episodes."""
    out: Path = Path("clone.safetensors")
    """Checkpoint to write; it plays (qwop-eval, qwop-replay) and starts qwop-finetune --init."""
    where: str = ""
    """Which episodes, such as "success knee_share<0.02"; all without it."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the cloning that --out holds, as if it had not been interrupted."""
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace --out if it exists."""
    logdir: Path | None = None
    """TensorBoard's folder; without it the name of --out without its suffix."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log to Weights & Biases as well."""
    track_project: str = "qwop-stride"
    """Its project."""
    training: tyro.conf.OmitArgPrefixes[CloneConfig] = field(default_factory=CloneConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    return run_command(
        PROGRAM,
        lambda: clone(parse_config(PROGRAM, Options, arguments)),
        CheckpointError,
        DatasetError,
        TrainingError,
    )


def clone(options: Options) -> None:
    """The command. Raises CommandError, CheckpointError, DatasetError or TrainingError, each one line."""
    config = options.training
    if config.action_set not in ACTION_SETS:
        raise CommandError(f"--action-set {config.action_set}: choose one of {', '.join(ACTION_SETS)}")
    if options.out.exists() and not options.force and not options.resume:
        raise CommandError(f"{options.out} exists: --force replaces it, --resume goes on with it")
    checkpoint = load_checkpoint(options.out) if options.resume else None
    if checkpoint is not None:
        _check_same_training(checkpoint.metadata, options)
    episodes, decisions = load_decisions(options.dataset, config.frame_skip, config.action_set, options.where)
    cloning = Cloning(config, decisions)
    if checkpoint is not None:
        cloning.resume(checkpoint, options.out)
    total = sum(len(d) for d in decisions)
    metadata = {
        **cloning.network.architecture,
        "action_set": config.action_set,
        "frame_skip": config.frame_skip,
        "observation": "features",
        "feature_version": FEATURE_VERSION,
        "made": {
            "command": PROGRAM,
            "dataset": str(options.dataset),
            "where": options.where,
            "episodes": len(episodes),
            "decisions": total,
            "config": _plain(config),
        },
    }

    def save() -> None:
        save_checkpoint(options.out, cloning.tensors(), {**metadata, "training": cloning.progress()})

    save()  # a folder that cannot be written is better known before the training than after it
    logdir = options.logdir or options.out.with_suffix("")
    project = options.track_project if options.track else None
    with (
        Logger(logdir, project, _plain(config)) as logger,
        tqdm(total=config.epochs, initial=cloning.epoch, unit="epoch", disable=None, leave=False) as bar,
    ):

        def report(epoch: EpochReport) -> None:
            logger.scalars(epoch.figures(), epoch.epoch)
            save()
            bar.update(1)
            shown = {"loss": f"{epoch.agreement.loss:.3f}", "accuracy": f"{epoch.agreement.accuracy:.3f}"}
            if epoch.runs is not None:
                shown |= {"metres": f"{epoch.runs.distance:.1f}", "finish": f"{epoch.runs.finish_rate:.0%}"}
            bar.set_postfix(shown)

        cloning.run(report)
    save()

    split = cloning.split
    held_out = f"{len(split.validation_episodes)} episodes" if split.validation_episodes else "its last part"
    kept = sum(d.kept * len(d) for d in decisions) / total
    network = cloning.best_network()
    device = next(network.parameters()).device
    held_out_data = split.validation_features.to(device), split.validation_actions.to(device)
    result = agreement(network, *held_out_data, config.action_set)
    print(
        f"{len(episodes)} episodes, {total} decisions of {config.frame_skip} frames that keep {kept:.1%} "
        f"of the frames' keys; held out: {held_out}, {len(split.validation_actions)} decisions"
    )
    print(summary(result, demonstrated(episodes), cloning.play(network, True), cloning.play(network, False)))
    print(f"{options.out}: the clone of epoch {cloning.best_epoch} of {cloning.epoch}")


def summary(result: Agreement, shown: Runs, sampled: Runs, argmax: Runs) -> str:
    """The table at the end: demonstrations beside the clone's own runs."""

    def row(name: str, text: str, attribute: str) -> list[str]:
        values = [getattr(runs, attribute) for runs in (shown, sampled, argmax)]
        return [name, *("-" if math.isnan(v) else format(v, text) for v in values)]

    rows = [
        ["", "demonstrations", "clone, sampled", "clone, argmax"],
        row("episodes", "d", "episodes"),
        row("finished", ".0%", "finish_rate"),
        row("mean distance, m", ".1f", "distance"),
        row("median time, s", ".2f", "median_time"),
        row("knee near track", ".1%", "knee_near"),
        row("upright", ".1%", "upright"),
        row("key segment, frames", ".0f", "segment_frames"),
        ["held-out loss, nats", "", f"{result.loss:.3f}", ""],
        ["held-out agreement", "", "", f"{result.accuracy:.1%}"],
        *(
            [f"held-out F1 of {key}", "", "", "-" if math.isnan(f1) else f"{f1:.3f}"]
            for key, f1 in zip(KEY_NAMES, result.key_f1, strict=True)
        ),
    ]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join(
        "  ".join([r[0].ljust(widths[0]), *(r[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip() for r in rows
    )


def _plain(config: CloneConfig) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _check_same_training(metadata: dict[str, Any], options: Options) -> None:
    """Raises CheckpointError where --resume would go on with other data or settings; budgets may change."""
    made = metadata.get("made", {})
    before = {**made.get("config", {}), "dataset": made.get("dataset"), "where": made.get("where")}
    now = {**_plain(options.training), "dataset": str(options.dataset), "where": options.where}
    for name, value in now.items():
        free = name in ("epochs", "patience", "play_every", "play_episodes", "device", "threads")
        if not free and before.get(name) != value:
            raise CheckpointError(
                f"{options.out}: made with {name} {before.get(name)!r}, not {value!r}; "
                "resume with the same settings, or leave --resume away"
            )


if __name__ == "__main__":
    raise SystemExit(main())
