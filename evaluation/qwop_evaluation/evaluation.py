"""Judge a policy: play its episodes, compute their figures, print or save them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks
from qwop_datasets import DatasetReader, DatasetWriter, Episode, verify_episodes, write_compact_dataset
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer, LoadedPolicy, Player, PolicyPlayer
from qwop_evaluation.protocol import BATCH, MAX_SECONDS, play
from qwop_evaluation.shipped import shipped_policy_path
from qwop_evaluation.summary import Summary, summarize, summary_json
from qwop_evaluation.table import format_number, results_table
from qwop_game import DEFAULT_TRIG
from qwop_game.gait import GaitMetrics
from qwop_game.real import RealGame


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Episodes that a policy has played. `print` it for the figures."""

    player: Player
    """The policy."""
    episodes: tuple[Episode, ...]
    """At least one, in the order of their seeds."""

    @cached_property
    def summary(self) -> Summary:
        """Figures of all episodes together."""
        return summarize(self.episodes)

    def as_json(self) -> dict[str, Any]:
        """Return what `qwop-eval --json` prints: the figures, how they were made, and every episode."""
        provenance = self.episodes[0].provenance
        return summary_json(self.summary) | {
            "seed": provenance["seed"],
            "seeds": [int(episode.provenance["seed"]) for episode in self.episodes],
            "protocol": provenance["protocol"],
            "actions": _actions(self.episodes[0]),
            "policy": self.player.name,
            "policy_sha256": _sha256(self.player),
            "frame_skip": self.player.frame_skip,
            "action_set": self.player.action_set,
            "runs": [
                _episode_json(episode, gait)
                for episode, gait in zip(self.episodes, self.summary.gaits, strict=True)
            ],
        }

    def __str__(self) -> str:
        gait, number = self.summary.gait, format_number
        provenance = self.episodes[0].provenance
        protocol = "protocol P" if provenance["protocol"] == "P" else "unperturbed"
        truncated = sum(episode.truncated for episode in self.episodes)
        seeds = f"{provenance['seed']} to {self.episodes[-1].provenance['seed']}"
        return "\n".join(
            [
                results_table({self.player.name: self.summary}),
                "",
                f"gait: pelvis at {number(gait.pelvis_height, 2)} m, "
                f"{number(gait.cadence, 0)} steps a minute, "
                f"flight {number(100 * gait.flight, 0)} %, symmetry {number(gait.symmetry, 2)}, "
                f"torso {number(gait.torso_pitch, 0)} +- {number(gait.torso_pitch_std, 0)} degrees forward, "
                f"{number(gait.key_switches, 1)} key switches a second",
                f"{protocol}, {_actions(self.episodes[0])} actions, seeds {seeds}, "
                f"frame skip {self.player.frame_skip}" + (f"; {truncated} cut short" if truncated else ""),
            ]
        )

    def save(self, path: str | os.PathLike[str], only_finished: bool = False) -> None:
        """Verify the episodes by replay and append them to a dataset.

        Args:
            path: HDF5 dataset; created if it does not exist.
            only_finished: omit the episodes that did not finish.

        Raises:
            DatasetError: the file can't be written.
        """
        kept = [episode for episode in self.episodes if episode.success or not only_finished]
        append_verified(DatasetWriter(path), kept, self.player)


def evaluate(
    policy: str | os.PathLike[str] | LoadedPolicy | Player | None = None,
    *,
    episodes: int = 100,
    seed: int = 0,
    sample: bool = False,
    lookahead: Lookahead | None = None,
    perturbed: bool = True,
    max_seconds: float = MAX_SECONDS,
    trig: str = DEFAULT_TRIG,
    game: RealGame | None = None,
    on_frame: Callable[[int, int], None] | None = None,
    into: list[Episode] | None = None,
    temperature: float = 1.0,
    cluster: ClusterOptions | None = None,
) -> Evaluation:
    """Judge a policy under protocol P (docs/guides/evaluation.md), as `qwop-eval` does.

    Args:
        policy: a checkpoint, a loaded policy (`Policy`, or `NumpyPolicy`, which needs no PyTorch), or a
            player; None: the shipped policy.
        episodes: number of episodes.
        seed: seed of the first episode, 0 or more; the others count up from it.
        sample: draw actions from the policy; otherwise take the most likely one.
        lookahead: simulate continuations before acting, in place of `sample`; None: do not.
        perturbed: with protocol P's idle frames and repeated decisions.
        max_seconds: time limit of an episode, s.
        trig: variant of sine and cosine of the embedded game, see `Simulator`.
        game: the real game, to play in; None: the embedded game.
        on_frame: called after each frame with (frames played, episodes over).
        into: list that collects the episodes, so that an interrupt loses only those that are not over.
        temperature: what logits are divided by before `sample` draws, above 0. Below 1, likely actions become
            more likely.
        cluster: play batches of episodes as tasks, on Ray or kept in a folder, with the same results.
            `on_frame` is then called after each batch.

    Returns:
        The episodes and their figures.

    Raises:
        CheckpointError: the checkpoint can't be read, or does not fit this game.
        ValueError: a setting is out of range, or the policy has no distribution to draw from.
        RealGameError: the real game can't be started, or was closed.
    """
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}: it must be 1 or more")
    player = _player(policy)
    if not player.samples:
        for name, given in (("sample", sample), ("lookahead", lookahead is not None)):
            if given:
                raise ValueError(f"{name}: a Q-network has no distribution to draw from; omit it")
    settings: dict[str, Any] = {
        "sample": sample,
        "perturbed": perturbed,
        "max_seconds": max_seconds,
        "lookahead": lookahead,
        "trig": trig,
        "temperature": temperature,
    }
    seeds = range(seed, seed + episodes)
    if cluster is None or not cluster.wanted:
        played = play(player, seeds, on_frame=on_frame, game=game, into=into, **settings)
    elif game is not None:
        raise ValueError("the real game can't be played on a cluster")
    else:
        played = _play_batches(player, seeds, settings, cluster, on_frame, [] if into is None else into)
    return Evaluation(player, tuple(played))


