"""`qwop-benchmark`: play, submit and verify on fixed tasks (docs/benchmark/use.md)."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, cast

import numpy as np
import tyro
from numpy.typing import NDArray

from qwop_benchmark.env import TaskEnv
from qwop_benchmark.games import TaskGames, start_keys
from qwop_benchmark.plays import MakePolicy, Played, RandomKeys, play, record
from qwop_benchmark.scoreboard import SUFFIX, put_table, scoreboard_table, verified_entries
from qwop_benchmark.submission import (
    TEXTS,
    Budget,
    Submission,
    SubmissionError,
    parse_submission,
    read_arrays,
    write_submission,
)
from qwop_benchmark.tasks import (
    FRAMES_PER_SECOND,
    TASKS,
    TEST_SEEDS,
    TUNING_SEEDS,
    Task,
    task_of,
)
from qwop_benchmark.tiers import Split, card, tier_episodes, tier_of
from qwop_benchmark.verification import Verified, verify, verify_entry, write_entry
from qwop_cli import CommandError, check_outputs, json_text, parse_config, run_command, text_table
from qwop_datasets import DatasetError, DatasetReader, Episode, write_dataset
from qwop_evaluation import CheckpointPlayer
from qwop_game import DEFAULT_TRIG
from qwop_rl_core import CheckpointError, load_checkpoint, section, to_numpy, without_training

PROGRAM = "qwop-benchmark"
Flag = tyro.conf.FlagCreatePairsOff[bool]
_ONE_SOURCE = tyro.conf.create_mutex_group(required=True)


@dataclass(frozen=True)
class Tasks:
    """Print the table of the tasks."""

    json: Flag = False
    """Print a JSON list."""

    def run(self) -> None:
        """Run the subcommand."""
        if self.json:
            print(
                json_text([asdict(task) | {"id": task.id, "env_id": task.env_id} for task in TASKS.values()])
            )
            return
        head = ("task", "what", "start", "ends with", "rule", "limit", "score 100", "score 0", "record")
        rows = [
            (
                task.id,
                task.title,
                task.start,
                "landing past 100 m" if task.goal == "landing" else f"torso at {task.goal_meters:g} m",
                task.rule or "-",
                f"{task.max_frames / FRAMES_PER_SECOND:g} s",
                f"{task.seconds(task.record_frames):.2f} s",
                f"{task.random_meters:.2f} m",
                task.record,
            )
            for task in TASKS.values()
        ]
        print(text_table(head, rows, left=9))


@dataclass(frozen=True)
class Data:
    """Write an offline dataset: fixed runs of 100 m, with observations."""

    tier: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TIER")]
    """scrape, medium, expert, search or mixed."""
    out: Path | None = None
    """Dataset (.h5) to write; an existing one is not replaced. Without it, the card is printed."""
    split: Split = "all"
    """Runs to write: those to train on, those to choose settings by, or all."""

    def run(self) -> None:
        """Run the subcommand."""
        tier = tier_of(self.tier)
        if not tier.parts and not tier.file:
            raise CommandError(
                f"tier {tier.name}: the license of these public logs does not allow shipping them; "
                "docs/benchmark/data.md has the command that makes the dataset from the logs"
            )
        if self.out is None:
            print(card(tier))
            return
        check_outputs({"--out": self.out})
        episodes = tier_episodes(tier.name, self.split)
        write_dataset(self.out, episodes)
        print(f"{self.out}: {len(episodes)} runs of {tier.name} ({self.split}), SHA-256 of all {tier.sha256}")


@dataclass(frozen=True)
class Run:
    """Play a policy on the tuning or test episodes of a task, and print its score."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Task, such as 100m-v1."""
    policy: Annotated[Path | None, _ONE_SOURCE] = None
    """Checkpoint of this project."""
    python: Annotated[str | None, _ONE_SOURCE, tyro.conf.arg(metavar="MODULE:FUNCTION")] = None
    """Any policy: a function that returns, for each episode, a function from an observation to an action."""
    random: Annotated[Flag, _ONE_SOURCE] = False
    """Random keys, which score 0 in the mean."""
    seeds: Literal["tuning", "test"] = "tuning"
    """Episodes 0 to 99 to choose settings by, or 100 to 199 for the tables of papers."""
    episodes: int | None = None
    """Number of episodes, from the first one on. Default: all 100."""
    sample: Flag = False
    """Draw actions from the policy; otherwise take the best one."""
    frame_skip: int = 4
    """Frames of a decision, with --python and --random."""
    action_set: str = "distinct"
    """Action set, with --python and --random: distinct, full or reduced."""
    observation: Literal["features", "qwop_gym"] = "features"
    """What --python sees."""
    save: Path | None = None
    """Dataset (.h5) to write the runs to; tasks from the start line only."""
    json: Flag = False
    """Print one JSON object."""

    def run(self) -> None:
        """Run the subcommand."""
        task = task_of(self.task)
        check_outputs({"--save": self.save}, inputs={"--policy": self.policy})
        if self.save is not None and task.start != "line":
            raise CommandError(f"--save: a dataset holds runs from the start line; omit it for {task.id}")
        seeds = TUNING_SEEDS if self.seeds == "tuning" else TEST_SEEDS
        if self.episodes is not None:
            if self.episodes < 1:
                raise CommandError(f"--episodes {self.episodes}: expected 1 or more")
            seeds = range(seeds.start, seeds.start + self.episodes)
        if self.python is not None:
            made = _function(self.python)
            played = _recorded(task, made, seeds, self, self.python)
        elif self.policy is not None:
            played = play(task, CheckpointPlayer(self.policy), list(seeds), self.sample)
        else:
            played = play(task, RandomKeys(self.frame_skip, self.action_set), list(seeds), sample=True)
        name = self.python or (self.policy.name if self.policy else "random keys")
        verified = Verified(Submission(task, "recorded", name), tuple(played))
        if self.save is not None:
            write_dataset(self.save, [_episode(run, name) for run in played])
        print(json_text(verified.as_json()) if self.json else report(verified))


