"""Result of a cloning, and the table that `qwop-bc` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from qwop_bc.cloning import Cloning, Split
from qwop_bc.metrics import SEGMENT_LENGTHS, Agreement, agreement
from qwop_bc.rollouts import RolloutSummary, summarize_demonstrations
from qwop_datasets import Decisions, Episode
from qwop_game import KEY_NAMES
from qwop_rl_core import ActorCritic, Policy


@dataclass(frozen=True)
class CloneResult:
    """A finished cloning. `print` it for a table."""

    path: Path
    """The checkpoint."""
    policy: Policy = field(repr=False)
    """The clone of the best epoch, on the CPU, with the checkpoint's metadata."""
    epochs: int
    """Epochs trained (of DAgger and self-imitation: rounds; of GAIL and AIRL: reports)."""
    best_epoch: int
    """The epoch that `policy` is of."""
    epoch_name: str
    """What an epoch is called: epoch, round or report."""
    decisions: int
    """Decisions of all demonstrations."""
    kept: float
    """Share of the frames in which these decisions keep the demonstrated keys."""
    validation_episodes: int
    """Number of held-out episodes. 0: the last part of the only episode was held out."""
    validation_decisions: int
    """Number of held-out decisions."""
    agreement: Agreement
    """Of the clone with all held-out decisions."""
    agreement_by_episode: tuple[Agreement, ...]
    """The same for each held-out episode."""
    demonstrations: RolloutSummary
    """Figures of the demonstrations."""
    sampled: RolloutSummary
    """Figures of the clone's own runs with sampled actions."""
    argmax: RolloutSummary
    """Figures of the clone's own runs with the most likely actions."""
    trigs: tuple[str, ...]
    """Variants of sine and cosine in which the demonstrations were played."""

    def __str__(self) -> str:
        frame_skip = self.policy.metadata["frame_skip"]
        held_out = f"{self.validation_episodes} episodes" if self.validation_episodes else "its last part"
        return "\n".join(
            [
                f"{self.demonstrations.metrics.episodes} episodes, {self.decisions} decisions of "
                f"{frame_skip} frames that keep {self.kept:.1%} of the frames' keys; held out: {held_out}, "
                f"{self.validation_decisions} decisions",
                comparison_table(self),
                f"{self.path}: the clone of {self.epoch_name} {self.best_epoch} of {self.epochs}",
            ]
        )


def measure(
    cloning: Cloning,
    episodes: Sequence[Episode],
    decisions: Sequence[Decisions],
    path: Path,
    metadata: dict[str, object],
    epoch_name: str,
) -> CloneResult:
    """Measure the best clone of a cloning: on the held-out decisions, and in the game.

    Args:
        cloning: after training.
        episodes: the demonstrations.
        decisions: their decisions, which `cloning` was made from.
        path: the checkpoint.
        metadata: the checkpoint's metadata.
        epoch_name: what an epoch is called.
    """
    split, action_set = cloning.split, cloning.config.action_set
    total = sum(len(d) for d in decisions)
    network = cloning.best_network()
    device = next(network.parameters()).device
    held_out = split.validation_features.to(device), split.validation_actions.to(device)
    return CloneResult(
        agreement=agreement(network, *held_out, action_set),
        agreement_by_episode=tuple(agreement_by_episode(network, split, action_set)),
        demonstrations=summarize_demonstrations(episodes),
        sampled=cloning.play(network, sample=True),
        argmax=cloning.play(network, sample=False),
        policy=Policy(network, metadata),
        path=path,
        epochs=cloning.epoch,
        best_epoch=cloning.best_epoch,
        epoch_name=epoch_name,
        decisions=total,
        kept=sum(d.kept * len(d) for d in decisions) / total,
        validation_episodes=len(split.validation_episodes),
        validation_decisions=len(split.validation_actions),
        trigs=tuple(sorted({episode.trig for episode in episodes})),
    )


def agreement_by_episode(network: ActorCritic, split: Split, action_set: str) -> list[Agreement]:
    """Compare a policy with each held-out episode by itself."""
    device = next(network.parameters()).device
    lengths = list(split.validation_lengths)
    features = torch.split(split.validation_features.to(device), lengths)
    actions = torch.split(split.validation_actions.to(device), lengths)
    return [agreement(network, f, a, action_set) for f, a in zip(features, actions, strict=True)]


def comparison_table(result: CloneResult) -> str:
    """Format the figures of the demonstrations and of the clone's own runs side by side."""
    columns = result.demonstrations, result.sampled, result.argmax

    def row(name: str, text: str, attribute: str) -> list[str]:
        values = [getattr(summary.metrics, attribute) for summary in columns]
        return [name, *("-" if math.isnan(v) else format(v, text) for v in values)]

    def segments(i: int, low: int, high: int | None) -> list[str]:
        name = f"  of {low} to {high}" if high else f"  of {low} and more"
        return [name, *(f"{summary.segment_shares[i]:.0%}" for summary in columns)]

    losses = [episode.loss for episode in result.agreement_by_episode]
    accuracies = [episode.accuracy for episode in result.agreement_by_episode]
    rows = [
        ["", "demonstrations", "clone, sampled", "clone, argmax"],
        row("episodes", "d", "episodes"),
        row("finished", ".0%", "finish_rate"),
        row("mean distance, m", ".1f", "mean_distance"),
        row("median time, s", ".2f", "median_time"),
        row("knee near track", ".1%", "knee_near_share"),
        row("upright", ".1%", "upright_share"),
        ["key segment, frames", *(f"{summary.segment_frames:.0f}" for summary in columns)],
        *(segments(i, low, high) for i, (low, high) in enumerate(SEGMENT_LENGTHS)),
        ["held-out loss, nats", "", f"{result.agreement.loss:.3f}", ""],
        ["  by episode", "", f"{min(losses):.3f} to {max(losses):.3f}", ""],
        ["held-out agreement", "", "", f"{result.agreement.accuracy:.1%}"],
        ["  by episode", "", "", f"{min(accuracies):.1%} to {max(accuracies):.1%}"],
        *(
            [f"held-out F1 of {key}", "", "", "-" if math.isnan(f1) else f"{f1:.3f}"]
            for key, f1 in zip(KEY_NAMES, result.agreement.key_f1, strict=True)
        ),
    ]
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join(
        "  ".join([r[0].ljust(widths[0]), *(r[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip() for r in rows
    )
