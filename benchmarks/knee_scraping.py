"""The study of knee scraping: which trainings give runners that scrape, and which give runners that stride.

    python benchmarks/knee_scraping.py --folder runs/knee-scraping   # all trainings, then tables and pictures
    python benchmarks/knee_scraping.py --report                      # only tables and pictures
    python benchmarks/knee_scraping.py --ray HOST:PORT               # trainings as tasks on a Ray cluster

Every arm is a training with this project's commands (`qwop-bc`, `qwop-finetune`) and some seeds. Only the
baseline, Stable-Baselines3's PPO, is called from here. Each intermediate checkpoint plays 40 episodes of
protocol P (seeds 1000 to 1039), the last one 100 (seeds 0 to 99), argmax. Finished trainings and evaluations
are not repeated. So the command may be stopped at any time, and called again with more arms, seeds or jobs.

Results go to docs/experiments/knee-scraping/: results.json, pictures and films, and runs.h5 with one run of
some arms: the median episode by outcome of seed 0's last evaluation. The tables go into
docs/experiments/knee-scraping.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from studies import (
    CURVE_SEEDS,
    FINAL_SEEDS,
    NO_ANCHORS,
    RULE,
    Arm,
    Line,
    Task,
    after_clone,
    checkpoints_of,
    collect,
    draw_curves,
    estimated,
    evaluate,
    finetuning_command,
    insert_tables,
    read_results,
    results_table,
    run_once,
    steps_text,
    train_all,
    write_results,
)

from qwop_cli import CommandError, check_outputs, parse_config, run_command
from qwop_cli.cluster import ClusterOptions
from qwop_datasets import DatasetReader, Episode, write_compact_dataset
from qwop_rl_core.devices import Precision
from qwop_stride.run import CLONING

PROGRAM = "knee_scraping"
ROOT = Path(__file__).resolve().parents[1]
DEMOS = ROOT / "demos" / "demos.h5"
DOCUMENT = ROOT / "docs" / "experiments" / "knee-scraping.md"
PICTURES = ROOT / "docs" / "experiments" / "knee-scraping"

NOTHING, CLONE, DEFAULT_AGAIN, ANCHORS = "nothing", "clone", "default again", "anchors"
MAIN_REWARD = f"--reward stride --reward-option power=1.6 --reward-option fall_cost=10 {RULE}"
WARM_UP = "--critic-warmup-steps 150000"
CURVE_POINTS = 6
COLUMNS = (
    ("steps", steps_text),
    estimated("finish, %", "finish_rate", 100),
    estimated("median, s", "median_time_s", 1, 1),
    estimated("meters", "mean_distance_m", 1, 1),
    estimated("m/s", "mean_speed_m_per_s", 1, 2),
    estimated("knee near, %", "knee_near", 100, 1),
    estimated("upright, %", "upright", 100, 1),
)


def from_nothing(title: str, reward: str, learner: str = "qwop-finetune") -> Arm:
    return Arm(title, (NOTHING,), f"--reward {reward}", FROM_NOTHING, learner)


def from_clone(title: str, group: str, flags: str) -> Arm:
    return Arm(title, (group,), flags, FROM_CLONE, clone="clone")


FROM_NOTHING, FROM_CLONE, DQN = 1_500_000, 1_000_000, 300_000
FEW_UPDATES = "--steps-per-update 64 --batch-size 256 --learning-rate 2e-4"
"""Settings of DQN with which the study was made; qwop-finetune has better ones now."""

ARMS: dict[str, Arm] = {
    "default": from_nothing("`default`", "default"),
    "torso-0.7": from_nothing("`torso`, threshold 0.7 m", "torso --reward-option torso_threshold=0.7"),
    "torso-0.9": from_nothing("`torso`, threshold 0.9 m", "torso --reward-option torso_threshold=0.9"),
    "torso-1.1": from_nothing("`torso`, threshold 1.1 m", "torso --reward-option torso_threshold=1.1"),
    "stride": from_nothing("`stride`, knee rule", f"stride {RULE}"),
    "stride-no-rule": from_nothing("`stride`, no knee rule", "stride --reward-option knee_seconds=none"),
    "default-rule": from_nothing("`default`, knee rule", f"default {RULE}"),
    "sb3": from_nothing("`stride`, knee rule; Stable-Baselines3", f"stride {RULE}", "sb3"),
    "clone": Arm("clone alone", (CLONE, DEFAULT_AGAIN, ANCHORS), clone="clone"),
    "anchored": Arm(
        "then PPO, anchored", (CLONE, ANCHORS), f"{MAIN_REWARD} {WARM_UP}", FROM_CLONE, clone="clone"
    ),
    "bare": Arm(
        "then PPO, no anchors", (CLONE, ANCHORS), f"{MAIN_REWARD} {NO_ANCHORS}", FROM_CLONE, clone="clone"
    ),
    "dqn": Arm("then DQN", (CLONE,), f"--algorithm dqn {MAIN_REWARD} {FEW_UPDATES}", DQN, clone="clone"),
    "ddqn": Arm(
        "then Double DQN", (CLONE,), f"--algorithm ddqn {MAIN_REWARD} {FEW_UPDATES}", DQN, clone="clone"
    ),
    "anchored-default": from_clone(
        "PPO on `default`, anchored", DEFAULT_AGAIN, f"--reward default {WARM_UP}"
    ),
    "bare-default": from_clone(
        "PPO on `default`, no anchors", DEFAULT_AGAIN, f"--reward default {NO_ANCHORS}"
    ),
    "no-warmup": from_clone("without critic warm-up", ANCHORS, f"{MAIN_REWARD} --critic-warmup-steps 0"),
    "no-kl": from_clone("without KL to the clone", ANCHORS, f"{MAIN_REWARD} {WARM_UP} --reference-kl-coef 0"),
    "moving-normalizer": from_clone(
        "normalizer moving", ANCHORS, f"{MAIN_REWARD} {WARM_UP} --update-normalizer"
    ),
    "dapg": from_clone(
        "with demonstrations in the loss", ANCHORS, f"{MAIN_REWARD} {WARM_UP} --demo-coef 0.1"
    ),
    "demo-starts": from_clone(
        "with demonstrated starts", ANCHORS, f"{MAIN_REWARD} {WARM_UP} --demo-starts 0.4"
    ),
}


def task_of(folder: Path, arm: str, seed: int, steps: int | None) -> Task:
    """Make a task. steps: replaces the arm's own steps, except for 0."""
    own = ARMS[arm].steps
    file = "model.zip" if ARMS[arm].learner == "sb3" else "runner.safetensors"
    return Task(arm, seed, (steps or own) if own else 0, folder / arm / str(seed), file)


