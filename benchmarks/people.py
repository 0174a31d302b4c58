"""The study of people's runs: does imitation cure knee scraping, and does it need people?

    python benchmarks/people.py --runs people.h5 --folder runs/people   # all trainings, then tables and plots
    python benchmarks/people.py --report                                # only tables and plots
    python benchmarks/people.py --runs people.h5 --ray HOST:PORT        # trainings as tasks on a Ray cluster

people.h5 has runs of people, such as `qwop-data convert` makes of public logs (docs/guides/human-runs.md);
those that finished count. The trainings: PPO from nothing, clones of 1, 3, 10 and 38 runs of people and of
as many runs of the policy in demos/, and PPO on the default reward from the clones of 38, with and without
anchors and the knee rule. All are judged under protocol P with sampled actions: the last policy on 100 seeds
(0 to 99), also by argmax; each checkpoint on the way on 40 (1000 to 1039). All seeds of the arms that start
from nothing, clones among them, come before PPO from the clones. What is finished is not repeated.

Results go to docs/experiments/people/, figures alone: no run of a person, and no weights. The tables go into
docs/experiments/people.md.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from studies import (
    COLORS,
    CURVE_SEEDS,
    FIGURES,
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
    figures_of,
    finetuning_command,
    insert_tables,
    read_results,
    results_table,
    run_once,
    steps_text,
    train_all,
    values,
    write_results,
)

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions
from qwop_datasets import DatasetError, DatasetReader, DatasetWriter, Episode, compare_style
from qwop_evaluation import CheckpointPlayer, bootstrap_interval, interquartile_mean, play

PROGRAM = "people"
ROOT = Path(__file__).resolve().parents[1]
DEMOS = ROOT / "demos" / "demos.h5"
DOCUMENT = ROOT / "docs" / "experiments" / "people.md"
PICTURES = ROOT / "docs" / "experiments" / "people"

PLAYERS = {"people": "people", "policy": "the policy"}
DRAWN = ("default", "default-skip-1", "default-rule", "stride-rule")
"""Arms from nothing to draw beside those from a player's clones."""
NOTHING, CLONES, TUNED = "nothing", "clones", "fine-tuned"
COUNTS = (1, 3, 10, 38)
STYLE = {"key segment, frames": "key segments", "stride length, m": "strides", "torso lean, degrees": "lean"}
"""Figures of style to store, and their titles."""
CURVE_POINTS = 5
FRAMES_PER_HOUR = 30 * 3600


def arms_of(counts: Sequence[int], steps: int) -> dict[str, Arm]:
    """Return all arms by name.

    Args:
        counts: numbers of runs to clone. PPO starts from the clones of the most.
        steps: environment steps of each training with PPO.
    """

    def nothing(title: str, flags: str) -> Arm:
        return Arm(title, (NOTHING,), flags, steps)

    arms = {
        "default": nothing("`default`", "--reward default --frame-skip 4"),
        "default-skip-2": nothing("`default`, frame skip 2", "--reward default --frame-skip 2"),
        "default-skip-1": nothing("`default`, frame skip 1", "--reward default --frame-skip 1"),
        "default-rule": nothing("`default`, knee rule", f"--reward default --frame-skip 4 {RULE}"),
        "default-rule-skip-1": nothing(
            "`default`, knee rule, frame skip 1", f"--reward default --frame-skip 1 {RULE}"
        ),
        "stride-rule": nothing("`stride`, knee rule", f"--reward stride --frame-skip 4 {RULE}"),
    }
    for player, name in PLAYERS.items():
        arms[player] = Arm(f"{name}'s runs themselves", (CLONES,))
        for count in sorted(counts):
            clone = f"{player}-{count}"
            groups = (CLONES, TUNED) if count == max(counts) else (CLONES,)
            arms[clone] = Arm(f"clone of {count} of {name}'s runs", groups, clone=clone)
        for anchors, anchor_flags in (("anchors", ""), ("no anchors", f" {NO_ANCHORS}")):
            for rule, rule_flags in (("no rule", ""), ("knee rule", f" {RULE}")):
                arms[f"{player}-{anchors}-{rule}".replace(" ", "-")] = Arm(
                    f"{name}: PPO, {anchors}, {rule}",
                    (TUNED,),
                    f"--reward default{rule_flags}{anchor_flags}",
                    steps,
                    clone=f"{player}-{max(counts)}",
                )
    return arms


