"""`make bench`: run all benchmarks, write their figures to one JSON file and print a table of ratios.

    python benchmarks/bench.py [--quick] [--only simulator,trainer] [--out FILE.json] [--qwop-python FOLDER]

The scripts for simulator and environments, trainer, cloning, recorder and datasets run one after the other,
each in its own process. Together they take about ten minutes on two idle cores. Other projects are measured
in the same run: imitation and Stable-Baselines3 are dependencies, and cleanrl_style.py has CleanRL's loop.
--quick tries everything in a minute or two. Its figures mean nothing, and are written only with --out.
--qwop-python names a copy of github.com/bicrick/qwop-python. Its simulator is then measured in its own
environment, build/peers/qwop-python, where pip installs it the first time.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import tyro

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command

PROGRAM = "bench"
HERE = Path(__file__).resolve().parent
# Script and arguments; then those of --quick.
BENCHMARKS: dict[str, tuple[list[str], list[str]]] = {
    "simulator": (
        ["simulator.py", "--json"],
        ["simulator.py", "--json", "--repeats", "1", "--seconds", "0.02"],
    ),
    "trainer": (["trainer.py", "--json"], ["trainer.py", "--json", "--steps", "24576"]),
    "cloning": (["cloning.py", "--speed"], ["cloning.py", "--speed", "--quick"]),
    "recorder": (["recorder.py", "--json"], ["recorder.py", "--json", "--frames", "300"]),
    "datasets": (["loader.py", "--json"], ["loader.py", "--json", "--episodes", "100"]),
}
# Random actions of 1 and of 4 frames, with a reset after each fall: frames per second of CPU time.
QWOP_PYTHON = """
import json, time
import numpy as np
from qwop_python import QWOPEnv
rates = {}
for skip in (1, 4):
    env, rng, measured = QWOPEnv(frames_per_step=skip), np.random.default_rng(0), []
    env.reset(seed=0)
    for _ in range(5):
        start = time.process_time()
        for action in rng.integers(0, env.action_space.n, 1500):
            if env.step(int(action))[2]:
                env.reset()
        measured.append(1500 * skip / (time.process_time() - start))
    rates[str(skip)] = sorted(measured)[2]
print(json.dumps(rates))
"""
PACKAGES = ("numpy", "torch", "gymnasium", "h5py", "stable-baselines3", "imitation", "qwop-gym")
Line = tuple[str, str, str, str]  # what, ours, beside, ratio


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the figures depend on."""
    try:
        cpu = next(
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        )
    except (OSError, StopIteration):
        cpu = platform.processor()
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "commit": commit(),
    }


def commit() -> str:
    """Return the repository's commit, with a + if files differ from it; "" outside of a repository."""
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(
            command, check=True, capture_output=True, text=True, encoding="utf-8"
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def run(name: str, arguments: list[str]) -> Any:
    """Run a benchmark. Returns its JSON, or None if it fails, after printing its last line."""
    print(f"{name}: {' '.join(arguments)}", file=sys.stderr, flush=True)
    if not (HERE / arguments[0]).exists():
        print(f"{name}: skipped, {arguments[0]} is missing", file=sys.stderr)
        return None
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, str(HERE / arguments[0]), *arguments[1:]],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"{name}: failed with exit code {result.returncode}: {last}", file=sys.stderr)
        return None
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return json.loads(result.stdout)


