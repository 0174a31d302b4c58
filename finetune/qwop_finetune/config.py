"""Settings of a fine-tuning run. The docstrings of the fields are the text of `qwop-finetune --help`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_type_hints

import tyro

from qwop_game import DEFAULT_TRIG, PolicySpec, Trig
from qwop_rl_core import TrainingError, check_kinds, default_log_directory
from qwop_rl_core.dqn import DQNConfig
from qwop_rl_core.expert_iteration import ExpertIterationConfig
from qwop_rl_core.ppo import PPOConfig
from qwop_rl_core.pqn import PQNConfig

Algorithm = Literal["ppo", "dqn", "ddqn", "pqn", "expert-iteration"]
DemoOrder = Literal["any", "backward"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


class OnResume(Enum):
    """Rule for a setting when a stored training is resumed. Settings without a rule may change."""

    FIXED = auto()
    SAME_CONTENT = auto()


Value = TypeVar("Value")
Fixed = Annotated[Value, OnResume.FIXED]
"""A setting that must keep its value on resume."""
SameContent = Annotated[Value, OnResume.SAME_CONTENT]
"""A file that may have moved on resume, but must have the same content."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """Settings of the environment that the learner trains in.

    Raises:
        TrainingError: a value is out of range, or two settings exclude each other.
    """

    reward: Fixed[str] = "stride"
    """Reward by name, or a sum such as stride+0.5*alternation; docs/guides/finetuning.md lists the terms."""
    reward_option: Fixed[tyro.conf.UseAppendAction[tuple[str, ...]]] = ()
    """Option of the reward, NAME=VALUE, such as power=1.6."""
    demo_starts: Fixed[float] = 0.0
    """Share of the episodes that start at a state of the demonstrations."""
    demo_order: Fixed[DemoOrder] = "any"
    """Which states --demo-starts takes. any: all alike. backward: at first those near the end of the
    demonstrations, then ever earlier ones as the runner succeeds."""
    drills: Fixed[float] = 0.0
    """Share of the episodes that are drills: short episodes that start at states that the runner was in."""
    drill_meters: Fixed[float] = 20.0
    """Length of a drill."""
    drill_falls: Fixed[float] = 0.0
    """Share of the drills that start 1.3 to 2.7 s before a fall of the runner."""
    frame_skip: Fixed[int | None] = None
    """Frames per decision; without it that of the checkpoint, else 4."""
    action_set: Fixed[str | None] = None
    """Action set; without it that of the checkpoint, else distinct."""
    disturb: Fixed[bool] = True
    """Train under protocol P's disturbances: 0 to 29 idle frames at the start, 2 % repeated decisions."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    max_seconds: Fixed[float] = 120.0
    """Truncate episodes after so many seconds of play."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_seconds) and self.max_seconds > 0.0):
            raise TrainingError(f"max_seconds is {self.max_seconds}, expected a number above 0")
        if not 0.0 <= self.demo_starts <= 1.0:
            raise TrainingError(f"demo_starts is {self.demo_starts}, expected a share between 0 and 1")
        if self.demo_order == "backward" and self.demo_starts == 0.0:
            raise TrainingError("demo_order is backward, but demo_starts is 0: add --demo-starts 0.9")
        if self.demo_starts > 0.0 and self.drills > 0.0:
            raise TrainingError("drills and demo_starts both choose where episodes start: use one of them")
        try:
            self._filled_in(PolicySpec())
        except ValueError as error:
            raise TrainingError(str(error)) from None

    @property
    def policy_spec(self) -> PolicySpec:
        """How a policy plays here; where nothing is given, as `PolicySpec()` says."""
        return self._filled_in(PolicySpec())

    def with_policy(self, spec: PolicySpec) -> EnvironmentConfig:
        """Return the same settings, with frame skip and action set of a policy where none are given."""
        filled_in = self._filled_in(spec)
        return dataclasses.replace(self, frame_skip=filled_in.frame_skip, action_set=filled_in.action_set)

    def _filled_in(self, spec: PolicySpec) -> PolicySpec:
        return PolicySpec(
            spec.action_set if self.action_set is None else self.action_set,
            spec.frame_skip if self.frame_skip is None else self.frame_skip,
        )


@dataclass(frozen=True)
class DQNSettings(DQNConfig):
    """`DQNConfig`, whose Double DQN is chosen by --algorithm here."""

    double: tyro.conf.Suppress[bool] = True


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of a fine-tuning run.

    Use one of its kinds: `PPOFinetuneConfig`, `ExpertFinetuneConfig`, `DQNFinetuneConfig` or
    `PQNFinetuneConfig`.

    Raises:
        TrainingError: a value is out of range.
    """

    out: Path = Path("runner.safetensors")
    """Checkpoint to write. It plays, and --resume continues from it."""
    init: SameContent[Path | None] = None
    """Checkpoint to start from, such as a clone; without it training starts from a new network."""
    resume: Path | None = None
    """Continue the training that this checkpoint stores; other flags replace its settings."""
    algorithm: Fixed[Algorithm] = "ppo"
    """ppo, expert-iteration, dqn, ddqn (Double DQN) or pqn; each has its own flags below."""
    demos: SameContent[Path | None] = None
    """Dataset of demonstrations: for the anchors below and to measure forgetting."""
    demos_where: Fixed[str] = ""
    """Filter for its episodes, such as "success knee_share<0.02"; all without it."""
    environment: tyro.conf.OmitArgPrefixes[EnvironmentConfig] = field(default_factory=EnvironmentConfig)
    change_frame_skip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let --frame-skip differ from that of the checkpoint."""
    hidden: Fixed[tuple[int, ...]] = (256, 256)
    """Sizes of the hidden layers of a new network."""
    fresh_critic: tyro.conf.FlagCreatePairsOff[bool] = False
    """PPO and expert iteration: start with a new value network, for a checkpoint that was trained on another
    reward."""
    on_collapse: Literal["rollback", "stop", "ignore"] = "rollback"
    """What to do when the gait of a runner that started from a checkpoint collapses. rollback: return to the
    last checkpoint and halve the learning rate, up to 3 times, then stop. stop: stop at once. ignore:
    continue."""
    collapse_margin: float = 0.2
    """A gait has collapsed when its share of upright postures is that much below the best report's, or its
    share of knees near the track that much above."""
    report_every: int = 50_000
    """Environment steps between two reports of gait, finishes and forgetting."""
    checkpoint_every: int = 250_000
    """Environment steps between two writes of --out."""
    keep_checkpoints: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep every checkpoint as well, in the folder of the logs."""
    save_replay: tyro.conf.FlagCreatePairsOff[bool] = False
    """DQN: store the replay buffer in checkpoints; without it a resumed training fills a new one."""
    minutes: float = 0.0
    """Stop after so many minutes even if steps are left; 0: never."""
    logdir: Path | None = None
    """TensorBoard's folder; without it the name of --out without its suffix, or with -logs if it has none."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log to Weights & Biases as well."""
    track_project: str = "qwop-stride"
    """Project on Weights & Biases."""
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace --out if it exists."""
    learner: PPOConfig | ExpertIterationConfig | DQNConfig | PQNConfig = field(kw_only=True)
    """Settings of the learning algorithm."""

    def __post_init__(self) -> None:
        for name in ("report_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}, expected 1 or more")
        for name in ("collapse_margin", "minutes"):
            if not getattr(self, name) >= 0.0:
                raise TrainingError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(f"hidden is {self.hidden}, expected one or more sizes of 1 or more")

    @property
    def log_directory(self) -> Path:
        """Folder of the logs and kept checkpoints."""
        return self.logdir if self.logdir is not None else default_log_directory(self.out)


@dataclass(frozen=True)
class PPOFinetuneConfig(FinetuneConfig):
    """Train a runner with PPO, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: add --help after them to see which apply.
    """

    learner: tyro.conf.OmitArgPrefixes[PPOConfig] = field(default_factory=PPOConfig)


@dataclass(frozen=True)
class ExpertFinetuneConfig(FinetuneConfig):
    """Train a runner with expert iteration, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: add --help after them to see which apply.
    """

    algorithm: Fixed[Algorithm] = "expert-iteration"
    learner: tyro.conf.OmitArgPrefixes[ExpertIterationConfig] = field(default_factory=ExpertIterationConfig)


@dataclass(frozen=True)
class DQNFinetuneConfig(FinetuneConfig):
    """Train a runner with DQN or Double DQN, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: add --help after them to see which apply.
    """

    algorithm: Fixed[Algorithm] = "ddqn"
    learner: tyro.conf.OmitArgPrefixes[DQNSettings] = field(default_factory=DQNSettings)


@dataclass(frozen=True)
class PQNFinetuneConfig(FinetuneConfig):
    """Train a runner with PQN, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: add --help after them to see which apply.
    """

    algorithm: Fixed[Algorithm] = "pqn"
    learner: tyro.conf.OmitArgPrefixes[PQNConfig] = field(default_factory=PQNConfig)


# A clone, unlike a new network, stays near itself for a while, explores little, and keeps the observation
# statistics that it was cloned with. Measured (docs/experiments/knee-scraping.md): without the KL anchor the
# runner is a second slower. With that anchor, a warm-up of the critic alone changes nothing.
PPO_FROM_CLONE = PPOConfig(
    total_steps=4_000_000,
    learning_rate=5e-4,
    gamma=0.995,
    entropy_coef=0.002,
    reference_kl_coef=0.1,
    reference_kl_half_life=1_500_000.0,
    update_normalizer=False,
)
EXPERT_FROM_CLONE = ExpertIterationConfig(
    learning_rate=3e-4, critic_warmup_steps=50_000, update_normalizer=False
)
# Many games and few gradient steps: one gradient step costs as much as 50 environment steps.
DQN_FROM_NOTHING = DQNSettings(
    num_envs=128,
    n_step=10,
    learning_rate=2e-4,
    gamma=0.99,
    steps_per_update=64,
    learning_starts=5_000,
    margin_coef=2.0,
)
# A policy that already runs needs little exploration: a run has 700 decisions, and even one random decision
# in a hundred makes it fall. Measurements: docs/experiments/dqn.md.
LITTLE_EXPLORATION = {"total_steps": 300_000, "exploration_start": 0.01, "exploration_end": 0.002}
# More and smaller gradient steps than from nothing: otherwise values change so quickly until the end that the
# policy finishes less often than the clone it started from.
DQN_FROM_CLONE = {
    "total_steps": 1_000_000,
    "steps_per_update": 16,
    "batch_size": 512,
    "learning_rate": 1.25e-4,
    "update_normalizer": False,
}
PQN_FROM_NOTHING = PQNConfig(learning_rate=3e-4, q_lambda=0.9)
# The KL divergence from the clone keeps the values' errors from changing its actions.
PQN_FROM_CLONE = {
    "total_steps": 500_000,
    "reference_kl_coef": 0.1,
    "update_normalizer": False,
    "margin_coef": 0.0,
}
DQN_PRETRAINING_OF_CLONES, DQN_PRETRAINING_FROM_NOTHING = 1_500, 6_000
PQN_PRETRAINING_OF_CLONES, PQN_PRETRAINING_FROM_NOTHING = 500, 2_000


def defaults(algorithm: str, from_checkpoint: bool, with_demonstrations: bool) -> FinetuneConfig:
    """Return the default settings.

    Args:
        algorithm: "ppo", "expert-iteration", "dqn", "ddqn" or "pqn".
        from_checkpoint: whether training starts from a checkpoint (`init`).
        with_demonstrations: whether there are demonstrations (`demos`).

    Returns:
        Settings without `init` and `demos`.
    """
    if algorithm == "ppo":
        return PPOFinetuneConfig(learner=PPO_FROM_CLONE) if from_checkpoint else PPOFinetuneConfig()
    if algorithm == "expert-iteration":
        return ExpertFinetuneConfig(learner=EXPERT_FROM_CLONE) if from_checkpoint else ExpertFinetuneConfig()
    if algorithm == "pqn":
        return PQNFinetuneConfig(learner=_pqn_defaults(from_checkpoint, with_demonstrations))
    learner = DQN_FROM_NOTHING
    if from_checkpoint or with_demonstrations:
        learner = dataclasses.replace(learner, **LITTLE_EXPLORATION)
    if from_checkpoint:
        learner = dataclasses.replace(learner, **DQN_FROM_CLONE)
    if with_demonstrations:
        updates = DQN_PRETRAINING_OF_CLONES if from_checkpoint else DQN_PRETRAINING_FROM_NOTHING
        learner = dataclasses.replace(learner, pretrain_updates=updates)
    return DQNFinetuneConfig(algorithm=algorithm, learner=learner)  # pyright: ignore[reportArgumentType]


def _pqn_defaults(from_checkpoint: bool, with_demonstrations: bool) -> PQNConfig:
    learner = PQN_FROM_NOTHING
    if from_checkpoint or with_demonstrations:
        learner = dataclasses.replace(learner, **LITTLE_EXPLORATION)
    if from_checkpoint:
        learner = dataclasses.replace(learner, **PQN_FROM_CLONE)
    if with_demonstrations:
        updates = PQN_PRETRAINING_OF_CLONES if from_checkpoint else PQN_PRETRAINING_FROM_NOTHING
        learner = dataclasses.replace(learner, pretrain_updates=updates)
    return learner


def to_plain(config: FinetuneConfig) -> dict[str, Any]:
    """Return settings as plain data for JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, tuple):
            return list(cast("tuple[Any, ...]", value))
        if isinstance(value, dict):
            return {k: plain(v) for k, v in cast("dict[str, Any]", value).items()}
        return value

    return plain(dataclasses.asdict(config))


