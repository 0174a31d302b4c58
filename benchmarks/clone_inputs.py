"""What should a clone of a person see and say? Five variants of behavioral cloning, over training seeds.

    python benchmarks/clone_inputs.py people.h5 [--other beginner.h5] [--seeds 3] [--out results.json]

Every arm trains the same network on the finished runs of a person at one decision a frame, and plays protocol
P with sampled actions:
  plain       the features of the present state, as `qwop-bc` takes them
  history     and the keys of the last 16 frames, with the time since each key last changed
  noise       and in training, noise of 0.05 standard deviations on every feature
  chunks      the present state; the answer is the next 4 actions at once (Zhao et al. 2023, action chunking)
  mixture     the runs of the other player as well
  condition   the same, with the player's number as an input; it plays as the first one
The last two need --other. A result that is stored already is not computed again.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command, text_table
from qwop_datasets import DatasetError, Decisions, load_decisions
from qwop_evaluation import format_number
from qwop_game import (
    FEATURE_SIZE,
    MAX_IDLE_FRAMES,
    REPEAT_PROBABILITY,
    GameBatch,
    RolloutMetrics,
    action_masks,
)
from qwop_rl_core import ActorCritic, sample_actions

PROGRAM = "clone_inputs"

HISTORY_FRAMES = 16
"""Frames whose keys the arm `history` sees. A person reacts within 6 to 8."""
NUM_KEYS, NUM_ACTIONS, NO_KEYS = 4, 9, 0
KEYS_OF_ACTIONS = (action_masks("distinct")[:, None] >> np.arange(NUM_KEYS) & 1).astype(np.float32)
"""Whether each action holds Q, W, O and P, [9, 4]."""
CHUNK = 4
"""Actions that the arm `chunks` decides at once."""
NOISE = 0.05
"""Standard deviation of the noise, in standard deviations of each feature."""
MAX_FRAMES = 3600
"""Length of an episode at most."""
SEED = 1000
"""Seed of the plays. No choice was made by them."""


@dataclass(frozen=True)
class Arm:
    """A variant of behavioral cloning."""

    history: bool = False
    noise: float = 0.0
    chunk: int = 1
    other: bool = False
    condition: bool = False


ARMS = {
    "plain": Arm(),
    "history": Arm(history=True),
    "noise": Arm(noise=NOISE),
    "chunks": Arm(chunk=CHUNK),
    "mixture": Arm(other=True),
    "condition": Arm(other=True, condition=True),
}


@dataclass(frozen=True)
class CloneInputsConfig:
    """Compare what a clone of a person sees and says."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Runs of a person; the finished ones are cloned."""
    other: Path | None = None
    """Runs of another player, for the last two arms."""
    seeds: int = 3
    """Number of training seeds."""
    epochs: int = 30
    """Passes over the decisions; the learning rate falls to 0 over them."""
    episodes: int = 100
    """Plays of each clone."""
    arms: tuple[str, ...] = tuple(ARMS)
    """Arms to run."""
    out: Path | None = None
    """File of results (.json), which a later start continues."""

    def __post_init__(self) -> None:
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise CommandError(f"--arms {' '.join(unknown)}: no such arm; choose from {', '.join(ARMS)}")
        for name in ("seeds", "epochs", "episodes"):
            if getattr(self, name) < 1:
                raise CommandError(f"--{name} {getattr(self, name)}: expected 1 or more")
        if (
            self.other is None
            and (unnamed := [arm for arm in self.arms if ARMS[arm].other])
            and self.arms != tuple(ARMS)
        ):
            raise CommandError(f"--arms {' '.join(unnamed)}: needs --other, runs of another player")
        check_outputs({"--out": self.out}, inputs={"FILE": self.dataset, "--other": self.other})


