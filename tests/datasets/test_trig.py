"""Episodes of several browsers' sine and cosine: stored, shown, kept by every command, replayed exactly."""

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qwop_datasets import DatasetError, DatasetReader, DatasetWriter, Episode, convert, write_dataset
from qwop_datasets import journal as journal_module
from qwop_datasets.checks import check_file
from qwop_datasets.cli import main
from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.edit import merge
from qwop_datasets.episode import action_indices
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.format import INDEX_DTYPE, create_index
from qwop_datasets.journal import Journal, journal_path, read_journal
from qwop_datasets.recording import Frame, Recording
from qwop_datasets.verify import verify_episode, verify_episodes
from qwop_game import DEFAULT_TRIG, normalize, raw_from_state
from qwop_game import TRIG_VARIANTS as ALL_VARIANTS

GOLDEN = Path(__file__).parents[1] / "golden"
# No value of these runs tells llvm from rounded.
TRIG_VARIANTS = tuple(trig for trig in ALL_VARIANTS if trig != "llvm")
DEMOS = Path(__file__).parents[2] / "demos"


def golden(trig):
    """Keys of a whole run in that variant; the real game's rows [F, 60] at some of its frames."""
    with np.load(GOLDEN / f"{trig}_runs.npz") as data:
        return data["actions_0"], data["frames_0"], raw_from_state(data["states_0"])


def episode(trig, **changes):
    """The real game's run: its own rows where they are stored, and those between from the simulator."""
    keys, frames, rows = golden(trig)
    (played,) = replay_keys([keys], stop_at_end=False, trig=trig)
    raw = played.raw_observations.copy()
    raw[frames] = rows
    values: dict[str, Any] = {
        "keys": keys,
        "raw_observations": raw,
        "times": played.times,
        "terminated": played.over,
        "truncated": not played.over,
        "success": played.landed,
        "source": "policy",
        "game": "real",
        "trig": trig,
    }
    return Episode(**(values | changes))


@pytest.fixture(scope="module")
def mixed():
    """A run of each variant."""
    return [episode(trig) for trig in TRIG_VARIANTS]


@pytest.fixture
def path(tmp_path, mixed):
    path = tmp_path / "mixed.h5"
    write_dataset(path, mixed)
    return path


def trigs(path):
    return [e.trig for e in DatasetReader(path)]


def test_each_run_replays_in_its_own_variant_and_in_no_other(mixed):
    assert all(e.success for e in mixed)
    assert [r.text for r in verify_episodes(mixed)] == ["exact"] * 5
    for made in mixed:
        others = [made.replace(trig=trig) for trig in TRIG_VARIANTS if trig != made.trig]
        frames = [r.frame for r in verify_episodes(others)]
        assert all(frame is not None and frame < 300 for frame in frames), (made.trig, frames)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="trig 'glibc-3' is not one of rounded, glibc"):
        episode("rounded").replace(trig="glibc-3")


