"""Tapes whose changes of keys are known to some frames: what the search finds, and what it says of it."""

from pathlib import Path

import numpy as np
import pytest

from qwop_datasets import DatasetReader
from qwop_datasets.cli import main
from qwop_datasets.convert.tape_search import EdgeSearch, Evidence, KeyChanges, search_tape
from qwop_datasets.exact_replay import replay_keys

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"


@pytest.fixture(scope="module")
def run():
    """A bundled run of 50.9 s."""
    with DatasetReader(DEMOS, "number=3") as reader:
        (episode,) = reader
    return episode


def video(keys, lead=0):
    """What a video of 60 frames a second shows of a run that begins at its frame `lead`."""
    return np.concatenate([np.zeros(lead, np.uint8), np.repeat(keys, 2)])


def table(masks, unread=(), meters=None):
    rows = [",".join(str(int(m & bit != 0)) for bit in (1, 2, 4, 8)) for m in masks]
    for row in unread:
        rows[row] = ",?,,"
    if meters is not None:
        rows = [f"{row},{shown:.1f}" for row, shown in zip(rows, meters, strict=True)]
    return "\n".join(["q,w,o,p" + (",meters" if meters is not None else ""), *rows, ""])


def converted(path, text, *options):
    path.write_text(text, encoding="utf-8")
    out = path.with_suffix(".h5")
    arguments = [str(path), str(out), "--source", "script", "--rate", "60", "--search-edges", "1", *options]
    assert main(["convert", *arguments]) == 0
    (episode,) = DatasetReader(out)
    return episode


def test_the_beginning_and_the_variant_of_an_exact_tape_are_found(run, tmp_path, capsys):
    episode = converted(tmp_path / "run.csv", table(video(run.keys, 75)))
    assert np.array_equal(episode.keys, run.keys) and episode.success and episode.verified == "exact"
    assert episode.tags == () and episode.undetermined is None and episode.trig == "rounded"
    facts = {
        name: episode.provenance[f"tape_{name}"] for name in ("offset", "frames_changed", "frames_exact")
    }
    assert facts == {"offset": 75, "frames_changed": 0, "frames_exact": len(run.keys)}
    assert "begins at frame 75 of the tape; no key was changed" in capsys.readouterr().out


def test_a_variant_of_an_old_browser_is_found(tmp_path):
    """Q and P held, then others: the variants part after some hundred frames, and each falls elsewhere."""
    keys = np.resize(np.repeat(np.array([9, 0, 6, 0], np.uint8), 9), 900)
    falls = {trig: replay_keys([keys], trig=trig)[0] for trig in ("rounded", "fdlibm")}
    best = max(falls, key=lambda trig: falls[trig].distance)
    episode = converted(tmp_path / "a.csv", table(video(keys)), "--offset", "0")
    assert episode.distance >= falls[best].distance


def test_dropped_frames_are_searched_with_the_distance_shown(run, tmp_path):
    """Four frames of the video are missing: the keys that follow come two frames of the game too early."""
    keys, meters = run.keys[:1200], run.raw_observations[1:1201, 0] / 10
    gone = 1800 + 40 * np.arange(1, 5)
    shown, seen = np.delete(np.repeat(meters, 2), gone), np.delete(video(keys), gone)
    (plain,) = replay_keys([seen[::2]])
    assert plain.over and plain.frames_until_end == 1111
    episode = converted(
        tmp_path / "run.csv",
        table(seen, meters=shown),
        "--offset",
        "0",
        "--search-drift",
        "2",
        "--beam",
        "120",
    )
    assert episode.truncated and episode.num_frames == 1200 and episode.verified == "exact"
    assert episode.tags == ("approximate",)
    assert episode.distance == pytest.approx(meters[-1], abs=0.5)
    facts = {name: int(episode.provenance[name]) for name in episode.provenance if "_frames" in name}
    exact = facts["tape_frames_exact"]
    assert 900 <= exact < 1111 and np.array_equal(episode.keys[:exact], keys[:exact])
    assert 1 <= int(episode.provenance["tape_changes_moved"]) <= 40
    differs = np.flatnonzero(episode.keys[:1190] != seen[::2][:1190])
    assert len(differs) <= facts["tape_frames_changed"]
    assert episode.undetermined is not None and episode.undetermined[differs].all()


