"""Settings of a fine-tuning: the dataclasses whose docstrings are `qwop-finetune --help`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from qwop_game import DEFAULT_TRIG, Trig
from qwop_rl_core import TrainingError, check_kinds, default_log_directory
from qwop_rl_core.dqn import DQNConfig
from qwop_rl_core.ppo import PPOConfig

Algorithm = Literal["ppo", "dqn", "ddqn"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)


@dataclass(frozen=True)
class DQNSettings(DQNConfig):
    """`DQNConfig`, whose Double DQN is chosen by --algorithm here."""

    double: tyro.conf.Suppress[bool] = True


@dataclass(frozen=True)
class FinetuneConfig:
    """What is trained, from what, in what. The learner's own settings stand in `learner`."""

    out: Path = Path("runner.safetensors")
    """Checkpoint to write: it plays, and --resume goes on from it."""
    init: Path | None = None
    """Checkpoint to start from, such as a clone; without one a network starts from nothing."""
    resume: Path | None = None
    """Go on with the training that this checkpoint stores; flags given beside it replace its settings."""
    algorithm: Algorithm = "ppo"
    """ppo, dqn, or ddqn (Double DQN); each has its own flags below."""
    reward: str = "stride"
    """Reward by name, or a sum such as stride+0.5*alternation; qwop-rewards lists them."""
    reward_option: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Option of the reward, NAME=VALUE, such as power=1.6."""
    demos: Path | None = None
    """Dataset of demonstrations: for the anchors below and for the forgetting meter."""
    demos_where: str = ""
    """Which of its episodes, such as "success knee_share<0.02"; all without it."""
    demo_starts: float = 0.0
    """Share of the episodes that start at a state of the demonstrations."""
    drills: float = 0.0
    """Share of the episodes that are drills: they start where the runner itself has been and are short."""
    drill_meters: float = 20.0
    """How far a drill goes."""
    drill_falls: float = 0.0
    """Share of the drills that start 1.3 to 2.7 s before a fall of the runner."""
    frame_skip: int | None = None
    """Frames that one decision lasts; without it that of the checkpoint, else 4."""
    change_frame_skip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Let --frame-skip differ from that of the checkpoint."""
    action_set: str | None = None
    """Action set; without it that of the checkpoint, else distinct."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the hidden layers of a network that starts from nothing."""
    fresh_critic: tyro.conf.FlagCreatePairsOff[bool] = False
    """PPO: start with a new value network, for a checkpoint that was trained on another reward."""
    disturb: bool = True
    """Train under protocol P's disturbances: 0 to 29 idle frames at the start, 2 % repeated decisions."""
    trig: Trig = DEFAULT_TRIG
    """Sine and cosine of the game: those of the browser whose game it equals bit for bit."""
    max_seconds: float = 120.0
    """Episodes are cut short after so many seconds of play."""
    on_collapse: Literal["rollback", "stop", "ignore"] = "rollback"
    """When the gait of a runner that started from a checkpoint collapses: go back to the last checkpoint and
    halve the learning rate, up to 3 times, then stop; stop at once; or go on."""
    collapse_margin: float = 0.2
    """A gait has collapsed when its share of upright postures is that much below the best report's, or that
    of knees near the track that much above."""
    report_every: int = 50_000
    """Environment steps between two reports: gait, finishes, forgetting."""
    checkpoint_every: int = 250_000
    """Environment steps between two writings of --out."""
    keep_checkpoints: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep every checkpoint too, in the folder of the logs."""
    save_replay: tyro.conf.FlagCreatePairsOff[bool] = False
    """DQN: store the replay buffer in checkpoints; without it a resumed training fills a new one."""
    minutes: float = 0.0
    """Stop after so many minutes even if there are steps left; 0: never."""
    logdir: Path | None = None
    """TensorBoard's folder; without it the name of --out without its suffix, or with -logs if it has none."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log to Weights & Biases as well."""
    track_project: str = "qwop-stride"
    """Its project."""
    force: tyro.conf.FlagCreatePairsOff[bool] = False
    """Replace --out if it exists."""

    def __post_init__(self) -> None:
        for name in ("report_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        for name in ("collapse_margin", "minutes"):
            if not getattr(self, name) >= 0.0:
                raise TrainingError(f"{name} is {getattr(self, name)}; it cannot be negative")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(f"hidden is {self.hidden}; sizes of 1 or more are needed")

    @property
    def log_directory(self) -> Path:
        """Where logs and kept checkpoints go."""
        return self.logdir if self.logdir is not None else default_log_directory(self.out)


@dataclass(frozen=True)
class PPORun(FinetuneConfig):
    """Train a runner with PPO, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: put --help behind them to see which hold.
    """

    learner: tyro.conf.OmitArgPrefixes[PPOConfig] = field(default_factory=PPOConfig)


@dataclass(frozen=True)
class DQNRun(FinetuneConfig):
    """Train a runner with DQN or Double DQN, from a clone (--init) or from nothing.

    Flags and defaults depend on --algorithm, --init and --resume: put --help behind them to see which hold.
    """

    learner: tyro.conf.OmitArgPrefixes[DQNSettings] = field(default_factory=DQNSettings)


Run = PPORun | DQNRun

# What a clone asks for and a network from nothing does not: a while near the clone, little exploration, and
# the observation statistics that it was cloned with. Measured (docs/experiments/knee-scraping.md): without
# the KL anchor the runner gets a second slower. Beside that anchor, a critic that learns alone at first
# changes nothing.
PPO_FROM_CLONE = PPOConfig(
    total_steps=4_000_000,
    learning_rate=5e-4,
    gamma=0.995,
    entropy_coef=0.002,
    reference_kl_coef=0.1,
    reference_kl_half_life=1_500_000,
    update_normalizer=False,
)
# Many games and few gradient steps, of which each costs as much as 50 steps played.
DQN_FROM_NOTHING = DQNSettings(
    num_envs=128,
    n_step=10,
    learning_rate=2e-4,
    gamma=0.99,
    steps_per_update=64,
    learning_starts=5_000,
    margin_coef=2.0,
)
# Whoever can run need not explore: of 700 decisions even one in a hundred by chance costs falls. What these
# settings rest on: docs/experiments/dqn.md.
RUNS_ALREADY = {"total_steps": 300_000, "exploration_start": 0.01, "exploration_end": 0.002}
DQN_PRETRAINING_OF_CLONES, DQN_PRETRAINING_FROM_NOTHING = 1_500, 6_000


def defaults(algorithm: str, from_checkpoint: bool, shown: bool) -> Run:
    """The settings that hold unless told otherwise: they differ with and without --init and --demos."""
    if algorithm == "ppo":
        return PPORun(learner=PPO_FROM_CLONE) if from_checkpoint else PPORun()
    settings = DQN_FROM_NOTHING
    if from_checkpoint or shown:
        settings = dataclasses.replace(settings, **RUNS_ALREADY)
    if from_checkpoint:
        settings = dataclasses.replace(settings, update_normalizer=False)
    if shown:
        updates = DQN_PRETRAINING_OF_CLONES if from_checkpoint else DQN_PRETRAINING_FROM_NOTHING
        settings = dataclasses.replace(settings, pretrain_updates=updates)
    return DQNRun(algorithm=algorithm, learner=settings)  # pyright: ignore[reportArgumentType]


def to_plain(run: Run) -> dict[str, Any]:
    """Settings as JSON can say them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, tuple):
            return list(value)
        return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value

    return plain(dataclasses.asdict(run))


def from_plain(plain: dict[str, Any]) -> Run:
    """The inverse of `to_plain`. Raises LookupError, TypeError, ValueError or TrainingError for others."""
    values = dict(plain)
    learner = PPOConfig() if values["algorithm"] == "ppo" else DQNSettings()
    check_kinds({k: v for k, v in values.items() if k not in ("out", "learner")}, FinetuneConfig())
    check_kinds(values["learner"], learner)
    for name in ("out", "init", "resume", "demos", "logdir"):
        values[name] = None if values[name] is None else Path(values[name])
    for name in ("reward_option", "hidden"):
        values[name] = tuple(values[name])
    if values["algorithm"] == "ppo":
        return PPORun(**{**values, "learner": PPOConfig(**values["learner"])})
    return DQNRun(**{**values, "learner": DQNSettings(**values["learner"])})
