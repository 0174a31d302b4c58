"""HDF5 episodes: written whole, read one by one, replayed to verify them, converted both ways."""

from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.decisions import Decisions, load_decisions
from qwop_datasets.episode import (
    KEY_EVENT_DTYPE,
    KEY_SOURCES,
    REWIND_DTYPE,
    Episode,
    action_indices,
    first_difference,
    name_problem,
    storable_name,
    with_gait,
)
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import Replay, replay_keys
from qwop_datasets.format import FORMAT_VERSION, INDEX_DTYPE
from qwop_datasets.journal import Journal, journal_path, read_journal
from qwop_datasets.reader import DatasetReader
from qwop_datasets.recovery import Recovery, needs_recovery, recover_dataset
from qwop_datasets.storage import made_folder, replace_file
from qwop_datasets.summary import segment_lengths
from qwop_datasets.verify import Verification, compare_replay, verify_episode, verify_episodes
from qwop_datasets.writer import DatasetWriter, write_dataset

__all__ = [
    "verify_episodes",
    "verify_episode",
    "compare_replay",
    "Verification",
    "made_folder",
    "replace_file",
    "recover_dataset",
    "needs_recovery",
    "Recovery",
    "read_journal",
    "journal_path",
    "Journal",
    "replay_keys",
    "Replay",
    "storable_name",
    "name_problem",
    "load_decisions",
    "Decisions",
    "write_compact_dataset",
    "FORMAT_VERSION",
    "INDEX_DTYPE",
    "KEY_EVENT_DTYPE",
    "KEY_SOURCES",
    "REWIND_DTYPE",
    "DatasetError",
    "DatasetReader",
    "DatasetWriter",
    "Episode",
    "action_indices",
    "first_difference",
    "segment_lengths",
    "with_gait",
    "write_dataset",
]
