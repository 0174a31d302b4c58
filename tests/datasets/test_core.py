"""Episodes, their file format, filters, readers and writers."""

import os
import pickle
import subprocess
import sys
import textwrap
import time
from typing import Any

import h5py
import numpy as np
import pytest

from qwop_datasets import (
    KEY_EVENT_DTYPE,
    REWIND_DTYPE,
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Episode,
    action_indices,
    first_difference,
    write_dataset,
)
from qwop_datasets.checks import check_file
from qwop_datasets.cli import main
from qwop_datasets.edit import merge
from qwop_datasets.episode import storable_name
from qwop_datasets.format import FORMAT_VERSION, INDEX_DTYPE, OBSERVATION_FIELDS, index_row
from qwop_datasets.migration import migrate
from qwop_datasets.writer import set_masks


def episode(frames=30, seed=0, **changes):
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {
        "keys": rng.integers(0, 16, frames),
        "raw_observations": rng.normal(0, 5, (frames + 1, 60)),
        "times": np.arange(frames + 1) / 30,
        "terminated": True,
        "truncated": False,
        "success": False,
        "source": "script",
        "id": rng.bytes(16).hex(),
    }
    return Episode(**(values | changes))


def full_episode(frames=30, seed=1):
    """Every optional field set."""
    return episode(
        frames,
        seed,
        player="Zoë",
        game="real",
        source="human",
        wall_times=1.7e9 + np.arange(frames) / 30,
        lateness=np.linspace(0, 0.01, frames),
        wall_clock_offset=1.6e9,
        key_events=np.array([(0.5, 1, True, 1), (0.51, 1, False, 1)], KEY_EVENT_DTYPE),
        rewinds=np.array([(1.7e9, 20, 15), (1.7e9 + 1, 17, 16)], REWIND_DTYPE),
        discarded_keys=np.arange(6) % 4,
        rewards={"default": np.arange(frames) * 0.1, "stride": np.zeros(frames)},
        provenance={"engine": "scalar", "seed": 2**31, "hurdle": True, "factor": 0.1, "empty": ""},
        gait={"knee_near": 0.01, "upright": 0.97, "strides": 12.0, "cadence": float("nan")},
        verified="differs: frame 3, torso.x",
        tags=("warm", "café"),
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.h5"


@pytest.mark.parametrize(
    "made", [episode(), full_episode(), episode(1), episode(key_events=np.empty(0, KEY_EVENT_DTYPE))]
)
def test_what_goes_in_comes_out_bit_for_bit(path, made):
    DatasetWriter(path, gait=False).append(made)
    read = DatasetReader(path)[0]
    assert first_difference(made, read) is None
    assert read.keys.dtype == np.uint8 and read.raw_observations.dtype == np.float32


def test_episodes_are_frozen_and_copy_what_they_are_given():
    keys = np.zeros(30, np.uint8)
    made = episode(keys=keys)
    keys[:] = 1
    assert not made.keys.any()
    with pytest.raises(ValueError):
        made.keys[0] = 1
    with pytest.raises(TypeError):
        made.provenance["a"] = 1  # pyright: ignore[reportIndexIssue]
    with pytest.raises(AttributeError):
        made.success = True  # pyright: ignore[reportAttributeAccessIssue]
    assert first_difference(pickle.loads(pickle.dumps(full_episode())), full_episode()) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": np.full(30, 16)}, "mask is above 15"),
        ({"keys": np.zeros(0)}, "T >= 1"),
        ({"raw_observations": np.zeros((30, 60))}, "need \\(31, 60\\)"),
        ({"raw_observations": np.full((31, 60), np.nan)}, "NaN"),
        ({"times": np.arange(31)[::-1]}, "backwards"),
        ({"lateness": np.zeros(29)}, "lateness has shape"),
        ({"rewards": {"default": np.zeros(31)}}, "reward 'default'"),
        ({"success": True, "terminated": False}, "success without terminated"),
        ({"source": "robot"}, "not one of human, policy, script"),
        ({"game": "flash"}, "not one of embedded, real"),
        ({"tags": ("two words",)}, "bad tag"),
        ({"player": "x" * 65}, "64 bytes"),
        ({"id": "7"}, "hexadecimal"),
        ({"provenance": {"browser": ["a"]}}, "must be text, a number or a bool"),
        ({"action_set": "all"}, "unknown"),
        ({"keys": np.full(30, 5), "action_set": "reduced"}, "no action for key mask 5 at frame 0"),
        ({"key_events": np.array([(0, 3, True, 0)], KEY_EVENT_DTYPE)}, "not 1, 2, 4 or 8"),
        ({"rewinds": np.array([(0, 5, 2)], REWIND_DTYPE), "discarded_keys": np.zeros(2)}, "does not fit"),
        ({"rewinds": np.array([(0, 2, 5)], REWIND_DTYPE), "discarded_keys": np.zeros(0)}, "forward"),
    ],
)
def test_an_episode_that_can_not_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        episode(**changes)