@dataclass(frozen=True)
class Submit:
    """Make a submission: one file, which `qwop-benchmark verify` plays or replays."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Task, such as 100m-v1."""
    out: Path
    """File to write."""
    name: str
    """Name of the entry, at most 64 bytes."""
    policy: Annotated[Path | None, _ONE_SOURCE] = None
    """A checkpoint of this project. Its episodes are drawn from the SHA-256 of the file."""
    python: Annotated[str | None, _ONE_SOURCE, tyro.conf.arg(metavar="MODULE:FUNCTION")] = None
    """Any other policy: its keys are recorded on episodes drawn from its --file."""
    keys: Annotated[Path | None, _ONE_SOURCE] = None
    """One run of a dataset, by a person or a search, without disturbances."""
    episode: int = 0
    """Number of the run in --keys."""
    file: tyro.conf.UseAppendAction[tuple[Path, ...]] = ()
    """A file that --python consists of, code or weights. Repeat it for each."""
    sample: Flag = False
    """Draw actions from --policy; otherwise take the best one."""
    frame_skip: int = 4
    """Frames of a decision of --python."""
    action_set: str = "distinct"
    """Action set of --python: distinct, full or reduced."""
    observation: Literal["features", "qwop_gym"] = "features"
    """What --python sees."""
    decisions: int = 0
    """Decisions in the game of all trainings that led to the result, at least those of the checkpoint."""
    demonstrations: int = 0
    """Runs of somebody else that were learned from."""
    search_frames: int = 0
    """Simulated frames of a search."""
    cpu_seconds: int = 0
    """CPU seconds of training and search."""
    data: str = ""
    """Offline tier or dataset that was used."""
    author: str = ""
    """Who made it."""
    link: str = ""
    """Where it is described."""
    note: str = ""
    """One sentence about it."""

    def run(self) -> None:
        """Run the subcommand."""
        task = task_of(self.task)
        check_outputs({"--out": self.out}, inputs={"--policy": self.policy, "--keys": self.keys})
        budget = Budget(self.decisions, self.demonstrations, self.search_frames, self.cpu_seconds)
        texts = {name: getattr(self, name) for name in TEXTS if getattr(self, name)}
        if self.policy is not None:
            _check_decisions(self.policy, self.decisions)
            submission = _of_policy(self.policy, task, self.name, self.sample)
        elif self.python is not None:
            submission = self._of_python(task, self.python)
        else:
            assert self.keys is not None
            submission = _of_run(self.keys, self.episode, task, self.name)
        whole = replace(submission, budget=budget, texts=texts)
        written = write_submission(self.out, whole)
        try:
            parse_submission(self.out.read_bytes(), str(self.out))  # a bad name is an error here, not there
        except SubmissionError:
            self.out.unlink()
            raise
        print(f"{self.out}: {written.kind} for {task.id}, SHA-256 {written.sha256}")
        print(f"Check it with: {PROGRAM} verify {self.out}")

    def _of_python(self, task: Task, python: str) -> Submission:
        if not self.file:
            raise CommandError(
                "--python needs --file: the code and weights from whose SHA-256 episodes are drawn"
            )
        try:
            files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.file}
        except OSError as error:
            raise CommandError(f"--file {error.filename}: {error.strerror}") from None
        if len(files) < len(self.file):
            raise CommandError("--file: two files have the same name; rename one")
        made = _function(python)
        promise = Submission(
            task, "recorded", self.name, frame_skip=self.frame_skip, action_set=self.action_set, files=files
        )
        seeds = cast("list[int]", promise.seeds())
        played = _recorded(task, made, seeds, self, python)
        keys, scores = [run.keys for run in played], [run.score for run in played]
        return replace(promise, keys=keys, scores=scores)


