"""What a sweep came to: a ranking, its table, results.json and the best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from qwop_cli import CommandError, json_text, text_table
from qwop_evaluation import evaluate, summary_json
from qwop_rl_core import load_checkpoint, save_checkpoint
from qwop_sweep.records import Record, Records
from qwop_sweep.settings import Sweep
from qwop_sweep.trial import read_figures, value_of

SHOWN = ("finish_rate", "median_time_s", "mean_distance_m", "knee_near", "upright")
"""Figures of the table beside the metric."""


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep with the figures of its trainings."""

    record: Record
    by_seed: tuple[Mapping[str, Any], ...]
    """Of each training, at the last rung that the trial has passed; empty if it has passed none."""

    @property
    def rung(self) -> int:
        """Number of the last rung that it has passed; -1: none."""
        return len(self.record.values) - 1

    @property
    def value(self) -> float:
        """The metric there; NaN if it has passed none."""
        return self.record.values[-1] if self.record.values else math.nan

    def mean(self, name: str) -> float:
        """Return the mean of a figure over the seeds that have it; NaN without."""
        known = [float(f[name]) for f in self.by_seed if f[name] is not None]
        return fmean(known) if known else math.nan


def ranked(sweep: Sweep, records: Records) -> list[Trial]:
    """Return the trials, the best first: those that got farther are better, then the metric decides."""
    trials: list[Trial] = []
    for record in records.all:
        files = [records.trial_folder(record.number) / f"seed-{seed}.json" for seed in range(sweep.seeds)]
        rung = len(record.values) - 1
        trials.append(Trial(record, tuple(read_figures(f)[rung] for f in files) if rung >= 0 else ()))
    return sorted(trials, key=lambda trial: rank(sweep, trial.record))


def rank(sweep: Sweep, record: Record) -> tuple[float, ...]:
    """Return what sorts trials, the best first: how far they got, then the metric, then their number."""
    value = record.values[-1] if record.values else 0.0
    return -len(record.values), -value if sweep.mode == "max" else value, record.number


def table(sweep: Sweep, trials: Sequence[Trial]) -> str:
    """Format the ranking."""
    header = ["trial", "state", "budget", sweep.metric, *(["lowest", "highest"] if sweep.seeds > 1 else [])]
    header += ["finish %", "median s", "meters", "knee %", "upright %", *sweep.space]
    rows: list[list[str]] = []
    for trial in trials:
        values = [value_of(f, sweep) for f in trial.by_seed]
        cells = [str(trial.record.number), trial.record.state]
        cells += [str(sweep.budgets[trial.rung]) if trial.rung >= 0 and sweep.budget else "-"]
        cells += [_number(trial.value, 2)]
        if sweep.seeds > 1:
            cells += [_number(end(values), 2) if values else "-" for end in (min, max)]
        shares = {"finish_rate": 0, "knee_near": 1, "upright": 1}
        for name in SHOWN:
            factor, digits = (100, shares[name]) if name in shares else (1, 1)
            cells.append(_number(factor * trial.mean(name), digits) if trial.by_seed else "-")
        cells += [setting_text(trial.record.settings[flag]) for flag in sweep.space]
        rows.append(cells)
    failures = [t.record for t in trials if t.record.state == "failed"]
    lines = [text_table(header, rows, left=2)]
    lines += [f"trial {record.number} failed: {record.error}" for record in failures[:3]]
    if len(failures) > 3:
        lines.append(f"and {len(failures) - 3} more failed: results.json has the reasons")
    return "\n".join(lines)


