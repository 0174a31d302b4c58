"""Run the trials of a sweep with Ray Tune. Start reading at `tune_trials`."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qwop_cli import CommandError
from qwop_cli.cluster import RETRIES, check_same_version, own_version, ray_cluster
from qwop_datasets import DatasetError
from qwop_rl_core import CheckpointError, TrainingError
from qwop_sweep.records import Record, Records
from qwop_sweep.search import next_settings
from qwop_sweep.settings import Sweep
from qwop_sweep.trial import rungs


@dataclass(frozen=True)
class Resources:
    """Where trials run."""

    ray: str = "local"
    """Address of the cluster, see `ClusterOptions.ray`."""
    parallel: int = 0
    """Trials at a time; 0: as many as the cluster has room for."""
    cpus: int = 1
    """Cores of a trial."""
    gpus: float = 0.0
    """GPUs of a trial, or a share of one."""


@dataclass(frozen=True)
class _Work:
    """What every trial needs on its node."""

    sweep: Sweep
    folder: Path
    """Folder of all trials."""
    name: str
    cwd: Path
    """Where relative paths in the sweep's flags begin."""
    version: str


def tune_trials(
    sweep: Sweep,
    records: Records,
    name: str,
    cwd: Path,
    resources: Resources,
    on_rung: Callable[[Record], None],
) -> None:
    """Run the trials that are missing, on Ray.

    Unfinished trials of an earlier start come first and go on from their checkpoints. A trial whose process
    or node dies starts again there, too.

    Args:
        sweep: the sweep.
        records: its trials so far; they are updated and stored as trials pass their rungs.
        name: name of the sweep, for Weights & Biases.
        cwd: where relative paths in the flags begin.
        resources: where trials run.
        on_rung: called when a trial has passed a rung, or has failed.

    Raises:
        CommandError: Ray is not installed, or its cluster can't be reached or was lost.
    """
    left = sweep.trials - len(records.all) + len(records.unfinished)
    if left < 1:
        return
    with _quiet_tune(), ray_cluster(resources.ray) as ray:
        tune: Any = importlib.import_module("ray.tune")
        _check_room(ray, resources)
        work = _Work(sweep, records.folder, name, cwd, own_version())
        halving = _halving(tune, sweep, records, on_rung)
        trainable = tune.with_resources(
            tune.with_parameters(_train, work=work), {"cpu": resources.cpus, "gpu": resources.gpus}
        )
        state = records.folder.parent / "ray"  # Tune's own files, of no use after it ends
        shutil.rmtree(state, ignore_errors=True)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                metric="value",
                mode=sweep.mode,
                num_samples=left,
                search_alg=_suggestions(sweep, records, halving),
                scheduler=halving,
                max_concurrent_trials=resources.parallel or None,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(state),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
            ),
        )
        try:
            tuner.fit()
        except (ray.exceptions.RayError, tune.TuneError, ConnectionError) as error:
            text = " ".join(str(error).split())[:200]
            raise CommandError(f"the cluster was lost: {text}; the same command goes on") from None
        finally:
            shutil.rmtree(state, ignore_errors=True)


def _check_room(ray: Any, resources: Resources) -> None:
    """Raise CommandError if no node can run a trial: Tune would wait forever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(
        node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus for node in nodes
    ):
        raise CommandError(
            f"no node has {resources.cpus} cores and {resources.gpus:g} GPUs for a trial: "
            "lower --cpus or --gpus"
        )


def _train(config: dict[str, Any], work: _Work) -> None:
    """Train one trial, on a node, and report each rung."""
    tune: Any = importlib.import_module("ray.tune")
    number: int = config["number"]
    sweep = work.sweep
    try:
        check_same_version(work.version)
        _enter(work)
        folder = work.folder / f"{number:04d}"
        for rung in rungs(sweep, folder, f"{work.name}/{number}", config["settings"], config["first"]):
            tune.report(
                {
                    "value": rung.value,
                    "rung": rung.index,
                    "time": work.sweep.reduction**rung.index,
                    "error": "",
                }
            )
    except (CommandError, CheckpointError, DatasetError, TrainingError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        tune.report({"value": float("nan"), "rung": -1, "time": 0, "error": text})


def _enter(work: _Work) -> None:
    """Go to the folder that relative paths begin at, and check that this node sees the sweep's files."""
    try:
        os.chdir(work.cwd)
    except OSError as error:
        raise CommandError(
            f"a node can't enter {work.cwd}: {error.strerror}; start the sweep in a folder that all nodes "
            "share"
        ) from None
    if not work.folder.exists():
        raise CommandError(f"a node has no {work.folder}: --out has to be a folder that all nodes share")