def test_action_indices_follow_what_the_engine_does():
    masks = np.arange(16)
    # distinct = 3 * {none, Q, W} + {none, O, P}; Q wins over W, O over P
    thighs = np.where(masks & 1, 1, np.where(masks & 2, 2, 0))
    calves = np.where(masks & 4, 1, np.where(masks & 8, 2, 0))
    assert action_indices(masks, "distinct").tolist() == (3 * thighs + calves).tolist()
    assert action_indices([0, 1, 2, 4, 8, 3, 15], "full").tolist() == [0, 1, 2, 3, 4, 5, 15]
    assert action_indices([0, 1, 9, 3, 12], "reduced").tolist() == [0, 1, 6, 5, 8]


def test_the_file_explains_itself_to_any_hdf5_program(path):
    write_dataset(path, [full_episode(), episode(seed=2)], {"frame_skip": 1})
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"qwop-episodes" or file.attrs["format"] == "qwop-episodes"
        assert file.attrs["format_version"] == FORMAT_VERSION
        group = file["episodes/000000"]
        assert group["raw_observations"].shape == (31, 60)
        assert group["raw_observations"].chunks == (31, 60)
        assert group["raw_observations"].compression == "gzip"
        assert group["actions"].dtype == np.uint8
        assert set(group["rewards"]) == {"default", "stride"}
        assert group.attrs["provenance.seed"] == 2**31
        assert list(file["index"]["frames"]) == [30, 30]
    assert len(OBSERVATION_FIELDS) == 60 and OBSERVATION_FIELDS[5] == "head.x"


def test_filters(path):
    runs = [
        episode(
            seed=1, source="human", success=True, gait={"knee_near": 0.01, "upright": 0.9}, tags=("good",)
        ),
        episode(
            seed=2, source="human", gait={"knee_near": 0.5, "upright": 0.1, "strides": 3}, verified="exact"
        ),
        episode(60, seed=3, source="policy", terminated=False, truncated=True),
    ]
    DatasetWriter(path, gait=False).append_all(runs)
    reader = DatasetReader(path)

    def numbers(where):
        return reader.select(where).numbers.tolist()

    assert numbers("") == [0, 1, 2]
    assert numbers("source=human success") == [0]
    assert numbers("source!=human") == [2]
    assert numbers("knee_share<0.02") == [0]  # NaN of the third matches nothing
    assert numbers("knee_share>=0") == [0, 1]
    assert numbers("!success time<=1") == [1]
    assert numbers("time>1.5 frames=60") == [2]
    assert numbers("fallen") == [1] and numbers("verified") == [1] and numbers("verified=false") == [0, 2]
    assert numbers("tag=good") == [0] and numbers("strides>2") == [1] and numbers("number=1") == [1]
    assert numbers(f"id={runs[2].id[:6]}") == [2]
    assert DatasetReader(path, "source=policy")[0].id == runs[2].id
    for bad in ("speed>3", "time<fast", "sucess", "!time<3", "source<human", "mask=train", "<3"):
        with pytest.raises(DatasetError, match="filter"):
            reader.select(bad)


def test_a_reader_survives_growth_and_notices_replacement(path, tmp_path):
    DatasetWriter(path).append(episode(seed=1))
    reader = DatasetReader(path)
    first = reader[0]
    DatasetWriter(path).append(episode(seed=2))
    assert len(reader) == 1 and first_difference(reader[0], first) is None
    write_dataset(tmp_path / "other.h5", [episode(seed=3)])
    try:
        (tmp_path / "other.h5").replace(path)
    except PermissionError:  # Windows replaces no file that is open
        reader.close()
        (tmp_path / "other.h5").replace(path)
    with pytest.raises(DatasetError, match="has changed since the file was opened"):
        reader[0]


@pytest.mark.parametrize("end", ["", "del reader", "import gc, sys; sys.keep = reader; gc.disable()"])
def test_a_reader_left_open_does_no_harm_at_exit(path, end):
    write_dataset(path, [episode()])
    script = "from qwop_datasets import DatasetReader; "
    script += f"reader = DatasetReader({str(path)!r}); reader[0]; {end}"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0


