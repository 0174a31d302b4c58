"""Plots of a sweep: metric against budget, all settings in parallel, and which settings matter."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qwop_sweep.records import Record
from qwop_sweep.report import Trial, setting_text
from qwop_sweep.search import study_of
from qwop_sweep.settings import Domain, Range, Sweep

FEWEST_TRIALS = 4
"""Trials without which importances say nothing."""
GREY, RED, BLUE = "#b8bec8", "#c2461f", "#3a86c8"


def write_plots(sweep: Sweep, trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Write budget.png, settings.png, parallel.png and importance.png, as far as there is something to show.

    Args:
        sweep: the sweep.
        trials: its trials, the best first.
        folder: where to write.

    Returns:
        The files. None without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return []
    shown = [trial for trial in trials if trial.rung >= 0]
    if not shown:
        return []
    plots = {"settings.png": _settings(sweep, shown)}
    if sweep.rungs > 1:
        plots["budget.png"] = _budgets(sweep, shown)
    if len(shown) > 1 and len(sweep.space) > 1:
        plots["parallel.png"] = _parallel(sweep, shown)
    if (found := importances(sweep, [trial.record for trial in shown])) is not None:
        plots["importance.png"] = _importance(found, len(shown), sweep)
    for name, figure in plots.items():
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in plots]


def importances(sweep: Sweep, records: Sequence[Record]) -> dict[str, float] | None:
    """Compute how much each setting matters for the metric at the first rung, which all trials have.

    By PED-ANOVA (Watanabe et al. 2023), of Optuna: the share of each setting in what tells the better
    quarter of the trials from all.

    Args:
        sweep: the sweep.
        records: trials that have passed a rung.

    Returns:
        Flag to share, in falling order; None if there are too few trials, or all are equal.
    """
    values = {record.values[0] for record in records}
    if len(records) < FEWEST_TRIALS or len(values) < 2 or len(sweep.space) < 2:
        return None
    optuna: Any = importlib.import_module("optuna")
    at_first = [Record(r.number, r.settings, r.values[:1], "done") for r in records]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an experimental class
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        study = study_of(sweep, at_first)
        try:
            found: dict[str, float] = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError):
            return None
    if not math.isfinite(sum(found.values())):
        return None
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _figure(width: float, height: float) -> Any:
    figure = importlib.import_module("matplotlib.figure").Figure(
        figsize=(width, height), layout="constrained"
    )
    importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _plain_axes(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _budgets(sweep: Sweep, trials: Sequence[Trial]) -> Any:
    figure = _figure(7, 4.2)
    axes = figure.subplots()
    for trial in reversed(trials):
        best = trial is trials[0]
        axes.plot(
            sweep.budgets[: trial.rung + 1],
            trial.record.values,
            marker="o",
            color=RED if best else BLUE if trial.record.state == "done" else GREY,
            linewidth=2.5 if best else 1.2,
            zorder=3 if best else 2,
        )
    for color, name in ((RED, f"best: trial {trials[0].record.number}"), (BLUE, "done"), (GREY, "stopped")):
        axes.plot([], [], color=color, marker="o", label=name)
    axes.set_xscale("log")
    axes.set_xticks(sweep.budgets, [f"{budget:,}" for budget in sweep.budgets])
    axes.minorticks_off()
    axes.set_xlabel("epochs" if sweep.command == "qwop-bc" else "environment steps")
    axes.set_ylabel(sweep.metric)
    axes.legend(frameon=False)
    _plain_axes(axes)
    return figure


def _positions(domain: Domain, values: Sequence[Any]) -> list[float]:
    """Where values of a setting lie between 0 and 1."""
    if isinstance(domain, Range):
        turn = math.log if domain.log else float
        low, high = turn(domain.low), turn(domain.high)
        return [(turn(value) - low) / (high - low) for value in values]
    places = [json.dumps(v) for v in domain.values]
    return [
        places.index(json.dumps(value)) / (len(places) - 1) if len(places) > 1 else 0.5 for value in values
    ]


def _ticks(domain: Domain) -> tuple[list[float], list[str]]:
    if isinstance(domain, Range):
        return [0.0, 1.0], [f"{domain.low:g}", f"{domain.high:g}"]
    names = [setting_text(value) for value in domain.values]
    return _positions(domain, domain.values), names


def _settings(sweep: Sweep, trials: Sequence[Trial]) -> Any:
    """One panel for each setting: the metric at the last rung of each trial against the value."""
    columns = min(3, len(sweep.space))
    rows = -(-len(sweep.space) // columns)
    figure = _figure(3.2 * columns + 0.8, 2.6 * rows)
    panels = np.ravel(figure.subplots(rows, columns, sharey=True, squeeze=False))
    colors = [GREY, BLUE, RED] if sweep.rungs > 2 else [BLUE, RED]
    for axes, (flag, domain) in zip(panels, sweep.space.items(), strict=False):
        x = _positions(domain, [trial.record.settings[flag] for trial in trials])
        for rung in range(sweep.rungs):
            chosen = [i for i, trial in enumerate(trials) if trial.rung == rung]
            color = colors[max(0, len(colors) - sweep.rungs + rung)]
            name = f"{sweep.budgets[rung]:,}" if sweep.budget else "done"
            axes.scatter([x[i] for i in chosen], [trials[i].value for i in chosen], color=color, label=name)
        axes.set_xticks(*_ticks(domain))
        axes.set_xlim(-0.08, 1.08)
        axes.set_xlabel(flag)
        _plain_axes(axes)
    for axes in panels[len(sweep.space) :]:
        axes.set_visible(False)
    for row in range(rows):
        panels[row * columns].set_ylabel(sweep.metric)
    panels[0].legend(frameon=False, fontsize=8, title="budget", title_fontsize=8)
    return figure


def _parallel(sweep: Sweep, trials: Sequence[Trial]) -> Any:
    """A line for each trial, through the values of its settings and its metric."""
    names = [*sweep.space, sweep.metric]
    figure = _figure(1.7 * len(names) + 0.6, 4)
    axes = figure.subplots()
    values = [trial.value for trial in trials]
    low, high = min(values), max(values)
    ends = [(value - low) / (high - low) if high > low else 0.5 for value in values]
    lines = zip(
        *(_positions(d, [t.record.settings[flag] for t in trials]) for flag, d in sweep.space.items()),
        ends,
        strict=True,
    )
    map_name = "viridis" if sweep.mode == "max" else "viridis_r"
    colors = importlib.import_module("matplotlib").colormaps[map_name]
    for line, end, trial in reversed(list(zip(lines, ends, trials, strict=True))):
        best = trial is trials[0]
        axes.plot(range(len(names)), line, color=RED if best else colors(end), linewidth=2.5 if best else 1.0)
    for i, domain in enumerate([*sweep.space.values(), Range(low, high)]):
        axes.axvline(i, color="#68707d", linewidth=0.8, zorder=0)
        for at, text in zip(*_ticks(domain), strict=True):
            text = f"{float(text):.3g}" if i == len(names) - 1 else text
            axes.annotate(text, (i, at), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.2, len(names) - 0.4)
    axes.set_yticks([])
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.set_title(f"best (red): trial {trials[0].record.number}; color: {sweep.metric}", fontsize=9)
    return figure


def _importance(found: dict[str, float], count: int, sweep: Sweep) -> Any:
    figure = _figure(6, 0.45 * len(found) + 1.4)
    axes = figure.subplots()
    names = list(reversed(found))
    axes.barh(names, [found[name] for name in names], color=BLUE)
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance (PED-ANOVA)")
    axes.set_title(f"{sweep.metric} at the first budget, {count} trials", fontsize=10)
    _plain_axes(axes)
    return figure
