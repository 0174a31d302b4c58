"""Runs of the web page: what it wrote comes back exactly, anything else is one line."""

import base64
import hashlib
import json

import numpy as np
import pytest

from qwop_datasets import DatasetReader, replay_keys
from qwop_datasets.cli import main

KEYS = np.repeat(np.array([0, 9, 6, 0, 10, 5], np.uint8), 8)


def record(**changes):
    (played,) = replay_keys([KEYS])
    values = {
        "format": "qwop-run",
        "version": 1,
        "id": "0123456789abcdef" * 2,
        "created": "2026-11-29T12:00:00.000Z",
        "player": "Zoë",
        "license": "CC0-1.0",
        "trig": "rounded",
        "keys": base64.b64encode(KEYS.tobytes()).decode(),
        "events": [[1.5, 1, True, "page"], [1.6, 1, False, "focus"], [1.6, 2, True, "resume"]],
        "instants": (2 + np.arange(len(KEYS)) / 30).tolist(),
        "lateness": [0.001] * len(KEYS),
        "clock_offset": 1.7e9,
        "rewinds": [],
        "discarded_keys": "",
        "pace": [[0, 1]],
        "players": [[0, "person"]],
        "ended": False,
        "success": False,
        "distance": 1.0,
        "time": 2.4,
        "observations_sha256": hashlib.sha256(played.raw_observations.tobytes()).hexdigest(),
    }
    return values | changes


def converted(tmp_path, content, *more):
    path = tmp_path / "run.qwop.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return main(["convert", str(path), str(tmp_path / "runs.h5"), *more])


def test_a_run_comes_back_exactly(tmp_path, capsys):
    assert converted(tmp_path, record()) == 0
    (episode,) = DatasetReader(tmp_path / "runs.h5")
    assert (episode.keys == KEYS).all() and episode.verified == "exact"
    assert (episode.player, episode.source, episode.truncated) == ("Zoë", "human", True)
    assert episode.key_events["source"].tolist() == [3, 5, 6]
    assert episode.wall_times[0] == 1.7e9 + 2 and episode.wall_clock_offset == 1.7e9


def test_many_runs_with_slow_motion_rewinds_and_a_policy(tmp_path):
    runs = [
        record(),
        record(id="1" * 32, pace=[[0, 1], [20, 0.5]]),
        record(id="2" * 32, rewinds=[[3.0, 40, 38]], discarded_keys=base64.b64encode(b"\1\2").decode()),
        record(id="3" * 32, players=[[0, "policy"], [30, "person"]]),
        record(id="4" * 32, players=[[0, "policy"]], observations_sha256=None),
        record(id="5" * 32, players=[[0, "policy"], [20, "lookahead"]]),
    ]
    assert converted(tmp_path, {"format": "qwop-runs", "version": 1, "runs": runs}) == 0
    episodes = list(DatasetReader(tmp_path / "runs.h5"))
    assert [e.tags for e in episodes] == [(), ("slow-motion",), ("rewound",), ("taken-over",), (), ()]
    assert [e.source for e in episodes] == ["human", "human", "human", "human", "policy", "policy"]
    assert episodes[2].discarded_keys.tolist() == [1, 2]
    assert [e.verified for e in episodes] == ["exact"] * 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"observations_sha256": "0" * 64}, "other observations than the page stored"),
        ({"keys": "AAAA////"}, "expected a whole number from 0 to 15"),
        ({"keys": "no base 64!"}, "base 64"),
        ({"keys": ""}, "it has 0 frames"),
        ({"keys": 7}, "not text in base 64"),
        ({"trig": "../../x"}, "trig"),
        ({"trig": None}, "trig"),
        ({"id": "../../etc"}, "id must be 32 hexadecimal digits"),
        ({"player": "x" * 65}, "player is longer than 64 bytes"),
        ({"player": None}, "player is None, not text"),
        ({"events": [[1, 3, True, "page"]]}, "not 1, 2, 4 or 8"),
        ({"events": [[2, 1, True, "page"], [1, 1, False, "page"]]}, "backwards"),
        ({"events": [[1, 1, True, "mind"]]}, "an event's source is unknown: 'mind'"),
        ({"events": {"a": 1}}, "events are not rows"),
        ({"instants": [1]}, "instants"),
        ({"lateness": ["x"] * len(KEYS)}, "lateness"),
        ({"clock_offset": "now"}, "could not convert"),
        ({"rewinds": [[1, 2]]}, "unpack"),
        ({"rewinds": [[1.0, 3, 9]]}, "rewind"),
        ({"pace": []}, "empty"),
        ({"players": []}, "players are empty"),
        ({"version": 2}, "its version is 2"),
        ({"format": "other"}, "its format is 'other'"),
    ],
)
def test_an_invented_run_is_one_line(tmp_path, capsys, change, said):
    assert converted(tmp_path, record(**change)) == 2
    errors = capsys.readouterr().err
    assert said in errors and "Traceback" not in errors
    assert all(line.startswith("qwop-data: ") for line in errors.splitlines())
    assert not (tmp_path / "runs.h5").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '"text"', "[" * 100_000, '{"format": "qwop-runs", "version": 1}']
)
def test_a_damaged_file_is_one_line(tmp_path, capsys, content):
    assert converted(tmp_path, content) == 2
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1 and "not runs of the web page" in errors


def test_a_field_that_lacks_is_named(tmp_path, capsys):
    incomplete = record()
    del incomplete["events"]
    assert converted(tmp_path, incomplete) == 2
    assert "it lacks 'events'" in capsys.readouterr().err
