"""One recording: what is built while it is played is what the journal gives back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwop_datasets import (
    KEY_SOURCES,
    About,
    End,
    Frame,
    Journal,
    KeyEvent,
    Recording,
    Rewind,
    first_difference,
    read_journal,
)

seconds = st.floats(0, 1e9, allow_nan=False)
events = st.builds(
    KeyEvent, seconds, st.sampled_from([1, 2, 4, 8]), st.booleans(), st.sampled_from(KEY_SOURCES)
)
frames = st.builds(
    lambda keys, x, wall, late: Frame(keys, np.full(60, x), 0.0, wall, late),
    st.integers(0, 15),
    st.floats(-1e4, 1e4, width=32),
    seconds,
    st.floats(0, 1, width=32),
)
ends = st.one_of(st.builds(End, st.just(True), st.booleans(), st.booleans()), st.just(End(truncated=True)))
rewinds = st.builds(Rewind, st.integers(0, 30), seconds)
abouts = st.builds(About, st.fixed_dictionaries({"tags": st.just(("a",)), "source": st.just("policy")}))


@settings(max_examples=100, deadline=None)
@given(changes=st.lists(st.one_of(frames, frames, events, rewinds, ends, abouts), max_size=30))
def test_any_play_is_the_same_episode_in_memory_and_in_the_journal(tmp_path_factory, changes):
    """Frames, key events, rewinds and ends in any order, each at the times that play gives it."""
    path = tmp_path_factory.mktemp("play") / "runs.h5.journal"
    recording = Recording(np.zeros(60, np.float32), 0.0, source="human", player="ada", wall_clock_offset=0.5)
    clock = 0.0
    expected_keys, expected_events = [], []  # those that are left, and events with their frame's number
    with Journal(path, sync_seconds=60) as journal:
        journal.begin(recording)
        for change in changes:
            clock += 1.0
            if isinstance(change, KeyEvent):
                change = KeyEvent(clock, change.key, change.pressed, change.source)
                expected_events.append((len(expected_keys), clock))
            elif isinstance(change, Frame):
                time = (recording.num_frames + 1) / 30
                change = Frame(change.keys, change.raw_observation, time, change.wall_time, change.lateness)
                expected_keys.append(change.keys)
            elif isinstance(change, Rewind):
                if change.frame >= len(expected_keys):
                    with pytest.raises(ValueError, match=f"frame {change.frame} of {len(expected_keys)}"):
                        recording.add(change)
                    continue
                del expected_keys[change.frame :]
                expected_events = [(frame, at) for frame, at in expected_events if frame < change.frame]
            journal.write(recording.add(change))
    assert recording.keys == expected_keys
    assert [event.time for event in recording.key_events] == [at for _, at in expected_events]
    episodes, damaged = read_journal(path)
    assert damaged == 0 and len(episodes) == bool(expected_keys)
    if episodes:
        tags = recording.fields.get("tags", ()) + (() if recording.end else ("recovered",))
        assert first_difference(recording.episode(tags=tags), episodes[0]) is None


def test_a_play_without_clock_has_no_wall_times():
    recording = Recording(np.zeros(60, np.float32), 0.0, source="script")
    recording.add(Frame(3, np.ones(60, np.float32), 1 / 30))
    episode = recording.episode()
    assert math.isnan(recording.wall_times[0]) and episode.wall_times is None and episode.lateness is None
    assert episode.truncated and episode.keys.tolist() == [3] and episode.key_events is None


def test_an_observation_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(59,\), not \(60,\)"):
        Frame(0, np.zeros(59, np.float32), 0.0)
    with pytest.raises(ValueError, match=r"shape \(1, 60\)"):
        Recording(np.zeros((1, 60), np.float32), 0.0)


def test_nothing_is_written_before_an_episode_begins(tmp_path):
    with Journal(tmp_path / "x.journal") as journal:
        with pytest.raises(ValueError, match="no episode has begun"):
            journal.write(End())
        recording = Recording(np.zeros(60, np.float32), 0.0, source="human")
        journal.begin(recording)
        journal.done(recording)
        with pytest.raises(ValueError, match="no episode has begun"):
            journal.write(End())
