"""What the studies of arms x seeds share: trainings that are not repeated, evaluations, tables and curves.

An arm is one way of training. Each of its trainings is a command of this project with a seed of its own. What
a training and its evaluations left in its folder is not made again, so a study may be stopped at any time.
knee_scraping.py and people.py are the studies.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_cli import CommandError, json_text
from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_datasets import Episode, write_compact_dataset
from qwop_evaluation import (
    CheckpointPlayer,
    Player,
    bootstrap_interval,
    interquartile_mean,
    play,
    summarize,
    summary_json,
)
from qwop_stride.run import MODULES

EXPERT = Path(__file__).with_name("expert.safetensors")
"""The policy that DAgger asks, and whose runs the tier `expert` holds. It was the shipped one until November
2026, and stays the same here, so that results can be compared."""

FINAL_SEEDS, CURVE_SEEDS = range(100), range(1000, 1040)
FIGURES = (
    "finish_rate",
    "median_time_s",
    "best_time_s",
    "mean_distance_m",
    "knee_near",
    "upright",
    "pelvis_height_m",
    "stride_length_m",
    "cadence_steps_per_minute",
    "key_switches_per_s",
    "mean_speed_m_per_s",
)
"""Figures to store of an evaluation: those of qwop-eval, and all meters divided by all seconds."""

RULE = "--reward-option knee_seconds=0.25"
NO_ANCHORS = "--critic-warmup-steps 0 --reference-kl-coef 0 --update-normalizer --on-collapse ignore"


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
    clone: str = ""
    """Name of the clone that it starts from; empty: from nothing."""


@dataclass(frozen=True)
class Task:
    """One training of one arm, and its files."""

    arm: str
    seed: int
    steps: int
    folder: Path
    file: str = "runner.safetensors"

    @property
    def out(self) -> Path:
        return self.folder / self.file


# ---- training ------------------------------------------------------------------------------------------


def finetuning_command(task: Task, flags: str, clone: Path | None, points: int) -> list[str]:
    """Return the command of a training, as a user would type it.

    Args:
        task: the training.
        flags: the arm's own flags.
        clone: checkpoint to start from; None: start from nothing.
        points: number of checkpoints to keep.
    """
    every = str(max(1, task.steps // points))
    command = ["qwop-finetune", "--out", str(task.out), *shlex.split(flags)]
    if clone is not None:
        command += ["--init", str(clone)]
    command += ["--total-steps", str(task.steps), "--seed", str(task.seed), "--max-seconds", "200"]
    return [*command, "--threads", "1", "--keep-checkpoints", "--checkpoint-every", every]


def run_once(command: Sequence[str], out: Path) -> None:
    """Run a command of this project unless it has already succeeded; resume an interrupted one.

    `out` gets neighbors: a log, `.cpu` for `cpu_seconds`, and at the end `.done`, with the command.

    Raises:
        CommandError: it failed.
    """
    done, clock = out.with_suffix(".done"), out.with_suffix(".cpu")
    if done.exists():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [command[0], "--resume", str(out)] if out.exists() else list(command)
    if out.exists() and command[0] == "qwop-bc":
        words = [*command, "--resume"]
    code = f"import sys; from {MODULES[words[0]]} import main; sys.argv[0] = {words[0]!r}; sys.exit(main())"
    before = os.times()
    with out.with_suffix(".log").open("a", encoding="utf-8") as log:
        status = subprocess.run([sys.executable, "-c", code, *words[1:]], stdout=log, stderr=log).returncode
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    with clock.open("a", encoding="utf-8") as lines:
        lines.write(f"{spent:.2f}\n")
    if status:
        raise CommandError(
            f"{shlex.join(words)} ended with exit code {status}: see {out.with_suffix('.log')}"
        )
    done.write_text(shlex.join(command) + "\n", encoding="utf-8")


def kept_results(folder: Path | None, job: Mapping[str, Any]) -> KeptResults[Any] | None:
    """Return the results that --tasks keeps, plain data in JSON files; None without the flag."""

    def save(path: Path, result: Any) -> None:
        path.write_text(json_text(result) + "\n", encoding="utf-8")

    def load(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    return None if folder is None else KeptResults(folder, job, save, load)


def train_all(
    function: Callable[[Any, Any], str],
    shared: Any,
    work: Sequence[Any],
    names: Sequence[str],
    cluster: ClusterOptions,
    job: Mapping[str, Any],
    workers: int = 1,
) -> None:
    """Do the trainings of a study as tasks, and print the line that each returns.

    Args:
        function: trains and evaluates. What it leaves in the study's folder makes a second call short.
        shared: what all trainings need.
        work: what one training needs, beside it.
        names: names of the trainings.
        cluster: where they run. On a cluster, all nodes have to see the study's folder.
        job: plain data that determines the results.
        workers: trainings that run side by side without Ray.
    """
    kept = kept_results(cluster.tasks, job)
    for _, line in map_tasks(
        function, shared, work, options=cluster, kept=kept, names=names, workers=workers, unit="training"
    ):
        print(line, flush=True)


def cpu_seconds(out: Path) -> float | None:
    """Return the CPU seconds of the command that made `out`, with all its resumptions; None if unknown.

    What a process took that was killed together with the study is not in it.
    """
    clock = out.with_suffix(".cpu")
    return sum(map(float, clock.read_text(encoding="utf-8").split())) if clock.exists() else None


def checkpoints_of(task: Task) -> list[Path]:
    """Return the kept checkpoints of a training without the last one, which is `task.out`."""
    return sorted((task.folder / task.out.stem).glob("[0-9]*"))[:-1]


# ---- evaluation ----------------------------------------------------------------------------------------


def evaluate(
    player: Path | Player, out: Path, seeds: Sequence[int], run: Path | None = None, sample: bool = False
) -> dict[str, Any]:
    """Evaluate a player under protocol P, or read the figures from `out` if it exists.

    Args:
        player: the player, or its checkpoint.
        out: JSON file of the figures.
        seeds: one per episode.
        run: file for the median run by outcome.
        sample: draw actions; otherwise take the most likely one.
    """
    if out.exists():
        return json.loads(out.read_text(encoding="utf-8"))
    episodes = play(CheckpointPlayer(player) if isinstance(player, Path) else player, seeds, sample)
    out.parent.mkdir(parents=True, exist_ok=True)
    if run is not None:
        run.unlink(missing_ok=True)
        write_compact_dataset(run, [middle_run(episodes)])
    out.write_text(json_text(figures_of(episodes)), encoding="utf-8")
    return json.loads(out.read_text(encoding="utf-8"))


def figures_of(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Compute FIGURES of episodes."""
    figures = summary_json(summarize(episodes))
    figures["mean_speed_m_per_s"] = sum(e.distance for e in episodes) / sum(e.time for e in episodes)
    return {name: figures[name] for name in FIGURES}


