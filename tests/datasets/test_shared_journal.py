"""The journal of many recordings: each of them comes back as it was played, whatever is cut or damaged."""

import errno

import numpy as np
import pytest

from qwop_datasets import (
    About,
    DatasetError,
    DatasetReader,
    End,
    Frame,
    Journal,
    KeyEvent,
    Recording,
    Rewind,
    SharedJournal,
    first_difference,
    journal_path,
    journal_paths,
    portable,
    read_journal,
    recover_dataset,
)


def observation(player, frame):
    return np.full(60, 100 * player + frame / 7, np.float32)


def play(journal, player, rng):
    """A generator that plays a run, one change a step."""
    recording = Recording(observation(player, 0), 0.0, source="human", player=f"player {player}")
    journal.begin(recording)
    yield recording
    for frame in range(int(rng.integers(5, 60))):
        if rng.random() < 0.2:
            journal.write(recording, recording.add(KeyEvent(float(frame), 1, bool(frame % 2))))
            yield recording
        if recording.num_frames > 3 and rng.random() < 0.05:
            journal.write(recording, recording.add(Rewind(recording.num_frames - 2, float(frame))))
            yield recording
        time = (recording.num_frames + 1) / 30
        change = Frame(frame % 16, observation(player, frame + 1), time, float(frame), 0.0)
        journal.write(recording, recording.add(change))
        yield recording
    about = About({"tags": ("taken-over",), "provenance": {"license": "CC0-1.0"}})
    journal.write(recording, recording.add(about), recording.add(End(truncated=True)))
    yield recording


def play_together(journal, rng, players=6, steps=800, commit=0.3):
    """Players take turns at random and start anew; returns the runs that are under way."""
    playing = [play(journal, player, rng) for player in range(players)]
    live = {}
    for _ in range(steps):
        player = int(rng.integers(players))
        recording = next(playing[player], None)
        if recording is None:
            journal.done(live.pop(player))
            playing[player] = play(journal, player, rng)
        else:
            live[player] = recording
        if rng.random() < commit:
            journal.commit()
    return list(live.values())


def read_all(path):
    found = {}
    for journal in journal_paths(path):
        episodes, damaged = read_journal(journal)
        assert damaged == 0
        found |= {episode.id: episode for episode in episodes}
    return found


def as_stored(recording):
    tags = recording.fields.get("tags", ()) + (() if recording.end else ("recovered",))
    return recording.episode(tags=tags)


@pytest.mark.parametrize("seed", range(5))
def test_runs_that_are_played_together_come_back_one_by_one(tmp_path, seed):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path, file_bytes=20_000)
    live = play_together(journal, np.random.default_rng(seed))
    journal.close()
    assert len(journal_paths(path)) > 1
    found = read_all(path)
    played = {recording.id: recording for recording in live if recording.num_frames}
    assert found.keys() == played.keys()
    for name, recording in played.items():
        assert first_difference(found[name], as_stored(recording)) is None


def test_what_was_committed_is_in_the_file_and_what_was_not_is_not(tmp_path):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path)
    recording = Recording(observation(0, 0), 0.0, source="human")
    journal.begin(recording)
    journal.write(recording, recording.add(Frame(3, observation(0, 1), 1 / 30)))
    journal.commit()
    committed = journal.path.read_bytes()
    journal.write(recording, recording.add(Frame(4, observation(0, 2), 2 / 30)))
    assert journal.path.read_bytes() == committed
    copy = tmp_path / "copy.journal"
    copy.write_bytes(committed)
    (episode,), damaged = read_journal(copy)
    assert episode.keys.tolist() == [3] and damaged == 0
    with pytest.raises(DatasetError, match="a recording is running"):
        SharedJournal(path)
    with pytest.raises(DatasetError, match="a recording is running"):
        recover_dataset(path)
    journal.close()


