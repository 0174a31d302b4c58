"""A fine-tuning from its settings to its checkpoint, read from the top in `finetune`."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from tqdm import tqdm

from qwop_cli import CommandError, Interrupted, check_outputs, interrupts
from qwop_datasets import DatasetError
from qwop_finetune.config import DQNRun, PPORun, Run, to_plain
from qwop_finetune.demonstrations import DemonstratedStarts, Demonstrations, load_demonstrations
from qwop_finetune.environment import TrainingEnv, make_environment, training_figures
from qwop_finetune.forgetting import ForgettingMeter, GaitGuard
from qwop_game import FEATURE_SIZE, FEATURE_VERSION, RolloutMetrics, action_masks
from qwop_rewards import parse_options
from qwop_rl_core import (
    EVENTS,
    ActorCritic,
    Checkpoint,
    CheckpointError,
    Logger,
    QNetwork,
    check_kinds,
    dqn,
    explained,
    load_checkpoint,
    load_network,
    ppo,
    set_aside,
)

DEFAULT_FRAME_SKIP, DEFAULT_ACTION_SET = 4, "distinct"
MAX_COLLAPSES = 3
"""A gait that collapses once more than this after going back is given up."""

Network = ActorCritic | QNetwork


@dataclass(frozen=True)
class Outcome:
    """How a fine-tuning ended."""

    steps: int
    reason: str
    """"done", "interrupted", "time is up" or "the gait collapsed"."""
    figures: dict[str, float]
    """The last report."""
    interrupt: Interrupted | None = None
    """What ended it, with how to go on."""


def finetune(run: Run) -> Outcome:
    """Train as `run` says and leave the result at run.out.

    Ctrl-C, SIGTERM and SIGHUP end the training after the iteration in progress, with a checkpoint; a second
    one ends it at once.

    Raises CheckpointError, DatasetError, TrainingError or CommandError, one line each, for whatever does not
    exist, does not fit or diverges.
    """
    check_outputs(
        {"--out": run.out}, {"--logdir": run.log_directory}, {"--init": run.init, "--demos": run.demos}
    )
    if run.out.exists() and not run.force and not _same_file(run.out, run.resume):
        raise CommandError(f"{run.out}: exists already; --force replaces it, --resume goes on with it")
    resumed = None if run.resume is None else load_checkpoint(run.resume)
    with explained(str(run.resume)) if resumed else contextlib.nullcontext():
        clone, clone_sha256 = _load_clone(run, resumed)
        run = _with_clones_settings(run, clone)
        demonstrations = _load_demonstrations(run, resumed)
        envs = _make_environment(run, demonstrations)
        meter = ForgettingMeter(copy.deepcopy(clone.network) if clone else None, demonstrations)
        guard = GaitGuard(run.collapse_margin)
        if resumed is not None:
            state = resumed.metadata["finetune"]["guard"]
            check_kinds(state, guard)
            guard = GaitGuard(**state)
        logs_go_on = resumed is not None and _logged_there(run)
        if not logs_go_on:
            set_aside(run.log_directory, EVENTS, "[0-9]*.safetensors")
        resumed_at = None
        if resumed is not None and logs_go_on:
            check_kinds({"steps": resumed.metadata["training"]["steps"]}, RolloutMetrics())
            resumed_at = resumed.metadata["training"]["steps"]
    config_for_logs = {**to_plain(run), **to_plain(run)["learner"]}
    config_for_logs.pop("learner")
    track = run.track_project if run.track else None
    interrupt = _InterruptSwitch()
    with interrupts(interrupt.press), Logger(run.log_directory, track, config_for_logs, resumed_at) as logger:
        watch = _Watch(run, meter, guard, logger, interrupt, _metadata(run, clone_sha256, demonstrations))
        if isinstance(run, PPORun):
            _train_ppo(run, envs, clone, demonstrations, resumed, logger, watch)
        else:
            _train_dqn(run, envs, clone, demonstrations, resumed, logger, watch)
    envs.close()
    stopped = None
    if watch.reason == "interrupted":
        stopped = Interrupted(interrupt.signal)
        stopped.args = (f"go on with: qwop-finetune --resume {run.out}",)
    return Outcome(watch.steps, watch.reason, watch.figures, stopped)


def _train_ppo(
    run: PPORun,
    envs: TrainingEnv,
    clone: _Clone | None,
    demonstrations: Demonstrations | None,
    resumed: Checkpoint | None,
    logger: Logger,
    watch: _Watch,
) -> None:
    network = clone.network if clone else None
    if isinstance(network, QNetwork):
        raise CheckpointError(f"{run.init}: holds action values; PPO starts from a policy, such as a clone")
    config = run.learner
    if resumed is not None:
        state = ppo.resume(config, envs, resumed, str(run.resume))
        envs.metrics = _resumed_metrics(run, resumed)
    else:
        generator = torch.Generator().manual_seed(config.seed)
        fresh = ActorCritic(FEATURE_SIZE, len(envs.action_masks), run.hidden, generator)
        policy = fresh if network is None else copy.deepcopy(network)
        if network is not None and run.fresh_critic:
            generator.manual_seed(config.seed)
            policy.value = ActorCritic(FEATURE_SIZE, policy.num_actions, policy.hidden, generator).value
            policy.rescale_values(0.0, 1.0)
        state = ppo.start(config, envs, policy)
    shown = None
    if demonstrations is not None and config.demo_coef > 0:
        features, actions = demonstrations.features, demonstrations.actions
        shown = ppo.Demonstrations(torch.as_tensor(features), torch.as_tensor(actions))
    reference = network if config.reference_kl_coef > 0 else None
    watch.begin(state)
    while watch.goes_on:
        ppo.train(
            dataclasses.replace(config, learning_rate=config.learning_rate * watch.learning_rate_share),
            envs,
            state,
            reference=reference,
            demonstrations=shown,
            logger=logger,
            callback=watch,
            progress_bar=sys.stderr.isatty(),
        )


def _train_dqn(
    run: DQNRun,
    envs: TrainingEnv,
    clone: _Clone | None,
    demonstrations: Demonstrations | None,
    resumed: Checkpoint | None,
    logger: Logger,
    watch: _Watch,
) -> None:
    config = dataclasses.replace(run.learner, double=run.algorithm == "ddqn")
    shown = None
    if demonstrations is not None:
        shown = demonstrations.transitions(run.reward, parse_options(run.reward_option))
    if resumed is not None:
        state = dqn.resume(config, envs, resumed, shown, str(run.resume))
        envs.metrics = _resumed_metrics(run, resumed)
    else:
        if clone is None:
            generator = torch.Generator().manual_seed(config.seed)
            size = (FEATURE_SIZE, len(envs.action_masks), run.hidden)
            network = QNetwork(*size, dueling=config.dueling, generator=generator)
        elif isinstance(clone.network, ActorCritic):
            network = QNetwork.from_policy(clone.network, config.dueling)
        else:
            network = copy.deepcopy(clone.network)
        state = dqn.start(config, envs, network, shown)
    watch.begin(state)
    while watch.goes_on:
        dqn.train(
            dataclasses.replace(config, learning_rate=config.learning_rate * watch.learning_rate_share),
            envs,
            state,
            logger=logger,
            callback=watch,
            progress_bar=sys.stderr.isatty(),
        )


class _Watch:
    """What happens between two iterations: reports, checkpoints, the guard's verdict, reasons to stop."""

    def __init__(
        self,
        run: Run,
        meter: ForgettingMeter,
        guard: GaitGuard,
        logger: Logger,
        interrupt: _InterruptSwitch,
        metadata: dict[str, Any],
    ) -> None:
        self._run, self._meter, self._guard, self._logger = run, meter, guard, logger
        self._interrupt, self._metadata = interrupt, metadata
        self._guarded = run.on_collapse != "ignore" and run.init is not None
        self._deadline = time.monotonic() + 60 * run.minutes if run.minutes else math.inf
        self.figures: dict[str, float] = {}
        self.goes_on = True
        self.reason = "done"
        self.steps = 0

    @property
    def learning_rate_share(self) -> float:
        """What is left of the learning rate: half of it after every collapse."""
        return 0.5**self._guard.collapses

    def begin(self, state: ppo.PPOState | dqn.DQNState) -> None:
        """Take note of where a training starts; a collapse before the first checkpoint comes back here."""
        self.steps = state.steps
        self._healthy = state.capture()
        self.goes_on = state.steps < self._run.learner.total_steps

    def __call__(self, progress: ppo.Progress | dqn.Progress) -> bool:
        """After an iteration; True leaves the training's loop, for good where `goes_on` is false."""
        run, before, self.steps = self._run, self.steps, progress.steps
        done = self.steps >= run.learner.total_steps

        def crossed(every: int) -> bool:
            return before // every != self.steps // every or done

        if crossed(run.report_every):
            self._report(progress)
            if self._guarded and self._guard.check(self.figures) == "collapsed":
                return self._collapsed(progress)
        if self._interrupt.pressed:
            self.goes_on, self.reason = False, "interrupted"
        elif time.monotonic() > self._deadline:
            self.goes_on, self.reason = False, "time is up"
        elif done:
            self.goes_on = False
        if crossed(run.checkpoint_every) or not self.goes_on:
            self._healthy = progress.state.capture()
            self._save(progress)
        return not self.goes_on

    def _report(self, progress: ppo.Progress | dqn.Progress) -> None:
        envs, state = progress.envs, progress.state
        assert isinstance(envs, TrainingEnv)
        network = state.policy if isinstance(state, ppo.PPOState) else state.network
        self.figures = training_figures(envs.metrics) | self._meter.measure(network, state.observation)
        envs.metrics = RolloutMetrics()
        self._logger.scalars(self.figures, self.steps)

    def _collapsed(self, progress: ppo.Progress | dqn.Progress) -> bool:
        """Back to the last healthy state; True, for the training's loop to begin anew or to end."""
        what = report_line(self.steps, self.figures)
        progress.state.roll_back(self._healthy)
        given_up = self._run.on_collapse == "stop" or self._guard.collapses > MAX_COLLAPSES
        if given_up or self.steps >= self._run.learner.total_steps:
            self.goes_on, self.reason = False, "the gait collapsed"
            self._save(progress)
        consequence = "stopped there" if given_up else "with half the learning rate"
        say(f"{what}; the gait collapsed: back to the last checkpoint, {consequence}")
        return True

    def _save(self, progress: ppo.Progress | dqn.Progress) -> None:
        envs = progress.envs
        assert isinstance(envs, TrainingEnv)
        state = {"guard": self._guard.state(), "tally": envs.metrics.state(), "figures": self.figures}
        metadata = {**self._metadata, "finetune": {**self._metadata["finetune"], **state}}

        def write(path: Path) -> None:
            if isinstance(progress, dqn.Progress):
                progress.save(path, metadata, replay=self._run.save_replay)
            else:
                progress.save(path, metadata)

        try:
            write(self._run.out)
        except CheckpointError as error:  # a disk that is full now may have room again at the next one
            if not self.goes_on:
                raise
            say(f"warning: {error}; training goes on", sys.stderr)
        if self._run.keep_checkpoints:
            try:
                write(self._run.log_directory / f"{self.steps:010d}.safetensors")
            except CheckpointError as error:
                say(f"warning: {error}; training goes on", sys.stderr)
        if self.figures:
            say(report_line(self.steps, self.figures))