def middle_run(episodes: Sequence[Episode]) -> Episode:
    """Return the median episode. The order: falls by distance, then finishes from slow to fast."""
    ordered = sorted(episodes, key=lambda e: (e.success, -e.time if e.success else e.distance))
    return ordered[len(ordered) // 2]


def collect(tasks: Iterable[Task]) -> dict[str, Any]:
    """Collect all stored figures: arm -> seed -> {"final": figures, "curve": [[steps, figures], ...]}.

    "argmax" and "style" are there as well where argmax.json and style.json are, and "cpu_seconds" where they
    are known. Trainings without a last evaluation are omitted.
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
        training: dict[str, Any] = {
            "final": curve[-1][1],
            "curve": [[steps, figures] for steps, figures in sorted(curve, key=lambda point: point[0])],
        }
        for more in ("argmax", "style"):
            if (file := task.folder / f"{more}.json").exists():
                training[more] = json.loads(file.read_text(encoding="utf-8"))
        if (seconds := cpu_seconds(task.out)) is not None:
            training["cpu_seconds"] = seconds
        results.setdefault(task.arm, {})[str(task.seed)] = training
    return results


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write what `collect` returns, one line per training."""
    lines = ",\n".join(
        f"{json.dumps(arm)}: {{\n"
        + ",\n".join(
            f"{json.dumps(seed)}: {json_text(rounded(training))}" for seed, training in seeds.items()
        )
        + "}"
        for arm, seeds in results.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"arms": {{\n{lines}\n}}}}\n', encoding="utf-8")


