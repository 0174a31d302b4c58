"""The study of knee scraping: which trainings give runners that scrape, and which give runners that stride.

    python benchmarks/knee_scraping.py --folder runs/knee-scraping   # all trainings, then tables and pictures
    python benchmarks/knee_scraping.py --report                      # only tables and pictures

Every arm is a training with this project's commands (`qwop-bc`, `qwop-finetune`) and some seeds. Only the
baseline, Stable-Baselines3's PPO, is called from here. Each intermediate checkpoint plays 40 episodes of
protocol P (seeds 1000 to 1039), the last one 100 (seeds 0 to 99), argmax. Finished trainings and evaluations
are not repeated. So the command may be stopped at any time, and called again with more arms, seeds or jobs.

Results go to docs/experiments/knee-scraping/: results.json, pictures and films, and runs.h5 with one run of
some arms: the median episode by outcome of seed 0's last evaluation. The tables go into
docs/experiments/knee-scraping.md.
"""

from __future__ import annotations

import json
import math
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_datasets import DatasetReader, Episode, write_compact_dataset
from qwop_evaluation import (
    CheckpointPlayer,
    Player,
    bootstrap_interval,
    interquartile_mean,
    play,
    summarize,
    summary_json,
)
from qwop_rl_core.devices import Precision
from qwop_stride.run import CLONING, MODULES

PROGRAM = "knee_scraping"
ROOT = Path(__file__).resolve().parents[1]
DEMOS = ROOT / "demos" / "demos.h5"
DOCUMENT = ROOT / "docs" / "experiments" / "knee-scraping.md"
PICTURES = ROOT / "docs" / "experiments" / "knee-scraping"

FINAL_SEEDS, CURVE_SEEDS = range(100), range(1000, 1040)
CURVE_POINTS = 6
FIGURES = (
    "finish_rate",
    "median_time_s",
    "best_time_s",
    "mean_distance_m",
    "knee_near",
    "upright",
    "pelvis_height_m",
    "key_switches_per_s",
    "mean_speed_m_per_s",
)
"""Figures to store of an evaluation: those of qwop-eval, and all meters divided by all seconds."""

NOTHING, CLONE, DEFAULT_AGAIN, ANCHORS = "nothing", "clone", "default again", "anchors"
RULE = "--reward-option knee_seconds=0.25"
MAIN_REWARD = f"--reward stride --reward-option power=1.6 --reward-option fall_cost=10 {RULE}"
WARM_UP = "--critic-warmup-steps 150000"
BARE = "--critic-warmup-steps 0 --reference-kl-coef 0 --update-normalizer --on-collapse ignore"


@dataclass(frozen=True)
class Arm:
    """One way of training."""

    title: str
    groups: tuple[str, ...]
    """Tables and plots that show it."""
    flags: str = ""
    """Of qwop-finetune."""
    steps: int = 0
    """Environment steps; 0: the clone without training."""
    learner: str = "qwop-finetune"
    """Or "sb3"."""

    @property
    def from_clone(self) -> bool:
        return NOTHING not in self.groups


def from_nothing(title: str, reward: str, learner: str = "qwop-finetune") -> Arm:
    return Arm(title, (NOTHING,), f"--reward {reward}", FROM_NOTHING, learner)


def from_clone(title: str, group: str, flags: str) -> Arm:
    return Arm(title, (group,), flags, FROM_CLONE)


FROM_NOTHING, FROM_CLONE, DQN = 1_500_000, 1_000_000, 300_000

