"""`qwop-data`: what it prints, what it changes, and what it never changes."""

import json
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from qwop_datasets import DatasetReader, DatasetWriter, Episode, first_difference, write_dataset
from qwop_datasets.cli import main
from qwop_datasets.journal import Journal, journal_path
from qwop_datasets.recording import Frame, Recording
from qwop_datasets.summary import segment_lengths, summarize


def run(number, frames=40, **changes):
    rng = np.random.default_rng(number)
    values: dict[str, Any] = {
        "keys": rng.integers(0, 16, frames),
        "raw_observations": rng.normal(0, 3, (frames + 1, 60)) + np.arange(frames + 1)[:, None] / 10,
        "times": np.arange(frames + 1) / 30,
        "terminated": True,
        "truncated": False,
        "success": False,
        "source": "script",
        "id": f"{number:032x}",
        "created": "2026-01-01T00:00:00Z",
    }
    return Episode(**(values | changes))


@pytest.fixture
def path(tmp_path):
    """Ten runs of 31 to 40 frames: 5 of a human, 3 finished, each with a reward of its own number."""
    path = tmp_path / "runs.h5"
    runs = [
        run(
            i,
            31 + i,
            source="human" if i < 5 else "policy",
            player="Ada" if i < 5 else "",
            success=i in (1, 6, 7),
            tags=("even",) if i % 2 == 0 else (),
            rewards={"default": np.full(31 + i, i)},
        )
        for i in range(10)
    ]
    write_dataset(path, runs, {"game": "embedded"})
    return path


def call(capsys, *arguments):
    """Exit code, lines of standard output, lines of standard error."""
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def ids(path):
    return [int(i, 16) for i in DatasetReader(path).index["id"].tolist()]


# ---- looking -------------------------------------------------------------------------------------------


def test_segment_lengths():
    assert segment_lengths(np.array([1, 1, 2, 2, 2, 0], np.uint8)).tolist() == [2, 3, 1]
    assert segment_lengths(np.array([7], np.uint8)).tolist() == [1]


def test_the_summary_counts(tmp_path):
    path = tmp_path / "runs.h5"
    # Q for 30 frames, QW (which does the same) for 30, nothing for 60
    keys = np.repeat([1, 3, 0, 0], 30)
    gait = {"knee_near": 0.25, "upright": 0.5, "strides": 7.0}
    runs = [run(i, 120, keys=keys, gait=gait, player="A", verified="exact") for i in range(3)]
    runs.append(run(3, 10, keys=np.zeros(10), gait={}, source="policy", terminated=False, truncated=True))
    DatasetWriter(path, gait=False).append_all(runs)
    s = summarize(DatasetReader(path))
    assert (s.episodes, s.frames) == (4, 370)
    assert s.hours == pytest.approx(370 / 30 / 3600)
    assert (s.finished, s.fallen, s.cut_short) == (0, 3, 1)
    assert s.sources == {"policy": 1, "script": 3} and s.players == {"": 1, "A": 3}
    assert s.verified == {"exact": 3, "unknown": 1, "differs": 0}
    assert s.actions == {"-": 190 / 370, "Q": 180 / 370}
    assert s.segment_frames["median"] == 30 and s.segment_frames["max"] == 60
    assert s.time["max"] == 4.0 and s.time["min"] == pytest.approx(1 / 3)
    assert s.finish_time == {} and s.knee_share["median"] == 0.25 and s.strides["max"] == 7
    reasons = {(o.number, o.reason) for o in s.outliers}
    assert reasons == {
        (1, "the same keys as episode 0"),
        (2, "the same keys as episode 0"),
        (3, "10 frames: less than a second"),
    }


def test_outliers_are_far_from_the_others(tmp_path):
    path = tmp_path / "runs.h5"
    runs = [run(i, 60) for i in range(12)]
    far = runs[7].raw_observations.copy()
    far[-1, 0] = 1000
    runs[7] = runs[7].replace(raw_observations=far)
    late = run(20, 60, source="human", lateness=np.where(np.arange(60) < 6, 0.02, 0))
    idle = run(21, 100, keys=np.repeat([1, 0], [10, 90]))
    DatasetWriter(path, gait=False).append_all([*runs, late, idle])
    found = {o.number: o.reason for o in summarize(DatasetReader(path)).outliers}
    assert found[7] == "distance 100 m is far above the others"
    assert found[12] == "10% of its frames were over 10 ms late"
    assert "no key in 90%" in found[13] or "far above" in found[13]


