"""Measure the game's speed: frames/s of each engine, of the Gymnasium environments, and with threads; memory.

    python benchmarks/simulator.py [--json] [--repeats 5] [--seconds 0.5]

It uses one core, except for the lines with several threads. There are three workloads. `run`: runners in the
middle of their runs. Each game starts from its own snapshot of a recorded 100 m run of the canonical game and
plays that run's keys, a call a frame, so no runner falls, floors move, and the hurdle is hit, lies and falls
away. `random`: random keys from the start, each held for four frames, with a reset after each fall, as early
in a training. `continue`: as in a search, 16 games go on from each of 32 snapshots of `run` for 16 frames,
four a call, again and again. Times are CPU times, because other processes disturb them less; quote the
ratios. Only the lines with "wall clock" use the wall clock: they show the effect of threads on an idle
machine.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import numpy as np
import tyro

import qwop_game
from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_game import Simulator, action_masks, engines
from qwop_game.rules import FLAG_GAME_ENDED

PROGRAM = "simulator"
RUN = Path(__file__).parents[1] / "tests" / "golden" / "rounded_runs.npz"
CHUNK = 100  # frames that each game plays before it returns to its snapshot


@dataclass(frozen=True)
class SimulatorConfig:
    """Measure the game's speed: frames per second of each engine, of environments and with threads."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list instead of a table."""
    repeats: int = 5
    """Measurements of each line; the median is printed."""
    seconds: float = 0.5
    """CPU seconds of one measurement."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise CommandError(f"--repeats {self.repeats}: expected 1 or more")
        if not 0.0 < self.seconds < float("inf"):
            raise CommandError(f"--seconds {self.seconds}: expected a number above 0")


def runners(num_envs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return snapshots [num_envs, S] along a 100 m run, and the following keys [CHUNK, num_envs], uint8."""
    with np.load(RUN) as traces:
        keys = traces["actions_0"]
    starts = np.linspace(0, len(keys) - CHUNK - 1, num_envs).astype(int)
    game = Simulator(1, engine="scalar")
    snapshots: dict[int, np.ndarray] = {}
    for frame in range(int(starts.max()) + 1):
        if frame in starts:
            snapshots[frame] = game.snapshot()[0]
        game.step(keys[frame : frame + 1])
    return np.stack([snapshots[int(s)] for s in starts]), np.stack(
        [keys[s : s + CHUNK] for s in starts], axis=1
    )


def rate(play: Callable[[], int], seconds: float, clock: Callable[[], float]) -> float:
    """Return frames per second by a clock. `play` plays some frames and returns their number."""
    play()
    frames, start = 0, clock()
    while (spent := clock() - start) < seconds:
        frames += play()
    return frames / spent


def bytes_per_game(engine: str, num_envs: int = 1024) -> int | None:
    """Measure the memory of a game as the growth of a new process; None if there is no /proc."""
    if not Path("/proc/self/statm").exists():
        return None
    code = f"""if True:
        from qwop_game import Simulator
        pages = lambda: int(open("/proc/self/statm").read().split()[1])
        Simulator(1, engine="{engine}").step(Simulator(1).flags)
        before = pages()
        games = Simulator({num_envs}, engine="{engine}")
        print(pages() - before)"""
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    return int(output) * os.sysconf("SC_PAGE_SIZE") // num_envs


def in_run(engine: str, num_envs: int, threads: int = 1) -> Callable[[], int]:
    games = Simulator(num_envs, engine=engine, threads=threads)
    snapshots, keys = runners(num_envs)

    def play() -> int:
        games.restore(snapshots)
        for held in keys:
            games.step(held)
        return num_envs * CHUNK

    return play