def test_two_readers_of_one_growing_file(path):
    writer = DatasetWriter(path)
    writer.append(episode(seed=1))
    first = DatasetReader(path)
    assert len(first[0]) == 30
    writer.append(episode(40, seed=2))
    second = DatasetReader(path)
    assert len(first) == 1 and len(second) == 2
    assert len(second[1]) == 40 and len(first[0]) == 30


def test_data_loader_workers_open_their_own_handles(path):
    torch = pytest.importorskip("torch")
    runs = [episode(20 + i, seed=i) for i in range(6)]
    write_dataset(path, runs)
    reader = DatasetReader(path)
    assert first_difference(reader[0], runs[0]) == "gait"  # the handle is open before the workers fork
    loader = torch.utils.data.DataLoader(reader, batch_size=2, num_workers=2, collate_fn=list)
    for _ in range(2):
        got = [e for batch in loader for e in batch]
        assert [e.id for e in got] == [e.id for e in runs]
        assert all(
            np.array_equal(a.raw_observations, b.raw_observations) for a, b in zip(got, runs, strict=True)
        )


def test_appending_needs_the_same_settings_and_says_what_differs(path):
    DatasetWriter(path, {"frame_skip": 1, "engine": "embedded"})
    DatasetWriter(path)
    with pytest.raises(DatasetError, match="frame_skip: 1 there, 4 here"):
        DatasetWriter(path, {"frame_skip": 4, "engine": "embedded"})


def test_an_episode_is_stored_once(path):
    writer = DatasetWriter(path)
    made = episode()
    assert made.id not in writer
    writer.append(made)
    assert made.id in writer and len(writer) == 1
    before = path.read_bytes()
    with pytest.raises(DatasetError, match="already there"):
        writer.append_all([episode(seed=5), made])
    assert path.read_bytes() == before


def test_two_writers_take_turns_and_notice_edits(path):
    one, two = DatasetWriter(path), DatasetWriter(path)
    runs = [episode(seed=i) for i in range(6)]
    assert [w.append(e) for w, e in zip((one, two, one, two), runs, strict=False)] == [0, 1, 2, 3]
    for writer in (one, two):
        with pytest.raises(DatasetError, match="already there"):
            writer.append(runs[3])
    path.unlink()
    write_dataset(path, [runs[0], runs[5]])  # the others were deleted
    assert one.append(runs[2]) == 2 and len(one) == 3
    with pytest.raises(DatasetError, match="already there"):
        one.append(runs[5])
    assert two.append(runs[4]) == 3 and runs[2].id in two and runs[1].id not in two


def test_a_newer_or_foreign_file_is_refused(path):
    with h5py.File(path, "w") as file:
        file["data"] = [1, 2]
    with pytest.raises(DatasetError, match="not a QWOP dataset"):
        DatasetReader(path)
    path.unlink()
    write_dataset(path, [])
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = FORMAT_VERSION + 1
    with pytest.raises(DatasetError, match="upgrade"):
        DatasetWriter(path)
    path.write_bytes(b"seed=1\n")
    with pytest.raises(DatasetError, match="not an HDF5 file"):
        DatasetReader(path)
    with pytest.raises(DatasetError, match="no such file"):
        DatasetReader(path.with_name("missing.h5"))


