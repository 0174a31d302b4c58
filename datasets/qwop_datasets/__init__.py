"""HDF5 episodes: written whole, read one by one, replayed to verify them, converted both ways."""

from .episode import (
    KEY_EVENT_DTYPE,
    KEY_SOURCES,
    REWIND_DTYPE,
    Episode,
    action_indices,
    first_difference,
    with_gait,
)
from .errors import DatasetError
from .format import FORMAT_VERSION, INDEX_DTYPE
from .reader import DatasetReader
from .writer import DatasetWriter, write_dataset

__all__ = [
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
    "with_gait",
    "write_dataset",
]
