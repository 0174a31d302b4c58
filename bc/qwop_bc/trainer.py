"""Make a policy checkpoint from a dataset of episodes. Start reading at `clone`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from qwop_bc.adversarial import AdversarialConfig, train_adversarially
from qwop_bc.cloning import CloneConfig, Cloning, EpochReport
from qwop_bc.dagger import DaggerConfig, train_by_dagger
from qwop_bc.provenance import check_same_data, check_same_training, config_json, decisions_sha256
from qwop_bc.result import CloneResult, measure
from qwop_bc.self_imitation import SelfImitationConfig, train_by_self_imitation
from qwop_cli import CommandError, check_outputs
from qwop_datasets import load_decisions
from qwop_game import INSTALL_UNPINNED, PolicySpec
from qwop_rl_core import (
    ActorCritic,
    CheckpointError,
    Logger,
    Policy,
    default_log_directory,
    load_checkpoint,
    save_checkpoint,
)

Method = Literal["bc", "self-imitation", "dagger", "gail", "airl"]

EPOCH_NAMES = {
    "bc": "epoch",
    "self-imitation": "round",
    "dagger": "round",
    "gail": "report",
    "airl": "report",
}
# Settings that have no effect with a method. Giving one is an error.
_UNUSED = {
    "bc": ("dagger", "self_imitation", "adversarial", "expert"),
    "self-imitation": ("dagger", "adversarial", "expert", "resume", "epochs", "patience"),
    "dagger": ("self_imitation", "adversarial", "init", "resume", "epochs", "patience"),
    "gail": ("dagger", "self_imitation", "expert", "resume", "epochs", "patience", "balance", "l2_coef"),
}
_UNUSED["airl"] = _UNUSED["gail"]
METHOD_SETTINGS = ("expert", "init", "resume", "dagger", "adversarial", "self_imitation")
"""Arguments of `clone` that only some methods take."""


def clone(
    dataset: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] = "clone.safetensors",
    config: CloneConfig | None = None,
    method: Method = "bc",
    expert: str | os.PathLike[str] | None = None,
    init: str | os.PathLike[str] | None = None,
    dagger: DaggerConfig | None = None,
    adversarial: AdversarialConfig | None = None,
    self_imitation: SelfImitationConfig | None = None,
    where: str = "",
    resume: bool = False,
    force: bool = False,
    logdir: str | os.PathLike[str] | None = None,
    track: bool = False,
    track_project: str = "qwop-stride",
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> CloneResult:
    """Train a policy to press the keys of a dataset's player, as `qwop-bc` does.

    The checkpoint is written after every epoch, so an interrupt (Ctrl-C) loses at most one.

    Args:
        dataset: HDF5 dataset of episodes.
        out: checkpoint to write.
        config: settings of the training; None: the defaults.
        method: "bc" (behavioral cloning), "self-imitation", "dagger", "gail" or "airl".
        expert: dagger: policy checkpoint that says what the clone should have done. It has the clone's frame
            skip and action set.
        init: policy to start from, with the same layers; not for dagger. With bc its critic stays as it is.
        dagger: settings of dagger; None: the defaults.
        adversarial: settings of gail and airl; None: the defaults.
        self_imitation: settings of self-imitation; None: the defaults.
        where: filter of the episodes, such as "success knee_share<0.02".
        resume: continue the cloning in `out`, with the same bits as if it had not stopped (bc only).
        force: replace `out` if it exists.
        logdir: TensorBoard's folder; None: the name of `out` without its suffix, or with -logs if it has
            none.
        track: also log to Weights & Biases.
        track_project: project of Weights & Biases.
        on_epoch: called after every epoch, once its checkpoint is written.

    Returns:
        The clone of the best epoch and its figures.

    Raises:
        CommandError: settings contradict each other, an output exists or can't be written, or `imitation` is
            not installed.
        CheckpointError: a checkpoint can't be read, or does not fit.
        DatasetError: the dataset can't be read, or no episode matches `where`.
        TrainingError: a setting is out of range, or the loss is not finite.
        KeyboardInterrupt: training was interrupted; the message says what `out` holds.
    """
    if importlib.util.find_spec("imitation") is None:
        raise CommandError(f"imitation is not installed: {INSTALL_UNPINNED}")
    dataset, out = Path(dataset), Path(out)
    config, dagger = config or CloneConfig(), dagger or DaggerConfig()
    adversarial, self_imitation = adversarial or AdversarialConfig(), self_imitation or SelfImitationConfig()
    given: dict[str, Any] = {"expert": expert, "init": init, "resume": resume}
    given |= {"dagger": dagger, "adversarial": adversarial, "self_imitation": self_imitation}
    check_method(method, config, given)
    logdir = Path(logdir) if logdir is not None else default_log_directory(out)
    inputs = {"the dataset": dataset, "--expert": _path(expert), "--init": _path(init)}
    check_outputs({"--out": out}, {"--logdir": logdir}, inputs)
    if out.exists() and not force and not resume:
        raise CommandError(f"{out} exists: --force replaces it, --resume continues it")

    checkpoint = load_checkpoint(out) if resume else None
    if checkpoint is not None:
        check_same_training(checkpoint.metadata, out, config, where)
    episodes, decisions = load_decisions(dataset, config.frame_skip, config.action_set, where)
    sha256 = decisions_sha256(decisions)
    if checkpoint is not None:
        check_same_data(checkpoint.metadata, out, dataset, sha256)
    cloning = Cloning(config, decisions)
    expert_network = None if expert is None else _load_network(Path(expert), cloning)[0]
    earlier: dict[str, Any] = {}  # metadata of the checkpoint that this one begins with
    if init is not None:
        first, earlier = _load_network(Path(init), cloning, hidden=list(config.hidden))
        cloning.start_from(first)
    if checkpoint is not None:
        cloning.resume(checkpoint, out)
        init = checkpoint.metadata["made"].get("init")
        earlier = checkpoint.metadata

    metadata: dict[str, Any] = {
        **cloning.network.architecture,
        **PolicySpec(config.action_set, config.frame_skip).metadata(),
        "made": {
            "command": "qwop-bc",
            "method": method,
            "dataset": str(dataset),
            "decisions_sha256": sha256,
            "where": where,
            "episodes": len(episodes),
            "decisions": sum(len(d) for d in decisions),
            "config": config_json(config),
            **({} if expert is None else {"expert": str(expert), "dagger": config_json(dagger)}),
            **({"adversarial": config_json(adversarial)} if method in ("gail", "airl") else {}),
            **({"self_imitation": config_json(self_imitation)} if method == "self-imitation" else {}),
            **({} if init is None else {"init": str(init)}),
        },
        **({"critic": earlier["critic"]} if method == "bc" and "critic" in earlier else {}),
    }

    def save() -> None:
        metadata["training"] = {**cloning.progress(), "algorithm": method}
        save_checkpoint(out, cloning.tensors(), metadata)

    save()  # An unwritable folder should be known before training, not after it.
    project = track_project if track else None
    try:
        with Logger(logdir, project, config_json(config), cloning.epoch if resume else None) as logger:

            def report(epoch: EpochReport) -> None:
                logger.scalars(epoch.figures(), epoch.epoch)
                save()
                if on_epoch is not None:
                    on_epoch(epoch)

            if expert_network is not None:
                train_by_dagger(cloning, dagger, expert_network, report)
            elif method == "self-imitation":
                train_by_self_imitation(cloning, self_imitation, report, from_clone=init is not None)
            elif method in ("gail", "airl"):
                train_adversarially(cloning, method, adversarial, decisions, report)
            else:
                cloning.run(report)
        save()
    except KeyboardInterrupt as interrupt:
        saved = load_checkpoint(out).metadata["training"]["epoch"]  # the signal may have come within `save`
        kept = f"{out} has the clone after {EPOCH_NAMES[method]} {saved}"
        interrupt.args = (f"{kept}; continue with --resume" if method == "bc" else kept,)
        raise
    return measure(cloning, episodes, decisions, out, metadata, EPOCH_NAMES[method])


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)


def check_method(method: str, config: CloneConfig, given: dict[str, Any]) -> None:
    """Raise CommandError for an unknown method, settings that it does not use, and a missing expert.

    Args:
        method: name of the method.
        config: the settings that all methods share.
        given: the values of METHOD_SETTINGS.
    """
    if method not in get_args(Method):
        raise CommandError(f"--method {method}: choose one of {', '.join(get_args(Method))}")
    defaults = {**vars(CloneConfig()), "dagger": DaggerConfig(), "adversarial": AdversarialConfig()}
    defaults |= {"self_imitation": SelfImitationConfig(), "expert": None, "init": None, "resume": False}
    for name in _UNUSED[method]:
        if {**vars(config), **given}[name] != defaults[name]:
            flag = name.replace("_", "-") + (
                ".*" if name in ("dagger", "adversarial", "self_imitation") else ""
            )
            raise CommandError(f"--{flag} has no effect with --method {method}: omit it")
    if given["resume"] and given["init"] is not None:
        raise CommandError("--init has no effect with --resume: omit it")
    if method == "dagger" and given["expert"] is None:
        raise CommandError("--method dagger needs --expert CHECKPOINT, a policy that corrects the clone")


def _load_network(path: Path, cloning: Cloning, **expected: Any) -> tuple[ActorCritic, dict[str, Any]]:
    """Load a policy that decides as the clone does.

    Args:
        path: its checkpoint.
        cloning: the cloning that uses it.
        **expected: what its metadata must have besides.

    Returns:
        Its network and its metadata.

    Raises:
        CheckpointError: it can't be read, or does not fit.
    """
    policy, config = Policy.load(path), cloning.config
    try:
        policy.require(kind="policy", **expected)
        PolicySpec.from_metadata(policy.metadata).require(config.action_set, config.frame_skip)
    except (CheckpointError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    assert isinstance(policy.network, ActorCritic)
    return policy.network, policy.metadata