# ---- training ------------------------------------------------------------------------------------------


def clone_of(folder: Path, seed: int) -> Path:
    return folder / "clones" / f"{seed}.safetensors"


def training_command(task: Task, clone: Path | None, precision: str) -> list[str]:
    """Return the command of a training. clone: checkpoint to start from; None: start from nothing."""
    flags = ARMS[task.arm].flags
    command = finetuning_command(task, flags, clone, CURVE_POINTS)
    if clone is not None:
        command += ["--demos", str(DEMOS)]
    return command if "--algorithm" in flags else [*command, "--precision", precision]


def cloning_command(out: Path, seed: int) -> list[str]:
    return ["qwop-bc", str(DEMOS), "--out", str(out), *CLONING.split(), "--epochs", "20", "--seed", str(seed)]


def make_clone(_: None, work: tuple[int, Path]) -> str:
    """Clone the demonstrations. Returns a line about it."""
    seed, out = work
    run_once(cloning_command(out, seed), out)
    return f"clone, seed {seed}: {out}"


def carry_out(precision: str, work: tuple[Task, Path | None]) -> str:
    """Train, and evaluate the intermediate checkpoints and the last one. Returns a line about it."""
    torch.set_num_threads(1)
    task, clone = work
    arm = ARMS[task.arm]
    if arm.learner == "sb3":
        train_with_sb3(task)
    elif arm.steps:
        run_once(training_command(task, clone, precision), task.out)
    played = clone if not arm.steps else task.out
    assert played is not None
    for checkpoint in checkpoints_of(task):
        evaluate(player(checkpoint), task.folder / f"{checkpoint.stem}.json", CURVE_SEEDS)
    figures = evaluate(player(played), task.folder / "final.json", FINAL_SEEDS, task.folder / "run.h5")
    return f"{task.arm}, seed {task.seed}: " + ", ".join(f"{k} {v}" for k, v in figures.items())


