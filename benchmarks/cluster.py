"""Measure a Ray cluster of two nodes of one core, in two network namespaces joined by a cable.

    python benchmarks/cluster.py [--repeats 3] [--quick]     # Linux, root, iproute2, the extra cluster

The commands run in a third process. It prints JSON:

- "eval": seconds of `qwop-eval` without Ray, on one worker and on two, medians of --repeats runs that
  alternate; efficiency: seconds without Ray / (workers x seconds). The results have to be the same bits;
- "task_ms": time per task of an empty task, from the first result to the last;
- "killed" and "cut": the second node is killed, or its cable is cut, while tasks of a second run on both.
  "lost_s": seconds from there to the last result, less the seconds that one worker needs for what was left;
  "longest_gap_s": the longest time without a result; "repeated": calls beyond one for each task.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from namespaces import TwoNamespaces, why_not

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_cli.cluster import ClusterOptions, map_tasks
from qwop_stride.run import MODULES

PROGRAM = "cluster"


@dataclass(frozen=True)
class ClusterConfig:
    """Measure a Ray cluster of two nodes of one core."""

    repeats: int = 3
    """Runs of qwop-eval on each number of workers."""
    episodes: int = 512
    """Episodes of qwop-eval, of at most 20 s. A task has 128."""
    tasks: int = 500
    """Empty tasks."""
    slow: int = 40
    """Tasks of a second, of which ten are done when the second node is lost."""
    quick: tyro.conf.FlagCreatePairsOff[bool] = False
    """Try everything shortly. The figures mean nothing."""
    child: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD...")] = ()
    """The third process: address, number of tasks, seconds of a task, folder for their calls."""

    def __post_init__(self) -> None:
        for name in ("repeats", "episodes", "tasks"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name} {getattr(self, name)}: expected 1 or more")
        if self.slow < 12:
            raise CommandError(f"--slow {self.slow}: expected 12 or more")


# ---- in the third process --------------------------------------------------------------------------------


def wait_and_note(shared: tuple[float, str], task: int) -> int:
    """Take some seconds, and note the call in a file."""
    seconds, folder = shared
    if folder != "-":
        with (Path(folder) / str(task)).open("a", encoding="utf-8") as file:
            file.write("x")
    time.sleep(seconds)
    return task


def child(address: str, count: int, seconds: float, folder: str) -> None:
    """Map tasks, and print the seconds of each result since the first one."""
    began = None
    tasks = range(count)
    options = ClusterOptions(address)
    for index, _ in map_tasks(wait_and_note, (seconds, folder), tasks, options=options, show=False):
        began = time.monotonic() if began is None else began
        print(f"{time.monotonic() - began:.4f} {index}", flush=True)


def child_command(nodes: TwoNamespaces, *words: object) -> list[str]:
    return nodes.command([sys.executable, __file__, "--child", nodes.address, *map(str, words)])


# ---- figures ---------------------------------------------------------------------------------------------


def evaluation(config: ClusterConfig, nodes: TwoNamespaces | None) -> tuple[float, str]:
    """Run qwop-eval. Returns its wall-clock seconds and what it printed."""
    code = f"import sys; from {MODULES['qwop-eval']} import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        code,
        "--episodes",
        str(config.episodes),
        "--max-seconds",
        "20",
        "--json",
    ]
    if nodes is not None:
        command = nodes.command([*command, "--ray", nodes.address])
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise CommandError(f"qwop-eval failed: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - began, done.stdout


def efficiency(config: ClusterConfig) -> dict[str, Any]:
    """Compare qwop-eval without Ray, on one worker and on two."""
    seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}
    printed = set()
    with TwoNamespaces((1, 0)) as nodes:
        for _ in range(config.repeats):
            for workers in (0, 1):
                spent, text = evaluation(config, nodes if workers else None)
                seconds[workers].append(spent)
                printed.add(text)
    with TwoNamespaces() as nodes:
        for _ in range(config.repeats):
            spent, text = evaluation(config, nodes)
            seconds[2].append(spent)
            printed.add(text)
    median = {workers: statistics.median(times) for workers, times in seconds.items()}
    return {
        "seconds": {str(workers): [round(s, 2) for s in times] for workers, times in seconds.items()},
        "efficiency": {str(workers): median[0] / (workers * median[workers]) for workers in (1, 2)},
        "same_bits": len(printed) == 1,
    }


def task_ms(config: ClusterConfig, nodes: TwoNamespaces) -> float:
    """Measure the time of an empty task, ms."""
    done = subprocess.run(
        child_command(nodes, config.tasks, 0.0, "-"), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise CommandError(f"the tasks failed: {done.stderr.strip()[-300:]}")
    return 1000 * float(done.stdout.splitlines()[-1].split()[0]) / (config.tasks - 1)


def loss(config: ClusterConfig, nodes: TwoNamespaces, how: str) -> dict[str, Any]:
    """Lose the second node after ten tasks of a second, and measure what that costs."""
    early = 10
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            child_command(nodes, config.slow, 1.0, folder),
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        assert process.stdout is not None
        times = [float(process.stdout.readline().split()[0]) for _ in range(early)]
        (nodes.kill_second if how == "killed" else nodes.cut)()
        times += [float(line.split()[0]) for line in process.stdout]
        if process.wait() or len(times) != config.slow:
            raise CommandError(f"{how}: {len(times)} of {config.slow} tasks were done")
        calls = sum(len(file.read_text(encoding="utf-8")) for file in Path(folder).iterdir())
    return {
        "lost_s": round(times[-1] - times[early - 1] - (config.slow - early), 2),
        "longest_gap_s": round(
            max(b - a for a, b in zip(times[early - 1 :], times[early:], strict=False)), 2
        ),
        "repeated": calls - config.slow,
    }


def benchmark(config: ClusterConfig) -> None:
    if config.child:
        address, count, seconds, folder = config.child
        child(address, int(count), float(seconds), folder)
        return
    if reason := why_not():
        raise CommandError(reason)
    if config.quick:
        config = ClusterConfig(repeats=1, episodes=2, tasks=10, slow=12)
    figures: dict[str, Any] = {"load_before": os.getloadavg()[0], "eval": efficiency(config)}
    print(json_text(figures), file=sys.stderr, flush=True)  # the rest takes minutes
    with TwoNamespaces() as nodes:
        figures["task_ms"] = task_ms(config, nodes)
        figures["killed"] = loss(config, nodes, "killed")
        nodes.start_second()
        figures["cut"] = loss(config, nodes, "cut")
    figures["load_after"] = os.getloadavg()[0]
    print(json_text(figures, indent=1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, ClusterConfig, arguments, description=__doc__))
    )


if __name__ == "__main__":
    raise SystemExit(main())
