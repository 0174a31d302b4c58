"""`qwop-sweep SPACE`: try settings of qwop-bc or qwop-finetune, stop the poor ones early, keep the best."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import secrets
import shlex
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import portalocker
import tyro
from tqdm import tqdm

from qwop_cli import (
    CommandError,
    ProgressTimer,
    check_outputs,
    json_text,
    log_progress,
    parse_config,
    run_command,
    write_whole,
)
from qwop_cli.cluster import own_version
from qwop_datasets import DatasetError
from qwop_rl_core import CheckpointError
from qwop_sweep.records import Record, Records
from qwop_sweep.settings import READY, Sweep, from_plain, read_sweep, space_text
from qwop_sweep.tuning import Resources, tune_trials

PROGRAM = "qwop-sweep"
_LOCK = portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING


@dataclass(frozen=True)
class SweepCommand:
    """Search for good settings of qwop-bc or qwop-finetune, with Ray Tune, Optuna and ASHA.

    SPACE is a YAML file, or one of the ready ones: ppo, expert-iteration, dqn, ddqn, pqn, bc. What follows --
    are flags of every training: qwop-sweep ppo -- --init clone.safetensors. The same command goes on with a
    sweep that was stopped. docs/guides/sweeps.md has the details.
    """

    space: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="SPACE")] = None
    """YAML file, or ppo, expert-iteration, dqn, ddqn, pqn, bc."""
    out: Path | None = None
    """Folder of the sweep. Default: SPACE-sweep, with the name of the file."""
    trials: int | None = None
    """Settings to try; more than before extends a sweep. Default: as in the file."""
    seeds: int | None = None
    """Trainings of each. Default: as in the file."""
    budget: int | None = None
    """Length of a whole training: environment steps, or epochs of qwop-bc. Default: as in the file."""
    resume: Path | None = None
    """Go on with the sweep in this folder, with its settings; in place of SPACE."""
    print: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the file and end: a start for one of your own."""
    ray: str = "local"
    """Ray cluster: HOST:PORT of its head, auto (the one that runs on this machine), or local (start one
    here). Needs qwop-stride[cluster]; see docs/guides/cluster.md."""
    parallel: int = 0
    """Trials at a time; 0: as many as the cluster has room for. With 1, the same sweep gives the same
    trials again."""
    cpus: int = 1
    """Cores of a trial."""
    gpus: float = 0.0
    """GPUs of a trial, or a share of one."""
    track: tyro.conf.FlagCreatePairsOff[bool] = False
    """Log every training to Weights & Biases as well, in one group."""
    track_project: str = "qwop-stride"
    """Project of Weights & Biases."""

    def __post_init__(self) -> None:
        if (self.space is None) == (self.resume is None):
            raise CommandError(f"give SPACE (a file, or {', '.join(READY)}), or --resume FOLDER")
        for name, least in (("trials", 1), ("seeds", 1), ("budget", 1), ("parallel", 0), ("cpus", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise CommandError(f"--{name} {value}: expected {least} or more")
        if not self.gpus >= 0:
            raise CommandError(f"--gpus {self.gpus}: expected 0 or more")
        if self.resume is not None:
            for name in ("out", "seeds", "budget"):
                if getattr(self, name) is not None:
                    raise CommandError(f"--{name} can't change with --resume: omit it")
        if self.ray.startswith("ray://"):
            raise CommandError(
                f"--ray {self.ray}: a sweep has to run on a node of its cluster: start it there, with "
                "--ray auto"
            )


@dataclass(frozen=True)
class _Plan:
    """A sweep and its folder."""

    sweep: Sweep
    out: Path
    made: dict[str, Any]
    """How it was made: goes into sweep.json, results.json and the best checkpoint."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    own, extra = words[:at], words[at + 1 :]
    command_line = shlex.join([PROGRAM, *words])
    return run_command(
        PROGRAM,
        lambda: _command(parse_config(PROGRAM, SweepCommand, own), extra, command_line),
        CheckpointError,
        DatasetError,
    )


def _command(options: SweepCommand, extra: list[str], command_line: str) -> None:
    if options.print:
        if options.space is None:
            raise CommandError("--print needs SPACE")
        print(space_text(options.space), end="")
        return
    plan = _plan(options, extra, command_line)
    check_outputs({}, {"--out": plan.out})
    if importlib.util.find_spec("optuna") is None:
        raise CommandError("Optuna is not installed: pip install 'qwop-stride[cluster]'")
    resources = Resources(options.ray, options.parallel, options.cpus, options.gpus)
    with _only_one(plan.out):
        plan = _begin(plan)
        _enter(plan.made["cwd"])
        records = Records(plan.out / "trials")
        try:
            _tune(plan, records, resources)
        except KeyboardInterrupt as interrupt:
            interrupt.args = (f"continue with: {PROGRAM} --resume {shlex.quote(str(plan.out))}",)
            raise
        _finish(plan, records)


def _plan(options: SweepCommand, extra: list[str], command_line: str) -> _Plan:
    if options.track:
        extra = [*extra, "--track", "--track-project", options.track_project]
    if options.resume is not None:
        if extra:
            raise CommandError("flags of the trainings can't change with --resume: omit them")
        out = options.resume.absolute()
        if not (out / "sweep.json").is_file():
            raise CommandError(f"--resume {options.resume}: no sweep is there")
        stored = _stored(out)
        _enter(stored["made"]["cwd"])
        if options.trials is not None:
            stored["sweep"]["trials"] = options.trials
        return _Plan(_sweep_of(stored, out), out, stored["made"])
    assert options.space is not None
    text = space_text(options.space)
    named = {name: getattr(options, name) for name in ("trials", "seeds", "budget")}
    sweep = read_sweep(options.space, text, {k: v for k, v in named.items() if v is not None}, extra)
    name = Path(options.space).stem
    made = {
        "command": command_line,
        "file": options.space,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "cwd": os.getcwd(),
        "version": own_version(),
        "id": f"{name}-{secrets.token_hex(3)}",
    }
    out = (options.out if options.out is not None else Path(f"{name}-sweep")).absolute()
    return _Plan(sweep, out, made)


def _enter(folder: str) -> None:
    """Go to the folder in which the sweep began: relative paths in its flags begin there."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise CommandError(f"{folder}: the sweep began there: {error.strerror or error}") from None


def _stored(out: Path) -> dict[str, Any]:
    path = out / "sweep.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"sweep": dict(stored["sweep"]), "made": dict(stored["made"])}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise CommandError(f"{path}: damaged ({' '.join(str(error).split())[:100]})") from None


def _sweep_of(stored: dict[str, Any], out: Path) -> Sweep:
    try:
        return from_plain(stored["sweep"])
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        text = " ".join(str(error).split())[:100]
        raise CommandError(f"{out / 'sweep.json'}: not a sweep of this release ({text})") from None


def _begin(plan: _Plan) -> _Plan:
    """Store the sweep, or check that the one in the folder is the same. More trials are allowed."""
    file = plan.out / "sweep.json"
    made = plan.made
    if file.exists():
        stored = _stored(plan.out)
        now = plan.sweep.as_plain()
        for name in now:
            if name != "trials" and stored["sweep"].get(name) != now[name]:
                raise CommandError(
                    f"--out {plan.out}: holds another sweep: its {name} differ; choose another folder"
                )
        begun = len(Records(plan.out / "trials").all)
        if plan.sweep.trials < begun:
            raise CommandError(f"--trials {plan.sweep.trials}: {begun} have begun already")
        made = stored["made"]
    elif any(path.name != "lock" for path in plan.out.iterdir()):
        raise CommandError(f"--out {plan.out}: has other files and no sweep; choose an empty folder")
    text = json_text({"made": made, "sweep": plan.sweep.as_plain()}, indent=1) + "\n"
    write_whole(file, lambda path: cast("None", path.write_text(text, encoding="utf-8")))
    return _Plan(plan.sweep, plan.out, made)


@contextmanager
def _only_one(out: Path) -> Generator[None]:
    """Keep other commands from the same folder."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("a", encoding="utf-8") as file:
        try:
            portalocker.lock(file, _LOCK)
        except portalocker.LockException:
            raise CommandError(f"--out {out}: another {PROGRAM} works there") from None
        yield


def _tune(plan: _Plan, records: Records, resources: Resources) -> None:
    """Run the trials with a progress bar, or lines of progress without a terminal."""
    from qwop_sweep.report import drop_replay, rank

    sweep, timer = plan.sweep, ProgressTimer()
    over = len(records.all) - len(records.unfinished)
    with tqdm(total=sweep.trials, initial=over, unit="trial", disable=None, leave=False) as bar:

        def show(record: Record) -> None:
            over = len(records.all) - len(records.unfinished)
            if record.state != "running":
                drop_replay(records.trial_folder(record.number))
            best = min(records.all, key=lambda record: rank(sweep, record))
            line = "none has passed its first budget"
            if best.values:
                line = f"best so far: trial {best.number}, {sweep.metric} {best.values[-1]:.2f}"
            bar.update(over - bar.n)
            bar.set_description(line)
            if bar.disable and timer.due():
                log_progress(f"{over} of {sweep.trials} trials over, {line}")

        tune_trials(sweep, records, plan.made["id"], Path(plan.made["cwd"]), resources, show)


def _finish(plan: _Plan, records: Records) -> None:
    """Rank the trials, keep the best checkpoint, write results.json and plots, and print the table."""
    from qwop_sweep import report
    from qwop_sweep.plots import write_plots

    sweep, out = plan.sweep, plan.out
    trials = report.ranked(sweep, records)
    report.check_some_succeeded(trials)
    best = out / "best.safetensors"
    seed = report.keep_best(sweep, records, trials[0], best, plan.made)
    test = report.judge_on_test_seeds(sweep, best)
    text = report.results_json(sweep, trials, plan.made, seed, test) + "\n"
    write_whole(out / "results.json", lambda path: cast("None", path.write_text(text, encoding="utf-8")))
    print(report.table(sweep, trials))
    plots = write_plots(sweep, trials, out)
    print(f"{best}: trial {trials[0].record.number}, seed {seed}")
    if test is not None:
        print(report.test_line(sweep, test))
    names = ", ".join(path.name for path in [out / "results.json", *plots])
    print(f"{out}: {names}; logs: tensorboard --logdir {shlex.quote(str(out / 'trials'))}")
    if not plots:
        log_progress("no plots: pip install matplotlib")


if __name__ == "__main__":
    raise SystemExit(main())
