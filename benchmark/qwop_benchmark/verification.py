"""Verify submissions and the entries of a scoreboard: play or replay, and recompute every figure.

An entry is one file, too: a submission's bytes as they are, the salt, and the keys of the episodes on which a
policy was played. So whoever has an entry can replay every score bit for bit, and check with the network that
it chooses these keys in these states.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from qwop_benchmark.packing import packed, unpacked
from qwop_benchmark.plays import Played, ReplayError, check_choices, play, replay
from qwop_benchmark.submission import (
    Submission,
    SubmissionError,
    parse_submission,
    read_arrays,
    write_arrays,
)
from qwop_evaluation import PolicyPlayer, bootstrap_interval
from qwop_rl_core import Checkpoint, CheckpointError, Policy, load_network

ENTRY_FORMAT = 1
MAX_SALT = 64


@dataclass(frozen=True)
class Verified:
    """A submission with its recomputed figures."""

    submission: Submission
    episodes: tuple[Played, ...]
    salt: str = ""

    @property
    def score(self) -> float:
        """Mean score of the episodes."""
        return math.fsum(played.score for played in self.episodes) / len(self.episodes)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the mean score over the episodes; None for a single run."""
        if len(self.episodes) == 1:
            return None
        scores = np.array([played.score for played in self.episodes])
        return bootstrap_interval(scores, lambda drawn: float(drawn.mean()))

    @property
    def finished(self) -> int:
        """Episodes that reached the goal."""
        return sum(played.finished for played in self.episodes)

    @property
    def median_seconds(self) -> float:
        """Median time of the finished episodes, s; NaN if there is none."""
        times = [self.submission.task.seconds(run.frames) for run in self.episodes if run.finished]
        return float(np.median(times)) if times else math.nan

    def as_json(self) -> dict[str, Any]:
        """Return every figure as plain data."""
        interval = self.interval
        return {
            "task": self.submission.task.id,
            "name": self.submission.name,
            "kind": self.submission.kind,
            "sha256": self.submission.sha256,
            "salt": self.salt,
            "score": self.score,
            "score_low": None if interval is None else interval[0],
            "score_high": None if interval is None else interval[1],
            "finished": self.finished,
            "episodes": len(self.episodes),
            "median_seconds": self.median_seconds,
            "runs": [
                {
                    "seed": played.seed,
                    "end": played.end,
                    "frames": played.frames,
                    "meters": played.meters,
                    "score": played.score,
                }
                for played in self.episodes
            ],
        }


def player_of(submission: Submission, where: str = "submission") -> PolicyPlayer:
    """Make the player of a submitted policy.

    Raises:
        SubmissionError: network and metadata do not fit each other, or this release.
    """
    import torch

    try:
        tensors = {
            name: torch.from_numpy(np.array(tensor))  # pyright: ignore[reportUnknownMemberType]
            for name, tensor in submission.network.items()
        }
        checkpoint = Checkpoint(tensors, dict(submission.policy))
        player = PolicyPlayer(Policy(load_network(checkpoint, where), checkpoint.metadata), submission.name)
    except (CheckpointError, TypeError) as error:
        raise SubmissionError(f"{where}: {error}") from None
    if (player.frame_skip, player.action_set) != (submission.frame_skip, submission.action_set):
        raise SubmissionError(f"{where}: frame_skip or action_set differ from those of the policy")
    return player


def verify(submission: Submission, salt: str = "", where: str = "submission") -> Verified:
    """Play or replay a submission and recompute its figures.

    Args:
        submission: a checked submission.
        salt: see `drawn_seeds`; only for a policy.
        where: name of the file, for messages.

    Raises:
        SubmissionError: it can't be verified. The message has the frame at which it differs.
    """
    if salt and submission.kind != "policy":
        raise SubmissionError(f"{where}: the episodes of keys can't have a salt; omit it")
    if len(salt) > MAX_SALT or not salt.isprintable():
        raise SubmissionError(f"{where}: the salt is no printable text of at most {MAX_SALT} characters")
    seeds = submission.seeds(salt)
    if submission.kind == "policy":
        return Verified(
            submission,
            tuple(play(submission.task, player_of(submission, where), seeds, submission.sample)),
            salt,
        )
    played = _replayed(submission, submission.keys, seeds, where)
    for number, (run, claimed) in enumerate(zip(played, submission.scores, strict=True)):
        if run.score != claimed:
            raise SubmissionError(
                f"{where}: episode {number} claims a score of {claimed:.6g}; its replay ends at frame "
                f"{run.frames} ({run.end}, {run.meters:.2f} m) with {run.score:.6g}"
            )
    return Verified(submission, tuple(played))


