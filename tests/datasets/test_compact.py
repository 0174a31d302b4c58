"""Compact datasets: episodes that are stored as keys and read whole."""

import h5py
import numpy as np
import pytest

from qwop_datasets import DatasetError, DatasetReader, Episode, first_difference, with_gait, write_dataset
from qwop_datasets.checks import check_file
from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.edit import merge
from qwop_datasets.exact_replay import replay_keys
from qwop_game import KEY_W


def played(seed: int) -> Episode:
    """Stands for ten seconds, then stumbles."""
    keys = np.random.default_rng(seed).integers(0, 16, 30).astype(np.uint8).repeat(8)
    keys = np.concatenate([np.zeros(300, np.uint8), keys])
    (run,) = replay_keys([keys])
    end = run.frames_until_end
    return Episode(
        keys=keys[:end],
        raw_observations=run.raw_observations[: end + 1],
        times=run.times[: end + 1],
        terminated=run.over,
        truncated=not run.over,
        success=False,
        source="script",
        tags=("drill",),
        provenance={"seed": seed},
    )


def test_read_back_bit_for_bit_from_a_fraction_of_the_size(tmp_path):
    episodes = [played(seed) for seed in range(3)]
    compact, full = tmp_path / "compact.h5", tmp_path / "full.h5"
    assert write_compact_dataset(compact, episodes) == 3
    write_dataset(full, episodes)
    assert compact.stat().st_size < full.stat().st_size / 3
    reader = DatasetReader(compact)
    for stored, original in zip(reader, episodes, strict=True):
        assert first_difference(stored, with_gait(original.replace(verified="exact"))) is None
    assert np.array_equal(reader.array(1, "times"), episodes[1].times)
    assert np.array_equal(reader.array(1, "raw_observations"), episodes[1].raw_observations)
    assert check_file(compact) == []


def test_what_does_not_replay_is_not_stored(tmp_path):
    path = tmp_path / "compact.h5"
    good = played(0)
    raw = good.raw_observations.copy()
    raw[40, 7] = np.nextafter(raw[40, 7], np.float32(np.inf))
    for wrong, says in (
        (good.replace(raw_observations=raw), "does not replay bit for bit"),
        (good.replace(game="real"), "is of the real game"),
    ):
        with pytest.raises(DatasetError, match=says):
            write_compact_dataset(path, [good, wrong])
        assert list(tmp_path.iterdir()) == []


def test_other_keys_than_were_played_are_noticed(tmp_path):
    path = tmp_path / "compact.h5"
    write_compact_dataset(path, [played(0)])
    with h5py.File(path, "r+") as file:
        group = file["episodes/000000"]
        group["keys"][3] = KEY_W
        group["actions"][3] = 6
    with pytest.raises(DatasetError, match="the replay of a compact episode differs"):
        DatasetReader(path)[0]
    assert len(check_file(path)) == 1


def test_merges_with_full_episodes(tmp_path):
    compact, full, both = (tmp_path / name for name in ("compact.h5", "full.h5", "both.h5"))
    write_compact_dataset(compact, [played(0)])
    write_dataset(full, [played(1)])
    merge(both, [full, compact])
    seeds = [episode.provenance["seed"] for episode in DatasetReader(both)]
    assert seeds == [1, 0]
    assert np.array_equal(DatasetReader(both)[1].raw_observations, played(0).raw_observations)
