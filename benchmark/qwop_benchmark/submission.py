"""A submission: one safetensors file of plain arrays, with a JSON text that says what they are.

Three kinds:

- "policy": a network of this project, tensors `network.*`. Whoever verifies it plays it on episodes that are
  drawn from the SHA-256 of the file. So they are known only when the file is final.
- "recorded": the keys of a policy that only its author can run, on episodes drawn from the SHA-256 of a
  commitment: the task, the name and the SHA-256 of the policy's own files. Keys are replayed; that the policy
  chose them can't be checked.
- "run": the keys of one run, by a person or a search, in the game without disturbances.

The format has no code, no compression and no links. A file is read only if it is small, and every size in it
is checked against its length before memory is used.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from qwop_benchmark.arrays import load_arrays, save_arrays
from qwop_benchmark.packing import packed, unpacked
from qwop_benchmark.tasks import SCOREBOARD_EPISODES, SCOREBOARD_SEEDS, Task, task_of
from qwop_cli import write_whole
from qwop_datasets import name_problem
from qwop_game import ACTION_SETS, canonical_keys

FORMAT = 1
MAX_BYTES = 16 << 20
"""Largest file that is read."""
MAX_HEADER = 1 << 20
"""Largest header that is read, bytes."""
MAX_TEXT = 300
"""Longest text of a provenance, characters."""
MAX_SCORE = 1e6
"""No run has such a score, or one as far below 0."""
KEY = "qwop_benchmark"
Kind = Literal["policy", "recorded", "run"]
KINDS: tuple[Kind, ...] = get_args(Kind)
TEXTS = ("author", "link", "note", "data")
AMOUNTS = ("decisions", "demonstrations", "search_frames", "cpu_seconds")


class SubmissionError(Exception):
    """A submission can't be accepted. The message is one line: what is wrong, and where."""


@dataclass(frozen=True)
class Budget:
    """What the result took, as its author declares it. It can't be verified."""

    decisions: int = 0
    """Decisions in the game, of all trainings that led to the result."""
    demonstrations: int = 0
    """Runs of somebody else that were learned from."""
    search_frames: int = 0
    """Simulated frames of a search, in training or to find the run."""
    cpu_seconds: int = 0
    """CPU seconds of training and search."""