# ---- the baseline --------------------------------------------------------------------------------------


def train_with_sb3(task: Task) -> None:
    """Train Stable-Baselines3's PPO on the same games.

    Network size, batch, discount and entropy bonus are those of our `PPOConfig`. All else has the default: no
    observation normalizer, a constant learning rate of 3e-4, advantages normalized per minibatch, policy and
    value gradients clipped together.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import CheckpointCallback

    from qwop_rl_core.ppo import PPOConfig

    if task.out.exists():
        return
    games = sb3_games(ARMS[task.arm].flags, task.seed, PPOConfig().num_envs)
    kept = task.folder / task.out.stem
    every = CheckpointCallback(task.steps // CURVE_POINTS // games.num_envs, str(kept), name_prefix="")
    ours = PPOConfig()
    model = PPO(
        "MlpPolicy",
        games,
        n_steps=ours.rollout_length,
        batch_size=ours.minibatch_size,
        n_epochs=ours.epochs,
        gamma=ours.gamma,
        ent_coef=ours.entropy_coef,
        policy_kwargs={"net_arch": [256, 256]},
        seed=task.seed,
        device="cpu",
    )
    model.learn(task.steps, callback=every)
    for path in kept.glob("*_steps.zip"):  # "_187496_steps.zip"
        path.rename(kept / f"{int(path.stem.split('_')[-2]):010d}.zip")
    model.save(kept / f"{model.num_timesteps:010d}.zip")
    model.save(task.out)


def sb3_games(flags: str, seed: int, num_envs: int) -> Any:
    """Make the training games as a VecEnv of Stable-Baselines3."""
    from stable_baselines3.common.vec_env import VecEnv

    from qwop_finetune import make_environment, parse

    environment = replace(parse(shlex.split(flags)).environment, max_seconds=200.0)
    games = make_environment(environment, num_envs)

    class SB3Games(VecEnv):
        def __init__(self) -> None:
            super().__init__(num_envs, games.single_observation_space, games.single_action_space)

        def reset(self) -> NDArray[np.float32]:
            return games.reset(seed=seed)[0].copy()

        def step_async(self, actions: NDArray[Any]) -> None:
            self.actions = actions

        def step_wait(self) -> Any:
            observations, rewards, terminated, truncated, infos = games.step(self.actions)
            ended = terminated | truncated
            ends: list[dict[str, Any]] = [{} for _ in range(num_envs)]
            for i in np.flatnonzero(ended):
                ends[i]["terminal_observation"] = infos["_final"]["observation"][i]
                ends[i]["TimeLimit.truncated"] = bool(truncated[i])
            return observations.copy(), rewards, ended, ends

        def close(self) -> None:
            games.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(games, attr_name, None)] * num_envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * num_envs

    return SB3Games()


class SB3Player:
    """A model of Stable-Baselines3's PPO as protocol P's `Player`."""

    name, frame_skip, action_set, samples = "sb3", 4, "distinct", True

    def __init__(self, path: Path) -> None:
        from stable_baselines3 import PPO

        self._policy = PPO.load(path, device="cpu").policy

    @torch.inference_mode()
    def scores(self, features: NDArray[np.float32]) -> NDArray[np.floating]:
        distribution: Any = self._policy.get_distribution(torch.as_tensor(features)).distribution
        return distribution.logits.double().numpy()

    def values(self, features: NDArray[np.float32]) -> None:
        """Return None: this player has no critic for looking ahead."""


def player(checkpoint: Path) -> Path | SB3Player:
    return SB3Player(checkpoint) if checkpoint.suffix == ".zip" else checkpoint


# ---- tables and pictures -------------------------------------------------------------------------------


def table(results: Mapping[str, Any], group: str) -> str:
    """Format a group's arms as a Markdown table."""
    return results_table(results, ARMS, group, COLUMNS)


