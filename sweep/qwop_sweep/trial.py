"""One trial: train its seeds to each rung, evaluate them there, and keep what is done."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import qwop_bc
import qwop_finetune
from qwop_cli import json_text, write_whole
from qwop_datasets import Episode
from qwop_evaluation import evaluate, summary_json
from qwop_sweep.settings import Judging, Sweep

RECORD_SECONDS = 45.53
"""The human record over 100 m, s: a run of this time scores 100."""


@dataclass(frozen=True)
class Rung:
    """A trial at one of its budgets."""

    index: int
    """Number of the rung, from 0."""
    value: float
    """The metric, mean over the seeds."""


def score(episode: Episode, upright: float) -> float:
    """Compute the score of an episode: close to that of the benchmark's 100 m, times the upright share.

    A finish is worth 50, plus 50 times the record's time divided by the episode's. Everything else is worth
    half its meters; the benchmark subtracts those of random keys. So a runner that scrapes along on a knee
    scores near 0, however far it gets.

    Args:
        episode: the episode.
        upright: share of its frames in which the runner is upright.
    """
    if episode.success:
        return upright * (50.0 + 50.0 * RECORD_SECONDS / episode.time)
    return upright * 0.5 * min(max(episode.distance, 0.0), 100.0)


def rungs(
    sweep: Sweep, folder: Path, name: str, settings: Mapping[str, Any], first: int = 0
) -> Generator[Rung]:
    """Train a trial from rung to rung, and yield its metric at each.

    What is done already is read from `folder`: trainings go on from their checkpoints, with the same bits.

    Args:
        sweep: the sweep.
        folder: folder of the trial: seed-0.safetensors, seed-0.json and the logs seed-0/ for each seed.
        name: name of the trial, for Weights & Biases.
        settings: flag, without its hyphens, to value.
        first: rung to begin with.

    Yields:
        Each rung, once all seeds are there.

    Raises:
        CommandError, CheckpointError, DatasetError, TrainingError: a training failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, sweep.rungs):
        values: list[float] = []
        for seed in range(sweep.seeds):
            kept = folder / f"seed-{seed}.json"
            figures = read_figures(kept)
            while len(figures) <= index:
                out = folder / f"seed-{seed}.safetensors"
                with _tracked_as(name, seed):
                    _train(sweep, settings, seed, out, sweep.budgets[len(figures)])
                figures.append(judge(out, sweep.judging))
                text = json_text(figures, indent=1) + "\n"
                write_whole(kept, lambda path, text=text: cast("None", path.write_text(text, "utf-8")))
            values.append(value_of(figures[index], sweep))
        yield Rung(index, fmean(values))


def read_figures(path: Path) -> list[dict[str, Any]]:
    """Return the figures of a training at each rung so far."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def judge(checkpoint: Path, judging: Judging) -> dict[str, Any]:
    """Evaluate a checkpoint under protocol P. Returns the figures of `qwop-eval --json` and the score."""
    done = evaluate(
        checkpoint,
        episodes=judging.episodes,
        seed=judging.seed,
        max_seconds=judging.max_seconds,
        sample=judging.sample,
    )
    scores = [score(e, gait.upright) for e, gait in zip(done.episodes, done.summary.gaits, strict=True)]
    return {"score": fmean(scores), **summary_json(done.summary)}


def value_of(figures: Mapping[str, Any], sweep: Sweep) -> float:
    """Return the metric; the time limit where no run finished and the metric is a time."""
    value = figures[sweep.metric]
    return float(sweep.judging.max_seconds if value is None else value)


def _train(sweep: Sweep, settings: Mapping[str, Any], seed: int, out: Path, budget: int) -> None:
    """Train one seed up to a budget, from its checkpoint if there is one."""
    more = ["--seed", str(seed), "--out", str(out)]
    if sweep.command == "qwop-bc":
        options = sweep.parse(settings, more)
        assert isinstance(options, qwop_bc.Options)
        pauses = options.method == "bc"
        if pauses:  # its length is the budget of the rung: nothing else depends on it
            options = dataclasses.replace(options, config=dataclasses.replace(options.config, epochs=budget))
        given: dict[str, Any] = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
        given |= {"resume": pauses and out.exists(), "force": not pauses}
        qwop_bc.clone(**given)
        return
    if out.exists():
        config = qwop_finetune.resume_config(out)
    else:
        config = cast("qwop_finetune.FinetuneConfig", sweep.parse(settings, more))
    qwop_finetune.finetune(config, pause_at=budget)


@contextlib.contextmanager
def _tracked_as(name: str, seed: int) -> Generator[None]:
    """Let Weights & Biases show all parts of a training as one run, in a group with the sweep's others."""
    group, _, trial = name.rpartition("/")
    wanted = {
        "WANDB_RUN_ID": f"{group}-{trial}-{seed}",
        "WANDB_RESUME": "allow",
        "WANDB_RUN_GROUP": group,
        "WANDB_NAME": f"{group} {trial} seed {seed}",
    }
    before = {variable: os.environ.get(variable) for variable in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        if "wandb" in sys.modules:  # it reads the variables once
            cast("Any", sys.modules["wandb"]).teardown()
        for variable, value in before.items():
            os.environ.pop(variable, None)
            if value is not None:
                os.environ[variable] = value