@dataclass(frozen=True)
class Submission:
    """A checked submission.

    Attributes:
        network: tensors of a policy, by name, else empty.
        policy: metadata of a policy's checkpoint, else empty.
        keys: of a "recorded" one, one array per episode, of a "run" one array; else empty.
        scores: claimed score of each array of keys.
        files: SHA-256 by name of the files of a "recorded" policy.
        sha256: of the file.
    """

    task: Task
    kind: Kind
    name: str
    budget: Budget = field(default_factory=Budget)
    texts: Mapping[str, str] = field(default_factory=dict[str, str])
    frame_skip: int = 1
    action_set: str = "distinct"
    sample: bool = False
    policy: Mapping[str, Any] = field(default_factory=dict[str, Any])
    network: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, "NDArray[Any]"])
    keys: Sequence[NDArray[np.uint8]] = ()
    scores: Sequence[float] = ()
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    sha256: str = ""

    @property
    def commitment(self) -> str:
        """SHA-256 that a "recorded" submission's episodes are drawn from."""
        promise = {
            "task": self.task.id,
            "name": self.name,
            "frame_skip": self.frame_skip,
            "action_set": self.action_set,
            "files": dict(sorted(self.files.items())),
        }
        return hashlib.sha256(json.dumps(promise, sort_keys=True).encode()).hexdigest()

    def seeds(self, salt: str = "") -> list[int | None]:
        """Return the episodes to judge it by; None: the game without disturbances."""
        if self.kind == "run":
            return [None]
        return list(drawn_seeds(self.commitment if self.kind == "recorded" else self.sha256, salt))

    @property
    def content(self) -> str:
        """SHA-256 of what plays.

        It is the same for two submissions that differ only in their texts, or in keys that have no effect: W
        with Q, P with O, and those of the last frame.
        """
        digest = hashlib.sha256(self.task.id.encode())
        for name, tensor in sorted(self.network.items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
        for run in self.keys:
            digest.update(len(run).to_bytes(8, "little") + canonical_keys(run[:-1]).tobytes())
        return digest.hexdigest()


def drawn_seeds(sha256: str, salt: str = "", count: int = SCOREBOARD_EPISODES) -> list[int]:
    """Draw the episodes of the scoreboard.

    Seed i is 2^32 + SHA-256("{sha256}:{salt}:{i}") mod (2^53 - 2^32), all bytes as one big-endian number.

    Args:
        sha256: of the submission, or of its commitment, 64 hexadecimal digits.
        salt: text that is chosen after the submission, so that its author can't try many files.
        count: number of seeds.
    """
    texts = (f"{sha256}:{salt}:{i}".encode() for i in range(count))
    numbers = (int.from_bytes(hashlib.sha256(text).digest(), "big") for text in texts)
    return [SCOREBOARD_SEEDS.start + number % len(SCOREBOARD_SEEDS) for number in numbers]


# ---- files -----------------------------------------------------------------------------------------------


def write_arrays(path: Path, tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> str:
    """Write arrays and a JSON text atomically. The same contents give the same bytes. Returns the SHA-256."""
    text = json.dumps(dict(about), sort_keys=True, allow_nan=False)
    whole = save_arrays({name: np.array(tensors[name], order="C") for name in sorted(tensors)}, text)
    if len(whole) > MAX_BYTES:
        raise SubmissionError(f"{path}: would have {len(whole)} bytes; at most {MAX_BYTES} are read")

    def write(beside: Path) -> None:
        beside.write_bytes(whole)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    except OSError as error:
        raise SubmissionError(f"{path}: can't be written: {error.strerror or error}") from None
    return hashlib.sha256(whole).hexdigest()


def read_arrays(path: Path) -> tuple[bytes, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a file of `write_arrays`. It may be anything: at most MAX_BYTES of it are read, and nothing runs.

    Raises:
        SubmissionError: it is missing, too large, or another file.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise SubmissionError(f"{path}: not a regular file")
        if found.st_size > MAX_BYTES:
            raise SubmissionError(f"{path}: has {found.st_size} bytes; at most {MAX_BYTES} are read")
        with path.open("rb") as file:
            whole = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SubmissionError(f"{path}: can't be read: {error.strerror or error}") from None
    return (whole, *parse_arrays(whole, str(path)))


def parse_arrays(whole: bytes, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Parse the bytes of `write_arrays`.

    Raises:
        SubmissionError: they are something else.
    """
    foreign = SubmissionError(f"{where}: not a file of qwop-benchmark; make one with qwop-benchmark submit")
    size = int.from_bytes(whole[:8], "little")
    if not 2 <= size <= min(MAX_HEADER, len(whole) - 8):
        raise foreign
    try:
        header = json.loads(whole[8 : 8 + size])
        about = json.loads(header["__metadata__"][KEY], parse_constant=_refuse)
        tensors = load_arrays(whole)
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError, UnicodeError):
        raise foreign from None
    if not isinstance(about, dict):
        raise foreign
    return tensors, cast("dict[str, Any]", about)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def write_submission(path: Path, submission: Submission) -> Submission:
    """Write a submission. Returns it with the SHA-256 of the file."""
    about: dict[str, Any] = {
        "format": FORMAT,
        "task": submission.task.id,
        "kind": submission.kind,
        "name": submission.name,
        "budget": {name: getattr(submission.budget, name) for name in AMOUNTS},
        "texts": dict(submission.texts),
        "frame_skip": submission.frame_skip,
        "action_set": submission.action_set,
        "sample": submission.sample,
        "policy": dict(submission.policy),
        "scores": list(submission.scores),
        "files": dict(submission.files),
    }
    tensors = dict(submission.network)
    if submission.keys:
        tensors["keys"], tensors["lengths"] = packed(submission.keys)
    sha256 = write_arrays(path, tensors, about)
    return replace(submission, sha256=sha256)


def read_submission(path: Path) -> Submission:
    """Read and check a submission. It plays nothing.

    Raises:
        SubmissionError: the file is no submission, or one of another version of the task.
    """
    return parse_submission(read_arrays(path)[0], str(path))


def parse_submission(whole: bytes, where: str) -> Submission:
    """Parse the bytes of a submission. See `read_submission`."""
    tensors, about = parse_arrays(whole, where)

    def require(fact: bool, problem: str) -> None:
        if not fact:
            raise SubmissionError(f"{where}: {problem}")

    names = "format task kind name budget texts frame_skip action_set sample policy scores files".split()
    require(sorted(about) == sorted(names), f"the entries are not {', '.join(names)}")
    require(about["format"] == FORMAT, f"format {_short(about['format'])}; this release reads {FORMAT}")
    try:
        task = task_of(str(about["task"])[:100])
    except ValueError as error:
        raise SubmissionError(f"{where}: {error}") from None
    require(about["kind"] in KINDS, f"kind is {_short(about['kind'])}, expected one of {', '.join(KINDS)}")
    kind: Kind = about["kind"]
    require(isinstance(about["name"], str) and bool(about["name"].strip()), "the name is empty")
    problem = name_problem(about["name"])
    require(problem is None, str(problem))
    for name, known in (("budget", AMOUNTS), ("texts", TEXTS)):
        require(isinstance(about[name], dict), f"{name} is no object")
        require(set(about[name]) <= set(known), f"{name} has entries other than {', '.join(known)}")
    amounts: dict[str, Any] = about["budget"]
    for name, amount in amounts.items():
        require(type(amount) is int and 0 <= amount < 2**53, f"budget {name} is no whole number of 0 or more")
    for name, text in about["texts"].items():
        good = isinstance(text, str) and len(text) <= MAX_TEXT and text.isprintable()
        require(good, f"{name} is no printable text of at most {MAX_TEXT} characters")
    skip, action_set = about["frame_skip"], about["action_set"]
    require(type(skip) is int and 1 <= skip <= 30, "frame_skip is no whole number from 1 to 30")
    require(isinstance(action_set, str) and action_set in ACTION_SETS, "action_set is unknown")
    require(type(about["sample"]) is bool, "sample is neither true nor false")
    require(isinstance(about["policy"], dict), "policy is no object")
    require(isinstance(about["scores"], list), "scores is no list")
    scores: list[Any] = about["scores"]
    good = all(type(score) in (int, float) and abs(score) < MAX_SCORE for score in scores)
    require(good, f"a score is no number below {MAX_SCORE:g}")
    require(isinstance(about["files"], dict), "files is no object")
    files: dict[str, Any] = about["files"]
    digits = all(
        isinstance(v, str) and len(v) == 64 and set(v) <= set("0123456789abcdef") for v in files.values()
    )
    require(digits and len(files) <= 100, "files is no list of at most 100 SHA-256")

    keys: list[NDArray[np.uint8]] = []
    network: dict[str, NDArray[Any]] = {}
    if kind == "policy":
        require(all(name.startswith("network.") for name in tensors), "a tensor is not of the network")
        require(bool(tensors), "there is no network")
        require(not scores and not files, "a policy claims no scores and no files")
        network = tensors
    else:
        require(sorted(tensors) == ["keys", "lengths"], "the tensors are not keys and lengths")
        expected = 1 if kind == "run" else SCOREBOARD_EPISODES
        shape = tensors["lengths"].shape
        require(shape == (expected,), f"there are keys of {_short(shape)} runs, expected {expected}")
        require(len(scores) == expected, f"there are {len(scores)} scores, expected {expected}")
        try:
            keys = unpacked(tensors["keys"], tensors["lengths"])
        except ValueError as error:
            raise SubmissionError(f"{where}: {error}") from None
        require(not about["policy"], "keys have no policy")
        require(bool(files) == (kind == "recorded"), "only a recorded policy names its files")
    return Submission(
        task=task,
        kind=kind,
        name=about["name"],
        budget=Budget(**amounts),
        texts=about["texts"],
        frame_skip=skip,
        action_set=action_set,
        sample=about["sample"],
        policy=about["policy"],
        network=network,
        keys=keys,
        scores=[float(score) for score in scores],
        files=files,
        sha256=hashlib.sha256(whole).hexdigest(),
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