def with_tables(text: str, results: Mapping[str, Any]) -> str:
    """Insert every group's table between its marks."""
    groups = (NOTHING, CLONE, DEFAULT_AGAIN, ANCHORS)
    return insert_tables(text, {group: table(results, group) for group in groups})


def draw_group(results: Mapping[str, Any], group: str, path: Path) -> None:
    """Draw the learning curves of a group, from the clone on where its arms start from one."""
    arms = [name for name, arm in ARMS.items() if group in arm.groups and arm.steps and name in results]
    if not any(ARMS[name].groups == (group,) for name in arms):  # another plot shows all of them
        return
    lines = []
    for name in arms:
        arm, seeds = ARMS[name], results[name]
        if arm.clone in results:
            seeds = after_clone(seeds, results[arm.clone])
        lines.append(Line(arm.title.replace("`", ""), seeds))
    draw_curves({"environment steps, millions": lines}, path, whole_axes=group == NOTHING)


STRIP_MOMENTS, STRIP_FRAMES, FILM_FRAMES = 6, 45, 90
TILE, FILM = (288, 180), (240, 150)  # px


def draw_run(episode: Episode, strip: Path, film: Path) -> None:
    """Draw a filmstrip (PNG) of the middle of a run, and a short film (GIF, real time)."""
    from PIL import Image

    from qwop_game import UNITS_PER_METER
    from qwop_game.render import Dials, Renderer, Runner
    from qwop_replay import ReplayedRun, VideoWriter

    run = ReplayedRun("", episode)

    def picture(renderer: Renderer, frame: int) -> NDArray[np.uint8]:
        raw = run.raw_at(frame)
        dials = Dials(run.keys_at(frame), run.seconds_at(frame), float(raw[0]) / UNITS_PER_METER)
        return renderer.rgb_array([Runner(raw)], dials, run.hurdle_at(frame))

    def beginning(frames: int) -> int:
        """Return the first frame to show: after a quarter of the run; of a short run, the last frames."""
        return run.last_frame // 4 if run.last_frame > 4 * frames else max(0, run.last_frame - frames)

    moments = beginning(STRIP_FRAMES) + np.linspace(0, STRIP_FRAMES, STRIP_MOMENTS)
    renderer = Renderer(*TILE)
    tiles = [picture(renderer, min(round(moment), run.last_frame)) for moment in moments]
    for tile in tiles[1:]:
        tile[:, :3] = 255
    row = np.concatenate(tiles, axis=1)
    Image.fromarray(row).quantize(64).save(strip, optimize=True)
    renderer, first = Renderer(*FILM), beginning(FILM_FRAMES)
    with VideoWriter(film, FILM, force=True) as video:
        for frame in range(first, min(first + FILM_FRAMES, run.last_frame) + 1):
            video.write(picture(renderer, frame))


FILMED = ("default", "torso-1.1", "stride", "anchored")


