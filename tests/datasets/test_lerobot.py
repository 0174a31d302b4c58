"""LeRobotDataset v3, there and back. What LeRobot itself loads is in test_convert.py."""

import builtins
import json
import sys

import imageio_ffmpeg
import numpy as np
import pytest

from qwop_datasets import (
    KEY_EVENT_DTYPE,
    REWIND_DTYPE,
    DatasetError,
    DatasetReader,
    convert,
    first_difference,
    replay_keys,
    write_dataset,
)
from qwop_datasets.cli import main
from qwop_datasets.convert import lerobot
from qwop_game import ACTION_SETS, Operation, Session, normalize

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

FALL = np.full(90, 12, np.uint8)
KEYS = np.array([1, 2, 4, 8], np.uint8)


@pytest.fixture(scope="module")
def recorded(play_keys):
    """A run that falls; one with all that a recorder measures; one that begins later in the page."""
    fall = play_keys(FALL)
    rng = np.random.default_rng(3)
    short = play_keys(np.repeat(rng.integers(0, 16, 12), 3).astype(np.uint8))
    frames = len(short)
    events = np.zeros(3, KEY_EVENT_DTYPE)
    events["time"], events["key"], events["pressed"] = [0.1, 0.2, 0.25], [1, 2, 1], [True, True, False]
    measured = short.replace(
        source="human",
        player="Zoë",
        tags=("late", "warm"),
        provenance={"seed": 5, "browser": "Chromium 156", "share": 0.1 + 0.2, "keep": True},
        undetermined=np.arange(frames) % 5 == 0,
        wall_times=1.7e9 + np.arange(frames) / 30.1,
        lateness=rng.random(frames).astype(np.float32) / 100,
        wall_clock_offset=1.7e9 - 12.25,
        key_events=events,
        rewinds=np.array([(1.7e9, 7, 3)], REWIND_DTYPE),
        discarded_keys=np.array([1, 9, 9, 4], np.uint8),
        rewards={"default": rng.random(frames), "stride": rng.random(frames)},
    )
    begun = Session().then(Operation.OPEN).then(Operation.PLAY).then(Operation.RESET)
    start = begun.play(FALL[:20]).then(Operation.PLAY, 3).then(Operation.RESET, 2).array
    (later,) = replay_keys([FALL[:40]], starts=[start])
    moved = fall.replace(
        id="a" * 32,
        start=start,
        keys=FALL[:40],
        raw_observations=later.raw_observations,
        times=later.times,
        terminated=False,
        truncated=True,
        action_set="full",
    )
    return [fall, measured, moved]


