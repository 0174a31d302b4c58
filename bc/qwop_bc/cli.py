"""`qwop-bc DATASET`: clone a dataset's player into a policy checkpoint."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from qwop_bc.adversarial import AdversarialConfig, train_adversarially
from qwop_bc.cloning import CloneConfig, Cloning, EpochReport, Split
from qwop_bc.dagger import DaggerConfig, train_by_dagger
from qwop_bc.metrics import KEY_NAMES, SEGMENT_LENGTHS, Agreement, agreement
from qwop_bc.playing import Runs, demonstrated
from qwop_cli import (
    CommandError,
    Interrupted,
    ProgressTimer,
    check_outputs,
    log_progress,
    parse_config,
    run_command,
)
from qwop_datasets import DatasetError, Decisions, load_decisions
from qwop_game import ACTION_SETS, INSTALL_UNPINNED, PolicySpec
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    Logger,
    Policy,
    TrainingError,
    default_log_directory,
    load_checkpoint,
    save_checkpoint,
)

PROGRAM = "qwop-bc"
# Settings of the training, and groups of them, that a method has no use for: giving one is a mistake.
_UNUSED = {
    "bc": ("dagger", "adversarial", "expert", "init"),
    "dagger": ("adversarial", "init", "resume", "epochs", "patience"),
    "gail": ("dagger", "expert", "resume", "epochs", "patience", "balance", "l2_coef"),
}
UNITS = {"bc": "epoch", "dagger": "round"}
_UNUSED["airl"] = _UNUSED["gail"]


@dataclass(frozen=True)
class Options:
    """Clone a dataset's player with `imitation`, on this project's policy network."""

    dataset: tyro.conf.Positional[Path]
    """HDF5 dataset of episodes."""
    out: Path = Path("clone.safetensors")
    """Checkpoint to write; it plays (qwop-eval, qwop-replay) and starts qwop-finetune --init."""
    method: Literal["bc", "dagger", "gail", "airl"] = "bc"
    """bc: behavioral cloning. dagger: the clone plays and --expert corrects it. gail, airl: PPO against a
    discriminator. docs/experiments/cloning.md has what each came to."""
    expert: Path | None = None
    """dagger: policy checkpoint that says what to do where the clone gets to, with the clone's frame skip and
    action set. No person can: a clone asks up to 30 times a second."""
    init: Path | None = None
    """gail, airl: clone to start from; nothing without it."""
    where: str = ""
    """Which episodes, such as "success knee_share<0.02"; all without it."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the cloning that --out holds, as if it had not been interrupted."""
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace --out if it exists."""
    logdir: Path | None = None
    """TensorBoard's folder; without it the name of --out without its suffix, or with -logs if it has none."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log to Weights & Biases as well."""
    track_project: str = "qwop-stride"
    """Its project."""
    training: tyro.conf.OmitArgPrefixes[CloneConfig] = field(default_factory=CloneConfig)
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)


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
    if importlib.util.find_spec("imitation") is None:
        raise CommandError(f"imitation is not installed: {INSTALL_UNPINNED}")
    config, method = options.training, options.method
    _check_method(options)
    if config.action_set not in ACTION_SETS:
        raise CommandError(f"--action-set {config.action_set}: choose one of {', '.join(ACTION_SETS)}")
    logdir = options.logdir or default_log_directory(options.out)
    inputs = {"the dataset": options.dataset, "--expert": options.expert, "--init": options.init}
    check_outputs({"--out": options.out}, {"--logdir": logdir}, inputs)
    if options.out.exists() and not options.force and not options.resume:
        raise CommandError(f"{options.out} exists: --force replaces it, --resume goes on with it")
    checkpoint = load_checkpoint(options.out) if options.resume else None
    if checkpoint is not None:
        _check_same_training(checkpoint.metadata, options)
    episodes, decisions = load_decisions(options.dataset, config.frame_skip, config.action_set, options.where)
    if len(variants := sorted({episode.trig for episode in episodes})) > 1:
        print(
            f"{options.dataset}: mixes {', '.join(variants)}: cloning takes states as stored, so that is fine"
        )
    sha256 = _sha256(decisions)
    if checkpoint is not None:
        _check_same_data(checkpoint.metadata, options, sha256)
    cloning = Cloning(config, decisions)
    expert = None if options.expert is None else _policy(options.expert, cloning)
    if options.init is not None:
        cloning.start_from(_policy(options.init, cloning, hidden=list(config.hidden)))
    if checkpoint is not None:
        cloning.resume(checkpoint, options.out)
    total = sum(len(d) for d in decisions)
    metadata = {
        **cloning.network.architecture,
        **PolicySpec(config.action_set, config.frame_skip).metadata(),
        "made": {
            "command": PROGRAM,
            "method": method,
            "dataset": str(options.dataset),
            "decisions_sha256": sha256,
            "where": options.where,
            "episodes": len(episodes),
            "decisions": total,
            "config": _plain(config),
            **({} if expert is None else {"expert": str(options.expert), "dagger": _plain(options.dagger)}),
            **({"adversarial": _plain(options.adversarial)} if method in ("gail", "airl") else {}),
            **({} if options.init is None else {"init": str(options.init)}),
        },
    }

    saved, pace = cloning.epoch, ProgressTimer()

    def save() -> None:
        nonlocal saved
        progress = {**cloning.progress(), "algorithm": method}
        save_checkpoint(options.out, cloning.tensors(), {**metadata, "training": progress})
        saved = cloning.epoch

    save()  # a folder that cannot be written is better known before the training than after it
    project = options.track_project if options.track else None
    total_epochs = {"bc": config.epochs, "dagger": options.dagger.rounds}.get(
        method, options.adversarial.reports
    )
    try:
        with (
            Logger(logdir, project, _plain(config), cloning.epoch if options.resume else None) as logger,
            tqdm(total=total_epochs, initial=cloning.epoch, unit="epoch", disable=None, leave=False) as bar,
        ):

            def report(epoch: EpochReport) -> None:
                logger.scalars(epoch.figures(), epoch.epoch)
                save()
                bar.update(1)
                shown = {"loss": f"{epoch.agreement.loss:.3f}", "accuracy": f"{epoch.agreement.accuracy:.3f}"}
                if epoch.runs is not None:
                    shown |= {
                        "meters": f"{epoch.runs.distance:.1f}",
                        "finish": f"{epoch.runs.finish_rate:.0%}",
                    }
                bar.set_postfix(shown)
                if bar.disable and pace.due():
                    figures = ", ".join(f"{name} {value}" for name, value in shown.items())
                    log_progress(f"{UNITS.get(method, 'report')} {epoch.epoch} of {total_epochs}: {figures}")

            if expert is not None:
                train_by_dagger(cloning, options.dagger, expert, report)
            elif method in ("gail", "airl"):
                train_adversarially(cloning, method, options.adversarial, decisions, report)
            else:
                cloning.run(report)
    except Interrupted as interrupt:
        unit = UNITS.get(method, "report")
        kept = f"{options.out} holds the clone after {unit} {saved}"
        interrupt.args = (f"{kept}; go on with --resume" if method == "bc" else kept,)
        raise
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
    by_episode = episode_agreements(network, split, config.action_set)
    runs = demonstrated(episodes), cloning.play(network, True), cloning.play(network, False)
    print(summary(result, by_episode, *runs))
    unit = UNITS.get(method, "report")
    print(f"{options.out}: the clone of {unit} {cloning.best_epoch} of {cloning.epoch}")