def write_entry(path: Path, whole: bytes, verified: Verified) -> None:
    """Write a verified submission as an entry of a scoreboard.

    Args:
        path: file to write.
        whole: the bytes of the submission.
        verified: its verification.
    """
    tensors: dict[str, NDArray[Any]] = {"submission": np.frombuffer(whole, np.uint8)}
    if verified.submission.kind == "policy":
        tensors["keys"], tensors["lengths"] = packed([played.keys for played in verified.episodes])
    scores = [played.score for played in verified.episodes]
    write_arrays(path, tensors, {"entry": ENTRY_FORMAT, "salt": verified.salt, "scores": scores})


def verify_entry(path: Path) -> Verified:
    """Verify an entry: replay its keys, recompute its figures, and check each choice with the network.

    Raises:
        SubmissionError: it can't be verified. The message has the frame at which it differs.
    """
    _, tensors, about = read_arrays(path)
    where = str(path)
    if about.get("entry") != ENTRY_FORMAT or sorted(about) != ["entry", "salt", "scores"]:
        raise SubmissionError(f"{where}: not an entry; make one with qwop-benchmark verify --entry")
    inner = tensors.pop("submission", np.zeros(0))
    if inner.dtype != np.uint8 or inner.ndim != 1 or not isinstance(about["salt"], str):
        raise SubmissionError(f"{where}: it has no submission")
    submission = parse_submission(inner.tobytes(), where)
    if submission.kind != "policy":
        if tensors:
            raise SubmissionError(f"{where}: it has keys beside those of the submission")
        verified = verify(submission, about["salt"], where)
    else:
        if sorted(tensors) != ["keys", "lengths"] or len(about["salt"]) > MAX_SALT:
            raise SubmissionError(f"{where}: it has no keys")
        seeds = submission.seeds(about["salt"])
        try:
            keys = unpacked(tensors["keys"], tensors["lengths"])
        except ValueError as error:
            raise SubmissionError(f"{where}: {error}") from None
        if len(keys) != len(seeds):
            raise SubmissionError(f"{where}: it has keys of {len(keys)} episodes, expected {len(seeds)}")
        player = player_of(submission, where)
        played = _replayed(submission, keys, seeds, where)
        try:
            drawn = [seed for seed in seeds if seed is not None]
            check_choices(submission.task, player, keys, drawn, submission.sample)
        except ReplayError as error:
            raise SubmissionError(f"{where}: {error}") from None
        verified = Verified(submission, tuple(played), about["salt"])
    scores = [played.score for played in verified.episodes]
    stored: Any = about["scores"]
    if stored != scores:
        same_length = isinstance(stored, list) and len(cast("list[Any]", stored)) == len(scores)
        number = next((i for i in range(len(scores)) if same_length and stored[i] != scores[i]), 0)
        run = verified.episodes[number]
        raise SubmissionError(
            f"{where}: the stored scores are not those of the replay: episode {number} ends at frame "
            f"{run.frames} with {run.score:.6g}"
        )
    return verified


def _replayed(
    submission: Submission, keys: Sequence[NDArray[np.uint8]], seeds: Sequence[int | None], where: str
) -> list[Played]:
    try:
        return replay(submission.task, keys, seeds, submission.frame_skip)
    except ReplayError as error:
        raise SubmissionError(f"{where}: {error}") from None


def without_duplicates(entries: Iterable[tuple[str, Verified]]) -> list[Verified]:
    """Return the entries.

    Args:
        entries: name of the file, and the entry.

    Raises:
        SubmissionError: two of them are the same network, or the same keys.
    """
    seen: dict[str, str] = {}
    kept: list[Verified] = []
    for name, verified in entries:
        content = verified.submission.content
        if content in seen:
            raise SubmissionError(f"{name}: a duplicate of {seen[content]}; remove one of them")
        seen[content] = name
        kept.append(verified)
    return kept