@pytest.fixture(scope="module")
def path(recorded, golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "runs.h5"
    write_dataset(path, [*recorded, golden], {"frame_skip": 2, "reward": "stride"}, gait=False)
    assert main(["split", str(path), "--fraction", "0.5"]) == 0
    return path


def exported(path, out, **options):
    with DatasetReader(path) as reader:
        options.setdefault("observations", "normalized")
        return convert.export(reader, out, "lerobot", **options)


def back(out, **options):
    return list(convert.episodes_of(out, convert.Importing(**options)))


def rewritten(file, change):
    """Replace a Parquet file by what `change` makes of its table."""
    pq.write_table(change(pq.read_table(file)), file)


TYPES = {"float": "float32", "double": "float64", "int64": "int64", "uint8": "uint8", "bool": "bool"}
DATA = "data/chunk-000/file-000.parquet"


@pytest.mark.parametrize("observations", ["normalized", "raw"])
def test_everything_comes_back(path, tmp_path, observations, capsys):
    folder, again = tmp_path / "folder", tmp_path / "again.h5"
    command = ["convert", str(path), str(folder), "--to", "lerobot", "--observations", observations]
    assert main(command) == 0
    assert capsys.readouterr().out == f"{folder}: 4 episodes as lerobot\n"
    assert main(["convert", str(folder), str(again)]) == 0
    with DatasetReader(path) as before, DatasetReader(again) as after:
        assert len(after) == 4 and after.index["verified"].tolist() == [1, 1, 1, 1]
        for a, b in zip(before, after, strict=True):
            assert first_difference(a.replace(verified="exact", gait=b.gait), b) is None
        assert {name: mask.tolist() for name, mask in before.masks.items()} == {
            name: mask.tolist() for name, mask in after.masks.items()
        }
        assert sorted(before.masks) == ["train", "validation"]
        assert before.environment == after.environment == {"frame_skip": 2, "reward": "stride"}


def test_the_layout_is_lerobots(path, tmp_path, recorded, golden):
    exported(path, tmp_path / "x")
    files = sorted(str(p.relative_to(tmp_path / "x")) for p in (tmp_path / "x").rglob("*") if p.is_file())
    assert files == [
        DATA,
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/qwop.parquet",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    info = json.loads((tmp_path / "x/meta/info.json").read_text(encoding="utf-8"))
    runs = [*recorded, golden]
    frames = sum(map(len, runs))
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 30)
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (4, frames, 1)
    assert info["splits"] == {"train": "0:4"} and info["video_path"] is None
    table = pq.read_table(tmp_path / "x" / DATA)
    assert table.column_names == list(info["features"])
    for name, feature in info["features"].items():
        width = feature["shape"][0]
        assert feature["names"] is None or len(feature["names"]) == width
        kind = table.schema.field(name).type
        assert getattr(kind, "list_size", 1) == width
        assert TYPES[str(getattr(kind, "value_type", kind))] == feature["dtype"], name
    held = np.array(table["action"].to_pylist())
    keys = np.concatenate([run.keys for run in runs])
    assert set(held.ravel().tolist()) == {-1.0, 1.0} and ((held > 0) @ KEYS == keys).all()
    states = np.concatenate([normalize(run.raw_observations[:-1]) for run in runs])
    assert np.array_equal(np.array(table["observation.state"].to_pylist(), np.float32), states)
    ends = np.cumsum([len(run) for run in runs])
    assert np.flatnonzero(table["next.done"]).tolist() == (ends - 1).tolist()
    assert np.flatnonzero(table["next.truncated"]).tolist() == [ends[1] - 1, ends[2] - 1]
    assert np.flatnonzero(table["next.success"]).tolist() == [ends[3] - 1]
    rows = pq.read_table(tmp_path / "x/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [row["dataset_to_index"] for row in rows] == ends.tolist()
    assert [row["dataset_from_index"] for row in rows] == [0, *ends[:-1]]
    assert rows[3]["stats/action/count"] == [len(golden)]
    tasks = pq.read_table(tmp_path / "x/meta/tasks.parquet").to_pandas()
    assert tasks.index.tolist() == ["Run 100 m in QWOP."] and tasks["task_index"].tolist() == [0]


def test_the_figures_are_those_of_all_rows(path, tmp_path):
    """All but the quantiles, of which LeRobot averages those of the episodes."""
    exported(path, tmp_path / "x", observations="raw")
    stats = json.loads((tmp_path / "x/meta/stats.json").read_text(encoding="utf-8"))
    table = pq.read_table(tmp_path / "x" / DATA)
    for name, figures in stats.items():
        values = np.array(table[name].to_pylist(), np.float64).reshape(len(table), -1)
        assert figures["count"] == [len(table)]
        for figure in ("min", "max", "mean", "std"):
            expected = getattr(values, figure)(axis=0)
            np.testing.assert_allclose(figures[figure], expected, rtol=1e-9, atol=1e-9, err_msg=name)
    (one,) = [row for row in pq.read_table(tmp_path / "x/meta/episodes").to_pylist() if row["length"] > 1000]
    values = np.array(table["observation.state"].to_pylist())[one["dataset_from_index"] :]
    np.testing.assert_allclose(one["stats/observation.state/q90"], np.quantile(values, 0.9, axis=0))


def test_large_datasets_have_several_files(path, tmp_path, monkeypatch):
    monkeypatch.setattr(lerobot, "DATA_MEGABYTES", 0.01)
    monkeypatch.setattr(lerobot, "FILES_PER_CHUNK", 2)
    exported(path, tmp_path / "x")
    files = sorted(str(p.relative_to(tmp_path / "x/data")) for p in (tmp_path / "x/data").rglob("*.parquet"))
    names = [f"chunk-00{n // 2}/file-00{n % 2}.parquet" for n in range(4)]
    assert files == names
    rows = pq.read_table(tmp_path / "x/meta/episodes").to_pylist()
    assert [(r["data/chunk_index"], r["data/file_index"]) for r in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for item, stored in zip(back(tmp_path / "x"), DatasetReader(path), strict=True):
        assert item.episode is not None and first_difference(item.episode, stored) is None


def test_pictures(path, tmp_path, monkeypatch):
    """One mp4 frame per row, in the order of the rows; a new file where one has become large."""
    monkeypatch.setattr(lerobot, "VIDEO_MEGABYTES", 0)
    with DatasetReader(path, "frames<100") as reader:
        convert.export(reader, tmp_path / "x", "lerobot", video=True)
        lengths = [len(run) for run in reader]
    rows = pq.read_table(tmp_path / "x/meta/episodes").to_pylist()
    key = f"videos/{lerobot.IMAGES}"
    info = json.loads((tmp_path / "x/meta/info.json").read_text(encoding="utf-8"))
    described = info["features"][lerobot.IMAGES]
    assert described["shape"] == [200, 320, 3] and described["info"]["video.codec"] == "h264"
    found = {}
    for row, length in zip(rows, lengths, strict=True):
        place = {name: row[f"{key}/{name}"] for name in ("chunk_index", "file_index")}
        file = tmp_path / "x" / info["video_path"].format(video_key=lerobot.IMAGES, **place)
        start, stop = (round(30 * row[f"{key}/{name}_timestamp"]) for name in ("from", "to"))
        assert stop - start == length and start == found.get(file, 0)
        found[file] = stop
        mean = np.array(row[f"stats/{lerobot.IMAGES}/mean"])
        assert mean.shape == (3, 1, 1) and (mean > 0.2).all() and (mean < 0.9).all()
        assert row[f"stats/{lerobot.IMAGES}/count"] == [-(-length // 30)]
    for file, count in found.items():
        assert imageio_ffmpeg.count_frames_and_secs(str(file))[0] == count
    stats = json.loads((tmp_path / "x/meta/stats.json").read_text(encoding="utf-8"))[lerobot.IMAGES]
    assert np.shape(stats["q50"]) == (3, 1, 1) and stats["max"] > stats["min"]
    assert all(item.episode is not None for item in back(tmp_path / "x"))


def test_the_figures_of_pictures_by_hand():
    counts = np.zeros((3, 256), np.int64)
    counts[:, 0], counts[:, 255] = 1, 3
    figures = lerobot._picture_figures(counts, 7)
    for name, value in {"min": 0, "max": 1, "mean": 0.75, "std": 0.1875**0.5, "q10": 0, "q50": 1}.items():
        np.testing.assert_allclose(figures[name], np.full((3, 1, 1), value))
    assert figures["count"] == [7]


# ---- what others wrote, or changed ---------------------------------------------------------------------


def plain(out):
    """Make a folder of this project one that LeRobot's tools would have written."""
    (out / "meta/qwop.parquet").unlink()
    ours = ["qwop.keys", "qwop.raw", "qwop.time", "next.reward"]
    rewritten(out / DATA, lambda table: table.drop_columns(ours))


def test_another_projects_folder_is_replayed(path, tmp_path):
    out = tmp_path / "x"
    exported(path, out)
    plain(out)
    with pytest.raises(DatasetError, match="does not say who played"):
        back(out)
    items = back(out, source="policy", player="ACT")
    for item, stored in zip(items, DatasetReader(path), strict=True):
        if stored.start is not None:  # which LeRobot has no field for
            assert "differs from its observations at step 0" in item.reason
            continue
        assert (item.episode.player, item.episode.source) == ("ACT", "policy")
        assert np.array_equal(item.episode.keys, stored.keys)
        assert np.array_equal(item.episode.raw_observations, stored.raw_observations)
        assert item.episode.trig == stored.trig and item.episode.success == stored.success


def test_steps_of_several_frames_and_actions_by_number(tmp_path):
    """Actions of qwop-gym's 16, four frames each, and one observation that the game never gives."""
    (tmp_path / "x/data/chunk-000").mkdir(parents=True)
    (tmp_path / "x/meta").mkdir()
    (tmp_path / "x/meta/info.json").write_text('{"codebase_version": "v3.0"}', encoding="utf-8")
    actions = np.array([4, 4, 5, 6, 1, 1])
    (played,) = replay_keys([np.repeat(ACTION_SETS["full"][actions], 4)])
    shown = played.raw_observations[:-1:4]
    wrong = shown.copy()
    wrong[3, 7] += 1
    states = np.concatenate([shown, wrong])
    table = pa.table(
        {
            "action": np.tile(actions, 2),
            "observation.state": pa.array(states.tolist(), pa.list_(pa.float32())),
            "episode_index": np.repeat([0, 1], 6),
        }
    )
    pq.write_table(table, tmp_path / "x" / DATA, row_group_size=4)  # episodes cross row groups
    good, bad = back(tmp_path / "x", source="script", frames_per_step=4)
    assert np.array_equal(good.episode.raw_observations, played.raw_observations)
    assert bad.episode is None and "differs from its observations at step 3" in bad.reason


def test_an_edited_dataset_is_not_taken_for_what_it_was(path, tmp_path):
    """LeRobot's tools number episodes anew; then meta/qwop.parquet belongs to others."""
    out = tmp_path / "x"
    exported(path, out)

    def without_the_first(table):
        kept = table.filter(pa.compute.greater(table["episode_index"], 0))
        numbers = pa.compute.subtract(kept["episode_index"], 1)
        return kept.set_column(kept.column_names.index("episode_index"), "episode_index", numbers)

    rewritten(out / DATA, without_the_first)
    stored = list(DatasetReader(path))
    items = back(out, source="script")
    for item, was in zip(items, stored[1:], strict=True):
        if was.start is not None:
            assert item.episode is None
            continue
        assert np.array_equal(item.episode.keys, was.keys) and item.episode.id != was.id


# ---- faults --------------------------------------------------------------------------------------------


@pytest.fixture
def small(path, tmp_path):
    """A folder of two short episodes."""
    with DatasetReader(path, "frames<100") as reader:
        convert.export(reader.subset([0, 1]), tmp_path / "x", "lerobot")
    return tmp_path / "x"


def info_of(folder, **changes):
    file = folder / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), encoding="utf-8")


def column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, values(table))


def texts(table):
    return column("action", lambda t: pa.array(["Q"] * len(t)))(table)


FAULTS = {
    "an older version": (lambda f: info_of(f, codebase_version="v2.1"), "is LeRobotDataset v2.1"),
    "no version": (
            lambda f: (f / "meta/info.json").write_text("[]", encoding="utf-8"),
            "meta/info.json is not a JSON object",
        ),
    "no data": (lambda f: (f / DATA).unlink(), "has no data/chunk-000/file-000.parquet"),
    "half a file": (lambda f: (f / DATA).write_bytes((f / DATA).read_bytes()[:900]), "damaged"),
    "no file": (lambda f: (f / DATA).write_bytes(b""), "damaged"),
    "no rows": (lambda f: rewritten(f / DATA, lambda t: t.slice(0, 0)), "has no episode"),
    "no actions": (
        lambda f: rewritten(f / DATA, lambda t: t.drop_columns(["qwop.keys", "action"])),
        "it has no column action",
    ),
    "a mask of no keys": (
        lambda f: rewritten(f / DATA, column("qwop.keys", lambda t: pa.array([16] * len(t), pa.uint8()))),
        "qwop.keys: entry 0 is 16",
    ),
    "rows without a value": (
        lambda f: rewritten(f / DATA, column("qwop.keys", lambda t: pa.array([None] * len(t), pa.uint8()))),
        "qwop.keys has rows without a value",
    ),
    "rows of different lengths": (
        lambda f: rewritten(
            f / DATA,
            column("observation.state", lambda t: pa.array([[1.0] * (1 + i % 2) for i in range(len(t))])),
        ),
        "observation.state has rows of different lengths",
    ),
    "a lost state": (
        lambda f: rewritten(
            f / "meta/qwop.parquet", column("last_raw", lambda t: pa.array([b"abcd"] * len(t)))
        ),
        "damaged",
    ),
    "another record": (
        lambda f: rewritten(f / "meta/qwop.parquet", column("episode", lambda t: pa.array(["{}"] * len(t)))),
        "its record of the episode has unknown fields",
    ),
    "text as actions": (
        lambda f: rewritten(f / DATA, lambda t: texts(t.drop_columns(["qwop.keys"]))),
        "text of shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line(small, tmp_path, capsys, fault):
    change, message = FAULTS[fault]
    change(small)
    assert main(["convert", str(small), str(tmp_path / "y.h5"), "--source", "script"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0], lines
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_small_file_with_many_rows_is_refused(small, tmp_path, monkeypatch, capsys):
    """Run-length encoding makes many equal rows small."""
    monkeypatch.setattr(lerobot, "memory_limit", lambda size: 2 * size)
    assert main(["convert", str(small), str(tmp_path / "y.h5"), "--source", "script"]) == 0
    rewritten(small / DATA, lambda t: pa.concat_tables([t.slice(0, 1)] * 30_000).combine_chunks())
    assert main(["convert", str(small), str(tmp_path / "z.h5"), "--source", "script"]) == 2
    assert "larger than a file of this size can hold" in capsys.readouterr().err


def test_what_can_not_be_written(path, tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path / "x"), "--to", "lerobot", "--action-set", "full"], "omit --action-set"),
        ([str(tmp_path / "x.npz"), "--video"], "--video: npz has no pictures"),
    ):
        assert main(["convert", str(path), *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_extra_is_named(path, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name == "pyarrow":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["convert", str(path), str(tmp_path / "x"), "--to", "lerobot"]) == 2
    assert "pip install 'qwop-stride[lerobot]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