def in_two_stages(arms: Mapping[str, Arm]) -> tuple[list[str], list[str]]:
    """Return the names of the arms that need no clone, and those that start from one of these."""
    second = [name for name, arm in arms.items() if arm.clone not in ("", name)]
    return [name for name in arms if name not in second], second


def frame_skip(arm: Arm) -> int:
    """Return the frames per decision: clones and what starts from them have 1."""
    words = arm.flags.split()
    return int(words[words.index("--frame-skip") + 1]) if "--frame-skip" in words else 1


# ---- training ------------------------------------------------------------------------------------------


def task_of(folder: Path, arms: Mapping[str, Arm], name: str, seed: int) -> Task:
    own = folder / name / str(seed)
    return Task(
        name,
        seed,
        arms[name].steps,
        own,
        "clone.safetensors" if arms[name].clone == name else "runner.safetensors",
    )


def finished_runs(path: Path) -> list[Episode]:
    """Return the runs of a dataset that finished. Raises DatasetError if it can't be read."""
    with DatasetReader(path) as reader:
        return [episode for episode in reader if episode.success]


def draw_runs(path: Path, out: Path, count: int, seed: int) -> None:
    """Write `count` finished runs of a dataset to `out`. A seed's larger draws contain its smaller ones."""
    if out.exists():
        return
    runs = finished_runs(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(seed).permutation(len(runs))[:count]
    part = out.with_suffix(".part.h5")
    part.unlink(missing_ok=True)
    DatasetWriter(part).append_all([runs[int(i)] for i in drawn])
    part.rename(out)


def cloning_command(dataset: Path, out: Path, count: int, epochs: int, seed: int) -> list[str]:
    """Return the command of a cloning. Few runs get smaller batches and more epochs: about as many steps."""
    batch, rate = (2048, 0.002) if count > 20 else (512, 0.001) if count > 5 else (128, 0.001)
    epochs *= 1 if count > 5 else 2
    return [
        *("qwop-bc", str(dataset), "--out", str(out), "--frame-skip", "1", "--drop-undetermined"),
        *("--batch-size", str(batch), "--learning-rate", str(rate), "--epochs", str(epochs)),
        *("--seed", str(seed), "--threads", "1"),
    ]


def carry_out(shared: tuple[Mapping[str, Arm], Mapping[str, Path], int], task: Task) -> str:
    """Train, and evaluate the intermediate checkpoints and the last one. Returns a line about it."""
    torch.set_num_threads(1)
    arms, datasets, epochs = shared
    began, arm, folder = time.perf_counter(), arms[task.arm], task.folder
    if task.arm in datasets:
        if not (folder / "final.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            figures = figures_of(finished_runs(datasets[task.arm]))
            (folder / "final.json").write_text(json_text(figures), encoding="utf-8")
        return f"{task.arm}: its runs"
    if arm.clone == task.arm:
        player, count = task.arm.rsplit("-", 1)
        drawn = folder / "runs.h5"
        draw_runs(datasets[player], drawn, int(count), task.seed)
        run_once(cloning_command(drawn, task.out, int(count), epochs, task.seed), task.out)
    else:
        clone = task_of(folder.parents[1], arms, arm.clone, task.seed).out if arm.clone else None
        run_once(finetuning_command(task, arm.flags, clone, CURVE_POINTS), task.out)
        for checkpoint in checkpoints_of(task):
            evaluate(checkpoint, folder / f"{checkpoint.stem}.json", CURVE_SEEDS, sample=True)
    evaluate(task.out, folder / "argmax.json", FINAL_SEEDS)
    figures = evaluate(task.out, folder / "final.json", FINAL_SEEDS, sample=True)
    if TUNED in arm.groups and not (folder / "style.json").exists():
        ratios = style_ratios(task.out, datasets["people"])
        (folder / "style.json").write_text(json_text(ratios), encoding="utf-8")
    shown = ", ".join(f"{name} {figures[name]}" for name in FIGURES[:6])
    return f"{task.arm}, seed {task.seed}, {time.perf_counter() - began:.0f} s: {shown}"


def style_ratios(checkpoint: Path, people: Path) -> dict[str, float | None]:
    """Say how far the finished ones of the final evaluation's runs are from people's: figure -> ratio.

    1: as far as people's runs are from each other (docs/guides/evaluation.md). None: no run finished.
    """
    runs = [run for run in play(CheckpointPlayer(checkpoint), FINAL_SEEDS, sample=True) if run.success]
    if not runs:
        return dict.fromkeys(STYLE)
    distances = {d.figure: d.ratio for d in compare_style(runs, finished_runs(people)).distances}
    return {figure: distances[figure] for figure in STYLE}


# ---- tables and plots ----------------------------------------------------------------------------------


def seconds_of(results: Mapping[str, Any], arm: Arm, name: str, seed: str) -> float:
    """Return the CPU seconds of a training, s, with those of the clone that it started from."""
    own = results[name][seed].get("cpu_seconds", 0.0)
    return own if arm.clone in ("", name) else own + seconds_of(results, arm, arm.clone, seed)


def tables_of(results: Mapping[str, Any], arms: Mapping[str, Arm]) -> dict[str, str]:
    """Format every group's table as Markdown."""
    names = {id(arm): name for name, arm in arms.items()}

    def hours(arm: Arm, seeds: Mapping[str, Any]) -> str:
        return f"{arm.steps * frame_skip(arm) / FRAMES_PER_HOUR:.1f}" if arm.steps else "-"

    def seconds(arm: Arm, seeds: Mapping[str, Any]) -> str:
        spent = [seconds_of(results, arm, names[id(arm)], seed) for seed in seeds]
        return f"{np.mean(spent):.0f}" if any(spent) else "-"

    columns = (
        ("decisions", steps_text),
        ("hours of play", hours),
        ("CPU s", seconds),
        estimated("finish, %", "finish_rate", 100),
        estimated("finish, %, argmax", "finish_rate", 100, evaluation="argmax"),
        estimated("median, s", "median_time_s", 1, 1),
        estimated("meters", "mean_distance_m", 1, 1),
        estimated("knee near, %", "knee_near", 100, 1),
        estimated("knee near, %, argmax", "knee_near", 100, 1, "argmax"),
        estimated("upright, %", "upright", 100, 1),
        estimated("stride, m", "stride_length_m", 1, 2),
        estimated("key changes a second", "key_switches_per_s", 1, 1),
    )
    style = [estimated(f"{title}, ratio", figure, 1, 1, "style") for figure, title in STYLE.items()]
    return {
        NOTHING: results_table(results, arms, NOTHING, columns),
        CLONES: results_table(results, arms, CLONES, columns),
        TUNED: results_table(results, arms, TUNED, columns),
        "style": results_table(results, arms, TUNED, style),
    }


def draw_training(results: Mapping[str, Any], arms: Mapping[str, Arm], player: str, path: Path) -> None:
    """Draw the learning curves from nothing and from the clones of a player, by decisions and by seconds."""
    tuned = [name for name, arm in arms.items() if arm.steps and arm.clone and name.startswith(player)]
    shown = [name for name in (*DRAWN, *tuned) if name in results]
    by_decisions, by_seconds = [], []
    for name in shown:
        arm, seeds = arms[name], results[name]
        start = 0.0
        if arm.clone in results:
            seeds = after_clone(seeds, results[arm.clone])
            start = float(np.mean([results[arm.clone][seed].get("cpu_seconds", 0.0) for seed in seeds]))
        total = float(np.mean([results[name][seed].get("cpu_seconds", 0.0) for seed in seeds]))
        title = ("" if arm.clone else "nothing: ") + arm.title.replace("`", "")
        by_decisions.append(Line(title, seeds))
        by_seconds.append(Line(title, seeds, total / arm.steps, start))
    rows = {"decisions, millions": by_decisions, "CPU seconds, with those of the clone": by_seconds}
    draw_curves(rows, path)


def draw_counts(results: Mapping[str, Any], counts: Sequence[int], path: Path) -> None:
    """Draw finish rate, distance and upright share of the clones by the number of runs."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    panels = {
        "finish_rate": ("finishes, %", 100.0),
        "mean_distance_m": ("meters at the end", 1.0),
        "upright": ("upright, % of frames", 100.0),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(11, 3.4), constrained_layout=True)
    for axis, (name, (title, factor)) in zip(axes, panels.items(), strict=True):
        for color, (player, who) in zip(COLORS, PLAYERS.items(), strict=False):
            known = [count for count in sorted(counts) if f"{player}-{count}" in results]
            scores = [factor * values(results[f"{player}-{count}"], name) for count in known]
            means = [interquartile_mean(s) for s in scores]
            ends = np.array([bootstrap_interval(s) for s in scores]).T
            axis.plot(known, means, color=color, marker=".", label=f"clones of {who}")
            axis.fill_between(known, ends[0], ends[1], color=color, alpha=0.15, linewidth=0)
        axis.set_xscale("log")
        axis.set_xticks(sorted(counts), [str(count) for count in sorted(counts)])
        axis.minorticks_off()
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("runs")
        axis.set_ylim(0, 102)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def report(counts: Sequence[int], steps: int) -> None:
    """Make the tables and plots from the results in docs/experiments/people/."""
    arms, results = arms_of(counts, steps), read_results(PICTURES / "results.json")
    if DOCUMENT.exists():
        text = insert_tables(DOCUMENT.read_text(encoding="utf-8"), tables_of(results, arms))
        DOCUMENT.write_text(text, encoding="utf-8")
    for player in PLAYERS:
        draw_training(results, arms, player, PICTURES / f"{player}.png")
    draw_counts(results, counts, PICTURES / "counts.png")


# ---- the command ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PeopleConfig:
    """The study of docs/experiments/people.md."""

    runs: Path | None = None
    """Dataset with runs of people. Those that finished count."""
    folder: Path = Path("runs/people")
    """Folder of the trainings. Finished ones are not repeated."""
    seeds: Annotated[tuple[int, ...], tyro.conf.arg(metavar="SEED...")] = (0, 1, 2, 3, 4)
    """Seeds of the trainings of each arm."""
    counts: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N...")] = COUNTS
    """Numbers of runs to clone. PPO starts from the clones of the most."""
    steps: int = 750_000
    """Environment steps of each training with PPO."""
    epochs: int = 60
    """Maximum number of epochs of each clone."""
    cluster: tyro.conf.OmitArgPrefixes[ClusterOptions] = field(default_factory=ClusterOptions)
    report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only make the tables and plots again, from the stored results."""
    no_report: tyro.conf.FlagCreatePairsOff[bool] = False
    """Only train and evaluate."""

    def __post_init__(self) -> None:
        for flag, given in (("--seeds", self.seeds), ("--counts", self.counts)):
            if not given:
                raise CommandError(f"{flag}: expected one or more")
        if min(self.seeds) < 0:
            raise CommandError(f"--seeds {min(self.seeds)}: expected 0 or more")
        limits = (("--counts", min(self.counts)), ("--steps", self.steps), ("--epochs", self.epochs))
        for flag, number in limits:
            if number < 1:
                raise CommandError(f"{flag} {number}: expected 1 or more")
        if self.runs is None and not self.report:
            raise CommandError("--runs is missing: name a dataset with runs of people, or use --report")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(PROGRAM, lambda: study(parse_config(PROGRAM, PeopleConfig, arguments)))


def study(config: PeopleConfig) -> None:
    if not config.report:
        assert config.runs is not None
        check_outputs({}, {"--folder": config.folder}, {"--runs": config.runs})
        datasets = {"people": config.runs.resolve(), "policy": DEMOS}
        if (found := len(finished_runs(config.runs))) < max(config.counts):
            raise DatasetError(
                f"{config.runs} has {found} finished runs, --counts needs {max(config.counts)}"
            )
        folder, arms = config.folder.resolve(), arms_of(config.counts, config.steps)
        job = {
            "counts": config.counts,
            "steps": config.steps,
            "epochs": config.epochs,
            "runs_sha256": hashlib.sha256(config.runs.read_bytes()).hexdigest(),
        }
        for stage in in_two_stages(arms):
            work = [
                task_of(folder, arms, name, seed)
                for seed in config.seeds
                for name in stage
                if name not in datasets or seed == config.seeds[0]  # the runs are the same for every seed
            ]
            names = [f"{task.arm}-{task.seed}" for task in work]
            train_all(carry_out, (arms, datasets, config.epochs), work, names, config.cluster, job)
        if config.no_report:
            return
        seeds = {name: sorted(int(path.name) for path in (folder / name).glob("[0-9]*")) for name in arms}
        tasks = [task_of(folder, arms, name, seed) for name in arms for seed in seeds[name]]
        write_results(PICTURES / "results.json", collect(tasks))
    report(config.counts, config.steps)


if __name__ == "__main__":
    raise SystemExit(main())
