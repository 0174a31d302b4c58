"""The offline datasets: fixed runs of 100 m in tiers, as keys. A replay gives the observations exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qwop_benchmark.arrays import load_arrays
from qwop_benchmark.packing import unpacked
from qwop_benchmark.resources import data_file
from qwop_datasets import Episode, replay_keys
from qwop_game import FRAME_SECONDS

Split = Literal["train", "validation", "all"]
VALIDATION_EVERY = 10
"""Runs 9, 19, 29, ... are the validation split; all others train."""
CREATED = "2026-11-30T00:00:00Z"


@dataclass(frozen=True)
class Tier:
    """A dataset. It never changes: other runs get another name."""

    name: str
    title: str
    file: str
    """In the package's folder data/; empty: made of others, or not shipped."""
    runs: int
    frames: int
    source: str
    """As `Episode.source`."""
    frame_skip: int
    """Frames of the player's decisions."""
    sha256: str
    """Of the keys, see `content_sha256`."""
    made_by: str
    parts: tuple[tuple[str, int], ...] = ()
    """Tiers that it is made of, with the number of their first runs."""


# fmt: off
TIERS: dict[str, Tier] = {tier.name: tier for tier in (
    Tier("scrape", "a policy that drags a knee", "scrape.safetensors", 100, 329679, "policy", 4,
         "cf2a0325a8da43c937364e3c881090381d7e397c1310cc5db5106c988349fdb6",
         "PPO on qwop-gym's reward, 0.75 million decisions, sampled, protocol P"),
    Tier("medium", "a policy that strides and often falls", "medium.safetensors", 100, 161232, "policy", 4,
         "986c6a384711cd905d11ee4e2dc1a571a8dd00e87c3b179dfcbff5222e307bf0",
         "PPO on the stride reward, 1.5 million decisions, sampled, protocol P"),
    Tier("expert", "a policy that runs and rarely falls", "expert.safetensors", 100, 136619, "policy", 1,
         "a2869f18442782b812adb8ebf63c6fff0bc9b3295826ae1ce74523b1028896e7",
         "benchmarks/expert.safetensors, sampled, protocol P"),
    Tier("search", "runs that a search found", "search.safetensors", 20, 24836, "search", 1,
         "4305f28fe2217ef39de82217d7c1dc61637f87f4b0b880dc94d75b5e6607f721",
         "qwop-search from benchmarks/expert.safetensors, seeds 0 to 4, 4 runs each, no disturbances"),
    Tier("mixed", "runs of all four", "", 120, 227323, "policy", 1,
         "b8c09a19d52784e5c25eb2e9a73d63bbabbfb471fd239c8009aebd6e8316c5e1",
         "the first runs of each", (("scrape", 34), ("medium", 33), ("expert", 33), ("search", 20))),
    Tier("human", "the record's holder, 50 runs", "", 50, 76_386, "human", 1, "",
         "public logs, whose license does not allow shipping them"),
)}
# fmt: on


def content_sha256(runs: Sequence[NDArray[np.uint8]]) -> str:
    """Compute the SHA-256 of runs: of each its number of frames, 8 bytes little-endian, and its key masks."""
    digest = hashlib.sha256()
    for run in runs:
        digest.update(len(run).to_bytes(8, "little") + np.asarray(run, np.uint8).tobytes())
    return digest.hexdigest()


def tier_of(name: str) -> Tier:
    """Return a tier. Raises ValueError for an unknown name."""
    if name not in TIERS:
        raise ValueError(f"no tier {name!r}: choose one of {', '.join(TIERS)}")
    return TIERS[name]


def tier_keys(name: str, split: Split = "all") -> list[NDArray[np.uint8]]:
    """Read the keys of a tier.

    Args:
        name: the tier.
        split: "train", "validation" or "all".

    Returns:
        One array per run, uint8 [T_i].

    Raises:
        ValueError: there is no such tier, or it is not shipped, or its SHA-256 is not the fixed one.
    """
    tier = tier_of(name)
    if tier.parts:
        runs = [run for part, count in tier.parts for run in tier_keys(part)[:count]]
    elif tier.file:
        stored = load_arrays(data_file(tier.file).read_bytes())
        runs = unpacked(stored["keys"], stored["lengths"])
    else:
        raise ValueError(
            f"tier {name!r} is not shipped: docs/benchmark/data.md has the command that makes it"
        )
    if content_sha256(runs) != tier.sha256:
        raise ValueError(f"tier {name!r}: the keys are not the fixed ones; install the package again")
    return [run for number, run in enumerate(runs) if split == "all" or split_of(number) == split]


def split_of(number: int) -> Split:
    """Return the split of a run: "train" or "validation"."""
    return "validation" if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 else "train"


def tier_episodes(name: str, split: Split = "all") -> list[Episode]:
    """Replay the runs of a tier: episodes with observations, to write, clone or train on.

    Args:
        name: the tier.
        split: "train", "validation" or "all".

    Raises:
        ValueError: see `tier_keys`.
    """
    tier = tier_of(name)
    sources = [part for part, count in tier.parts for _ in range(count)] or [name] * tier.runs
    keys = tier_keys(name)
    chosen = [i for i in range(len(keys)) if split == "all" or split_of(i) == split]
    episodes: list[Episode] = []
    for number, replay in zip(chosen, replay_keys([keys[i] for i in chosen]), strict=True):
        part = tier_of(sources[number])
        text = f"{name} {number} {tier.sha256}"
        episodes.append(
            Episode(
                keys=keys[number],
                raw_observations=replay.raw_observations,
                times=replay.times,
                terminated=replay.over,
                truncated=not replay.over,
                success=replay.finished,
                source=part.source,
                player=part.name,
                provenance={
                    "tier": name,
                    "number": number,
                    "split": split_of(number),
                    "made_by": part.made_by,
                },
                id=hashlib.sha256(text.encode()).hexdigest()[:32],
                created=CREATED,
            )
        )
    return episodes


def card(tier: Tier) -> str:
    """Return the card of a tier: what it is, how it was made, how large it is."""
    episodes = tier_episodes(tier.name)
    finished = [episode for episode in episodes if episode.success]
    times = sorted(episode.time for episode in finished)
    meters = sum(episode.distance for episode in episodes) / len(episodes)
    median = f"{times[len(times) // 2]:.1f} s" if times else "-"
    return "\n".join(
        [
            f"{tier.name}: {tier.title}",
            f"runs        {len(episodes)}; {sum(split_of(i) == 'train' for i in range(tier.runs))} to train",
            f"frames      {tier.frames} ({tier.frames * FRAME_SECONDS / 60:.0f} minutes of play)",
            f"finished    {len(finished)}, median {median}, mean distance {meters:.1f} m",
            f"made by     {tier.made_by}",
            f"sha256      {tier.sha256}",
            "license     MIT, as the project; no person's runs",
        ]
    )