def report() -> None:
    """Make the tables and pictures from the results in docs/experiments/knee-scraping/."""
    results = read_results(PICTURES / "results.json")
    if DOCUMENT.exists():
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")
    draw_group(results, NOTHING, PICTURES / "from-nothing.png")
    draw_group(results, CLONE, PICTURES / "from-clone.png")
    draw_group(results, DEFAULT_AGAIN, PICTURES / "default-again.png")
    draw_group(results, ANCHORS, PICTURES / "anchors.png")
    with DatasetReader(PICTURES / "runs.h5") as runs:
        for episode in runs:
            arm = episode.provenance["arm"]
            if arm in FILMED:
                draw_run(episode, PICTURES / f"{arm}.png", PICTURES / f"{arm}.gif")


def store(tasks: Sequence[Task]) -> None:
    """Store the report's data of all trainings in a folder, including earlier ones, in PICTURES."""
    write_results(PICTURES / "results.json", collect(tasks))
    films = []
    for task in tasks:
        if task.seed == 0 and task.arm in FILMED and (task.folder / "run.h5").exists():
            with DatasetReader(task.folder / "run.h5") as reader:
                episode = reader[0]
            films.append(episode.replace(provenance={**episode.provenance, "arm": task.arm}, player=task.arm))
    (PICTURES / "runs.h5").unlink(missing_ok=True)
    write_compact_dataset(PICTURES / "runs.h5", films)


# ---- the command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StudyConfig:
    """The study of docs/experiments/knee-scraping.md."""

    folder: Path = Path("runs/knee-scraping")
    """Folder of the trainings. Finished ones are not repeated."""
    arms: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="ARM...", help=f"Arms to train: {', '.join(ARMS)}.")
    ] = tuple(ARMS)
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED...")] = (0, 1, 2)
    """Seeds of the trainings of each arm."""
    steps: int | None = None
    """Environment steps of each training. Without this flag, the arm's own, about a million."""
    precision: Precision = "bfloat16"
    """Precision of the PPO trainings: --precision of qwop-finetune."""
    jobs: int = 1
    """Trainings that run side by side, without --ray."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)
    report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only make the tables and pictures again, from the stored results."""
    no_report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only train and evaluate."""

    def __post_init__(self) -> None:
        for flag, given in (("--arms", self.arms), ("--seeds", self.seeds)):
            if not given:
                raise CommandError(f"{flag}: expected one or more")
        for arm in self.arms:
            if arm not in ARMS:
                raise CommandError(f"--arms {arm}: no such arm; choose from {', '.join(ARMS)}")
        if min(self.seeds) < 0:
            raise CommandError(f"--seeds {min(self.seeds)}: expected 0 or more")
        for flag, count in (("--steps", self.steps), ("--jobs", self.jobs)):
            if count is not None and count < 1:
                raise CommandError(f"{flag} {count}: expected 1 or more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(PROGRAM, lambda: study(parse_config(PROGRAM, StudyConfig, arguments)))


def study(config: StudyConfig) -> None:
    if not config.report:
        check_outputs({}, {"--folder": config.folder})
        folder = config.folder.resolve()
        tasks = [task_of(folder, name, seed, config.steps) for name in config.arms for seed in config.seeds]
        cloned = sorted({t.seed for t in tasks if ARMS[t.arm].clone})
        clones = [clone_of(folder, t.seed) if ARMS[t.arm].clone else None for t in tasks]
        job = {"steps": config.steps, "precision": config.precision}
        names = [f"cloning-{seed}" for seed in cloned]
        outs = [(seed, clone_of(folder, seed)) for seed in cloned]
        train_all(make_clone, None, outs, names, config.cluster, job, config.jobs)
        names = [f"{task.arm}-{task.seed}" for task in tasks]
        work = list(zip(tasks, clones, strict=True))
        train_all(carry_out, config.precision, work, names, config.cluster, job, config.jobs)
        if config.no_report:
            return
        seeds = {name: sorted(int(path.name) for path in (folder / name).glob("[0-9]*")) for name in ARMS}
        store([task_of(folder, name, seed, config.steps) for name in ARMS for seed in seeds[name]])
    report()


if __name__ == "__main__":
    raise SystemExit(main())