def from_plain(plain: dict[str, Any]) -> FinetuneConfig:
    """Return the settings that `to_plain` made plain data of.

    Args:
        plain: the data. Earlier releases stored the environment's settings among the others.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: the data is something else.
        TrainingError: a value is out of range.
    """
    values = dict(plain)
    if "environment" not in values:
        moved = {f.name for f in dataclasses.fields(EnvironmentConfig)} & values.keys()
        values["environment"] = {name: values.pop(name) for name in moved}
    kinds = {"ppo": PPOFinetuneConfig, "dqn": DQNFinetuneConfig, "ddqn": DQNFinetuneConfig}
    kinds |= {"pqn": PQNFinetuneConfig, "expert-iteration": ExpertFinetuneConfig}
    default = kinds[values["algorithm"]]()
    for name in ("environment", "learner"):
        values[name] = _typed(values[name], getattr(default, name))
    return _typed(values, default)


def _typed(values: dict[str, Any], example: Any) -> Any:
    """Return a config of the type of `example`, with the paths and tuples that are text and lists in JSON."""
    check_kinds(values, example)
    kind: type[Any] = example.__class__
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str) and Path in (hints[name], *get_args(hints[name])):
            value = Path(value)
        found[name] = tuple(cast("list[Any]", value)) if isinstance(value, list) else value
    return kind(**found)