def continued(engine: str, num_envs: int, children: int = 16) -> Callable[[], int]:
    games = Simulator(num_envs, engine=engine)
    parents, index = runners(num_envs // children)[0], np.arange(num_envs) // children
    keys = action_masks("distinct")[np.random.default_rng(0).integers(0, 9, (4, num_envs))]

    def play() -> int:
        games.restore(parents, index=index)
        for held in keys:
            games.step(held, 4)
        return 4 * num_envs * len(keys)

    return play


def at_random(engine: str, num_envs: int) -> Callable[[], int]:
    games = Simulator(num_envs, engine=engine)
    keys = action_masks("distinct")[np.random.default_rng(0).integers(0, 9, (150, num_envs))]

    def play() -> int:
        for held in keys:
            games.step(held, 4)
            games.reset(games.flags & FLAG_GAME_ENDED != 0)
        return 4 * num_envs * len(keys)

    return play


def environment(frame_skip: int, observation: str) -> Callable[[], int]:
    env = gymnasium.make("qwop_game/QWOP-v0", frame_skip=frame_skip, observation=observation)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    assert isinstance(env.action_space, gymnasium.spaces.Discrete)
    actions = list(rng.integers(0, env.action_space.n, 1000))

    def play() -> int:
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        return len(actions) * frame_skip

    return play


def vector_environment(num_envs: int, observation: str) -> Callable[[], int]:
    envs = qwop_game.QWOPVectorEnv(num_envs, frame_skip=4, observation=observation)
    rng = np.random.default_rng(0)
    envs.reset(seed=0)

    def play() -> int:
        for actions in rng.integers(0, len(envs.action_masks), (10, num_envs)):
            envs.step(actions)
        return 40 * num_envs

    return play


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, SimulatorConfig, arguments, description=__doc__))
    )


def benchmark(config: SimulatorConfig) -> None:
    cases: list[tuple[str, str, int, Callable[[], int]]] = []
    wall = ", wall clock"
    for workload, make in (("run", in_run), ("random", at_random)):
        for n in (1, 64, 256, 1024):
            cases += [(engine, workload, n, make(engine, n)) for engine in engines()]
    cases += [(engine, "continue", 512, continued(engine, 512)) for engine in engines()]
    for skip in (1, 4):
        cases += [(f"gymnasium step, skip {skip}", "random", 1, environment(skip, "qwop_gym"))]
        cases += [(f"gymnasium step, skip {skip}, features", "random", 1, environment(skip, "features"))]
    for kind in ("qwop_gym", "features"):
        cases += [(f"vector env, {kind}", "random", 256, vector_environment(256, kind))]

    for threads in sorted({1, 2, os.cpu_count() or 1}):
        name = f"{engines()[0]}, {threads} thread{'s' * (threads > 1)}"
        cases += [(name, "run" + wall, 256, in_run(engines()[0], 256, threads))]

    # Each repeat measures all cases, so that a slow minute of the machine affects all of them.
    rates: list[list[float]] = [[] for _ in cases]
    for _ in range(config.repeats):
        for measured, (_, workload, _, play) in zip(rates, cases, strict=True):
            clock = time.perf_counter if workload.endswith(wall) else time.process_time
            measured.append(rate(play, config.seconds, clock))
    scalar = {
        (workload, n): statistics.median(measured)
        for measured, (name, workload, n, _) in zip(rates, cases, strict=True)
        if name == "scalar"
    }
    rows = [
        {
            "engine": name,
            "workload": workload,
            "num_envs": n,
            "frames_per_second": round(statistics.median(measured)),
            "lowest": round(min(measured)),
            "highest": round(max(measured)),
            "times_scalar": round(statistics.median(measured) / scalar[workload.removesuffix(wall), n], 2),
            **({"bytes_per_game": bytes_per_game(name)} if n == 1024 and name in engines() else {}),
        }
        for measured, (name, workload, n, _) in zip(rates, cases, strict=True)
    ]
    if config.json:
        print(json_text(rows, indent=1))
        return
    heads = f"{'frames/s':>9} {'lowest':>9} {'highest':>9} {'ratio':>6}"
    print(f"{'engine':32} {'workload':15} {'games':>5} {heads}")
    for row in rows:
        name, workload, n, median, low, high, ratio, *memory = row.values()
        size = f"  {memory[0]:,} bytes a game" if memory and memory[0] else ""
        print(f"{name:32} {workload:15} {n:5} {median:9,} {low:9,} {high:9,} {ratio:6.2f}{size}")


if __name__ == "__main__":
    raise SystemExit(main())