def read_results(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["arms"]


def rounded(value: Any) -> Any:
    """Round the floats in nested data to five digits."""
    if isinstance(value, dict):
        return {name: rounded(v) for name, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


# ---- tables --------------------------------------------------------------------------------------------


def values(seeds: Mapping[str, Any], figure: str, evaluation: str = "final") -> NDArray[np.float64]:
    """Return a figure of each training's last evaluation, if it has it: no finish, no time."""
    found = [training[evaluation][figure] for training in seeds.values() if evaluation in training]
    return np.array([value for value in found if value is not None], np.float64)


def estimate(scores: NDArray[np.float64], factor: float = 1.0, digits: int = 0) -> str:
    """Format an interquartile mean over trainings and its 95 % bootstrap interval: "95 (92 to 98)".

    One training has no interval.
    """
    if not len(scores):
        return "-"
    mean, (low, high) = interquartile_mean(scores), bootstrap_interval(scores)
    if len(scores) == 1:
        return f"{factor * mean:.{digits}f}"
    return f"{factor * mean:.{digits}f} ({factor * low:.{digits}f} to {factor * high:.{digits}f})"


Column = tuple[str, Callable[[Arm, Mapping[str, Any]], str]]
"""Title of a column, and its cell of an arm with its trainings by seed."""


def estimated(
    title: str, figure: str, factor: float = 1.0, digits: int = 0, evaluation: str = "final"
) -> Column:
    """Return the column of a figure's estimate. It says of how many trainings, if some lack the figure."""

    def cell(arm: Arm, seeds: Mapping[str, Any]) -> str:
        scores = values(seeds, figure, evaluation)
        some = f", {len(scores)} of {len(seeds)}" if 0 < len(scores) < len(seeds) else ""
        return estimate(scores, factor, digits) + some

    return title, cell


def steps_text(arm: Arm, seeds: Mapping[str, Any]) -> str:
    steps = {training["curve"][-1][0] for training in seeds.values()}
    return " and ".join(f"{s / 1e6:g} M" if s else "-" for s in sorted(steps))


def results_table(
    results: Mapping[str, Any], arms: Mapping[str, Arm], group: str, columns: Sequence[Column]
) -> str:
    """Format a group's arms as a Markdown table."""
    header = ["", "trainings", *(title for title, _ in columns)]
    rows = [header, ["---"] * len(header)]
    for name, arm in arms.items():
        if group in arm.groups and name in results:
            seeds = results[name]
            rows.append([arm.title, str(len(seeds)), *(cell(arm, seeds) for _, cell in columns)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def table_mark(group: str) -> str:
    """Return the line of a page after which a table belongs."""
    return f"<!-- table: {group} -->\n"


def insert_tables(text: str, tables: Mapping[str, str]) -> str:
    """Insert each table between its marks, `<!-- table: GROUP -->` and `<!-- end -->`."""
    for group, table in tables.items():
        before, mark, rest = text.partition(table_mark(group))
        if mark:
            text = before + mark + table + "\n" + rest[rest.index("<!-- end -->") :]
    return text


# ---- curves --------------------------------------------------------------------------------------------


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


def after_clone(seeds: Mapping[str, Any], clones: Mapping[str, Any]) -> dict[str, Any]:
    """Return trainings whose curves begin with the clones that they started from; others are omitted."""
    return {
        seed: {**training, "curve": [[0, clones[seed]["final"]], *training["curve"]]}
        for seed, training in seeds.items()
        if seed in clones
    }


COLORS = ("#0072b2", "#d55e00", "#e69f00", "#009e73", "#56b4e9", "#cc79a7", "#555555", "#000000")
PANELS = {
    "finish_rate": ("finishes, %", 100.0),
    "knee_near": ("a knee near the track, % of frames", 100.0),
    "mean_speed_m_per_s": ("speed, m/s", 1.0),
}


@dataclass(frozen=True)
class Line:
    """A line of a plot: an arm's trainings. A step's place on the x axis is offset + scale x steps."""

    title: str
    seeds: Mapping[str, Any]
    scale: float = 1e-6
    offset: float = 0.0


def draw_curves(
    rows: Mapping[str, Sequence[Line]],
    path: Path,
    panels: Mapping[str, tuple[str, float]] = PANELS,
    whole_axes: bool = True,
) -> None:
    """Draw learning curves: one panel per figure, one row per x axis.

    Args:
        rows: label of the x axis -> lines. All rows have the same lines.
        path: picture to write.
        panels: figure -> its title and factor.
        whole_axes: the y axes begin at 0, and those of shares end at 100 %. Otherwise only that of knee_near
            begins at 0.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    size = (11, 0.5 + 3.1 * len(rows))
    figure, grid = plt.subplots(len(rows), len(panels), figsize=size, constrained_layout=True, squeeze=False)
    for axes, (label, lines) in zip(grid, rows.items(), strict=True):
        for axis, (name, (title, factor)) in zip(axes, panels.items(), strict=True):
            for i, line in enumerate(lines):
                color, dashes = COLORS[i % len(COLORS)], "--" if i >= len(COLORS) else "-"
                steps, mean, low, high = curve(line.seeds, name)
                x = line.offset + line.scale * steps
                axis.plot(x, factor * mean, color=color, label=line.title, marker=".", linestyle=dashes)
                axis.fill_between(x, factor * low, factor * high, color=color, alpha=0.15, linewidth=0)
            axis.set_title(title, fontsize=10, loc="left")
            axis.set_xlabel(label)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_xlim(left=0)
            if whole_axes:
                axis.set_ylim(bottom=0, top=102 if factor == 100.0 else None)
            elif name == "knee_near":
                axis.set_ylim(bottom=0, top=max(5.0, axis.get_ylim()[1]))
    handles, labels = grid[0][0].get_legend_handles_labels()
    columns = min(4, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)