ARMS: dict[str, Arm] = {
    "default": from_nothing("`default`", "default"),
    "torso-0.7": from_nothing("`torso`, threshold 0.7 m", "torso --reward-option torso_threshold=0.7"),
    "torso-0.9": from_nothing("`torso`, threshold 0.9 m", "torso --reward-option torso_threshold=0.9"),
    "torso-1.1": from_nothing("`torso`, threshold 1.1 m", "torso --reward-option torso_threshold=1.1"),
    "stride": from_nothing("`stride`, knee rule", f"stride {RULE}"),
    "stride-no-rule": from_nothing("`stride`, no knee rule", "stride --reward-option knee_seconds=none"),
    "default-rule": from_nothing("`default`, knee rule", f"default {RULE}"),
    "sb3": from_nothing("`stride`, knee rule; Stable-Baselines3", f"stride {RULE}", "sb3"),
    "clone": Arm("clone alone", (CLONE, DEFAULT_AGAIN, ANCHORS)),
    "anchored": Arm("then PPO, anchored", (CLONE, ANCHORS), f"{MAIN_REWARD} {WARM_UP}", FROM_CLONE),
    "bare": Arm("then PPO, no anchors", (CLONE, ANCHORS), f"{MAIN_REWARD} {BARE}", FROM_CLONE),
    "dqn": Arm("then DQN", (CLONE,), f"--algorithm dqn {MAIN_REWARD}", DQN),
    "ddqn": Arm("then Double DQN", (CLONE,), f"--algorithm ddqn {MAIN_REWARD}", DQN),
    "anchored-default": from_clone(
        "PPO on `default`, anchored", DEFAULT_AGAIN, f"--reward default {WARM_UP}"
    ),
    "bare-default": from_clone("PPO on `default`, no anchors", DEFAULT_AGAIN, f"--reward default {BARE}"),
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


@dataclass(frozen=True)
class Task:
    """One training of one arm, and its files."""

    arm: str
    seed: int
    steps: int
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / ("model.zip" if ARMS[self.arm].learner == "sb3" else "runner.safetensors")


def task_of(folder: Path, arm: str, seed: int, steps: int | None) -> Task:
    """Make a task. steps: replaces the arm's own steps, except for 0."""
    own = ARMS[arm].steps
    return Task(arm, seed, (steps or own) if own else 0, folder / arm / str(seed))


# ---- training ------------------------------------------------------------------------------------------


def clone_of(folder: Path, seed: int) -> Path:
    return folder / "clones" / f"{seed}.safetensors"


def training_command(task: Task, clone: Path | None, precision: str) -> list[str]:
    """Return the command of a training, as a user would type it.

    clone: checkpoint to start from; None: start from nothing.
    """
    arm = ARMS[task.arm]
    every = str(max(1, task.steps // CURVE_POINTS))
    command = ["qwop-finetune", "--out", str(task.out), *shlex.split(arm.flags)]
    if clone is not None:
        command += ["--init", str(clone), "--demos", str(DEMOS)]
    command += ["--total-steps", str(task.steps), "--seed", str(task.seed), "--max-seconds", "200"]
    command += ["--threads", "1", "--keep-checkpoints", "--checkpoint-every", every]
    if "--algorithm" not in arm.flags:
        command += ["--precision", precision]
    return command


def cloning_command(out: Path, seed: int) -> list[str]:
    return ["qwop-bc", str(DEMOS), "--out", str(out), *CLONING.split(), "--epochs", "20", "--seed", str(seed)]


def run_once(command: Sequence[str], out: Path) -> None:
    """Run a command of this project unless it has already succeeded; resume an interrupted one.

    Raises SystemExit if it fails.
    """
    done = out.with_suffix(".done")
    if done.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [command[0], "--resume", str(out)] if out.exists() else list(command)
    if out.exists() and command[0] == "qwop-bc":
        words = [*command, "--resume"]
    code = f"import sys; from {MODULES[words[0]]} import main; sys.argv[0] = {words[0]!r}; sys.exit(main())"
    with out.with_suffix(".log").open("a", encoding="utf-8") as log:
        status = subprocess.run([sys.executable, "-c", code, *words[1:]], stdout=log, stderr=log).returncode
    if status:
        raise SystemExit(f"{shlex.join(words)}\nended with exit code {status}: see {out.with_suffix('.log')}")
    done.write_text(shlex.join(command) + "\n", encoding="utf-8")


def carry_out(task: Task, clone: Path | None, precision: str) -> str:
    """Train, and evaluate the intermediate checkpoints and the last one. Returns a line about it."""
    torch.set_num_threads(1)
    arm = ARMS[task.arm]
    if arm.learner == "sb3":
        train_with_sb3(task)
    elif arm.steps:
        run_once(training_command(task, clone, precision), task.out)
    played = clone if not arm.steps else task.out
    assert played is not None
    checkpoints = sorted((task.folder / task.out.stem).glob("[0-9]*"))[:-1]  # the last one is task.out
    for checkpoint in checkpoints:
        evaluate(checkpoint, task.folder / f"{checkpoint.stem}.json", CURVE_SEEDS)
    figures = evaluate(played, task.folder / "final.json", FINAL_SEEDS, task.folder / "run.h5")
    return f"{task.arm}, seed {task.seed}: " + ", ".join(f"{k} {v}" for k, v in figures.items())


# ---- evaluation ----------------------------------------------------------------------------------------


def evaluate(checkpoint: Path, out: Path, seeds: Sequence[int], run: Path | None = None) -> dict[str, Any]:
    """Evaluate a checkpoint under protocol P, or read the figures from `out` if it exists.

    run: file for the median run by outcome.
    """
    if out.exists():
        return json.loads(out.read_text(encoding="utf-8"))
    player: Player = SB3Player(checkpoint) if checkpoint.suffix == ".zip" else CheckpointPlayer(checkpoint)
    episodes = play(player, seeds)
    figures = summary_json(summarize(episodes))
    figures["mean_speed_m_per_s"] = sum(e.distance for e in episodes) / sum(e.time for e in episodes)
    out.parent.mkdir(parents=True, exist_ok=True)
    if run is not None:
        run.unlink(missing_ok=True)
        write_compact_dataset(run, [middle_run(episodes)])
    out.write_text(json_text({name: figures[name] for name in FIGURES}), encoding="utf-8")
    return json.loads(out.read_text(encoding="utf-8"))


def middle_run(episodes: Sequence[Episode]) -> Episode:
    """Return the median episode. The order: falls by distance, then finishes from slow to fast."""
    ordered = sorted(episodes, key=lambda e: (e.success, -e.time if e.success else e.distance))
    return ordered[len(ordered) // 2]


def collect(tasks: Iterable[Task]) -> dict[str, Any]:
    """Collect all stored figures: arm -> seed -> {"final": figures, "curve": [[steps, figures], ...]}.

    Trainings without a last evaluation are omitted.
    """
    results: dict[str, Any] = {}
    for task in tasks:
        final = task.folder / "final.json"
        if not final.exists():
            continue
        curve = [
            (int(f.stem), json.loads(f.read_text(encoding="utf-8"))) for f in task.folder.glob("[0-9]*.json")
        ]
        # The final evaluation counts for the last checkpoint, which may differ from the budget by a rollout.
        curve = [(steps, figures) for steps, figures in curve if steps < 0.99 * task.steps]
        curve.append((task.steps, json.loads(final.read_text(encoding="utf-8"))))
        results.setdefault(task.arm, {})[str(task.seed)] = {
            "final": curve[-1][1],
            "curve": [[steps, figures] for steps, figures in sorted(curve, key=lambda point: point[0])],
        }
    return results


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


# ---- tables and pictures -------------------------------------------------------------------------------


def values(seeds: Mapping[str, Any], figure: str) -> NDArray[np.float64]:
    """Return a figure of each training's last evaluation, if it has it: no finish, no time."""
    found = [training["final"][figure] for training in seeds.values()]
    return np.array([value for value in found if value is not None], np.float64)


def estimate(scores: NDArray[np.float64], factor: float = 1.0, digits: int = 0) -> str:
    """Format an interquartile mean over trainings and its 95 % bootstrap interval: "95 (92 to 98)"."""
    if not len(scores):
        return "-"
    mean, (low, high) = interquartile_mean(scores), bootstrap_interval(scores)
    return f"{factor * mean:.{digits}f} ({factor * low:.{digits}f} to {factor * high:.{digits}f})"


def table(results: Mapping[str, Any], group: str) -> str:
    """Format a group's arms as a Markdown table."""
    header = [
        "",
        "trainings",
        "steps",
        "finish, %",
        "median, s",
        "meters",
        "m/s",
        "knee near, %",
        "upright, %",
    ]
    rows = [header, ["---"] * len(header)]
    for name, arm in ARMS.items():
        if group not in arm.groups or name not in results:
            continue
        seeds = results[name]
        steps = {training["curve"][-1][0] for training in seeds.values()}
        times = values(seeds, "median_time_s")
        median = estimate(times, 1, 1)
        if 0 < len(times) < len(seeds):
            median += f", {len(times)} of {len(seeds)}"
        rows.append(
            [
                arm.title,
                str(len(seeds)),
                " and ".join(f"{s / 1e6:g} M" if s else "-" for s in sorted(steps)),
                estimate(values(seeds, "finish_rate"), 100),
                median,
                estimate(values(seeds, "mean_distance_m"), 1, 1),
                estimate(values(seeds, "mean_speed_m_per_s"), 1, 2),
                estimate(values(seeds, "knee_near"), 100, 1),
                estimate(values(seeds, "upright"), 100, 1),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def with_tables(text: str, results: Mapping[str, Any]) -> str:
    """Insert every group's table between its marks, `<!-- table: GROUP -->` and `<!-- end -->`."""
    for group in (NOTHING, CLONE, DEFAULT_AGAIN, ANCHORS):
        before, mark, rest = text.partition(f"<!-- table: {group} -->\n")
        if mark:
            after = rest[rest.index("<!-- end -->") :]
            text = before + mark + table(results, group) + "\n" + after
    return text


def curve(seeds: Mapping[str, Any], figure: str) -> tuple[NDArray[np.float64], ...]:
    """Return steps, interquartile mean, and low and high end of its interval, at the steps of all trainings.

    Checkpoints are written after whole rollouts, so trainings of one arm have them at the same steps.
    """
    points = [{steps: figures[figure] for steps, figures in t["curve"]} for t in seeds.values()]
    shared = sorted(set.intersection(*(set(p) for p in points)))
    scores = [np.array([p[steps] for p in points], np.float64) for steps in shared]
    ends = [bootstrap_interval(s, resamples=500) for s in scores]
    return (
        np.array(shared, np.float64),
        np.array([interquartile_mean(s) for s in scores]),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
    )


COLORS = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#56b4e9", "#cc79a7", "#555555", "#000000")
PANELS = {
    "finish_rate": ("finishes, %", 100.0),
    "knee_near": ("a knee near the track, % of frames", 100.0),
    "mean_speed_m_per_s": ("speed, m/s", 1.0),
}


def draw_curves(results: Mapping[str, Any], group: str, path: Path, origin: str | None = None) -> None:
    """Draw the learning curves of a group, one panel per figure. origin: the arm that all start from."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    arms = [name for name, arm in ARMS.items() if group in arm.groups and arm.steps and name in results]
    if not any(ARMS[name].groups == (group,) for name in arms):  # another plot shows all of them
        return
    figure, axes = plt.subplots(1, len(PANELS), figsize=(11, 3.6), constrained_layout=True)
    for axis, (name, (label, factor)) in zip(axes, PANELS.items(), strict=True):
        for color, arm in zip(COLORS, arms, strict=False):
            seeds = results[arm]
            if origin is not None and origin in results:
                first = {s: [0, results[origin][s]["final"]] for s in seeds if s in results[origin]}
                seeds = {s: {"curve": [first[s], *seeds[s]["curve"]]} for s in first}
            steps, mean, low, high = curve(seeds, name)
            title = ARMS[arm].title.replace("`", "")
            axis.plot(steps / 1e6, factor * mean, color=color, label=title, marker=".", linewidth=1.5)
            axis.fill_between(steps / 1e6, factor * low, factor * high, color=color, alpha=0.15, linewidth=0)
        axis.set_title(label, fontsize=10, loc="left")
        axis.set_xlabel("environment steps, millions")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xlim(left=0)
        if origin is None:
            axis.set_ylim(bottom=0, top=102 if factor == 100.0 else None)
        elif name == "knee_near":
            axis.set_ylim(bottom=0, top=max(5.0, axis.get_ylim()[1]))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, len(arms)), frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=90)
    plt.close(figure)


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
    results = json.loads((PICTURES / "results.json").read_text(encoding="utf-8"))["arms"]
    if DOCUMENT.exists():
        DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")
    draw_curves(results, NOTHING, PICTURES / "from-nothing.png")
    draw_curves(results, CLONE, PICTURES / "from-clone.png", origin="clone")
    draw_curves(results, DEFAULT_AGAIN, PICTURES / "default-again.png", origin="clone")
    draw_curves(results, ANCHORS, PICTURES / "anchors.png", origin="clone")
    with DatasetReader(PICTURES / "runs.h5") as runs:
        for episode in runs:
            arm = episode.provenance["arm"]
            if arm in FILMED:
                draw_run(episode, PICTURES / f"{arm}.png", PICTURES / f"{arm}.gif")


def store(tasks: Sequence[Task]) -> None:
    """Store the report's data of all trainings in a folder, including earlier ones, in PICTURES."""
    results = collect(tasks)
    PICTURES.mkdir(exist_ok=True)
    lines = ",\n".join(
        f"{json.dumps(arm)}: {{\n"
        + ",\n".join(
            f"{json.dumps(seed)}: {json_text(rounded(training))}" for seed, training in seeds.items()
        )
        + "}"
        for arm, seeds in results.items()
    )
    (PICTURES / "results.json").write_text(f'{{"arms": {{\n{lines}\n}}}}\n', encoding="utf-8")
    films = []
    for task in tasks:
        if task.seed == 0 and task.arm in FILMED and (task.folder / "run.h5").exists():
            with DatasetReader(task.folder / "run.h5") as reader:
                episode = reader[0]
            films.append(episode.replace(provenance={**episode.provenance, "arm": task.arm}, player=task.arm))
    (PICTURES / "runs.h5").unlink(missing_ok=True)
    write_compact_dataset(PICTURES / "runs.h5", films)


def rounded(value: Any) -> Any:
    """Round the floats in nested data to five digits."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


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
    """Trainings that run side by side."""
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
        for seed in sorted({t.seed for t in tasks if ARMS[t.arm].from_clone}):
            out = clone_of(folder, seed)
            run_once(cloning_command(out, seed), out)
        clones = [clone_of(folder, t.seed) if ARMS[t.arm].from_clone else None for t in tasks]
        work = [(task, clone, config.precision) for task, clone in zip(tasks, clones, strict=True)]
        if config.jobs > 1:
            with ProcessPoolExecutor(config.jobs) as pool:
                for line in pool.map(carry_out, *zip(*work, strict=True)):
                    print(line, flush=True)
        else:
            for one in work:
                print(carry_out(*one), flush=True)
        if config.no_report:
            return
        seeds = {name: sorted(int(path.name) for path in (folder / name).glob("[0-9]*")) for name in ARMS}
        store([task_of(folder, name, seed, config.steps) for name in ARMS for seed in seeds[name]])
    report()


if __name__ == "__main__":
    raise SystemExit(main())