def _halving(tune: Any, sweep: Sweep, records: Records, on_rung: Callable[[Record], None]) -> Any:
    """Return Tune's ASHA (Li et al. 2020), which also stores what it decides.

    It knows trials by their number, so that it can be told of those of an earlier start.
    """
    schedulers: Any = importlib.import_module("ray.tune.schedulers")
    asha = (
        schedulers.ASHAScheduler(
            time_attr="time",
            metric="value",
            mode=sweep.mode,
            grace_period=1,
            max_t=sweep.reduction ** (sweep.rungs - 1),
            reduction_factor=sweep.reduction,
        )
        if sweep.rungs > 1
        else None
    )  # with one rung there is nothing to stop

    def decide(number: int, rung: int, value: float) -> bool:
        """Whether a trial goes on after a rung."""
        if asha is None or rung + 1 == sweep.rungs:
            return False
        result = {"time": sweep.reduction**rung, "value": value}
        trial = SimpleNamespace(trial_id=str(number))
        return asha.on_trial_result(None, trial, result) == schedulers.TrialScheduler.CONTINUE

    def begin(number: int) -> None:
        if asha is not None:
            asha.on_trial_add(None, SimpleNamespace(trial_id=str(number)))

    for record in records.all:
        begin(record.number)
        for rung, value in enumerate(record.values):
            decide(record.number, rung, value)

    class Halving(schedulers.FIFOScheduler):
        errors: dict[int, str] = {}

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            begin(trial.config["number"])

        def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
            number: int = trial.config["number"]
            record = records.all[number]
            if result["error"]:
                records.fail(number, result["error"])
            elif result["rung"] == len(record.values):  # not one that is repeated after a crash
                rung, value = result["rung"], result["value"]
                goes_on = decide(number, rung, value)
                last = rung + 1 == sweep.rungs
                records.report(number, value, "running" if goes_on else "done" if last else "stopped")
            on_rung(record)
            return self.CONTINUE if record.state == "running" else self.STOP

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            error = trial.get_error()
            lines = str(getattr(error, "cause", None) or error).strip().splitlines()
            self.errors[trial.config["number"]] = " ".join((lines or ["its process died"])[-1].split())[:300]

    return Halving()


def _suggestions(sweep: Sweep, records: Records, halving: Any) -> Any:
    """Return what gives Tune its trials: unfinished ones of an earlier start, then Optuna's."""
    search: Any = importlib.import_module("ray.tune.search")
    unfinished: Iterator[Record] = iter(records.unfinished)

    class Suggestions(search.Searcher):
        def __init__(self) -> None:
            super().__init__(metric="value", mode=sweep.mode)
            self.numbers: dict[str, int] = {}

        def suggest(self, trial_id: str) -> dict[str, Any]:
            record: Record | None = next(unfinished, None)
            if record is None:
                record = records.add(next_settings(sweep, records.all))
            self.numbers[trial_id] = record.number
            return {"number": record.number, "settings": record.settings, "first": len(record.values)}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            number = self.numbers[trial_id]
            if error:  # again and again
                records.fail(number, halving.errors.get(number, "its process died"))

        def save(self, checkpoint_path: str) -> None:
            Path(checkpoint_path).touch()  # the records are the state

        def restore(self, checkpoint_path: str) -> None:
            pass

    return Suggestions()


@contextlib.contextmanager
def _quiet_tune() -> Generator[None]:
    """Turn off what Tune would print, log, and do at Ctrl-C."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "3600",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