def test_rows_that_could_not_be_read_are_searched(run, tmp_path, capsys):
    keys = run.keys[:700]
    changes = np.flatnonzero(np.diff(video(keys))) + 1
    unread = [row for at in changes[changes > 1200][::5] for row in range(at - 2, at + 4)]
    text = table(video(keys), unread)
    path = tmp_path / "run.csv"
    path.write_text(text, encoding="utf-8")
    assert main(["convert", str(path), str(tmp_path / "x.h5"), "--source", "script", "--rate", "60"]) == 2
    err = capsys.readouterr().err
    assert (
        err.count("\n") == 1 and f"row {unread[0] + 1} of the keys could not be read: --search-edges" in err
    )
    meters = np.repeat(run.raw_observations[1:701, 0] / 10, 2)
    episode = converted(
        path, table(video(keys), unread, meters), "--offset", "0", "--trig", "rounded", "--beam", "60"
    )
    assert 700 <= episode.num_frames <= 701  # the last keys may be held a frame longer
    assert episode.distance == pytest.approx(meters[-1], abs=0.5)


def test_a_run_whose_finish_is_known_is_not_over_before(run):
    """With the landing as a split, a fall near the end of the tape is no end."""
    changes = KeyChanges(0, np.array([3, 40]), np.array([3, 40]), np.array([12, 0], np.uint8), 60)
    assert search_tape(changes, EdgeSearch(1, 1, 4), "rounded").reached  # O falls in frame 53
    finishes = Evidence(np.array([100.0]), np.array([50.0]))
    found = search_tape(changes, EdgeSearch(1, 1, 4), "rounded", finishes)
    assert not found.reached and not found.finished
    at = np.flatnonzero(np.diff(run.keys)) + 1
    whole = KeyChanges(int(run.keys[0]), at, at, run.keys[at], len(run.keys))
    assert np.array_equal(whole.keys(), run.keys)
    lands = Evidence(np.array([100.0]), np.array([run.time]))
    assert search_tape(whole, EdgeSearch(1, 1, 4), "rounded", lands).moved == 0


def test_the_furthest_run_is_kept_if_none_reaches_the_end(tmp_path, capsys):
    keys = np.full(200, 12, np.uint8)  # O falls in frame 53
    keys[190:] = 0
    episode = converted(tmp_path / "a.csv", table(video(keys)), "--offset", "0", "--trig", "rounded")
    assert episode.tags == ("incomplete",) and episode.terminated and episode.num_frames == 53
    assert "keys after frame 53: the run falls there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--search-edges=-1",), "--search-edges -1: expected 0 to 30 frames"),
        (
            ("--search-edges", "2", "--search-drift", "1"),
            "--search-drift 1: expected 2 (--search-edges) to 300",
        ),
        (("--search-edges", "1", "--beam", "0"), "--beam 0: expected 1 to 100000 games"),
        (("--beam", "5"), "--search-drift, --beam and --splits need --search-edges"),
        (("--splits", "10=7.6"), "need --search-edges"),
        (("--search-edges", "1", "--splits", "10"), "--splits: '10' is not METERS=SECONDS"),
        (("--search-edges", "1", "--splits", "101=9"), "'101=9' is not METERS=SECONDS"),
        (("--search-edges", "1", "--splits", "20=9,10=12"), "'10=12' is not later than the one before"),
        (("--search-edges", "1", "--splits", "nan=9"), "'nan=9' is not METERS=SECONDS"),
    ],
)
def test_bad_settings_of_the_search_are_one_line(tmp_path, capsys, options, message):
    path = tmp_path / "a.csv"
    path.write_text("keys\nQ\n", encoding="utf-8")
    assert main(["convert", str(path), str(tmp_path / "x.h5"), "--source", "human", *options]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err


def test_only_tapes_are_searched(tmp_path, capsys):
    path = tmp_path / "a.rec"
    path.write_text("seed=1\n1\n*\n", encoding="utf-8")
    arguments = ["convert", str(path), str(tmp_path / "x.h5"), "--source", "human", "--search-edges", "1"]
    assert main(arguments) == 2
    assert "--search-edges is for tapes of bare keys; this is qwop-gym" in capsys.readouterr().err
