"""The coach: times along the track, rhythm of the keys, falls, and the command."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qwop_datasets import DatasetReader, DatasetWriter, Episode, replay_keys
from qwop_game import Operation, Session, Simulator
from qwop_replay import coach
from qwop_replay.coach_cli import main
from qwop_replay.coaching import fall_of, key_rhythms, tempo, time_at

RECORDS = Path(__file__).parents[2] / "demos" / "records.h5"


@pytest.fixture(scope="module")
def records():
    with DatasetReader(RECORDS) as reader:
        return list(reader)


def moved_at(meters):
    """An episode whose torso is at meters[t] in frame t; the rest of the runner does not move."""
    simulator = Simulator(1)
    raw = np.repeat(simulator.raw_observation, len(meters), axis=0)
    raw[:, 0] = 10 * np.array(meters)
    frames = len(meters) - 1
    return Episode(
        keys=np.zeros(frames, np.uint8),
        raw_observations=raw,
        times=np.arange(len(meters)) / 30,
        terminated=False,
        truncated=True,
        success=False,
        source="script",
    )


def fallen(mask, frames=200):
    """An episode of one key mask held until the runner falls."""
    simulator = Simulator(1)
    raw, times, keys = [simulator.raw_observation[0].copy()], [0.0], []
    while not simulator.flags[0] & 1 and len(keys) < frames:
        simulator.step(np.array([mask], np.uint8))
        keys.append(mask)
        raw.append(simulator.raw_observation[0].copy())
        times.append(simulator.time[0])
    return Episode(
        keys=np.array(keys, np.uint8),
        raw_observations=np.array(raw),
        times=np.array(times),
        terminated=True,
        truncated=False,
        success=False,
        source="script",
    )


def test_times_lie_between_frames_and_count_the_first_arrival():
    episode = moved_at([0.0, 1.0, 3.0, 2.0, 3.0, 4.0])
    times = time_at(episode, np.array([0.5, 2.0, 3.0, 3.5, 4.5]))
    assert times[:4] == pytest.approx(np.array([0.5, 1.5, 2.0, 4.5]) / 30)
    assert math.isnan(times[4])


def test_a_run_loses_nothing_against_itself(records):
    result = coach(records[0], records[0])
    assert [section.lost for section in result.sections] == [0.0] * 10
    assert result.lost == 0.0
    assert result.advice() == ["No section is more than 0.1 s slower than the reference's."]


def test_the_sections_add_up_to_the_time_between_the_runs(records):
    slow, fast = records[0], records[3]
    result = coach(slow, fast)
    # From the line at 0 m, which both runners stand beyond, to 100 m or the landing before it.
    ends = [float(time_at(slow, np.array([100.0]))[0]), fast.time]
    assert result.lost == pytest.approx(ends[0] - ends[1], abs=1e-9)
    assert result.sections[6].lost == max(section.lost for section in result.sections)
    assert result.advice()[0].startswith("From 60 to 70 m you lose 2.4 s, 26% of all")


def test_sections_count_from_the_reset_wherever_the_recording_begins(records):
    record = records[3]
    keys = np.concatenate(
        [np.zeros(2, np.uint8), record.keys]
    )  # the canonical start is two frames after a reset
    start = Session().then(Operation.OPEN).then(Operation.PLAY, 2).then(Operation.RESET).array
    (played,) = replay_keys([keys], starts=[start], trig=record.trig)
    assert np.array_equal(played.raw_observations[2:], record.raw_observations)
    earlier = record.replace(
        keys=keys, raw_observations=played.raw_observations, times=played.times, start=start, key_events=None
    )
    result = coach(record, earlier)
    assert [section.lost for section in result.sections] == pytest.approx([0.0] * 10, abs=1e-9)
    assert result.sections[0].time == pytest.approx(time_at(record, np.array([10.0]))[0])


def test_a_key_without_rhythm_is_named(records):
    metronome, ragged = ([1] * 3 + [0] * 7) * 20, ([1] * 3 + [0] * 2 + [1] * 3 + [0] * 12) * 10
    steady, other = (
        replace(moved_at(np.arange(201) / 100), keys=np.array(k, np.uint8)) for k in (metronome, ragged)
    )
    report = coach(other, steady).advice()
    assert (
        "Q has no steady rhythm: the times between its presses vary by 200% of their median (reference 0%)."
        in report
    )


def test_tempo_and_step_length_give_the_speed(records):
    steps = tempo(records[3])
    assert 2.55 < steps.step_meters < 2.65
    assert steps.speed == pytest.approx(steps.steps_per_minute / 60 * steps.step_meters)
    assert math.isnan(tempo(moved_at([0.0, 0.0])).speed)


def test_the_rhythm_of_a_metronome():
    # Q for 3 of every 10 frames, ten times; W all the time, which counts where Q is not held.
    keys = np.array(([1 | 2] * 3 + [2] * 7) * 10, np.uint8)
    episode = replace(moved_at(np.zeros(len(keys) + 1)), keys=keys)
    q, w, o, _ = key_rhythms(episode)
    assert (q.presses, q.hold, q.interval, q.spread) == pytest.approx((10, 0.1, 1 / 3, 0.0))
    assert (w.presses, w.hold, w.interval) == pytest.approx((10, 7 / 30, 1 / 3))
    assert o.presses == 0 and math.isnan(o.hold) and math.isnan(o.spread)


def test_a_fall_has_a_place_and_a_direction(records):
    forward, backward = fall_of(fallen(1 | 8)), fall_of(fallen(2 | 4))
    assert {forward.direction, backward.direction} == {"forward", "backward"}
    assert not forward.at_hurdle
    report = str(coach(records[0], records[3], all_runs=[records[0], fallen(1 | 8), fallen(2 | 4)]))
    assert "2 of 3 runs fall (1 backward, 1 forward" in report


def test_the_command_writes_report_plot_and_page(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot, page = tmp_path / "coach.png", tmp_path / "coach.html"
    assert main([str(RECORDS), "--episode", "0", "--plot", str(plot), "--html", str(page)]) == 0
    assert "From 60 to 70 m you lose 2.4 s" in capsys.readouterr().out
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "From 60 to 70 m you lose 2.4 s" in page.read_text(encoding="utf-8")
    assert main([str(RECORDS), "--plot", str(plot)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_command_compares_the_two_fastest_runs_by_default(capsys):
    assert main([str(RECORDS), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["name"], result["reference_name"]) == ("records 3", "records 4")
    assert result["runs"] == result["finished"] == 5


def test_one_line_where_there_is_nothing_to_compare(tmp_path, capsys, records):
    file = tmp_path / "one.h5"
    DatasetWriter(file).append(records[0])
    for arguments, message in (
        ([str(file)], "no other run to compare with"),
        ([str(file), "--episode", "3"], "no episode 3"),
        ([str(file), "--where", "success=false"], "no episodes where success=false"),
        ([str(file), "--against", str(tmp_path / "none.h5")], "none.h5"),
    ):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and message in lines[0]
