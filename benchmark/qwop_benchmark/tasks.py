"""The tasks of the benchmark: one table, with the score of an episode. A changed task gets a new version.

All lengths are in meters of the torso, all times in frames of 1/30 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FRAMES_PER_SECOND = 30
CLOCK_START = 2
"""Frames that the game's clock shows at the start line."""
TOUCH_METERS = 0.01
"""A foot or a knee whose lowest point is this near to the track touches it."""
ONE_LEG_FROM_METERS = 1.0
"""From here on, only one leg may touch the track in the task `one-leg`."""
FINISHED, RECORD = 50.0, 100.0
"""Scores of a finish in infinite time, and of a finish in the time of the record."""

Start = Literal["line", "30 m"]
Goal = Literal["landing", "line"]
Rule = Literal["", "one leg", "no knee"]


@dataclass(frozen=True)
class Task:
    """A task. It never changes: a correction is a new version."""

    name: str
    version: int
    title: str
    start: Start
    """"line": the game's own start. "30 m": one of 20 states of running runners at 30 m."""
    goal_meters: float
    goal: Goal
    """"landing": the game's own finish past 100 m. "line": the torso reaches `goal_meters` before a fall."""
    rule: Rule
    """What ends an episode beside the game: see `games.py`."""
    max_frames: int
    """Time limit."""
    record_frames: int
    """Frames of the human record from the start on: a score of 100."""
    record: str
    """Where the record is from."""
    random_meters: float
    """How far random keys get in the mean: a score of 0."""

    @property
    def id(self) -> str:
        """Name and version, such as "100m-v1"."""
        return f"{self.name}-v{self.version}"

    @property
    def env_id(self) -> str:
        """The task as a Gymnasium environment: gymnasium.make(task.env_id)."""
        return f"qwop_benchmark/QWOP-{self.id}"

    @property
    def start_meters(self) -> float:
        """Where the distance of an episode is counted from."""
        return 30.0 if self.start == "30 m" else 0.0

    @property
    def length(self) -> float:
        """Meters from the start to the goal."""
        return self.goal_meters - self.start_meters

    def seconds(self, frames: int) -> float:
        """Return the game's clock after some frames, s. From the start line, it begins at 2/30 s."""
        return (frames + (CLOCK_START if self.start == "line" else 0)) / FRAMES_PER_SECOND

    def score(self, meters: float, frames: int, finished: bool) -> float:
        """Compute the score of an episode.

        A finish scores 50, plus 50 times the record's time divided by the episode's. Everything else scores
        its distance: 0 for that of random keys, towards 50 at the goal. So the mean score of random keys is
        0, the record scores 100, a faster run more, and a run that falls behind the start less than 0.

        Args:
            meters: distance from the start, at most `length`.
            frames: frames of the episode, with idle ones.
            finished: whether it reached the goal.
        """
        if finished:
            return FINISHED + (RECORD - FINISHED) * self.record_frames / frames
        return FINISHED * (min(meters, self.length) - self.random_meters) / (self.length - self.random_meters)


_PUBLISHED = "published record, 45.53 s"
_LOGS = "best split in 50 public logs of the record's holder"

# fmt: off
TASKS: dict[str, Task] = {task.id: task for task in (
    #    name       v  title                 start   goal   ends with  rule     limit record       random
    Task("100m",    1, "100 m",              "line", 100.0, "landing", "",      6000, 1364, _PUBLISHED, 0.41),
    Task("10m",     1, "10 m",               "line",  10.0, "line",    "",       900,  231, _LOGS, 0.41),
    Task("hurdle",  1, "hurdle, 30 to 70 m", "30 m",  70.0, "line",    "",      2400,  595, _LOGS, 5.0),
    Task("one-leg", 1, "50 m on one leg",    "line",  50.0, "line", "one leg",  6000, 1658,
         "twice the best 50 m split of the same logs: no record with a log is known", 0.3),
    Task("no-knee", 1, "100 m without a knee", "line", 100.0, "landing", "no knee", 6000, 1647,
         "fastest of those logs in which no knee touches the track", 0.21),
)}
# fmt: on


# ---- budget classes and seeds --------------------------------------------------------------------------

DECISIONS = (1_000_000, 10_000_000, 100_000_000)
"""Classes of training: decisions in the game, all attempts of a learner's schedule counted."""
DEMONSTRATIONS = (0, 1, 10, 100)
"""Classes of demonstrations: runs of somebody else that a learner saw."""
SEARCH_FRAMES = (1_000_000, 10_000_000, 100_000_000)
"""Classes of search: simulated frames."""

TUNING_SEEDS = range(0, 100)
"""Episodes to choose settings and checkpoints by."""
TEST_SEEDS = range(100, 200)
"""Episodes of tables in papers. Nothing is chosen by them."""
TRAINING_SEEDS = range(1_000_000, 2_000_000)
"""Episodes to train on: an environment without a seed draws from them."""
SCOREBOARD_SEEDS = range(2**32, 2**53)
"""The scoreboard's episodes are drawn from these, by the SHA-256 of the submission."""
SCOREBOARD_EPISODES = 100


def task_of(name: str) -> Task:
    """Return a task by its id.

    Raises:
        ValueError: there is none. The message names those that exist.
    """
    if name in TASKS:
        return TASKS[name]
    known = ", ".join(TASKS)
    versions = [
        task.id for task in TASKS.values() if task.name == name.rpartition("-v")[0] or task.name == name
    ]
    hint = f"; this release has {versions[0]}" if versions else f": choose one of {known}"
    raise ValueError(f"no task {name!r}{hint}")


def budget_class(amount: int, classes: tuple[int, ...]) -> int | None:
    """Return the smallest class that an amount fits in; None above the largest."""
    return next((limit for limit in classes if amount <= limit), None)
