"""Compare this project's PPO with those of Stable-Baselines3 and CleanRL, on the same game and settings.

    python benchmarks/trainer.py [--json] [--steps 300000] [--threads 2] [--seeds 1]
        [--plot docs/design/trainer.png]

All train two networks of 2 x 256 tanh units on 256 games: frame skip 4, features, the default reward,
episodes of at most a minute of play. Rollouts, minibatches, epochs, learning rate, discount, clipping and
entropy bonus are the same. Each training runs in its own process, one after the other. Stable-Baselines3
steps its default DummyVecEnv of single environments, CleanRL's loop its SyncVectorEnv; another row has
CleanRL's loop with our vector environment. Ours computes in bfloat16 if the CPU has AMX (--precision auto of
qwop-finetune). The table has the steps per second of the median iteration, and the mean distance and return
of all episodes that ended in the last 120,000 steps. That is more than one episode of every game.

The picture shows that distance at every iteration, by steps and by seconds: a line for the median seed, and a
band over all seeds. It needs a million steps or more to be useful.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import torch
import tyro

import qwop_game
from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command
from qwop_rl_core import ActorCritic, ppo
from qwop_rl_core.ppo import PPOConfig

PROGRAM = "trainer"
HIDDEN = 256
MAX_FRAMES = 1800  # a minute: otherwise slow episodes end late or never, and the mean has only falls
WINDOW = 120_000  # steps over whose episodes means are taken; 256 episodes of 450 steps are 115,200
Row = tuple[int, float, float, int, float, float]
"""Steps, seconds of wall clock and of CPU; number, mean distance (m) and mean return of the episodes that
ended in the iteration."""
Result = dict[str, list[list[Row]]]
"""Learning curves by trainer, one for each seed."""
TRAINERS = {
    "ours": "ours",
    "ours, float32": "ours in float32",
    "sb3": "Stable-Baselines3, DummyVecEnv",
    "cleanrl": "CleanRL's loop, SyncVectorEnv",
    "cleanrl, our games": "CleanRL's loop, our vector environment",
}


def settings(steps: int, threads: int, seed: int) -> PPOConfig:
    return PPOConfig(total_steps=steps, num_envs=256, threads=threads, seed=seed, device="cpu")


@dataclass(frozen=True)
class TrainerConfig:
    """Compare the trainers."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON object instead of a table."""
    steps: int = 300_000
    """Environment steps of each training."""
    threads: int = 2
    """CPU threads of each training."""
    seed: int = 0
    """Seed of the first training; the others count up from it."""
    seeds: int = 1
    """Trainings of each trainer. All trainers train with one seed before the next seed begins."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Picture of the learning curves to write."""
    child: Annotated[str | None, tyro.conf.arg(metavar="TRAINER")] = None
    """Train once, in this process, and print the learning curve. The benchmark runs itself with this flag."""

    def __post_init__(self) -> None:
        for flag, count in (("--threads", self.threads), ("--seeds", self.seeds)):
            if count < 1:
                raise CommandError(f"{flag} {count}: expected 1 or more")
        if self.seed < 0:
            raise CommandError(f"--seed {self.seed}: expected 0 or more")
        ppo_config = settings(self.steps, self.threads, self.seed)
        least = 2 * ppo_config.num_envs * ppo_config.rollout_length
        if self.steps < least:
            raise CommandError(f"--steps {self.steps}: expected {least} or more, two rollouts")
        if self.child is not None and self.child not in TRAINERS:
            raise CommandError(f"--child {self.child}: no such trainer; choose from {'; '.join(TRAINERS)}")


class Curve:
    """Collects a learning curve, iteration by iteration."""

    def __init__(self, num_envs: int) -> None:
        self.rows: list[Row] = []
        self._returns = np.zeros(num_envs)
        self._ended: list[tuple[float, float]] = []
        self._began = time.perf_counter(), time.process_time()

    def step(self, rewards: np.ndarray, ended: np.ndarray, distance: Callable[[int], float]) -> None:
        self._returns += rewards
        for i in np.flatnonzero(ended):
            self._ended.append((distance(int(i)), float(self._returns[i])))
            self._returns[i] = 0.0

    def iteration(self, steps: int) -> None:
        distance, episode_return = np.mean(self._ended or [(0.0, 0.0)], axis=0)
        self.add(steps, len(self._ended), float(distance), float(episode_return))
        self._ended.clear()

    def add(self, steps: int, episodes: int, distance: float, episode_return: float) -> None:
        wall, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self.rows.append((steps, wall, cpu, episodes, distance, episode_return))