def episode_agreements(network: ActorCritic, split: Split, action_set: str) -> list[Agreement]:
    """The agreement with each held-out episode by itself."""
    device = next(network.parameters()).device
    features = split.validation_features.to(device).split(split.validation_lengths)
    actions = split.validation_actions.to(device).split(split.validation_lengths)
    return [agreement(network, f, a, action_set) for f, a in zip(features, actions, strict=True)]


def summary(
    result: Agreement, by_episode: Sequence[Agreement], shown: Runs, sampled: Runs, argmax: Runs
) -> str:
    """The table at the end: demonstrations beside the clone's own runs."""

    def row(name: str, text: str, attribute: str) -> list[str]:
        values = [getattr(runs, attribute) for runs in (shown, sampled, argmax)]
        return [name, *("-" if math.isnan(v) else format(v, text) for v in values)]

    def segments(i: int, low: int, high: int | None) -> list[str]:
        name = f"  of {low} to {high}" if high else f"  of {low} and more"
        return [name, *(f"{runs.segment_shares[i]:.0%}" for runs in (shown, sampled, argmax))]

    losses, accuracies = [e.loss for e in by_episode], [e.accuracy for e in by_episode]
    rows = [
        ["", "demonstrations", "clone, sampled", "clone, argmax"],
        row("episodes", "d", "episodes"),
        row("finished", ".0%", "finish_rate"),
        row("mean distance, m", ".1f", "distance"),
        row("median time, s", ".2f", "median_time"),
        row("knee near track", ".1%", "knee_near"),
        row("upright", ".1%", "upright"),
        row("key segment, frames", ".0f", "segment_frames"),
        *(segments(i, low, high) for i, (low, high) in enumerate(SEGMENT_LENGTHS)),
        ["held-out loss, nats", "", f"{result.loss:.3f}", ""],
        ["  by episode", "", f"{min(losses):.3f} to {max(losses):.3f}", ""],
        ["held-out agreement", "", "", f"{result.accuracy:.1%}"],
        ["  by episode", "", "", f"{min(accuracies):.1%} to {max(accuracies):.1%}"],
        *(
            [f"held-out F1 of {key}", "", "", "-" if math.isnan(f1) else f"{f1:.3f}"]
            for key, f1 in zip(KEY_NAMES, result.key_f1, strict=True)
        ),
    ]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join(
        "  ".join([r[0].ljust(widths[0]), *(r[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip() for r in rows
    )


def _plain(config: CloneConfig | DaggerConfig | AdversarialConfig) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _check_method(options: Options) -> None:
    """Raises CommandError for settings that the method has no use for, and for an expert that is missing."""
    for name in _UNUSED[options.method]:
        holder = options if hasattr(options, name) else options.training
        default = {f.name: f for f in dataclasses.fields(holder)}[name]
        unused = (
            default.default if default.default is not dataclasses.MISSING else type(getattr(holder, name))()
        )
        if getattr(holder, name) != unused:
            flag = name.replace("_", "-") + (".*" if dataclasses.is_dataclass(unused) else "")
            raise CommandError(f"--{flag} has no effect with --method {options.method}: leave it away")
    if options.method == "dagger" and options.expert is None:
        raise CommandError(
            "--method dagger needs --expert CHECKPOINT, a policy that knows what to do anywhere"
        )


def _policy(path: Path, cloning: Cloning, **expected: Any) -> ActorCritic:
    """The network of a policy that decides as the clone does. Raises CheckpointError, one line."""
    policy, config = Policy.load(path), cloning.config
    try:
        policy.require(kind="policy", **expected)
        PolicySpec.from_metadata(policy.metadata).require(config.action_set, config.frame_skip)
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    assert isinstance(policy.network, ActorCritic)
    return policy.network


def _check_same_training(metadata: dict[str, Any], options: Options) -> None:
    """Raises CheckpointError where --resume would go on with other data or settings; budgets may change."""
    made = metadata.get("made")
    if not isinstance(made, dict) or not isinstance(made.get("config"), dict):
        raise CheckpointError(f"{options.out}: not a checkpoint of a cloning; omit --resume")
    if made.get("method", "bc") != "bc":
        raise CheckpointError(f"{options.out}: made with --method {made['method']}, which can't be resumed")
    before = {**made.get("config", {}), "where": made.get("where")}
    now = {**_plain(options.training), "where": options.where}
    for name, value in now.items():
        free = name in ("epochs", "patience", "play_every", "play_episodes", "device", "threads")
        if not free and before.get(name) != value:
            raise CheckpointError(
                f"{options.out}: made with {name} {before.get(name)!r}, not {value!r}; "
                "resume with the same settings, or omit --resume"
            )


def _check_same_data(metadata: dict[str, Any], options: Options, sha256: str) -> None:
    """Raises CheckpointError where the dataset, wherever it lies now, holds other decisions than before."""
    made = metadata["made"]
    known = made.get("decisions_sha256")  # none before 29 November 2026: the path has to do
    if made.get("dataset") != str(options.dataset) if known is None else known != sha256:
        raise CheckpointError(
            f"{options.out}: was not made with the data of {options.dataset} but {made.get('dataset')}; "
            "give a dataset of the same content, or omit --resume"
        )


def _sha256(decisions: Sequence[Decisions]) -> str:
    digest = hashlib.sha256()
    for episode in decisions:
        digest.update(episode.features.tobytes() + episode.actions.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