def test_info_and_list(path, capsys):
    code, out, _ = call(capsys, "info", path)
    assert code == 0 and "10: 3 finished, 7 fell, 0 cut short" in out[1]
    code, out, _ = call(capsys, "info", path, "--json", "--where", "source=human")
    assert json.loads("".join(out))["frames"] == sum(range(31, 36))
    code, out, _ = call(capsys, "list", path, "--where", "success")
    assert code == 0 and [int(line.split()[0]) for line in out[1:]] == [1, 6, 7]
    code, out, _ = call(capsys, "list", path, "--json", "--where", "tag=even")
    rows = json.loads("".join(out))
    assert [row["number"] for row in rows] == [0, 2, 4, 6, 8]
    assert rows[0]["player"] == "Ada" and rows[0]["frames"] == 31


def test_check_finds_what_is_wrong(path, capsys):
    assert call(capsys, "check", path)[:2] == (0, [f"{path}: good, 10 episodes"])
    with h5py.File(path, "r+") as file:
        file["index"][3] = file["index"][2]
        file["episodes/000004/actions"][5] ^= 1
        file["episodes/000005"].attrs["success"] = True
        del file["episodes/000006/times"]
        file["masks/odd"] = np.zeros(11, bool)
        file["episodes/000007/raw_observations"][2, 3] = np.nan
    code, out, err = call(capsys, "check", path)
    text = "\n".join(err)
    assert code == 2 and out == []
    assert "two episodes have the same id" in text
    assert "episode 3: its row of /index differs in id" in text
    assert "episode 4: damaged: /episodes/000004: actions do not belong to keys" in text
    assert "episode 5: its row of /index differs in success" in text
    assert "episode 6: damaged" in text
    assert "mask odd is bool (11,)" in text
    assert "episode 7: damaged" in text and "NaN" in text
    assert len(err) == 7


# ---- editing -------------------------------------------------------------------------------------------


def test_delete_keeps_every_other_episode_and_the_masks_with_them(path, capsys):
    call(capsys, "split", path, "--fraction", 0.4, "--names", "a", "b")
    before = {e.id: e for e in DatasetReader(path)}
    held_out = set(DatasetReader(path, "mask=b").index["id"].tolist())
    stored = path.read_bytes()
    code, out, _ = call(capsys, "edit", path, "--delete", "--where", "success", "--dry-run")
    assert code == 0 and len(out) == 4 and all(line.startswith("would delete") for line in out[:3])
    assert path.read_bytes() == stored
    code, out, _ = call(capsys, "edit", path, "--delete", "--where", "success")
    assert code == 0 and "keep 7 of 10" in out[-1]
    reader = DatasetReader(path)
    assert ids(path) == [0, 2, 3, 4, 5, 8, 9]
    assert all(first_difference(e, before[e.id]) is None for e in reader)
    in_mask = set(DatasetReader(path, "mask=b").index["id"].tolist())
    assert in_mask == held_out & set(reader.index["id"].tolist())
    assert call(capsys, "check", path)[0] == 0
    assert [p.name for p in path.parent.iterdir()] == ["runs.h5"]


def test_keep_into_another_file(path, tmp_path, capsys):
    stored = path.read_bytes()
    out = tmp_path / "human.h5"
    assert call(capsys, "edit", path, "--keep", "--where", "source=human", "-o", out)[0] == 0
    assert path.read_bytes() == stored and ids(out) == [0, 1, 2, 3, 4]
    assert DatasetReader(out).environment == {"game": "embedded"}
    code, _, err = call(capsys, "edit", path, "--keep", "--where", "success", "-o", out)
    assert code == 2 and "already exists" in err[0] and ids(out) == [0, 1, 2, 3, 4]


def test_relabel_changes_labels_and_nothing_else(path, capsys):
    with h5py.File(path, "r+") as file:
        file["episodes/000001"].attrs["mood"] = 7  # someone else's attribute survives
    before = list(DatasetReader(path))
    arguments = ["--set", "player=Bob", "--set", "source=script", "--tag", "new", "--untag", "even"]
    code, out, _ = call(capsys, "edit", path, *arguments, "--where", "number<3")
    assert code == 0 and len(out) == 4
    for i, episode in enumerate(DatasetReader(path)):
        wanted = before[i]
        if i < 3:
            wanted = wanted.replace(player="Bob", source="script", tags=("new",))
        assert first_difference(episode, wanted) is None
    assert DatasetReader(path, "tag=new player=Bob").numbers.tolist() == [0, 1, 2]
    with h5py.File(path) as file:
        assert file["episodes/000001"].attrs["mood"] == 7
    assert call(capsys, "check", path)[0] == 0