def test_migration_brings_an_old_file_up_to_date(path):
    runs = [full_episode(), episode(seed=4)]
    write_dataset(path, runs, gait=False)
    index = DatasetReader(path).index
    with h5py.File(path, "r+") as file:  # back to version 0: no index, no masks
        del file["index"], file["masks"]
        file.attrs["format_version"] = 0
    with pytest.raises(DatasetError, match="older format version 0"):
        DatasetReader(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        assert migrate(file, path) == 0
    reader = DatasetReader(path)
    assert reader.index.tobytes() == index.tobytes()
    assert first_difference(reader[0], runs[0]) is None


# ---- files that others make --------------------------------------------------------------------------------


def written_from_the_card(path, made):
    """What the format card says and no more, by plain h5py: no masks, no chunks, texts as h5py has them."""
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "qwop-episodes"
        file.attrs["format_version"] = 4
        file.attrs["created"] = "2026-01-01T00:00:00Z"
        file.attrs["frames_per_second"] = 30
        file.attrs["units_per_meter"] = 10.0
        file.attrs["observation_fields"] = " ".join(OBSERVATION_FIELDS)
        file.attrs["key_bits"] = "Q=1 W=2 O=4 P=8"
        file.attrs["environment"] = "{}"
        group = file.create_group("episodes/000000")
        for name in ("raw_observations", "keys", "actions", "times"):
            group[name] = getattr(made, name)
        for name in ("id", "created", "source", "player", "game", "trig", "action_set", "verified"):
            group.attrs[name] = getattr(made, name)
        for name in ("terminated", "truncated", "success"):
            group.attrs[name] = getattr(made, name)
        group.attrs["tags"] = ""
        group.attrs["frames"] = len(made)
        group.attrs["time"], group.attrs["distance"] = made.time, made.distance
        file["index"] = np.array([index_row(made)[()]], INDEX_DTYPE)


def test_a_file_written_from_the_card_is_good(tmp_path, capsys):
    path, made = tmp_path / "plain.h5", episode()
    written_from_the_card(path, made)
    assert first_difference(DatasetReader(path)[0], made) is None and check_file(path) == []
    for command in ("info", "list", "check"):
        assert main([command, str(path)]) == 0, capsys.readouterr().err
    merge(tmp_path / "merged.h5", [path])
    set_masks(path, {"train": np.ones(1, bool)})
    assert len(DatasetReader(path, "mask=train")) == 1
    assert first_difference(DatasetReader(tmp_path / "merged.h5")[0], made) is None


def test_names_are_not_trusted(tmp_path, capsys):
    """Escape sequences and line breaks in a file's names are shown as escapes; commands take none."""
    path = tmp_path / "runs.h5"
    write_dataset(path, [episode(player="a\n\x1b[31mb"), episode(seed=1)])
    with h5py.File(path, "r+") as file:  # and one that is not UTF-8, in the index
        row = file["index"][1]
        row["player"] = b"\xff"
        file["index"][1] = row
    capsys.readouterr()
    for command in ("list", "info"):
        assert main([command, str(path)]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out and "a\\n\\x1b[3" in out and "\\xff" in out
    for arguments, message in [
        (["edit", str(path), "--set", "player=x\x1b[1m"], "--set player: the name has '\\x1b'"),
        (["edit", str(path), "--set", "player=x\udcff"], "--set player: the name is not UTF-8"),
        (["edit", str(path), "--tag", "x\x07"], "--tag: the name has '\\x07'"),
        (["convert", "a.txt", str(tmp_path / "x.h5"), "--player", "x\n"], "--player: the name has '\\n'"),
        (["list", "no\x1b.h5"], "no\\x1b.h5: "),  # no such file, or no such name on Windows
    ]:
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and message in err and "\x1b" not in err, err
    with pytest.raises(ValueError, match="an episode's player is not UTF-8"):
        episode(player="\udcff")
    assert len(storable_name("\u00e9" * 64).encode()) == 64 and storable_name("a\udcff\n") == "a\\udcff\\n"


RACE = """
    import sys, time
    from qwop_datasets import DatasetWriter, Episode
    import numpy as np
    path, start = sys.argv[1], float(sys.argv[2])
    episodes = [Episode(keys=[1], raw_observations=np.zeros((2, 60)), times=[0, 1], terminated=False,
        truncated=True, success=False, source="script") for _ in range(3)]
    while time.time() < start: pass
    writer = DatasetWriter(path, gait=False)
    for episode in episodes: writer.append(episode)
"""


def test_two_processes_make_one_new_file(tmp_path):
    path = tmp_path / "new" / "runs.h5"
    command = [sys.executable, "-c", textwrap.dedent(RACE), str(path), str(time.time() + 4)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8") for _ in range(2)]
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert len(DatasetReader(path)) == 6 and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("hard_links", [True, False])
def test_who_comes_second_opens_what_is_there(tmp_path, monkeypatch, hard_links):
    """The other program makes the file between our look and our rename."""
    path = tmp_path / "runs.h5"
    sync = os.fsync
    if not hard_links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "no hard links here")))

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", sync)
        DatasetWriter(path, {"game": "real"}).append(episode())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    DatasetWriter(path, {"game": "real"}).append(episode(seed=1))
    assert len(DatasetReader(path)) == 2 and list(tmp_path.iterdir()) == [path]
    monkeypatch.setattr(
        os, "fsync", lambda d: (monkeypatch.setattr(os, "fsync", sync), write_dataset(other, []))
    )
    other = tmp_path / "other.h5"
    with pytest.raises(DatasetError, match="already exists"):
        write_dataset(other, [episode()])
    assert len(DatasetReader(other)) == 0