def test_a_mixed_file_verifies_shows_and_filters(path, capsys):
    assert trigs(path) == list(TRIG_VARIANTS)
    assert main(["verify", str(path), "--store"]) == 0 and "5 of 5 episodes" in capsys.readouterr().out
    assert main(["list", str(path)]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    at = title.index("trig")
    assert [line[at : at + 10].strip() for line in lines] == list(TRIG_VARIANTS)
    assert main(["info", str(path)]) == 0
    shown = re.search(r"trig +(.*)", capsys.readouterr().out)
    assert shown and sorted(shown[1].split(", ")) == sorted(f"{trig} 1" for trig in TRIG_VARIANTS)
    for where in ("trig=msun", "trig == 'msun'", 'trig="msun"', "trig = msun"):
        assert DatasetReader(path, where).numbers.tolist() == [4], where
    assert len(DatasetReader(path, "trig != rounded success")) == 4
    assert check_file(path) == []


def test_every_command_keeps_it(path, tmp_path):
    merge(tmp_path / "merged.h5", [path, path])
    assert trigs(tmp_path / "merged.h5") == list(TRIG_VARIANTS)
    assert main(["edit", str(path), "--where", "trig=fdlibm", "--tag", "old"]) == 0
    assert main(["edit", str(path), "--where", "trig!=glibc", "--keep"]) == 0
    assert trigs(path) == ["rounded", "glibc-fma", "fdlibm", "msun"]
    halves = [tmp_path / "a.h5", tmp_path / "b.h5"]
    assert main(["split", str(path), "--fraction", "0.5", "--into", *map(str, halves)]) == 0
    assert sorted(trigs(halves[0]) + trigs(halves[1])) == sorted(trigs(path))
    assert [main(["verify", str(half)]) for half in halves] == [0, 0]


def test_keys_alone_replay_with_it(tmp_path, mixed):
    path = tmp_path / "compact.h5"
    played = [replay_keys([e.keys], trig=e.trig)[0].raw_observations for e in mixed]
    embedded = [e.replace(game="embedded", raw_observations=p) for e, p in zip(mixed, played, strict=True)]
    write_compact_dataset(path, embedded)
    for stored, made in zip(DatasetReader(path), embedded, strict=True):
        assert stored.trig == made.trig and np.array_equal(stored.raw_observations, made.raw_observations)
    with h5py.File(path, "r+") as file:
        file["episodes/000003"].attrs["trig"] = "rounded"
    with pytest.raises(DatasetError, match="episode 3: damaged: the replay of a compact episode differs"):
        DatasetReader(path)[3]


def test_a_journal_keeps_it(tmp_path, mixed):
    made = mixed[3]
    with Journal(journal_path(tmp_path / "x.h5")) as journal:
        recording = Recording(made.raw_observations[0], made.times[0], source="human", trig=made.trig)
        journal.begin(recording)
        for t in range(50):
            journal.write(recording.add(Frame(made.keys[t], made.raw_observations[t + 1], made.times[t + 1])))
    (episode,), damaged = read_journal(journal_path(tmp_path / "x.h5"))
    assert (episode.trig, damaged) == ("fdlibm", 0)


@pytest.mark.parametrize(("to", "name"), [("npz", "x.npz"), ("csv", "x.csv"), ("robomimic", "x.hdf5")])
def test_conversions_keep_it(path, tmp_path, to, name):
    with DatasetReader(path) as reader:
        convert.export(reader, tmp_path / name, to)
    items = list(convert.episodes_of(tmp_path / name, convert.Importing()))
    assert [item.episode.trig for item in items] == list(TRIG_VARIANTS)
    assert all(item.episode is not None and verify_episode(item.episode).exact for item in items)


def test_a_csv_from_before_is_glibc_fma(tmp_path, mixed):
    write_dataset(tmp_path / "x.h5", [mixed[2]])
    with DatasetReader(tmp_path / "x.h5") as reader:
        convert.export(reader, tmp_path / "x.csv", "csv")
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with open(tmp_path / "old.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "trig"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    (item,) = convert.episodes_of(tmp_path / "old.csv", convert.Importing())
    assert item.episode is not None and item.episode.trig == "glibc-fma"
    assert verify_episode(item.episode).exact


def test_a_foreign_file_says_by_its_observations_which_variant_it_was(tmp_path, mixed, capsys):
    """Actions and normalized observations of 300 frames, in fdlibm and in msun."""
    steps = 300
    ends = np.zeros(2 * steps, bool)
    ends[[steps - 1, 2 * steps - 1]] = True
    two = mixed[3], mixed[4]
    np.savez(
        tmp_path / "x.npz",
        observations=np.concatenate([normalize(e.raw_observations[:steps]) for e in two]),
        actions=np.concatenate([action_indices(e.keys[:steps], "full") for e in two]),
        timeouts=ends,
    )
    out = tmp_path / "x.h5"
    assert main(["convert", str(tmp_path / "x.npz"), str(out), "--source", "policy"]) == 0
    assert "2 episodes, 0 omitted; sine and cosine: fdlibm 1, msun 1" in capsys.readouterr().out
    assert trigs(out) == ["fdlibm", "msun"]
    arguments = ["convert", str(tmp_path / "x.npz"), str(tmp_path / "y.h5"), "--source", "policy"]
    assert main([*arguments, "--trig", "fdlibm"]) == 0
    captured = capsys.readouterr()
    assert "1 episodes, 1 omitted; sine and cosine: fdlibm" in captured.out
    assert re.search(r"episode 1: its replay differs .* at step \d+ \(with fdlibm\)", captured.err)


def test_keys_without_observations_take_the_variant_that_is_named(tmp_path, mixed):
    path, out = tmp_path / "x.npy", tmp_path / "x.h5"
    np.save(path, mixed[3].keys)
    assert main(["convert", str(path), str(out), "--source", "human", "--trig", "fdlibm"]) == 0
    (stored,) = DatasetReader(out)
    assert stored.success and stored.trig == "fdlibm" and np.array_equal(stored.keys, mixed[3].keys)
    out.unlink()
    assert main(["convert", str(path), str(out), "--source", "human"]) == 0
    (stored,) = DatasetReader(out)
    assert stored.trig == DEFAULT_TRIG and not stored.success


# ---- files of before ---------------------------------------------------------------------------------------


def to_version_1(path):
    """What the program of format 1 would have written: no trig, or its name of that time."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        rows = file["index"][:]
        old = np.dtype([(name, INDEX_DTYPE[name]) for name in INDEX_DTYPE.names if name != "trig"])
        del file["index"]
        create_index(file, rows)
        stripped = np.zeros(len(rows), old)
        for name in old.names:
            stripped[name] = rows[name]
        del file["index"]
        file.create_dataset("index", data=stripped, maxshape=(None,), chunks=(64,), fletcher32=True)
        for number, group in enumerate(file["episodes"].values()):
            del group.attrs["trig"]
            if number % 2:
                group.attrs["passport.dialect"] = "glibc-fma"
        file.attrs["format_version"] = 1


def test_files_of_before_are_glibc_fma_and_exact(tmp_path, mixed, capsys):
    path = tmp_path / "old.h5"
    two = [mixed[2], mixed[2].replace(id="b" * 32, tags=("copy",))]
    write_dataset(path, two)
    to_version_1(path)
    for command in ("list", "info", "check", "verify"):
        assert main([command, str(path)]) == 0, capsys.readouterr()
    assert DatasetReader(path).index["trig"].tolist() == [b"glibc-fma"] * 2
    assert [dict(e.provenance) for e in DatasetReader(path)] == [{}, {}]
    with pytest.raises(DatasetError, match="older format version 1: run qwop-data edit --migrate"):
        DatasetWriter(path)
    merge(tmp_path / "merged.h5", [path])  # comes out in this version
    DatasetWriter(tmp_path / "merged.h5").append(mixed[0])
    assert trigs(tmp_path / "merged.h5") == ["glibc-fma", "glibc-fma", "rounded"]
    assert check_file(tmp_path / "merged.h5") == []
    assert main(["edit", str(path), "--migrate"]) == 0
    DatasetWriter(path).append(mixed[0])
    assert trigs(path) == ["glibc-fma", "glibc-fma", "rounded"] and check_file(path) == []
    with h5py.File(path) as file:
        assert "passport.dialect" not in file["episodes/000001"].attrs


def test_a_journal_of_before_is_glibc_fma(tmp_path, monkeypatch):
    path = journal_path(tmp_path / "x.h5")
    begin = journal_module._begin_payload

    def without_trig(text, time, row):
        fields = {name: value for name, value in json.loads(text).items() if name != "trig"}
        return begin(json.dumps(fields).encode(), time, row)

    monkeypatch.setattr(journal_module, "_begin_payload", without_trig)
    with Journal(path) as journal:
        recording = Recording(np.zeros(60, np.float32), 0.0, source="human")
        journal.begin(recording)
        journal.write(recording.add(Frame(1, np.zeros(60, np.float32), 0.1)))
    assert b"trig" not in path.read_bytes()
    (episode,), damaged = read_journal(path)
    assert (episode.trig, damaged) == ("glibc-fma", 0)


@pytest.mark.parametrize("name", ["demos.h5", "records.h5"])
def test_the_bundled_runs_replay_in_the_variant_that_they_say(name):
    with DatasetReader(DEMOS / name) as reader:
        assert len(reader) > 3
        assert Counter(reader.index["trig"].tolist()).keys() <= {t.encode() for t in TRIG_VARIANTS}
        # compact: reading one replays it and compares
        assert all(verify_episode(reader[i]).exact for i in (0, len(reader) - 1))