def qwop_python(folder: Path | None) -> dict[str, float] | None:
    """Measure qwop-python's simulator: frames per second by frames per step; None without a copy of it."""
    if folder is None or not (folder / "qwop_python").is_dir():
        print("qwop-python: skipped, use --qwop-python FOLDER to name a copy of it", file=sys.stderr)
        return None
    home = HERE.parent / "build" / "peers" / "qwop-python"
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    try:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(folder)], check=True)
        print("qwop-python: random actions", file=sys.stderr, flush=True)
        result = subprocess.run(
            [str(python), "-c", QWOP_PYTHON], check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
    except subprocess.CalledProcessError as error:
        print(f"qwop-python: skipped, exit code {error.returncode}", file=sys.stderr)
        return None
    return json.loads(result.stdout.splitlines()[-1])


def lines(results: dict[str, Any]) -> list[Line]:
    """Make the rows of the table; some have no ratio."""
    table: list[Line] = []
    simulator = results.get("simulator") or ()
    for row in simulator:
        rival = max(
            r["frames_per_second"]
            for r in simulator
            if (r["workload"], r["num_envs"]) == (row["workload"], row["num_envs"])
        )
        always = row["engine"].startswith(("gymnasium", "vector")) or "thread" in row["engine"]
        if always or row["frames_per_second"] == rival:
            what = f"{row['engine']}, {row['workload']}, {row['num_envs']} games"
            speed = f"{row['frames_per_second']:,} frames/s"
            table.append((f"simulator: {what}", speed, "scalar engine", f"{row['times_scalar']:.2f}"))
    for skip, rate in (results.get("qwop-python") or {}).items():
        mine = next((r for r in simulator if r["engine"] == f"gymnasium step, skip {skip}"), None)
        if mine is not None:
            speed, other = f"{mine['frames_per_second']:,} frames/s", f"qwop-python, {rate:,.0f}"
            ratio = f"{mine['frames_per_second'] / rate:.1f}"
            table.append((f"simulator: {mine['engine']}", speed, other, ratio))
    for row in (results.get("trainer") or {}).get("rows", [])[1:]:
        mine = results["trainer"]["rows"][0]
        speed = f"{mine['steps_per_second']:,} steps/s, {mine['meters_at_the_end']:.1f} m"
        other = f"{row['trainer']}, {row['meters_at_the_end']:.1f} m"
        table.append(("trainer: PPO", speed, other, f"{row['ours_is_times']:.1f}"))
    table += [(f"cloning: {what}", value, "", "") for what, value in flat(results.get("cloning") or {})]
    for row in results.get("recorder") or ():
        share = f"{row['p99_share_of_frame']:.2%} of it"
        table.append((f"recorder: {row['what']}, p99", f"{row['p99_ms']:.3f} ms", "a frame, 33 ms", share))
    for what, value in flat(results.get("datasets") or {}):
        table.append((f"datasets: {what}", value, "", ""))
    return table


def flat(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested objects to their numbers, by path."""
    found: list[tuple[str, str]] = []
    for name, value in figures.items():
        path = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            found += flat(value, f"{path}, ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((path, f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"))
    return found


def show(table: list[Line]) -> None:
    table = [("what", "ours", "beside", "ratio"), *table]
    widths = [max(len(line[k]) for line in table) for k in range(4)]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@dataclass(frozen=True)
class BenchConfig:
    """Run every benchmark in turn."""

    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try everything in a minute or two. The figures mean nothing."""
    only: Annotated[str | None, tyro.conf.arg(metavar="NAME,...")] = None
    """Some of simulator,trainer,cloning,recorder,datasets. Without this flag, all of them."""
    qwop_python: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Copy of github.com/bicrick/qwop-python, to measure its simulator, too."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.json")] = None
    """JSON file to write. Without this flag, benchmarks/results/DATE.json; with --quick, none."""

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in BENCHMARKS:
                raise CommandError(f"--only {name}: no such benchmark; choose from {', '.join(BENCHMARKS)}")

    @property
    def names(self) -> list[str]:
        """The benchmarks to run."""
        return list(BENCHMARKS) if self.only is None else self.only.split(",")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 1 if a benchmark failed."""
    return run_command(
        PROGRAM, lambda: bench(parse_config(PROGRAM, BenchConfig, arguments, description=__doc__))
    )


def bench(config: BenchConfig) -> int:
    began = time.monotonic()
    today = datetime.date.today().isoformat()
    out = config.out or (None if config.quick else HERE / "results" / f"{today}.json")
    check_outputs({"--out": out})
    report: dict[str, Any] = {"date": today, "machine": machine(), "quick": config.quick}
    report["results"] = {name: run(name, BENCHMARKS[name][config.quick]) for name in config.names}
    failed = None in report["results"].values()
    if "simulator" in config.names:
        report["results"]["qwop-python"] = qwop_python(config.qwop_python)
    report["seconds"] = round(time.monotonic() - began)

    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json_text(report, indent=1) + "\n", encoding="utf-8")
    about = report["machine"]
    print(f"{today}, {about['cpu']}, {about['cores']} cores, Python {about['python']}, {about['commit']}")
    print(", ".join(f"{name} {number}" for name, number in about["versions"].items()))
    show(lines(report["results"]))
    if out is not None:
        print(f"written: {out}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