def history_of(actions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return what the arm `history` sees before each decision of an episode.

    Args:
        actions: actions of the distinct set, [T].

    Returns:
        Keys of the last 16 frames, and seconds since each key last changed (at most 1), float32 [T, 68].
    """
    seen = KeyHistory(1)
    rows: list[NDArray[np.float32]] = []
    for action in actions:
        rows.append(seen.rows()[0])
        seen.add(np.array([action]))
    return np.stack(rows)


class KeyHistory:
    """The keys of the last frames of N games."""

    def __init__(self, games: int):
        self._frames = np.zeros((games, HISTORY_FRAMES, NUM_KEYS), np.float32)
        self._age = np.ones((games, NUM_KEYS), np.float32)

    def rows(self) -> NDArray[np.float32]:
        """Return the inputs [N, 68]."""
        return np.concatenate([self._frames.reshape(len(self._frames), -1), self._age], axis=1)

    def add(self, actions: NDArray[np.int64]) -> None:
        """Note the actions of a frame, [N]."""
        keys = KEYS_OF_ACTIONS[actions]
        changed = keys != self._frames[:, -1]
        self._age = np.where(changed, np.float32(0.0), np.minimum(self._age + 1.0 / 30.0, 1.0)).astype(
            np.float32
        )
        self._frames = np.concatenate([self._frames[:, 1:], keys[:, None]], axis=1)


class Clone:
    """A network with the inputs and outputs of an arm."""

    def __init__(self, arm: Arm, seed: int):
        extra = (HISTORY_FRAMES + 1) * NUM_KEYS * arm.history + 2 * arm.condition
        generator = torch.Generator().manual_seed(seed)
        self.arm, self.generator = arm, generator
        self.network = ActorCritic(
            FEATURE_SIZE + extra, NUM_ACTIONS * arm.chunk, (256, 256), generator=generator
        )

    def inputs(self, decisions: Decisions, player: int) -> Tensor:
        """Return the inputs before each decision of an episode, [T, D]."""
        columns = [decisions.features[:-1]]
        if self.arm.history:
            columns.append(history_of(decisions.actions))
        if self.arm.condition:
            columns.append(np.tile(np.eye(2, dtype=np.float32)[player], (len(decisions.actions), 1)))
        return torch.from_numpy(np.concatenate(columns, axis=1))

    def answers(self, decisions: Decisions) -> tuple[Tensor, Tensor]:
        """Return the actions to learn and which of them are determined, [T, C] each."""
        offsets = np.arange(self.arm.chunk)
        index = np.minimum(np.arange(len(decisions.actions))[:, None] + offsets, len(decisions.actions) - 1)
        known = (
            np.ones(len(decisions.actions), bool) if decisions.determined is None else decisions.determined
        )
        return torch.from_numpy(decisions.actions[index]), torch.from_numpy(known[index])

    def train(self, players: Sequence[Sequence[Decisions]], epochs: int) -> None:
        """Train on the decisions of each player's episodes."""
        episodes = [(number, one) for number, those in enumerate(players) for one in those]
        x = torch.cat([self.inputs(one, number) for number, one in episodes])
        actions, known = (
            torch.cat(parts) for parts in zip(*(self.answers(e) for _, e in episodes), strict=True)
        )
        self.network.normalizer.update(x)
        inputs = self.network.normalizer(x)
        optimizer = torch.optim.Adam(self.network.policy.parameters(), 2e-3)
        for epoch in range(epochs):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * (1.0 - epoch / epochs)
            for batch in torch.randperm(len(x), generator=self.generator).split(2048):
                rows = inputs[batch]
                if self.arm.noise:
                    rows = rows + self.arm.noise * torch.randn(rows.shape, generator=self.generator)
                logits = self.network.policy(rows).view(len(batch), self.arm.chunk, NUM_ACTIONS)
                losses = nn.functional.cross_entropy(logits.transpose(1, 2), actions[batch], reduction="none")
                loss = losses[known[batch]].mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    @torch.inference_mode()
    def play(self, episodes: int) -> RolloutMetrics:
        """Play protocol P with sampled actions, every frame a decision."""
        rng, generator = np.random.default_rng(SEED), torch.Generator().manual_seed(SEED)
        games = GameBatch(episodes, 1, "distinct", "features", MAX_FRAMES, "auto")
        games.reset()
        idle = rng.integers(0, MAX_IDLE_FRAMES + 1, episodes)
        history, metrics = KeyHistory(episodes), RolloutMetrics()
        running = np.ones(episodes, bool)
        success, distance, time = np.zeros(episodes, bool), np.zeros(episodes), np.zeros(episodes)
        held, plan = np.full(episodes, NO_KEYS), np.zeros((episodes, self.arm.chunk), np.int64)
        for frame in range(MAX_FRAMES):
            if frame % self.arm.chunk == 0:
                columns = [games.observations()]
                columns += [history.rows()] if self.arm.history else []
                columns += (
                    [np.tile(np.array([1, 0], np.float32), (episodes, 1))] if self.arm.condition else []
                )
                logits = self.network.logits(torch.from_numpy(np.concatenate(columns, axis=1)))
                plan = sample_actions(logits.view(episodes, self.arm.chunk, NUM_ACTIONS), generator).numpy()
            repeated = rng.random(episodes) < REPEAT_PROBABILITY
            held = np.where(repeated, held, plan[:, frame % self.arm.chunk])
            held = np.where(frame < idle, NO_KEYS, held)
            _, terminated, truncated = games.step(games.action_masks[held])
            history.add(held)
            metrics.add_steps(games.simulator.raw_observation[running])
            over = running & (terminated | truncated)
            success[over] = games.success[over]
            distance[over], time[over] = games.simulator.distance[over], games.simulator.time[over]
            running &= ~over
            if not running.any():
                break
        games.simulator.close()
        metrics.add_episodes(distance, time, success)
        return metrics


def run_arm(
    arm: Arm, seed: int, players: Sequence[Sequence[Decisions]], epochs: int, episodes: int
) -> dict[str, float]:
    """Train a clone and play it. Returns its figures: shares in [0, 1], m and s."""
    clone = Clone(arm, seed)
    clone.train(players if arm.other else players[:1], epochs)
    metrics = clone.play(episodes)
    return {
        "finish": metrics.finish_rate,
        "distance": metrics.mean_distance,
        "median_time": metrics.median_time,
        "knee_near": metrics.knee_near_share,
        "upright": metrics.upright_share,
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as a table, one line for each arm: {"arm/seed": figures}."""
    lines: list[list[str]] = []
    for arm in ARMS:
        figures = [result for name, result in results.items() if name.split("/")[0] == arm]
        if figures:
            # null in the file: no play finished, so there is no time
            times = [f["median_time"] for f in figures if f["median_time"] is not None]
            times = [time for time in times if not math.isnan(time)]
            distance = statistics.median(f["distance"] for f in figures)
            median_time = statistics.median(times) if times else math.nan
            shares = [statistics.mean(f[name] for f in figures) for name in ("knee_near", "upright")]
            finishes = ", ".join(f"{100 * f['finish']:.0f}" for f in figures)
            lines.append(
                [
                    arm,
                    finishes,
                    f"{distance:.1f}",
                    format_number(median_time, 1),
                    *(f"{100 * share:.1f}" for share in shares),
                ]
            )
    return text_table(["arm", "finish %, each seed", "meters", "median s", "knee %", "upright %"], lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: _compare(parse_config(PROGRAM, CloneInputsConfig, arguments)), DatasetError
    )


def _compare(config: CloneInputsConfig) -> None:
    torch.set_num_threads(1)
    players = [load_decisions(config.dataset, 1, where="success")[1]]
    if config.other is not None:
        players.append(load_decisions(config.other, 1)[1])
    results: dict[str, dict[str, Any]] = {}
    if config.out is not None and config.out.exists():
        results = json.loads(config.out.read_text(encoding="utf-8"))
    arms = [name for name in config.arms if config.other is not None or not ARMS[name].other]
    tasks = [(name, seed) for seed in range(config.seeds) for name in arms]
    for name, seed in tqdm(tasks, unit="clone"):
        key = f"{name}/{seed}"
        if key not in results:
            results[key] = run_arm(ARMS[name], seed, players, config.epochs, config.episodes)
            if config.out is not None:
                config.out.write_text(json_text(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    raise SystemExit(main())
