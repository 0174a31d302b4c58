"""Files that older versions stored: they are read as before, and migrated.

tests/golden/stored/ holds what those versions wrote: version_1.h5 (a compact episode of the knee-scraping
study), version_2.h5 and version_3.h5 (two full episodes and a mask each), version_2.journal (two episodes,
one of them rewound and one under way, and a third that was discarded). Do not make them again: today's code
writes other bytes.
"""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from qwop_datasets import (
    DatasetError,
    DatasetReader,
    DatasetWriter,
    first_difference,
    read_journal,
    verify_episode,
)
from qwop_datasets.checks import check_file
from qwop_datasets.cli import main
from qwop_datasets.convert.common import own_episode, scalars
from qwop_datasets.edit import merge

STORED = Path(__file__).parents[1] / "golden" / "stored"
PROVENANCE = {
    1: {
        "arm": "torso-1.1",
        "engine": "avx512",
        "frame_skip": 4,
        "idle_frames": 27,
        "protocol": "P",
        "sampled": False,
        "seed": 45,
    },
    2: {"engine": "scalar", "frame_skip": 1, "seed": 7, "sampled": True, "factor": 0.5},
    3: {"engine": "scalar", "seed": 30},
}


@pytest.fixture(params=[1, 2, 3])
def old(request, tmp_path):
    """A file of an older version, and that version."""
    path = tmp_path / "old.h5"
    shutil.copy(STORED / f"version_{request.param}.h5", path)
    return path, request.param


def attribute_names(path):
    names = []
    with h5py.File(path) as file:
        names += file.attrs
        file.visititems(lambda _, member: names.extend(member.attrs))
    return names


def test_an_old_file_is_read_as_before(old):
    path, version = old
    before = path.read_bytes()
    with h5py.File(path) as file:
        assert file.attrs["format_version"] == version
    assert check_file(path) == []
    for episode in DatasetReader(path):
        assert verify_episode(episode).exact
        assert episode.start is None and episode.undetermined is None
    assert DatasetReader(path)[0].trig == {1: "glibc-fma", 2: "rounded", 3: "rounded"}[version]
    assert dict(DatasetReader(path)[0].provenance) == PROVENANCE[version]
    assert path.read_bytes() == before


def test_an_old_file_is_migrated_and_keeps_every_bit(old):
    path, version = old
    episodes = list(DatasetReader(path))
    with pytest.raises(DatasetError, match=f"older format version {version}: run qwop-data edit --migrate"):
        DatasetWriter(path)
    assert main(["edit", str(path), "--migrate"]) == 0
    reader = DatasetReader(path)
    assert [first_difference(a, b) for a, b in zip(episodes, reader, strict=True)] == [None] * len(episodes)
    assert sorted(reader.masks) == (["train"] if version > 1 else [])
    assert check_file(path) == []
    names = attribute_names(path)
    assert "units_per_meter" in names and "provenance.seed" in names
    assert not [name for name in names if name.startswith("passport") or name == "units_per_metre"]
    DatasetWriter(path).append(episodes[0].replace(id="f" * 32))


def test_a_merge_of_old_files_is_of_this_version(tmp_path):
    merged = tmp_path / "merged.h5"
    paths = [STORED / "version_1.h5", STORED / "version_2.h5"]
    assert merge(merged, paths, any_settings=True) == (3, 0)
    before = [episode for path in paths for episode in DatasetReader(path)]
    assert all(first_difference(a, b) is None for a, b in zip(before, DatasetReader(merged), strict=True))
    assert not [name for name in attribute_names(merged) if name.startswith("passport")]


def test_an_old_journal_gives_its_episodes(tmp_path):
    path = tmp_path / "runs.h5.journal"
    shutil.copy(STORED / "version_2.journal", path)
    (rewound, under_way), damaged = read_journal(path)
    assert damaged == 0
    keys = np.repeat(np.random.default_rng(5).integers(0, 16, 12), 5).astype(np.uint8)
    assert (rewound.id, rewound.tags) == ("a" * 32, ("warmup",))
    assert rewound.keys.tolist() == keys[:26].tolist() and rewound.truncated
    assert rewound.discarded_keys.tolist() == keys[9:20].tolist()
    assert rewound.rewinds[["from_frame", "to_frame"]].tolist() == [(20, 9)]
    assert rewound.wall_times[0] == pytest.approx(1_700_000_000.25 + 1 / 30, abs=1e-6)
    assert dict(rewound.provenance) == {"engine": "scalar", "frame_skip": 1}
    assert (under_way.id, under_way.tags) == ("c" * 32, ("warmup", "recovered"))
    assert under_way.keys.tolist() == keys[:8].tolist()
    for episode in (rewound, under_way):
        assert verify_episode(episode).exact
        pressed = np.flatnonzero(np.diff(episode.keys, prepend=np.uint8(0)))
        assert set(np.floor(30 * episode.key_events["time"]).astype(int)) == set(pressed.tolist())


def test_an_old_export_gives_its_episode():
    episode = DatasetReader(STORED / "version_2.h5")[0]
    record = json.loads(scalars(episode))
    record["passport"] = record.pop("provenance")
    reward = episode.rewards["default"]
    back = own_episode(json.dumps(record), episode.keys, episode.raw_observations, episode.times, reward)
    assert dict(back.provenance) == PROVENANCE[2]