def test_a_journal_that_was_cut_gives_the_start_of_every_run(tmp_path):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path)
    live = {r.id: r for r in play_together(journal, np.random.default_rng(9), steps=400)}
    journal.close()
    data = journal.path.read_bytes()
    copy, lengths = tmp_path / "copy.journal", []
    for stop in range(len(data) // 2, len(data), 997):
        copy.write_bytes(data[:stop])
        episodes, damaged = read_journal(copy)
        assert damaged == 0
        for episode in episodes:
            if episode.id in live and not live[episode.id].rewinds:
                keys = live[episode.id].keys
                assert episode.keys.tolist() == keys[: episode.num_frames]
                lengths.append(episode.num_frames / len(keys))
    assert min(lengths) < 0.5 and max(lengths) > 0.8


def test_damage_costs_one_run_its_rest_and_never_makes_a_gap(tmp_path):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path)
    recordings = [Recording(observation(p, 0), 0.0, source="human") for p in range(3)]
    for recording in recordings:
        journal.begin(recording)
    for frame in range(40):
        for player, recording in enumerate(recordings):
            change = Frame(frame % 16, observation(player, frame + 1), (frame + 1) / 30)
            journal.write(recording, recording.add(change))
    journal.close()
    data = journal.path.read_bytes()
    copy = tmp_path / "copy.journal"
    shortened = set()
    for at in range(3000, len(data) - 2000, 1511):
        copy.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        episodes, damaged = read_journal(copy)
        assert len(episodes) == 3 and damaged > 0
        lengths = sorted(episode.num_frames for episode in episodes)
        assert lengths[1:] == [40, 40] and lengths[0] < 40
        shortened.add(lengths[0])
        for episode in episodes:
            assert episode.keys.tolist() == [frame % 16 for frame in range(episode.num_frames)]
    assert len(shortened) > 10


def test_what_the_disk_refuses_waits_for_the_next_commit(tmp_path, monkeypatch):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path)
    recording = Recording(observation(0, 0), 0.0, source="human")
    journal.begin(recording)
    synced = []

    def sync(descriptor):
        synced.append(descriptor)
        if len(synced) <= 2:
            raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(portable, "sync", sync)
    for frame in range(2):
        journal.write(recording, recording.add(Frame(frame, observation(0, frame + 1), (frame + 1) / 30)))
        with pytest.raises(DatasetError, match="the disk is full; what was played waits in memory"):
            journal.commit()
    journal.commit()  # nothing new, but nothing is on the disk yet either
    assert len(synced) == 3
    journal.commit()
    assert len(synced) == 3
    journal.close()
    assert read_all(path)[recording.id].keys.tolist() == [0, 1]


def test_files_stay_short_and_go_when_all_is_done(tmp_path):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path, file_bytes=10_000)
    longest = Recording(observation(9, 0), 0.0, source="human")
    journal.begin(longest)  # it keeps the first file from being emptied
    largest = most = 0
    for number in range(200):
        recording = Recording(observation(0, 0), 0.0, source="human")
        journal.begin(recording)
        for frame in range(20):
            change = Frame(number % 16, observation(0, frame + 1), (frame + 1) / 30)
            journal.write(recording, recording.add(change))
        journal.commit()
        journal.done(recording)
        files = journal_paths(path)
        most, largest = max(most, len(files)), max(largest, *(file.stat().st_size for file in files))
    assert most == 2 and largest < 20_000 and journal.num_live == 1
    journal.done(longest)
    journal.close()
    assert journal_paths(path) == []


def test_recovery_takes_every_file_in(tmp_path):
    path = tmp_path / "runs.h5"
    journal = SharedJournal(path, file_bytes=1)
    ids = []
    for number in range(3):
        recording = Recording(observation(0, 0), 0.0, source="human", player=f"player {number}")
        journal.begin(recording)
        journal.write(recording, recording.add(Frame(number, observation(0, 1), 1 / 30)))
        ids.append(recording.id)
        with pytest.raises(ValueError, match="under way already"):
            journal.begin(recording)
    journal.close()
    assert [p.name for p in journal_paths(path)] == [f"runs.h5.journal{end}" for end in ("", ".2", ".3")]
    with pytest.raises(DatasetError, match=r"run qwop-data recover .*runs\.h5$"):
        SharedJournal(path)
    assert [episode.id for episode in recover_dataset(path).episodes] == ids
    assert [episode.keys.tolist() for episode in DatasetReader(path)] == [[0], [1], [2]]
    assert journal_paths(path) == []
    Journal(journal_path(path)).close()