def single_environment() -> gymnasium.Env[Any, Any]:
    return gymnasium.make(
        "qwop_game/QWOP-v0",
        frame_skip=4,
        observation="features",
        max_frames=MAX_FRAMES,
        disable_env_checker=True,
    )


def vector_environment(config: PPOConfig) -> qwop_game.QWOPVectorEnv:
    return qwop_game.QWOPVectorEnv(
        config.num_envs,
        frame_skip=4,
        observation="features",
        max_frames=MAX_FRAMES,
        threads=config.threads,
    )


def ours(config: PPOConfig) -> list[Row]:
    envs = vector_environment(config)
    generator = torch.Generator().manual_seed(config.seed)
    policy = ActorCritic(qwop_game.FEATURE_SIZE, 9, (HIDDEN, HIDDEN), generator)
    curve = Curve(config.num_envs)

    def note(progress: ppo.Progress) -> None:
        m = progress.metrics
        ended = int(m["episode/count"]), m.get("episode/distance", 0.0), m.get("episode/return", 0.0)
        curve.add(progress.steps, *ended)

    ppo.train(config, envs, ppo.start(config, envs, policy), callback=note)
    return curve.rows


def stable_baselines3(config: PPOConfig) -> list[Row]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import DummyVecEnv

    class Note(BaseCallback):
        def _on_training_start(self) -> None:
            self.curve = Curve(config.num_envs)

        def _on_step(self) -> bool:
            infos = self.locals["infos"]
            self.curve.step(self.locals["rewards"], self.locals["dones"], lambda i: infos[i]["distance"])
            return True

        def _on_rollout_start(self) -> None:  # the update of the rollout before is done
            if self.num_timesteps:
                self.curve.iteration(self.num_timesteps)

        def _on_training_end(self) -> None:
            self.curve.iteration(self.num_timesteps)

    note = Note()
    model = PPO(
        "MlpPolicy",
        DummyVecEnv([single_environment] * config.num_envs),
        learning_rate=lambda left: config.learning_rate * left,
        n_steps=config.rollout_length,
        batch_size=config.minibatch_size,
        n_epochs=config.epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip,
        ent_coef=config.entropy_coef,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs={
            "net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]},
            "activation_fn": torch.nn.Tanh,
        },
        seed=config.seed,
        device="cpu",
    )
    model.learn(config.total_steps, callback=note)
    return note.curve.rows


def last_distance(infos: Mapping[str, Any], i: int) -> float:
    """Return the distance of the episode of game i that has ended, m."""
    final = infos["final_info"]  # Gymnasium 1: a dict of arrays; 0.29: an array of dicts
    return float(final["distance"][i] if isinstance(final, dict) else final[i]["distance"])


def cleanrl(config: PPOConfig, our_games: bool) -> list[Row]:
    import cleanrl_style

    if our_games:
        envs = vector_environment(config)
    else:
        mode = {k: v for k, v in qwop_game.QWOPVectorEnv.metadata.items() if k == "autoreset_mode"}
        envs = gymnasium.vector.SyncVectorEnv([single_environment] * config.num_envs, **mode)
    curve = Curve(config.num_envs)
    cleanrl_style.train(
        envs,
        config.total_steps,
        config.rollout_length,
        config.epochs,
        config.minibatch_size,
        HIDDEN,
        config.learning_rate,
        config.gamma,
        config.gae_lambda,
        config.clip,
        config.entropy_coef,
        config.max_grad_norm,
        config.seed,
        lambda rewards, ended, infos: curve.step(rewards, ended, lambda i: last_distance(infos, i)),
        curve.iteration,
    )
    return curve.rows


def child(name: str, config: PPOConfig) -> list[Row]:
    if name.startswith("ours"):
        return ours(dataclasses.replace(config, precision="auto" if name == "ours" else "float32"))
    torch.set_num_threads(config.threads)
    return stable_baselines3(config) if name == "sb3" else cleanrl(config, "our games" in name)


def in_fresh_process(name: str, seed: int, benchmark: TrainerConfig) -> list[Row]:
    command = [sys.executable, __file__, "--child", name, "--steps", str(benchmark.steps)]
    command += ["--threads", str(benchmark.threads), "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(benchmark.threads)}
    result = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment, encoding="utf-8"
    )
    return [tuple(row) for row in json.loads(result.stdout)]