def test_merge_takes_each_episode_once(path, tmp_path, capsys):
    other = tmp_path / "other.h5"
    write_dataset(other, [run(9, 40, source="policy"), run(10)], {"game": "embedded"})
    out = tmp_path / "all.h5"
    code, lines, _ = call(capsys, "merge", out, path, other, "--dry-run")
    assert code == 0 and "12 episodes (10 + 2)" in lines[0] and not out.exists()
    code, lines, _ = call(capsys, "merge", out, path, other)
    assert code == 0 and lines == [f"{out}: 11 episodes, 1 duplicates omitted"]
    assert ids(out) == list(range(11)) and call(capsys, "check", out)[0] == 0
    for e, wanted in zip(DatasetReader(out), [*DatasetReader(path), DatasetReader(other)[1]], strict=True):
        assert first_difference(e, wanted) is None
    third = tmp_path / "third.h5"
    write_dataset(third, [run(11)], {"game": "real"})
    stored = out.read_bytes()
    code, _, err = call(capsys, "merge", tmp_path / "x.h5", out, third)
    assert code == 2 and "other settings" in err[0] and not (tmp_path / "x.h5").exists()
    assert call(capsys, "merge", tmp_path / "x.h5", out, third, "--any-settings")[0] == 0
    assert len(DatasetReader(tmp_path / "x.h5")) == 12 and out.read_bytes() == stored


def test_split_is_by_episode_stored_and_stable(path, tmp_path, capsys):
    assert call(capsys, "split", path, "--fraction", 0.3, "--seed", 4)[0] == 0
    masks = DatasetReader(path).masks
    assert masks["validation"].sum() == 3 and (masks["train"] ^ masks["validation"]).all()
    assert len(DatasetReader(path, "mask=train")) == 7
    assert call(capsys, "split", path, "--fraction", 0.3, "--seed", 4)[0] == 0
    assert np.array_equal(DatasetReader(path).masks["validation"], masks["validation"])
    DatasetWriter(path).append(run(50))
    grown = DatasetReader(path).masks
    assert not grown["train"][10] and not grown["validation"][10]
    files = [tmp_path / "t.h5", tmp_path / "v.h5"]
    assert call(capsys, "split", path, "--fraction", 0.3, "--seed", 4, "--into", *files)[0] == 0
    assert sorted(ids(files[0]) + ids(files[1])) == [*range(10), 50]
    # The hash ranks the old episodes as before: at most one of them changes sides.
    assert len(set(ids(files[1])) - set(np.flatnonzero(masks["validation"]).tolist())) <= 1
    assert call(capsys, "split", path, "--fraction", 1.5)[0] == 2
    assert call(capsys, "split", path, "--where", "number=1")[0] == 2


def test_migrate(path, capsys):
    with h5py.File(path, "r+") as file:
        del file["index"], file["masks"]
        file.attrs["format_version"] = 0
    before = path.read_bytes()
    code, _, err = call(capsys, "info", path)
    assert code == 2 and f"run qwop-data edit --migrate {path}" in err[0]
    assert call(capsys, "edit", path, "--migrate", "--dry-run")[0] == 0 and path.read_bytes() == before
    code, out, _ = call(capsys, "edit", path, "--migrate")
    assert code == 0 and out == [f"{path}: was format version 0, is now 4"]
    assert ids(path) == list(range(10)) and call(capsys, "check", path)[0] == 0


def test_recover_says_what_it_did(path, capsys):
    assert call(capsys, "recover", path)[:2] == (0, [f"{path}: nothing to recover"])
    with Journal(journal_path(path)) as journal:
        recording = Recording(np.zeros(60, np.float32), 0.0, source="human", player="Eve")
        journal.begin(recording)
        journal.write(recording.add(Frame(1, np.ones(60, np.float32), 1 / 30)))
    _, _, err = call(capsys, "info", path)
    assert f"qwop-data recover {path}" in err[0]
    code, out, _ = call(capsys, "recover", path)
    assert code == 0 and "Eve" in out[0] and len(DatasetReader(path)) == 11
    assert call(capsys, "recover", path.with_name("none.h5"))[0] == 2


# ---- bad input -----------------------------------------------------------------------------------------


