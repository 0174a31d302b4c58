from .env import TaskEnv, TaskVectorEnv, make_task
from .games import start_keys
from .plays import Played, RandomKeys, ReplayError, check_choices, play, record, replay
from .registration import register_tasks
from .scoreboard import scoreboard_table
from .submission import (
    Budget,
    Submission,
    SubmissionError,
    drawn_seeds,
    read_submission,
    write_submission,
)
from .tasks import (
    SCOREBOARD_SEEDS,
    TASKS,
    TEST_SEEDS,
    TRAINING_SEEDS,
    TUNING_SEEDS,
    Task,
    task_of,
)
from .tiers import TIERS, Tier, tier_episodes, tier_keys, tier_of
from .verification import Verified, verify, verify_entry, write_entry

__all__ = [
    "SCOREBOARD_SEEDS",
    "TASKS",
    "TEST_SEEDS",
    "TIERS",
    "TRAINING_SEEDS",
    "TUNING_SEEDS",
    "Budget",
    "Played",
    "RandomKeys",
    "ReplayError",
    "Submission",
    "SubmissionError",
    "Task",
    "TaskEnv",
    "TaskVectorEnv",
    "Tier",
    "Verified",
    "check_choices",
    "drawn_seeds",
    "make_task",
    "play",
    "read_submission",
    "record",
    "register_tasks",
    "replay",
    "scoreboard_table",
    "start_keys",
    "task_of",
    "tier_episodes",
    "tier_keys",
    "tier_of",
    "verify",
    "verify_entry",
    "write_entry",
    "write_submission",
]