def steps_per_second(curves: list[list[Row]], clock: int = 1) -> float:
    """Return the steps per second of the median iteration, by wall clock (column 1) or CPU time (2).

    The first iteration of each training is a warm-up and does not count.
    """
    rates: list[float] = []
    for rows in curves:
        steps, seconds = (np.diff([row[k] for row in rows]) for k in (0, clock))
        rates += (steps / seconds).tolist()
    return statistics.median(rates)


def moving_mean(rows: list[Row], column: int) -> np.ndarray:
    """Return the mean distance (column 4) or return (5) of the episodes in a window of WINDOW steps.

    One value per iteration, [iterations], of the episodes that ended in the last WINDOW steps; NaN without
    any.
    """
    steps, episodes, values = (np.array([row[k] for row in rows], float) for k in (0, 3, column))
    total, count = np.cumsum(episodes * values), np.cumsum(episodes)
    before = np.searchsorted(steps, steps - WINDOW, side="right")  # iterations before the window
    total, count = (sums - np.r_[0.0, sums][before] for sums in (total, count))
    return np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)


def plot(curves: Result, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (by_steps, by_time) = pyplot.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for name, seeds in curves.items():
        distance = np.array([moving_mean(rows, 4) for rows in seeds])
        steps, seconds = (np.median([[row[k] for row in rows] for rows in seeds], axis=0) for k in (0, 1))
        for axes, x in ((by_steps, steps / 1e6), (by_time, seconds)):
            (line,) = axes.plot(x, np.median(distance, axis=0), label=TRAINERS[name], linewidth=1.5)
            if len(seeds) > 1:
                edges = distance.min(axis=0), distance.max(axis=0)
                axes.fill_between(x, *edges, color=line.get_color(), alpha=0.15, linewidth=0)
    by_steps.set(xlabel="million environment steps", ylabel="meters in at most a minute, mean")
    by_time.set(xlabel="seconds of training")
    by_time.legend(fontsize=8)
    for axes in (by_steps, by_time):
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure(benchmark: TrainerConfig) -> dict[str, Any]:
    """Run every trainer in turn. Returns {"settings": ..., "rows": [...], "curves": {...}}."""
    curves: Result = {name: [] for name in TRAINERS}
    for seed in range(benchmark.seed, benchmark.seed + benchmark.seeds):
        for name in TRAINERS:
            print(f"training, seed {seed}: {TRAINERS[name]}", file=sys.stderr, flush=True)
            curves[name].append(in_fresh_process(name, seed, benchmark))
    fastest = steps_per_second(curves["ours"])
    rows = []
    for name, seeds in curves.items():
        rate = steps_per_second(seeds)
        distance, episode_return = (
            float(np.mean([moving_mean(rows, column)[-1] for rows in seeds])) for column in (4, 5)
        )
        rows.append(
            {
                "trainer": TRAINERS[name],
                "steps_per_second": round(rate),
                "ours_is_times": round(fastest / rate, 2),
                "steps_per_cpu_second": round(steps_per_second(seeds, clock=2)),
                "meters_at_the_end": round(distance, 2),
                "return_at_the_end": round(episode_return, 2),
            }
        )
    config = dataclasses.asdict(settings(benchmark.steps, benchmark.threads, benchmark.seed))
    return {
        "settings": config,
        "seeds": benchmark.seeds,
        "max_frames": MAX_FRAMES,
        "rows": rows,
        "curves": curves,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: compare(parse_config(PROGRAM, TrainerConfig, arguments, description=__doc__))
    )


def compare(benchmark: TrainerConfig) -> None:
    if benchmark.child is not None:
        config = settings(benchmark.steps, benchmark.threads, benchmark.seed)
        print(json_text(child(benchmark.child, config)))
        return
    check_outputs({"--plot": benchmark.plot})
    result = measure(benchmark)
    if benchmark.plot:
        plot(result["curves"], benchmark.plot)
    if benchmark.json:
        print(json_text(result, indent=1))
        return
    print(f"{'trainer':40} {'steps/s':>8} {'ours is':>8} {'per CPU s':>9} {'meters':>7} {'return':>7}")
    for row in result["rows"]:
        name, rate, ratio, by_cpu, meters, episode_return = row.values()
        print(f"{name:40} {rate:8,} {ratio:7.1f}x {by_cpu:9,} {meters:7.1f} {episode_return:7.1f}")


if __name__ == "__main__":
    raise SystemExit(main())