@dataclass(frozen=True)
class Verify:
    """Play or replay a submission, or an entry of a scoreboard, and recompute every figure."""

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Submission, or entry."""
    entry: Path | None = None
    """File to write the verified entry to: NAME.entry.safetensors in a scoreboard's folder."""
    salt: str = ""
    """Text that the episodes of a policy are drawn with, chosen after the submission."""
    json: Flag = False
    """Print one JSON object, with every episode."""

    def run(self) -> None:
        """Run the subcommand."""
        check_outputs({"--entry": self.entry}, inputs={"FILE": self.file})
        if self.entry is not None and not self.entry.name.endswith(SUFFIX):
            raise CommandError(f"--entry {self.entry}: expected NAME{SUFFIX}; a scoreboard has no others")
        whole, _, about = read_arrays(self.file)
        if "entry" in about:
            if self.entry is not None or self.salt:
                raise CommandError(f"{self.file}: is an entry already; omit --entry and --salt")
            verified = verify_entry(self.file)
        else:
            verified = verify(parse_submission(whole, str(self.file)), self.salt, str(self.file))
        if self.entry is not None:
            write_entry(self.entry, whole, verified)
        print(json_text(verified.as_json()) if self.json else report(verified))


@dataclass(frozen=True)
class Table:
    """Verify every entry of a folder and print the scoreboard."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of files NAME.entry.safetensors."""
    page: Path | None = None
    """Markdown page to put the table into, between its two marks."""
    check: Flag = False
    """Change nothing: exit with code 1 if the page has another table."""

    def run(self) -> int:
        """Run the subcommand. Returns the exit code."""
        if self.check and self.page is None:
            raise CommandError("--check needs --page")
        table = scoreboard_table(verified_entries(self.folder))
        if self.page is None:
            print(table)
            return 0
        try:
            text = self.page.read_text(encoding="utf-8")
            new = put_table(text, table, str(self.page))
            if self.check:
                if new != text:
                    print(f"{self.page}: the table is not that of {self.folder}; run this without --check")
                return int(new != text)
            self.page.write_text(new, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"--page {self.page}: {error.strerror or error}") from None
        return 0


