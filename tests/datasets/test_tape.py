"""Tapes of bare keys: what each file holds, and which keys of it each frame of the game gets."""

import json

import numpy as np
import pytest

from qwop_datasets import DatasetReader
from qwop_datasets.cli import main
from qwop_datasets.exact_replay import replay_keys

MASKS = np.array([0, 9, 9, 6, 6, 6, 0, 12, 1, 3], np.uint8)


def converted(path, *options):
    out = path.parent / "out" / "tape.h5"
    out.unlink(missing_ok=True)
    assert main(["convert", str(path), str(out), "--source", "human", *options]) == 0
    (episode,) = DatasetReader(out)
    return episode


def flags(masks):
    return "".join(",".join(str(int(m & bit != 0)) for bit in (1, 2, 4, 8)) + "\n" for m in masks)


@pytest.fixture
def files(tmp_path):
    """The same ten frames in every format."""
    (tmp_path / "flags.csv").write_text("q,w,o,p\n" + flags(MASKS), encoding="utf-8")
    (tmp_path / "keys.csv").write_text(
        "Keys\n" + "\n".join("- QP QP WO WO WO - OP Q QW".split()) + "\n", encoding="utf-8"
    )
    (tmp_path / "list.txt").write_text("\n".join(map(str, MASKS)) + "\n", encoding="utf-8")
    (tmp_path / "list.json").write_text(json.dumps(MASKS.tolist()), encoding="utf-8")
    np.save(tmp_path / "list.npy", MASKS)
    np.savez_compressed(tmp_path / "named.npz", keys=MASKS.astype(np.int64))
    np.savez(tmp_path / "wide.npz", masks=MASKS[:, None] & [1, 2, 4, 8] != 0)
    return sorted(tmp_path.glob("*.*"))


def test_every_kind_of_tape_gives_its_keys(files):
    (again,) = replay_keys([MASKS])
    for path in files:
        episode = converted(path)
        assert episode.keys.tolist() == MASKS.tolist(), path
        assert np.array_equal(episode.raw_observations, again.raw_observations)
        assert (episode.terminated, episode.truncated, episode.success) == (False, True, False)
        assert episode.verified == "exact" and episode.game == "embedded" and episode.source == "human"
    assert len(files) == 7


def test_a_video_of_another_rate_that_begins_before_the_run(tmp_path):
    """60 frames a second, and the run begins at frame 5 of the video: frame t has the keys of 5 + 2 t."""
    path = tmp_path / "timeline.csv"
    video = np.concatenate([np.zeros(5, np.uint8), np.repeat(MASKS, 2)])
    lines = flags(video).splitlines()
    path.write_text(
        "\n".join(["t_sec,q,w,o,p", *(f"{i / 60:.5f},{s}" for i, s in enumerate(lines))]), encoding="utf-8"
    )
    episode = converted(path, "--rate", "60", "--offset", "5")
    assert episode.keys.tolist() == MASKS.tolist()
    assert episode.provenance["tape_rate"] == 60 and episode.provenance["tape_offset"] == 5
    path.write_text(
        "\n".join(["q,w,o,p", *lines]), encoding="utf-8"
    )  # without times, a row is a frame of the video
    assert converted(path, "--rate", "60", "--offset", "5").keys.tolist() == MASKS.tolist()
    # a run that begins before the tape has no keys until then
    assert converted(path, "--rate", "60", "--offset", "-3").keys.tolist() == [0] * 4 + MASKS.tolist()
    assert converted(path, "--rate", "60", "--offset", "11").keys.tolist() == MASKS[3:].tolist()


def test_rows_that_say_when_the_keys_change(tmp_path):
    path = tmp_path / "changes.csv"
    path.write_text("time,keys\n0,-\n0.1,QP\n0.2,WO\n0.3333,\n", encoding="utf-8")
    assert converted(path).keys.tolist() == [0] * 3 + [9] * 3 + [6] * 4 + [0]
    path.write_text("frame,keys\n0,-\n6,QP\n12,WO\n20,\n", encoding="utf-8")
    assert converted(path, "--rate", "60").keys.tolist() == [0] * 3 + [9] * 3 + [6] * 4 + [0]


def test_a_run_that_ends_before_its_tape(tmp_path):
    path = tmp_path / "fall.npy"
    np.save(path, np.full(200, 12, np.uint8))  # O falls in frame 53
    episode = converted(path)
    assert episode.num_frames == 53 and episode.terminated and not episode.truncated


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "q,w,o,p\n0,0,0\n", (), "line 2: 3 cells, not 4"),
        ("a.csv", "q,w,o,p\n0,0,0,2\n", (), "line 2: '2' is neither 0 nor 1"),
        ("a.csv", "keys\nQ\nX\n", (), "line 3: 'X' is not a combination of the keys"),
        ("a.csv", "keys\nQQ\n", (), "line 2: 'QQ' is not a combination"),
        ("a.csv", "time,keys\n0,Q\n0,W\n", (), "line 3: its time is not later than the one before"),
        ("a.csv", "time,keys\n0,Q\nnan,W\n", (), "line 3: its time is not later"),
        ("a.csv", "time,keys\n0,Q\nx,W\n", (), "line 3: could not convert string to float: 'x'"),
        ("a.csv", "time,keys\n0,Q\n1e9,W\n", (), "the limit is an hour"),
        ("a.csv", "keys\n", (), "it is empty"),
        (
            "a.csv",
            "a,b\n1,2\n",
            ("--from", "keys"),
            "line 1: name the columns: q, w, o, p, or keys; and time",
        ),
        ("a.csv", "keys\nQ\n", ("--offset", "9"), "--offset 9: the tape ends at its frame 1"),
        ("a.csv", "keys\nQ\n", ("--offset=-1e9",), "the limit is an hour"),
        ("a.csv", "keys\nQ\n", ("--offset", "nan"), "--offset nan"),
        ("a.csv", "keys\nQ\n", ("--rate", "0"), "--rate 0"),
        ("a.csv", "keys\nQ\n", ("--rate", "nan"), "--rate nan"),
        ("a.txt", "1\n16\n", (), "line 2: '16' is not a combination"),
        ("a.json", "[1, 16]", (), "keys: entry 1 is 16, expected a whole number from 0 to 15"),
        ("a.json", "[1, 0.5]", (), "entry 1 is 0.5"),
        ("a.json", '["Q"]', (), "keys: has text of shape [1], not numbers of shape [any]"),
        ("a.json", "{", (), "not a tape of keys"),
        ("a.json", "[" * 100_000, (), "not a list of masks"),
        ("a.json", "[]", (), "it is empty"),
        ("a.rec", "seed=1\n1\n*\n", ("--rate", "60"), "--rate and --offset are for tapes of bare keys"),
    ],
)
def test_a_bad_tape_is_one_clear_line(tmp_path, capsys, name, content, options, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    arguments = ["convert", str(path), str(tmp_path / "new" / "x.h5"), "--source", "human", *options]
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err
    assert list(tmp_path.iterdir()) == [path]


def test_who_played_is_never_guessed(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("1\n", encoding="utf-8")
    assert main(["convert", str(path), str(tmp_path / "x.h5")]) == 2
    assert "add --source human" in capsys.readouterr().err
