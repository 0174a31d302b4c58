"""Upgrade files of older format versions, one version at a time."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from h5py import h5a

from qwop_datasets.errors import DatasetError
from qwop_datasets.format import (
    FORMAT_VERSION,
    INDEX_DTYPE,
    check_root,
    create_index,
    file_version,
    index_row,
    put_attribute,
    read_episode,
    read_index,
    stored_episode,
    stored_trig,
)
from qwop_datasets.old_names import OLD_PROVENANCE, OLD_TRIG_ATTRIBUTE, OLD_UNITS
from qwop_datasets.storage import H5
from qwop_datasets.untrusted import dataset, group


def migrate(file: H5, path: str | os.PathLike[str]) -> int:
    """Upgrade an open, writable file to FORMAT_VERSION in place. Returns the version it had.

    Raises:
        DatasetError: The file is not a dataset, or has a newer version.
    """
    try:
        first = file_version(file)
    except (KeyError, ValueError):
        raise DatasetError(f"{path}: an HDF5 file, but not a QWOP dataset (see qwop-data convert)") from None
    for version in range(first, FORMAT_VERSION):
        MIGRATIONS[version](file)
        file.attrs["format_version"] = version + 1
    check_root(file, path)
    return first


def upgrade_attributes(stored: H5) -> None:
    """Give the group of an episode of any readable version the attributes of FORMAT_VERSION, in place."""
    _name_trig(stored)
    _rename_provenance(stored)


def _from_0_to_1(file: H5) -> None:
    """Version 0, before the first release, had no /index and no /masks."""
    groups = group(file, "episodes")
    rows = [index_row(read_episode(group(groups, name))) for name in sorted(groups)]
    create_index(file, np.array(rows, INDEX_DTYPE))
    file.require_group("masks")


def _from_1_to_2(file: H5) -> None:
    """Version 1 had no attribute `trig`: it was in OLD_TRIG_ATTRIBUTE, or missing."""
    for number in range(len(dataset(file, "index"))):
        _name_trig(stored_episode(file, number))
    rows = read_index(file)
    del file["index"]
    create_index(file, rows)


def _from_2_to_3(file: H5) -> None:
    """Version 2 had other names for the provenance and for the units of length."""
    for number in range(len(dataset(file, "index"))):
        _rename_provenance(stored_episode(file, number))
    if OLD_UNITS in file.attrs:
        _rename(file, OLD_UNITS, "units_per_meter")


def _from_3_to_4(file: H5) -> None:
    """All episodes of version 3 begin at the canonical start, as those of version 4 without `start` do."""


def _name_trig(stored: H5) -> None:
    attributes = stored.attrs
    trig = stored_trig(attributes)
    if "trig" not in attributes:
        put_attribute(attributes, "trig", trig)
    if OLD_TRIG_ATTRIBUTE in attributes:
        del attributes[OLD_TRIG_ATTRIBUTE]


def _rename_provenance(stored: H5) -> None:
    for key in list(stored.attrs):
        prefix, dot, name = key.partition(".")
        if dot and prefix == OLD_PROVENANCE:
            _rename(stored, key, f"provenance.{name}")


def _rename(owner: H5, old: str, new: str) -> None:
    """Rename an attribute. Its type and its bytes stay."""
    h5a.rename(owner.id, old.encode(), new.encode())


MIGRATIONS: dict[int, Callable[[H5], None]] = {
    0: _from_0_to_1,
    1: _from_1_to_2,
    2: _from_2_to_3,
    3: _from_3_to_4,
}
"""Version v -> function that upgrades a file from version v to v + 1."""
