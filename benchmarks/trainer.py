"""How fast PPO learns to run here, beside Stable-Baselines3's and CleanRL's, on the same game and settings.

    python benchmarks/trainer.py [--json] [--steps 300000] [--threads 2] [--plot docs/trainer.png]

All train two networks of 2 x 256 tanh units on 256 games, frame skip 4, features, the game's own reward, with
the same rollouts, minibatches, epochs, learning rate, discount, clipping and entropy bonus, in processes of
their own, one after the other. Stable-Baselines3 steps its default DummyVecEnv of single environments,
CleanRL's loop its SyncVectorEnv; a further row gives CleanRL's loop our vector environment. Quoted are the
median iteration's steps a second and how far episodes got on average in the last iterations. Ours computes in
bfloat16 where the CPU does so natively (--precision auto of qwop-finetune).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

import qwop_game
from qwop_rl_core import ActorCritic, ppo
from qwop_rl_core.ppo import PPOConfig

HIDDEN = 256
LAST = 5  # iterations whose distances are averaged
Row = tuple[int, float, float, float, float]
"""Steps, seconds of wall clock and of CPU, mean distance (m) and return of the episodes that ended."""
TRAINERS = {
    "ours": "ours",
    "ours, float32": "ours in float32",
    "sb3": "Stable-Baselines3, DummyVecEnv",
    "cleanrl": "CleanRL's loop, SyncVectorEnv",
    "cleanrl, our games": "CleanRL's loop, our vector environment",
}


def settings(steps: int, threads: int, seed: int) -> PPOConfig:
    return PPOConfig(total_steps=steps, num_envs=256, threads=threads, seed=seed, device="cpu")


class Curve:
    """What happened until each iteration's end."""

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
        distance, episode_return = np.mean(self._ended or [(np.nan, np.nan)], axis=0)
        self._ended.clear()
        self.add(steps, float(distance), float(episode_return))

    def add(self, steps: int, distance: float, episode_return: float) -> None:
        wall, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        self.rows.append((steps, wall, cpu, distance, episode_return))


def single_environment() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("qwop_game/QWOP-v0", frame_skip=4, observation="features", disable_env_checker=True)


def ours(config: PPOConfig) -> list[Row]:
    envs = qwop_game.QWOPVectorEnv(
        config.num_envs, frame_skip=4, observation="features", threads=config.threads
    )
    generator = torch.Generator().manual_seed(config.seed)
    policy = ActorCritic(qwop_game.FEATURE_SIZE, 9, (HIDDEN, HIDDEN), generator)
    curve = Curve(config.num_envs)

    def note(progress: ppo.Progress) -> None:
        m = progress.metrics
        curve.add(progress.steps, m.get("episode/distance", np.nan), m.get("episode/return", np.nan))

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


def cleanrl(config: PPOConfig, our_games: bool) -> list[Row]:
    import cleanrl_style

    if our_games:
        envs = qwop_game.QWOPVectorEnv(
            config.num_envs, frame_skip=4, observation="features", threads=config.threads
        )
    else:
        envs = gymnasium.vector.SyncVectorEnv([single_environment] * config.num_envs)
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
        lambda rewards, ended, infos: curve.step(
            rewards, ended, lambda i: infos["final_info"][i]["distance"]
        ),
        curve.iteration,
    )
    return curve.rows


def child(name: str, config: PPOConfig) -> list[Row]:
    if name.startswith("ours"):
        return ours(dataclasses.replace(config, precision="auto" if name == "ours" else "float32"))
    torch.set_num_threads(config.threads)
    return stable_baselines3(config) if name == "sb3" else cleanrl(config, "our games" in name)


def in_fresh_process(name: str, options: argparse.Namespace) -> list[Row]:
    command = [sys.executable, __file__, "--child", name, "--steps", str(options.steps)]
    command += ["--threads", str(options.threads), "--seed", str(options.seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [tuple(row) for row in json.loads(result.stdout)]


def steps_per_second(rows: list[Row], clock: int = 1) -> float:
    """Of the median iteration by the wall clock (column 1) or CPU time (2); the first warms up."""
    steps, seconds = (np.diff([row[k] for row in rows]) for k in (0, clock))
    return statistics.median((steps / seconds).tolist())


def plot(curves: dict[str, list[Row]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (by_steps, by_time) = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True)
    for name, rows in curves.items():
        steps, seconds, _, distance, _ = np.array(rows, float).T
        smooth = np.array([np.nanmean(distance[max(0, i - LAST + 1) : i + 1]) for i in range(len(distance))])
        by_steps.plot(steps / 1e3, smooth, label=TRAINERS[name])
        by_time.plot(seconds, smooth)
    by_steps.set(xlabel="thousand environment steps", ylabel="mean distance of episodes, m")
    by_time.set(xlabel="seconds of training", xscale="log")
    by_steps.legend(fontsize=8)
    for axes in (by_steps, by_time):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every trainer in turn: {"settings": ..., "rows": [...], "curves": {...}}."""
    curves = {}
    for name in TRAINERS:
        print(f"training: {TRAINERS[name]}", file=sys.stderr, flush=True)
        curves[name] = in_fresh_process(name, options)
    fastest = steps_per_second(curves["ours"])
    rows = []
    for name, curve in curves.items():
        rate = steps_per_second(curve)
        rows.append(
            {
                "trainer": TRAINERS[name],
                "steps_per_second": round(rate),
                "ours_is_times": round(fastest / rate, 2),
                "steps_per_cpu_second": round(steps_per_second(curve, clock=2)),
                "metres_at_the_end": round(float(np.nanmean([r[3] for r in curve[-LAST:]])), 2),
                "return_at_the_end": round(float(np.nanmean([r[4] for r in curve[-LAST:]])), 2),
            }
        )
    config = dataclasses.asdict(settings(options.steps, options.threads, options.seed))
    return {"settings": config, "rows": rows, "curves": curves}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object instead of a table")
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps of each trainer")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, help="picture of the learning curves to write")
    parser.add_argument("--child", choices=tuple(TRAINERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        rows = child(options.child, settings(options.steps, options.threads, options.seed))
        print(json.dumps(rows))
        return 0
    result = measure(options)
    if options.plot:
        plot(result["curves"], options.plot)
    if options.json:
        json.dump(result, sys.stdout, indent=1)
        print()
        return 0
    print(f"{'trainer':40} {'steps/s':>8} {'ours is':>8} {'per CPU s':>9} {'metres':>7} {'return':>7}")
    for row in result["rows"]:
        name, rate, ratio, by_cpu, metres, episode_return = row.values()
        print(f"{name:40} {rate:8,} {ratio:7.1f}x {by_cpu:9,} {metres:7.1f} {episode_return:7.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
