"""Datasets of QWOP episodes in HDF5: record, write, read, verify and convert them."""

from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.convert.web import page_run_episode
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
from qwop_datasets.journal import Journal, journal_path, journal_paths, read_journal
from qwop_datasets.page_play import page_play_fields
from qwop_datasets.reader import DatasetReader, read_one_episode, split_episode_place
from qwop_datasets.recording import About, Change, End, Frame, KeyEvent, Recording, Rewind
from qwop_datasets.recovery import Recovery, needs_recovery, recover_dataset
from qwop_datasets.shared_journal import SharedJournal
from qwop_datasets.storage import made_folder, replace_file
from qwop_datasets.style import StyleComparison, StyleDistance, compare_style, style_figures, wasserstein
from qwop_datasets.summary import segment_lengths
from qwop_datasets.verify import Verification, compare_replay, verify_episode, verify_episodes
from qwop_datasets.writer import DatasetWriter, write_dataset

__all__ = [
    "FORMAT_VERSION",
    "INDEX_DTYPE",
    "KEY_EVENT_DTYPE",
    "KEY_SOURCES",
    "REWIND_DTYPE",
    "About",
    "Change",
    "DatasetError",
    "DatasetReader",
    "DatasetWriter",
    "Decisions",
    "End",
    "Episode",
    "Frame",
    "Journal",
    "KeyEvent",
    "Recording",
    "Recovery",
    "Replay",
    "Rewind",
    "SharedJournal",
    "StyleComparison",
    "StyleDistance",
    "Verification",
    "action_indices",
    "compare_replay",
    "compare_style",
    "first_difference",
    "journal_path",
    "journal_paths",
    "load_decisions",
    "made_folder",
    "name_problem",
    "needs_recovery",
    "page_play_fields",
    "page_run_episode",
    "read_journal",
    "read_one_episode",
    "recover_dataset",
    "replace_file",
    "replay_keys",
    "segment_lengths",
    "split_episode_place",
    "storable_name",
    "style_figures",
    "verify_episode",
    "verify_episodes",
    "wasserstein",
    "with_gait",
    "write_compact_dataset",
    "write_dataset",
]