def _play_batches(
    player: Player,
    seeds: range,
    settings: dict[str, Any],
    cluster: ClusterOptions,
    on_frame: Callable[[int, int], None] | None,
    into: list[Episode],
) -> list[Episode]:
    """Play the batches of `play` as tasks.

    They are its batches, because a network's last bits depend on how many rows it gets at once.
    """
    batches = [seeds[first : first + BATCH] for first in range(0, len(seeds), BATCH)]
    kept = None
    if cluster.tasks is not None:
        lookahead: Lookahead | None = settings["lookahead"]
        described = settings | {"lookahead": None if lookahead is None else asdict(lookahead)}
        job = described | {"policy_sha256": _sha256(player), "seeds": [seeds.start, seeds.stop]}
        if isinstance(player, CheckpointPlayer) and player.numpy:
            job["numpy"] = True
        kept = KeptResults(cluster.tasks, job, _save_episodes, _load_episodes, ".h5")
    done: dict[int, list[Episode]] = {}
    for index, episodes in map_tasks(
        _play_batch, (player, settings), batches, options=cluster, kept=kept, show=False
    ):
        done[index] = episodes
        into[:] = [episode for batch in sorted(done) for episode in done[batch]]
        if on_frame is not None:
            on_frame(0, len(into))
    return into


def _play_batch(shared: tuple[Player, dict[str, Any]], seeds: Sequence[int]) -> list[Episode]:
    player, settings = shared
    return play(player, seeds, **settings)


def _save_episodes(path: Path, episodes: list[Episode]) -> None:
    write_compact_dataset(path, episodes)


def _load_episodes(path: Path) -> list[Episode]:
    with DatasetReader(path) as reader:
        return list(reader)


def append_verified(writer: DatasetWriter, episodes: Sequence[Episode], player: Player) -> None:
    """Verify a player's episodes by replay and append them to a dataset, with the hash of its checkpoint."""
    sha256 = _sha256(player)
    checkpoint = {} if sha256 is None else {"policy_sha256": sha256}
    writer.append_all(
        [
            episode.replace(provenance={**episode.provenance, **checkpoint}, verified=verification.text)
            for episode, verification in zip(episodes, verify_episodes(episodes), strict=True)
        ]
    )


def _player(policy: str | os.PathLike[str] | LoadedPolicy | Player | None) -> Player:
    if policy is None:
        return CheckpointPlayer(shipped_policy_path())
    if isinstance(policy, LoadedPolicy):
        return PolicyPlayer(policy)
    return CheckpointPlayer(policy) if isinstance(policy, str | os.PathLike) else policy


def _sha256(player: Player) -> str | None:
    """Hash of the player's checkpoint; None if it was not loaded from one."""
    return player.sha256 if isinstance(player, CheckpointPlayer) else None


def _actions(episode: Episode) -> str:
    """How actions were chosen: argmax, sampled (at a temperature), or lookahead with its candidates."""
    if candidates := episode.provenance.get("lookahead_candidates"):
        return f"lookahead {candidates}"
    if temperature := episode.provenance.get("temperature"):
        return f"sampled at {temperature:g}"
    return "sampled" if episode.provenance["sampled"] else "argmax"


def _episode_json(episode: Episode, gait: GaitMetrics) -> dict[str, Any]:
    return {
        "seed": episode.provenance["seed"],
        "idle_frames": episode.provenance["idle_frames"],
        "finished": episode.success,
        "truncated": episode.truncated,
        "time_s": episode.time,
        "distance_m": episode.distance,
        "knee_near": gait.knee_near,
        "upright": gait.upright,
        "strides": gait.strides,
        "symmetry": gait.symmetry,
    }
