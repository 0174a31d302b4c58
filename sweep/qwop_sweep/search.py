"""Which settings to try next: Optuna's TPE, as a function of the trials so far."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Sequence
from typing import Any

from qwop_sweep.records import Record
from qwop_sweep.settings import Range, Sweep

FEWEST_RANDOM, MOST_RANDOM = 3, 10
"""Trials drawn at random before TPE begins: a quarter of all, within these bounds."""


def next_settings(sweep: Sweep, records: Sequence[Record]) -> dict[str, Any]:
    """Choose the settings of the next trial.

    The first trial has the defaults, if the space holds them. Later ones come from Optuna's TPE (Bergstra et
    al. 2011). The choice depends on the sweep and on `records` alone, so a restarted sweep goes on as it
    would have.

    Args:
        sweep: the sweep.
        records: all trials so far, in the order of their numbers.

    Returns:
        Flag to value.
    """
    if not records and (first := sweep.defaults()) is not None:
        return first
    optuna: Any = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    domains = distributions(sweep)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its experimental options
        sampler = optuna.samplers.TPESampler(
            seed=(sweep.seed * 1_000_003 + len(records)) % 2**32,
            n_startup_trials=min(max(sweep.trials // 4, FEWEST_RANDOM), MOST_RANDOM),
            constant_liar=True,  # keeps away from trials that are running
        )
        study = study_of(sweep, records, sampler)
        params = study.ask(fixed_distributions=domains).params
    return {
        flag: params[flag] if isinstance(domain, Range) else json.loads(params[flag])
        for flag, domain in sweep.space.items()
    }


def study_of(sweep: Sweep, records: Sequence[Record], sampler: Any = None) -> Any:
    """Return an Optuna study of some trials."""
    optuna: Any = importlib.import_module("optuna")
    study = optuna.create_study(sampler=sampler, direction="maximize" if sweep.mode == "max" else "minimize")
    states = {"done": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL", "running": "RUNNING"}
    for record in records:
        over = record.state in ("done", "stopped")
        study.add_trial(
            optuna.trial.create_trial(
                state=getattr(optuna.trial.TrialState, states[record.state]),
                value=record.values[-1] if over else None,
                params=as_params(sweep, record.settings),
                distributions=distributions(sweep),
                intermediate_values=dict(enumerate(record.values)),
            )
        )
    return study


def as_params(sweep: Sweep, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as Optuna's parameters: choices may be lists, so they are text."""
    return {
        flag: settings[flag] if isinstance(domain, Range) else json.dumps(settings[flag])
        for flag, domain in sweep.space.items()
    }


def distributions(sweep: Sweep) -> dict[str, Any]:
    """Return the space as Optuna's distributions."""
    of: Any = importlib.import_module("optuna").distributions
    found: dict[str, Any] = {}
    for flag, domain in sweep.space.items():
        if isinstance(domain, Range):
            kind = of.IntDistribution if domain.whole else of.FloatDistribution
            found[flag] = kind(domain.low, domain.high, log=domain.log)
        else:
            found[flag] = of.CategoricalDistribution([json.dumps(value) for value in domain.values])
    return found