def bad_files(tmp_path: Path) -> dict[str, Path]:
    good = tmp_path / "good.h5"
    write_dataset(good, [run(1), run(2)])
    files = {"missing": tmp_path / "missing.h5", "a directory": tmp_path}
    for name, content in {
        "empty": b"",
        "text": b"seed=1\n3\n*\n",
        "truncated": good.read_bytes()[:-500],
        "half": good.read_bytes()[:4000],
    }.items():
        files[name] = tmp_path / f"{name}.h5"
        files[name].write_bytes(content)
    files["foreign"] = tmp_path / "foreign.h5"
    with h5py.File(files["foreign"], "w") as file:
        file["data/demo_0/actions"] = np.zeros((3, 7))
    files["newer"] = tmp_path / "newer.h5"
    write_dataset(files["newer"], [])
    with h5py.File(files["newer"], "r+") as file:
        file.attrs["format_version"] = 99
    good.unlink()
    return files


COMMANDS = [
    ["info"],
    ["list"],
    ["check"],
    ["verify"],
    ["verify", "--store"],
    ["edit", "--tag", "x"],
    ["edit", "--migrate"],
    ["split"],
]


def test_bad_files_give_one_line_and_code_2_and_stay_as_they_were(tmp_path, capsys):
    files = bad_files(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    for name, path in files.items():
        attempts = [[*command, path] for command in COMMANDS]
        attempts += [["merge", tmp_path / "out.h5", path], ["convert", path, tmp_path / "out.csv"]]
        for arguments in attempts:
            code, _, err = call(capsys, *arguments)
            assert code == 2, (name, arguments)
            assert len(err) == 1 and str(path) in err[0], (name, arguments, err)
    assert {p: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit"], "nothing to do"),
        (["edit", "--delete"], "need --where"),
        (["edit", "--set", "distance=3"], "only player and source"),
        (["edit", "--set", "source=robot"], "human, policy, script"),
        (["edit", "--tag", "two words"], "bad tag"),
        (["edit", "--delete", "--where", "success", "--tag", "x"], "use two commands"),
        (["info", "--where", "speed>3"], "unknown name"),
        (["split", "--names", "a", "a"], "two different"),
        (["verify", "--engine", "warp"], "warp"),
    ],
)
def test_mistakes_are_one_line(path, capsys, arguments, message):
    before = path.read_bytes()
    code, _, err = call(capsys, *arguments, path)
    assert code == 2 and len(err) == 1 and message in err[0]
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_usage_errors_are_one_line(capsys):
    for arguments in ([], ["frobnicate"], ["info"], ["split", "x.h5", "--fraction", "much"]):
        code = main(arguments)
        err = capsys.readouterr().err.splitlines()
        assert code == 2 and len(err) == 1 and err[0].startswith("qwop-data")


def test_damaged_bytes_are_never_read_as_data(tmp_path, capsys):
    """Truncations, flipped bits and overwritten stretches: one line and code 2, or all the data as it was."""
    path, out = tmp_path / "runs.h5", tmp_path / "out.h5"
    episodes = [run(i, 20, rewards={"r": np.zeros(20)}, provenance={"a": 1, "b": "c"}) for i in range(2)]
    write_dataset(path, episodes[:1], gait=False)
    DatasetWriter(path, gait=False).append_all(episodes[1:])
    good = path.read_bytes()
    rng = random.Random(7)
    codes = {0: 0, 2: 0}
    for _ in range(120):
        damaged = bytearray(good)
        at = rng.randrange(len(damaged))
        kind = rng.choice(["flip", "flip", "cut", "zeros", "noise"])
        if kind == "flip":
            damaged[at] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del damaged[at:]
        else:
            stretch = len(damaged[at : at + 32])
            damaged[at : at + 32] = bytes(stretch) if kind == "zeros" else rng.randbytes(stretch)
        path.write_bytes(damaged)
        for arguments in (["check", path], ["info", path], ["merge", out, path]):
            code, _, err = call(capsys, *arguments)
            assert code in (0, 2)
            assert path.read_bytes() == damaged
            assert {p.name for p in tmp_path.iterdir()} <= {path.name, out.name}
            if code == 2:
                assert len(err) == 1 or arguments[0] == "check"
                assert all(line.startswith("qwop-data: ") and str(tmp_path) in line for line in err)
                assert not out.exists()
            if arguments[0] == "check":
                codes[code] += 1
                if code == 0:
                    for read, stored in zip(DatasetReader(path), episodes, strict=True):
                        assert first_difference(read, stored) is None
            out.unlink(missing_ok=True)
    assert codes[2] > 60