Command = (
    Annotated[Tasks, tyro.conf.subcommand("tasks")]
    | Annotated[Data, tyro.conf.subcommand("data")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Submit, tyro.conf.subcommand("submit")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
    | Annotated[Table, tyro.conf.subcommand("table")]
)


class Runnable(Protocol):
    """A subcommand."""

    def run(self) -> int | None:
        """Run it. Returns the exit code; None: 0."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""

    def command() -> int | None:
        options: Runnable = parse_config(PROGRAM, Command, arguments, description=DESCRIPTION)
        return options.run()

    return run_command(PROGRAM, command, SubmissionError, DatasetError, CheckpointError, ValueError)


DESCRIPTION = (
    "QWOP as a benchmark: fixed tasks, offline data, and submissions that anybody replays bit for bit."
)


def report(verified: Verified) -> str:
    """Return the figures as lines for a terminal."""
    ends = [played.end for played in verified.episodes]
    counts = ", ".join(
        f"{ends.count(end)} {end}" for end in ("finish", "fall", "rule", "time") if end in ends
    )
    interval = verified.interval
    spread = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    lines = [
        f"{verified.submission.task.id}: {verified.submission.name}",
        f"score       {verified.score:.2f}{spread}; 0 is random keys, 100 the human record",
        f"episodes    {len(ends)}: {counts}",
    ]
    if verified.finished:
        lines.append(f"time        {verified.median_seconds:.2f} s in the median of those that finished")
    meters = float(np.mean([played.meters for played in verified.episodes]))
    lines.append(f"distance    {meters:.2f} m in the mean")
    return "\n".join(lines)


def _function(spec: str) -> MakePolicy:
    """Import MODULE:FUNCTION; the working folder is searched first.

    Raises:
        CommandError: there is no such function.
    """
    module, _, name = spec.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise CommandError(f"--python {spec}: {error}; expected MODULE:FUNCTION") from None
    finally:
        sys.path.pop(0)
    if not callable(made):
        raise CommandError(f"--python {spec}: is no function")
    return cast("MakePolicy", made)


def _recorded(
    task: Task, made: MakePolicy, seeds: Sequence[int], flags: Run | Submit, spec: str
) -> list[Played]:
    seen = flags.frame_skip, flags.action_set, flags.observation
    TaskEnv(task.id, *seen).close()  # its errors are the user's flags
    try:
        return record(task, made, seeds, *seen)
    except Exception as error:  # of the user's own code
        raise CommandError(f"--python {spec}: {type(error).__name__}: {error}") from error


def _check_decisions(path: Path, decisions: int) -> None:
    """Compare the declared decisions with the steps that a checkpoint was saved at.

    Raises:
        CommandError: it has more. A file can be edited, so this finds what was forgotten and nothing else.
    """
    training = load_checkpoint(path)[1].get("training")
    steps = cast("dict[str, Any]", training).get("steps") if isinstance(training, dict) else None
    if isinstance(steps, int) and decisions < steps:
        raise CommandError(
            f"--decisions {decisions}: {path} was trained for {steps}; declare all trainings that led to it"
        )


def _of_policy(path: Path, task: Task, name: str, sample: bool) -> Submission:
    player = CheckpointPlayer(path)
    tensors, metadata = load_checkpoint(path)
    arrays: dict[str, NDArray[Any]] = {
        f"network.{key}": to_numpy(tensor) for key, tensor in section(tensors, "network").items()
    }
    return Submission(
        task,
        "policy",
        name,
        frame_skip=player.frame_skip,
        action_set=player.action_set,
        sample=sample,
        policy=without_training(metadata),
        network=arrays,
    )


def _of_run(path: Path, number: int, task: Task, name: str) -> Submission:
    with DatasetReader(path) as runs:
        if not 0 <= number < len(runs):
            raise CommandError(f"--episode {number}: {path} has runs 0 to {len(runs) - 1}")
        episode = runs[number]
    if episode.trig != DEFAULT_TRIG or episode.start is not None:
        raise CommandError(
            f"{path}, run {number}: was played with trig {episode.trig} or in a page that was played before; "
            f"expected the canonical game ({DEFAULT_TRIG}, canonical start)"
        )
    keys, before = np.array(episode.keys), start_keys(task)[0]
    if not np.array_equal(keys[: len(before)], before):
        raise CommandError(f"{path}, run {number}: does not begin with the keys of start 0 of {task.id}")
    games = TaskGames(task, 1, 1, record=True)
    games.begin([None])
    for held in keys[len(before) :]:
        if not games.going[0]:
            break
        games.step_frame(np.array([held]))
    if games.going[0]:
        raise CommandError(f"{path}, run {number}: ends before {task.id} is over")
    score = float(games.scores()[0])
    return Submission(task, "run", name, keys=[games.keys_of(0)], scores=[score])


def _episode(played: Played, name: str) -> Episode:
    from qwop_datasets import replay_keys, storable_name

    replay = replay_keys([played.keys])[0]
    return Episode(
        keys=played.keys,
        raw_observations=replay.raw_observations,
        times=replay.times,
        terminated=replay.over,
        truncated=not replay.over,
        success=replay.finished,
        source="policy",
        player=storable_name(name),
        provenance={"protocol": "P", "seed": -1 if played.seed is None else played.seed},
    )


if __name__ == "__main__":
    raise SystemExit(main())