def keep_best(sweep: Sweep, records: Records, best: Trial, out: Path, made: Mapping[str, Any]) -> int:
    """Write the best training of the best trial to a checkpoint that says how it was made.

    Args:
        sweep: the sweep.
        records: its trials.
        best: the best trial.
        out: checkpoint to write.
        made: how the sweep was made, for the metadata.

    Returns:
        The seed of the training.

    Raises:
        CommandError, CheckpointError: a checkpoint can't be read or written.
    """
    values = [value_of(figures, sweep) for figures in best.by_seed]
    seed = values.index((max if sweep.mode == "max" else min)(values))
    path = records.trial_folder(best.record.number) / f"seed-{seed}.safetensors"
    tensors, metadata = load_checkpoint(path)
    if "buffer" in metadata.get("training", {}):  # it plays, and goes on, without its replay buffer
        tensors = {name: t for name, t in tensors.items() if not name.startswith("buffer.")}
        metadata["training"]["buffer"] = None
    metadata["sweep"] = {
        **made,
        "trial": best.record.number,
        "seed": seed,
        "settings": best.record.settings,
        "metric": sweep.metric,
        "value": values[seed],
        "value_of_trial": best.value,
        "budget": sweep.budgets[best.rung],
    }
    save_checkpoint(out, tensors, metadata)
    return seed


def drop_replay(folder: Path) -> None:
    """Delete the replay buffers from the checkpoints of a trial that is over: they are large."""
    for path in folder.glob("seed-*.safetensors"):
        tensors, metadata = load_checkpoint(path)
        if any(name.startswith("buffer.") for name in tensors):
            metadata["training"]["buffer"] = None
            kept = {name: t for name, t in tensors.items() if not name.startswith("buffer.")}
            save_checkpoint(path, kept, metadata)


def judge_on_test_seeds(sweep: Sweep, checkpoint: Path) -> dict[str, Any] | None:
    """Evaluate the best checkpoint on the test seeds, which the sweep has not used; None if not wanted."""
    judging = sweep.judging
    if judging.test_episodes == 0:
        return None
    done = evaluate(checkpoint, episodes=judging.test_episodes, seed=0, sample=judging.sample)
    return summary_json(done.summary)


def test_line(sweep: Sweep, test: Mapping[str, Any]) -> str:
    """Format the figures of `judge_on_test_seeds`."""
    time = test["median_time_s"]
    return (
        f"on {test['episodes']} test episodes (seeds from 0 on): finishes {100 * test['finish_rate']:.0f} % "
        f"({100 * test['finish_rate_low']:.0f} to {100 * test['finish_rate_high']:.0f}), "
        f"median {'-' if time is None else f'{time:.2f} s'}, {test['mean_distance_m']:.1f} m, "
        f"knee near {100 * test['knee_near']:.1f} %, upright {100 * test['upright']:.1f} %"
    )


def results_json(
    sweep: Sweep,
    trials: Sequence[Trial],
    made: Mapping[str, Any],
    best_seed: int | None,
    test: Mapping[str, Any] | None,
) -> str:
    """Return everything as JSON."""
    best = trials[0].record.number if best_seed is not None else None
    return json_text(
        {
            "made": made,
            "sweep": sweep.as_plain(),
            "budgets": sweep.budgets,
            "best": {"trial": best, "seed": best_seed, "test": test},
            "trials": [
                {
                    "number": t.record.number,
                    "state": t.record.state,
                    "error": t.record.error,
                    "settings": t.record.settings,
                    "values": t.record.values,
                    "figures_by_seed": t.by_seed,
                }
                for t in trials
            ],
        },
        indent=1,
    )


def check_some_succeeded(trials: Sequence[Trial]) -> None:
    """Raise CommandError if no trial has passed a rung."""
    if trials and all(trial.rung < 0 for trial in trials):
        failed = [t.record for t in trials if t.record.state == "failed"]
        reason = f"; trial {failed[0].number}: {failed[0].error}" if failed else ""
        raise CommandError(f"no trial of {len(trials)} has passed its first budget{reason}")


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def setting_text(value: Any) -> str:
    """Format the value of a setting for a table or a plot."""
    if isinstance(value, list):
        return " ".join(str(v) for v in cast("list[Any]", value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)