def say(line: str, file: TextIO | None = None) -> None:
    """Print a line beside the progress bar. A closed terminal or a full disk is no reason to stop."""
    with contextlib.suppress(OSError):
        tqdm.write(line, file=file)


def report_line(steps: int, figures: dict[str, float]) -> str:
    """A report in one line."""
    parts = [f"{steps / 1e6:.2f} M steps"]
    if "finish/rate" in figures:
        parts.append(f"finishes {100 * figures['finish/rate']:.0f} %")
    if "finish/median_seconds" in figures:
        parts.append(f"median {figures['finish/median_seconds']:.1f} s")
    if "finish/distance" in figures:
        parts.append(f"{figures['finish/distance']:.1f} m")
    if "gait/upright" in figures:
        parts.append(f"upright {100 * figures['gait/upright']:.0f} %")
        parts.append(f"knee near {100 * figures['gait/knee_near']:.1f} %")
    if "forgetting/clone_agreement" in figures:
        parts.append(f"as the clone {100 * figures['forgetting/clone_agreement']:.0f} %")
    if "forgetting/demo_agreement" in figures:
        parts.append(f"as the demonstrations {100 * figures['forgetting/demo_agreement']:.0f} %")
    return ", ".join(parts)


class _InterruptSwitch:
    """Turns the first interrupt into a flag, so that the iteration is finished and saved; a second raises."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def pressed(self) -> bool:
        return self.signal != 0

    def press(self, number: int, _frame: object) -> None:
        if self.pressed:
            raise Interrupted(number)
        self.signal = number
        say("interrupted: finishing the iteration to save it (once more: stop at once)", sys.stderr)


# ---- what a training is made of ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Clone:
    """The checkpoint to start from, once it has proved to fit this game."""

    network: Network
    action_set: str
    frame_skip: int


def _load_clone(run: Run, resumed: Checkpoint | None) -> tuple[_Clone | None, str]:
    """run.init's network and the file's SHA-256.

    A resumed training needs the clone for its KL anchor and its meter only: where it is gone, or another one
    lies there now, that is an error only if it is the anchor.
    """
    path = run.init
    if path is None:
        return None, ""
    known = resumed.metadata["finetune"] if resumed is not None else None
    if known is not None and _sha256(path) != known["clone_sha256"]:
        beside = _beside(run, path)
        path = beside if _sha256(beside) == known["clone_sha256"] else path
    try:
        checkpoint = load_checkpoint(path)
        sha256 = _sha256(path)
        if known is not None and known["clone_sha256"] != sha256:
            raise CheckpointError(f"{path}: is not the file any more that the training began with")
    except CheckpointError as error:
        anchored = isinstance(run, PPORun) and run.learner.reference_kl_coef > 0
        if known is None:
            raise
        if anchored or str(run.init) != known["config"]["init"]:
            raise CheckpointError(f"{error}; name a file of the same content with --init") from None
        return None, known["clone_sha256"]
    metadata = checkpoint.metadata
    expected = {
        "observation": "features",
        "feature_version": FEATURE_VERSION,
        "feature_size": FEATURE_SIZE,
    }
    for name, value in expected.items():
        if metadata.get(name) != value:
            raise CheckpointError(
                f"{path}: has {name} {metadata.get(name)!r}, this release plays with {value!r}: clone anew"
            )
    action_set, frame_skip = metadata.get("action_set"), metadata.get("frame_skip")
    if run.action_set is not None and run.action_set != action_set:
        raise CheckpointError(
            f"{path}: has action set {action_set!r}, not {run.action_set!r}: leave --action-set away"
        )
    try:
        actions = len(action_masks(str(action_set)))
    except ValueError:
        raise CheckpointError(f"{path}: has an unknown action set, {action_set!r}") from None
    if metadata.get("num_actions") != actions:
        raise CheckpointError(
            f"{path}: has {metadata.get('num_actions')} actions, {action_set} has {actions}"
        )
    if not isinstance(frame_skip, int) or frame_skip < 1:
        raise CheckpointError(f"{path}: has frame skip {frame_skip!r}, not a whole number of 1 or more")
    if run.frame_skip not in (None, frame_skip) and not run.change_frame_skip:
        raise CheckpointError(
            f"{path}: was made for frame skip {frame_skip}, not {run.frame_skip}: leave --frame-skip away, "
            "or add --change-frame-skip"
        )
    return _Clone(load_network(checkpoint, path), str(action_set), frame_skip), sha256


def _with_clones_settings(run: Run, clone: _Clone | None) -> Run:
    """Fill in what the command line has left to the clone."""
    action_set = run.action_set or (clone.action_set if clone else DEFAULT_ACTION_SET)
    frame_skip = run.frame_skip or (clone.frame_skip if clone else DEFAULT_FRAME_SKIP)
    return dataclasses.replace(run, action_set=action_set, frame_skip=frame_skip)


def _load_demonstrations(run: Run, resumed: Checkpoint | None) -> Demonstrations | None:
    if run.demo_starts > 0 and run.drills > 0:
        raise CommandError("--drills and --demo-starts both say where episodes start: choose one")
    if not 0.0 <= run.demo_starts <= 1.0:
        raise CommandError(f"--demo-starts {run.demo_starts}: a share lies between 0 and 1")
    if run.demos is None:
        if run.demo_starts > 0:
            raise CommandError("--demo-starts needs --demos FILE")
        if isinstance(run, PPORun) and run.learner.demo_coef > 0:
            raise CommandError("--demo-coef needs --demos FILE")
        return None
    assert run.frame_skip is not None and run.action_set is not None
    settings = run.frame_skip, run.action_set, run.demos_where
    if resumed is None:
        return load_demonstrations(run.demos, *settings)
    known = resumed.metadata["finetune"]["demos_sha256"]
    path, beside = run.demos, _beside(run, run.demos)
    if not path.exists() and beside.exists():
        path = beside
    demonstrations = load_demonstrations(path, *settings)
    if demonstrations.sha256 != known and beside.exists() and not _same_file(path, beside):
        demonstrations = load_demonstrations(beside, *settings)
    if demonstrations.sha256 != known:
        raise DatasetError(
            f"{run.demos}: holds other demonstrations than the training began with; name them with --demos"
        )
    return demonstrations


def _make_environment(run: Run, demonstrations: Demonstrations | None) -> TrainingEnv:
    assert run.frame_skip is not None and run.action_set is not None
    try:
        envs = make_environment(
            run.learner.num_envs,
            run.frame_skip,
            run.action_set,
            run.reward,
            parse_options(run.reward_option),
            run.max_seconds,
            run.disturb,
            run.drills,
            run.drill_meters,
            run.drill_falls,
            threads=min(run.learner.threads or torch.get_num_threads(), 1 + run.learner.num_envs // 64),
            trig=run.trig,
        )
    except ValueError as error:
        raise CommandError(str(error)) from None
    if run.demo_starts > 0 and demonstrations is not None:
        envs.start_states = DemonstratedStarts(
            demonstrations.episodes, run.demo_starts, envs.num_envs, envs.generator
        )
    return envs


def _metadata(run: Run, clone_sha256: str, demonstrations: Demonstrations | None) -> dict[str, Any]:
    return {
        "action_set": run.action_set,
        "frame_skip": run.frame_skip,
        "observation": "features",
        "feature_version": FEATURE_VERSION,
        "made_by": "qwop-finetune",
        "finetune": {
            "config": to_plain(run),
            "clone_sha256": clone_sha256,
            "demos_sha256": demonstrations.sha256 if demonstrations else "",
        },
    }


def _resumed_metrics(run: Run, resumed: Checkpoint) -> RolloutMetrics:
    with explained(str(run.resume)):
        state = resumed.metadata["finetune"]["tally"]
        check_kinds(state, RolloutMetrics())
        metrics = RolloutMetrics(**state)
        training_figures(metrics)
    return metrics


def _logged_there(run: Run) -> bool:
    """Whether the logs in run.log_directory are of the resumed training, not of one to be replaced."""
    assert run.resume is not None
    kept = run.resume.resolve().parent == run.log_directory.resolve()
    return kept or _same_file(run.out, run.resume) or not run.out.exists()


def _beside(run: Run, path: Path) -> Path:
    """A file of that name beside the checkpoint that is resumed: a folder may have moved as a whole."""
    assert run.resume is not None
    return run.resume.parent / path.name


def _sha256(path: Path) -> str:
    """Of a file's content; empty where there is none, or something else such as a pipe."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    except OSError:
        return ""


def _same_file(path: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and path.samefile(other)
