"""Nothing that was stored or played is lost: kill -9, full disks, torn and flipped bytes."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_datasets import (
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Episode,
    first_difference,
    portable,
    storage,
)
from qwop_datasets.cli import main
from qwop_datasets.journal import Journal, journal_path, read_journal
from qwop_datasets.recording import End, Frame, KeyEvent, Recording, Rewind
from qwop_datasets.recovery import needs_recovery, recover_dataset

pytestmark = pytest.mark.slow

LINUX = sys.platform.startswith("linux")
KILLS = int(os.environ.get("QWOP_TEST_KILLS", "5"))  # kills at random moments, per test


def observation(episode, frame):
    """A state that names its episode and frame, so that a wrong one shows."""
    return np.arange(60, dtype=np.float32) + 1000 * episode + frame


def run(number, frames=40, **changes):
    values: dict[str, Any] = {
        "keys": (np.arange(frames) + number) % 16,
        "raw_observations": np.stack([observation(number, t) for t in range(frames + 1)]),
        "times": np.arange(frames + 1) / 30,
        "terminated": True,
        "truncated": False,
        "success": False,
        "source": "script",
        "id": f"{number:032x}",
        "created": "2026-01-01T00:00:00Z",
    }
    return Episode(**(values | changes))


class Crash(BaseException):
    pass


# ---- the append ----------------------------------------------------------------------------------------


def crash_points():
    """Every call of an append that changes something: (module, function, how many of them before it)."""
    calls = {(portable, "write_at"): 40, (portable, "sync"): 6, (os, "ftruncate"): 1}
    return [(module, name, n) for (module, name), count in calls.items() for n in range(count)]


@pytest.mark.usefixtures("each_system")
@pytest.mark.parametrize("torn", [False, True], ids=["before", "half done"])
def test_an_append_cut_at_any_system_call_leaves_all_or_nothing(tmp_path, monkeypatch, torn):
    path = tmp_path / "runs.h5"
    DatasetWriter(path, gait=False).append_all([run(i) for i in range(3)])
    before = path.read_bytes()
    outcomes = set()
    for module, name, count in crash_points():
        path.write_bytes(before)
        real, calls = getattr(module, name), iter(range(1000))

        def failing(*args, name=name, count=count, real=real, calls=calls):
            if next(calls) == count:
                if torn and name == "write_at":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise Crash
            return real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, failing)
            try:
                DatasetWriter(path, gait=False).append(run(3))
            except Crash:
                pass
        reader = DatasetReader(path)
        outcomes.add(len(reader))
        assert len(reader) in (3, 4)
        assert [first_difference(e, run(i)) for i, e in enumerate(reader)] == [None] * len(reader)
        assert not storage.redo_path(path).exists()
    assert outcomes == {4}  # the redo log is whole by then; the next test cuts it


@pytest.mark.usefixtures("each_system")
def test_an_error_while_hdf5_writes_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "runs.h5"
    writer = DatasetWriter(path, gait=False)
    writer.append(run(0))
    before = path.read_bytes()
    real = storage.Overlay.stored
    for count in range(8):
        calls = iter(range(1000))

        def interrupted(self, number, count=count, calls=calls):
            if next(calls) == count:
                raise KeyboardInterrupt
            return real(self, number)

        with monkeypatch.context() as patch:
            patch.setattr(storage.Overlay, "stored", interrupted)
            with pytest.raises(KeyboardInterrupt):
                writer.append(run(1))
        assert path.read_bytes() == before
    assert writer.append(run(1)) == 1


@pytest.mark.usefixtures("each_system")
def test_ctrl_c_during_an_append_takes_effect_after_it(tmp_path, monkeypatch, request):
    path = tmp_path / "runs.h5"
    writer = DatasetWriter(path, gait=False)
    real = storage.Overlay.stored

    def interrupting(self, number):
        signal.raise_signal(signal.SIGINT)
        return real(self, number)

    monkeypatch.setattr(storage.Overlay, "stored", interrupting)
    # What a shell starts in the background ignores SIGINT, and so would this test.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        writer.append(run(0))
    assert first_difference(DatasetReader(path)[0], run(0)) is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("each_system")
def test_a_torn_redo_log_is_dropped_at_every_length(tmp_path, monkeypatch):
    path = tmp_path / "runs.h5"
    DatasetWriter(path, gait=False).append(run(0))
    before = path.read_bytes()

    def stop(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(storage, "_copy_pages", stop)
        with pytest.raises(Crash):
            DatasetWriter(path, gait=False).append(run(1))
    path.write_bytes(before)
    log = storage.redo_path(path).read_bytes()
    for length in (0, 5, 100, len(log) // 2, len(log) - 1):
        storage.redo_path(path).write_bytes(log[:length])
        assert len(DatasetReader(path)) == 1
        assert path.read_bytes() == before
    storage.redo_path(path).write_bytes(log)
    assert len(DatasetReader(path)) == 2
    # The log of one file is never applied to another.
    other = tmp_path / "other.h5"
    DatasetWriter(other, gait=False).append_all([run(i) for i in range(5)])
    before = other.read_bytes()
    storage.redo_path(other).write_bytes(log)
    with pytest.raises(DatasetError, match="not the file that other.h5.redo belongs to"):
        DatasetReader(other)
    assert other.read_bytes() == before


APPENDER = textwrap.dedent("""
    import sys
    sys.path.insert(0, {tests!r})
    from test_crash import run
    from qwop_datasets import DatasetWriter
    writer = DatasetWriter(sys.argv[1], gait=False)
    number = len(writer)
    while True:
        writer.append(run(number, 200))
        number += 1
        print(number, flush=True)
""")


def start(script, *arguments, stderr=None):
    script = script.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, env=environment, text=True, encoding="utf-8"
    )


def kill_after(process, lines, delay):
    """Kill some time after the process has printed so many lines; returns all that it printed."""
    printed = [process.stdout.readline() for _ in range(lines)]
    try:
        process.wait(timeout=delay)
        raise AssertionError("the process ended by itself")
    except subprocess.TimeoutExpired:
        process.kill()
    printed += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    return [line for line in printed if line.endswith("\n")]  # the last one may be torn


@pytest.mark.usefixtures("each_system")
def test_kill_9_in_the_middle_of_appends_loses_no_stored_episode(tmp_path):
    path = tmp_path / "runs.h5"
    rng = random.Random(1)
    for _ in range(KILLS):
        printed = kill_after(start(APPENDER, path), 1, rng.uniform(0, 0.06))
        stored = int(printed[-1])
        reader = DatasetReader(path)
        assert stored <= len(reader) <= stored + 1
        for number in {0, len(reader) // 2, len(reader) - 2, len(reader) - 1} - {-1}:
            assert first_difference(reader[number], run(number, 200)) is None


# ---- the journal ---------------------------------------------------------------------------------------

PLAYER = textwrap.dedent("""
    import sys, random
    sys.path.insert(0, {tests!r})
    from test_crash import observation
    from qwop_datasets import DatasetWriter
    from qwop_datasets.journal import Journal, journal_path
    from qwop_datasets.recording import End, Frame, KeyEvent, Recording, Rewind
    path, seed = sys.argv[1], int(sys.argv[2])
    rng = random.Random(seed)
    writer = DatasetWriter(path, gait=False)
    journal = Journal(journal_path(path))
    number = len(writer)
    while True:
        recording = Recording(observation(number, 0), 0.0, source="human", id=f"{{number:032x}}")
        journal.begin(recording)
        t = 0
        for _ in range(rng.randrange(20, 200)):
            if t > 30 and rng.random() < 0.02:
                t -= rng.randrange(1, 30)
                journal.write(recording.add(Rewind(t, 1.7e9)))
            journal.write(recording.add(KeyEvent(t / 30, 1, t % 2 == 0, "pynput")))
            row = observation(number, t + 1)
            journal.write(recording.add(Frame((t + number) % 16, row, (t + 1) / 30, 1.7e9 + t / 30, 0.0)))
            t += 1
            print(number, t, flush=True)
        journal.write(recording.add(End(terminated=True)))
        writer.append(recording.episode())
        journal.done(recording)
        number += 1
""")


@pytest.mark.usefixtures("each_system")
def test_kill_9_while_recording_loses_no_frame(tmp_path):
    """At random moments of play, appends and journal resets; the disk's view is checked after each."""
    path = tmp_path / "runs.h5"
    rng = random.Random(2)
    for seed in range(KILLS):
        number, frame = map(int, kill_after(start(PLAYER, path, seed), 1, rng.uniform(0, 0.25))[-1].split())
        assert needs_recovery(path)
        recover_dataset(path)
        assert not needs_recovery(path)
        reader = DatasetReader(path)
        last = reader[number]
        # The line is printed after the frame is written: the journal may be ahead of it by frames, and by
        # one rewind of at most 29 frames.
        assert len(last) >= frame or last.rewinds is not None
        for episode in (last, reader[len(reader) - 1]):
            n = int(episode.id, 16)
            assert episode.keys.tolist() == [(t + n) % 16 for t in range(len(episode))]
            assert np.array_equal(episode.raw_observations[:, 0], 1000 * n + np.arange(len(episode) + 1))
            assert episode.key_events is not None
            assert episode.key_events["time"].tolist() == [t / 30 for t in range(len(episode.key_events))]
            assert len(episode) <= len(episode.key_events) <= len(episode) + 1
        assert [int(e, 16) for e in reader.index["id"]] == list(range(len(reader)))


def played(path, frames=10, ended=True):
    """A journal with one episode; returns the episode."""
    with Journal(path, sync_seconds=0) as journal:
        fields = {"source": "human", "player": "A", "tags": ("x",), "provenance": {"seed": np.int64(3)}}
        recording = Recording(observation(0, 0), 0.5, **fields)
        journal.begin(recording)
        for t in range(frames):
            journal.write(recording.add(KeyEvent(t / 30, 4, True, "window")))
            journal.write(
                recording.add(Frame(t % 16, observation(0, t + 1), 0.5 + t / 30, 1.7e9 + t, 0.001 * t))
            )
        if ended:
            journal.write(recording.add(End(terminated=True)))
        return recording.episode()


@pytest.mark.usefixtures("each_system")
def test_what_is_recovered_is_what_was_recorded(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    made = played(path)
    assert made.provenance["seed"] == 3 and made.tags == ("x",) and made.terminated
    (episode,), damaged = read_journal(path)
    assert first_difference(episode, made) is None and damaged == 0


@pytest.mark.usefixtures("each_system")
def test_an_episode_under_way_is_recovered_as_cut_short(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    played(path, ended=False)
    (episode,), _ = read_journal(path)
    assert episode.truncated and not episode.terminated and episode.tags == ("x", "recovered")


@pytest.mark.usefixtures("each_system")
def test_rewinds_keep_one_exact_run_and_its_history(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    with Journal(path) as journal:
        recording = Recording(observation(0, 0), 0.0, source="human")
        journal.begin(recording)
        for t in range(10):
            journal.write(recording.add(KeyEvent(t / 30, 1, True)))
            journal.write(recording.add(Frame(t, observation(0, t + 1), (t + 1) / 30)))
        journal.write(recording.add(End(terminated=True)))  # a fall, and the player steps back
        journal.write(recording.add(Rewind(6, 1.7e9)))
        journal.write(recording.add(Frame(15, observation(0, 77), 7 / 30)))
        journal.write(recording.add(End(truncated=True)))
        made = recording.episode()
        with pytest.raises(ValueError, match="frame 8 of 7"):
            journal.write(recording.add(Rewind(8, 0.0)))
    (episode,), _ = read_journal(path)
    assert first_difference(episode, made) is None
    assert episode.keys.tolist() == [0, 1, 2, 3, 4, 5, 15]
    assert episode.raw_observations[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 77]
    assert episode.rewinds.tolist() == [(1.7e9, 10, 6)]
    assert episode.discarded_keys.tolist() == [6, 7, 8, 9]
    assert episode.key_events is not None
    assert episode.key_events["time"].tolist() == [t / 30 for t in range(6)]
    assert not episode.terminated and episode.truncated


@pytest.mark.usefixtures("each_system")
def test_done_episodes_are_not_recovered_and_others_are(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    with Journal(path) as journal:
        recordings = []
        for n in range(3):
            recording = Recording(observation(n, 0), 0.0, source="human")
            journal.begin(recording)
            recordings.append(recording)
            journal.write(recording.add(Frame(n, observation(n, 1), 1 / 30)))
            journal.write(recording.add(End(truncated=True)))
        journal.done(recordings[1])
    assert [e.id for e in read_journal(path)[0]] == [recordings[0].id, recordings[2].id]
    with pytest.raises(DatasetError, match="2 unsaved episode"):
        Journal(path)
    assert len(recover_dataset(tmp_path / "runs.h5").episodes) == 2
    assert not path.exists()
    with Journal(path) as journal:
        recording = Recording(observation(0, 0), 0.0, source="human")
        journal.begin(recording)
        journal.write(recording.add(Frame(0, observation(0, 1), 1 / 30)))
        journal.done(recording)
    assert not path.exists()


@pytest.mark.usefixtures("each_system")
def test_recovering_twice_stores_an_episode_once(tmp_path):
    path = tmp_path / "runs.h5"
    DatasetWriter(path).append(played(journal_path(path)))  # and killed before it was done in the journal
    result = recover_dataset(path)
    assert result.episodes == () and result.already_stored == 1
    assert len(DatasetReader(path)) == 1 and not needs_recovery(path)


@pytest.mark.usefixtures("each_system")
def test_a_torn_tail_costs_the_torn_record_only(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    made = played(path, frames=3, ended=False)
    data = path.read_bytes()
    frames = []
    for length in range(0, len(data), 3):
        path.write_bytes(data[:length])
        episodes, damaged = read_journal(path)
        assert damaged == 0
        frames.append(len(episodes[0]) if episodes else 0)
        if episodes:
            got = episodes[0].raw_observations
            assert got.tobytes() == made.raw_observations[: len(got)].tobytes()
    assert frames == sorted(frames) and set(frames) == {0, 1, 2}


@pytest.mark.usefixtures("each_system")
def test_a_flipped_bit_never_becomes_a_frame_and_spares_other_episodes(tmp_path):
    path = tmp_path / "runs.h5"
    with Journal(journal_path(path)) as journal:
        for n in range(2):
            recording = Recording(observation(n, 0), 0.0, source="human", id=f"{n:032x}")
            journal.begin(recording)
            for t in range(4):
                journal.write(recording.add(Frame(t, observation(n, t + 1), t / 30)))
            journal.write(recording.add(End(truncated=True)))
    data = journal_path(path).read_bytes()
    rng = random.Random(3)
    second = data.index(f"{1:032x}".encode()) - 40
    for _ in range(100):
        broken = bytearray(data)
        at = rng.randrange(8, len(data))
        broken[at] ^= 1 << rng.randrange(8)
        journal_path(path).write_bytes(broken)
        episodes, damaged = read_journal(journal_path(path))
        for episode in episodes:
            n = int(episode.id, 16)
            assert np.array_equal(episode.raw_observations[:, 0], 1000 * n + np.arange(len(episode) + 1))
        if at < second:
            assert episodes[-1].id == f"{1:032x}" and len(episodes[-1]) == 4 and damaged > 0
    result = recover_dataset(path)
    assert result.damaged_bytes == damaged and (damaged == 0 or result.damaged_copy.read_bytes() == broken)


@pytest.mark.usefixtures("each_system")
def test_what_is_no_journal_is_left_alone(tmp_path):
    path = journal_path(tmp_path / "runs.h5")
    for content in (b"hello, world", b"QWOPJNL9 of another version"):
        path.write_bytes(content)
        for call in (lambda: Journal(path), lambda: recover_dataset(tmp_path / "runs.h5")):
            with pytest.raises(DatasetError, match="not a QWOP journal"):
                call()
        assert path.read_bytes() == content
    path.write_bytes(b"QWOP")  # killed while the header was written
    assert recover_dataset(tmp_path / "runs.h5").episodes == () and not path.exists()


@pytest.mark.usefixtures("each_system")
def test_a_journal_in_use_is_left_alone(tmp_path):
    path = tmp_path / "runs.h5"
    with Journal(journal_path(path)) as journal:
        recording = Recording(observation(0, 0), 0.0, source="human")
        journal.begin(recording)
        for call in (lambda: Journal(journal_path(path)), lambda: recover_dataset(path)):
            with pytest.raises(DatasetError, match="a recording is running"):
                call()


# ---- full and read-only disks --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KB, where the tests may mount one."""
    where = tmp_path / "small"
    where.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(where)]
    if not LINUX or os.geteuid() != 0 or subprocess.run(options, capture_output=True).returncode:
        pytest.skip("can't mount a small file system")
    yield where
    subprocess.run(["umount", str(where)], check=True)


def noise(number, frames=150):
    rng = np.random.default_rng(number)
    return run(number, frames, raw_observations=rng.normal(size=(frames + 1, 60)))


def test_a_full_disk_changes_nothing_and_says_so(small_disk):
    path = small_disk / "runs.h5"
    writer = DatasetWriter(path, gait=False)
    with pytest.raises(DatasetError, match="the disk is full"):
        for number in range(100):
            before = path.read_bytes()
            writer.append(noise(number))
    assert number > 2
    assert path.read_bytes() == before
    assert not storage.redo_path(path).exists()
    assert [first_difference(e, noise(i)) for i, e in enumerate(DatasetReader(path))] == [None] * number


def test_a_journal_on_a_full_disk_keeps_what_was_played(small_disk):
    path = journal_path(small_disk / "runs.h5")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(300_000))
    failed = 0
    with Journal(path) as journal:
        recording = Recording(observation(0, 0), 0.0, source="human")
        journal.begin(recording)
        for t in range(1000):
            try:
                journal.write(recording.add(Frame(t % 16, observation(0, t + 1), t / 30)))
            except DatasetError as error:
                assert "the disk is full" in str(error)
                failed += 1
        assert failed > 100
        ballast.unlink()
        journal.flush()
        journal.write(recording.add(End(truncated=True)))
        made = recording.episode()
    (episode,), damaged = read_journal(path)
    assert len(episode) == 1000 and damaged == 0
    assert first_difference(episode, made) is None


@pytest.mark.usefixtures("each_system")
def test_no_space_without_a_small_disk(tmp_path, monkeypatch):
    """The same on systems where nothing can be mounted: the write of the redo log fails."""
    path = tmp_path / "runs.h5"
    writer = DatasetWriter(path, gait=False)
    writer.append(run(0))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("_claim_growth", "Overlay"):
        with monkeypatch.context() as patch:
            patch.setattr(storage, name, full)
            with pytest.raises(DatasetError, match="the disk is full; nothing was changed"):
                writer.append(run(1))
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


FULL = textwrap.dedent("""
    import sys
    from qwop_datasets.cli import main
    source, there = sys.argv[1:]
    for arguments in (
        ["merge", there + "/m.h5", source],
        ["edit", source, "--tag", "x", "-o", there + "/e.h5"],
        ["convert", source, there + "/x.csv"],
        ["convert", source, there + "/x.npz"],
        ["convert", source, there + "/x.hdf5"],
        ["convert", source, there + "/x-v0", "--to", "minari"],
        ["split", source, "--into", there + "/a.h5", there + "/b.h5"],
        ["convert", sys.argv[1] + ".csv", there + "/back.h5"],
    ):
        assert main(arguments) == 2, arguments
""")


def test_every_writer_takes_a_full_disk(small_disk, tmp_path):
    """In a process of its own: HDF5 would print tracebacks and crash when it ends."""
    source = tmp_path / "runs.h5"
    DatasetWriter(source, gait=False).append_all([noise(i, 300) for i in range(10)])
    assert main(["convert", str(source), f"{source}.csv"]) == 0
    before = source.read_bytes()
    process = start(FULL.replace("{", "{{").replace("}", "}}"), source, small_disk, stderr=subprocess.PIPE)
    _, err = process.communicate()
    assert process.returncode == 0, err
    lines = err.splitlines()
    assert len(lines) == 8 and all("the disk is full; nothing was written" in line for line in lines), err
    assert list(small_disk.iterdir()) == [] and source.read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has no modes of files")
def test_without_permission_files_can_be_read_and_nothing_else():
    """Where the tests run as root, as somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "runs.h5"
        DatasetWriter(path, gait=False).append(run(0))
        before = path.read_bytes()
        path.chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            assert first_difference(DatasetReader(path)[0], run(0)) is None
            with pytest.raises(DatasetError, match="permission denied"):
                DatasetWriter(path).append(run(1))
            with pytest.raises(DatasetError, match="permission denied"):
                DatasetWriter(folder / "new.h5")
            with pytest.raises(DatasetError, match="permission denied"):
                Journal(folder / "new.h5.journal")
            for arguments in (["edit", path, "--tag", "x"], ["split", path], ["verify", path, "--store"]):
                assert main([str(a) for a in arguments]) == 2
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert path.read_bytes() == before and list(folder.iterdir()) == [path]


@pytest.mark.usefixtures("each_system")
def test_a_directory_that_can_not_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="file: is a file, not a folder"):
        DatasetWriter(tmp_path / "file" / "runs.h5")
    with pytest.raises(DatasetError, match="file: is a file, not a folder"):
        Journal(tmp_path / "file" / "more" / "runs.h5.journal")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(DatasetError, match="folder.h5: it is a folder, not a file"):
        DatasetReader(tmp_path / "folder.h5")


# ---- a new file in place of an open one ----------------------------------------------------------------


def edited(path):
    return main(["edit", str(path), "--delete", "--where", "number=0"])


@pytest.mark.usefixtures("bare_system")
def test_an_edit_of_a_file_that_somebody_has_open_is_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "runs.h5"
    DatasetWriter(path, gait=False).append_all([run(i) for i in range(3)])
    before = path.read_bytes()
    monkeypatch.setattr(portable, "BUSY_SECONDS", 0.05)
    with path.open("rb"):
        assert edited(path) == 2
    err = capsys.readouterr().err
    assert (
        err.count("\n") == 1 and "a program has it open; close that and try again; nothing was changed" in err
    )
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    assert edited(path) == 0
    assert [int(e.id, 16) for e in DatasetReader(path)] == [1, 2] and list(tmp_path.iterdir()) == [path]


@pytest.mark.usefixtures("bare_system")
def test_what_is_appended_while_an_edit_waits_is_in_the_new_file(tmp_path, monkeypatch):
    """Between the unlocking of the old file and the renaming of the new one."""
    path = tmp_path / "runs.h5"
    writer = DatasetWriter(path, gait=False)
    writer.append_all([run(i) for i in range(3)])
    appending = threading.Thread(target=lambda: writer.append(run(7)))
    real, seen = portable.replace, []

    def meanwhile(source, target):
        if target == path:
            appending.start()
            appending.join(0.2)
            seen.append(appending.is_alive())
        real(source, target)

    monkeypatch.setattr(portable, "replace", meanwhile)
    assert edited(path) == 0
    appending.join()
    assert seen == [True]
    assert [int(e.id, 16) for e in DatasetReader(path)] == [1, 2, 7]


@pytest.mark.usefixtures("each_system")
def test_a_new_file_that_was_left_waiting_is_dropped(tmp_path, monkeypatch):
    """Its writer was killed before it said that the edit was done."""
    path = tmp_path / "runs.h5"
    DatasetWriter(path, gait=False).append(run(0))
    storage.replacing_path(path).write_bytes(b"whatever an edit made")
    monkeypatch.setattr(storage, "LOCK_SECONDS", 0.05)
    assert len(DatasetReader(path)) == 1
    assert list(tmp_path.iterdir()) == [path]


# ---- what a system has ---------------------------------------------------------------------------------


def test_a_sync_on_macos_reaches_the_disk(tmp_path, monkeypatch):
    """There fsync alone leaves data in the disk's cache; a network's file system may refuse the real one."""
    calls = []

    class Fcntl:
        @staticmethod
        def fcntl(descriptor, command):
            calls.append(command)
            if len(calls) == 2:
                raise OSError(45, "Operation not supported")

    monkeypatch.setattr(portable, "_fcntl", Fcntl)
    monkeypatch.setattr(portable, "_FULL_SYNC", 51)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    portable.sync(3)
    portable.sync(3)
    assert calls == [51, 51, "fsync"]


@pytest.mark.usefixtures("bare_system")
def test_processes_of_a_test_are_on_the_bare_system_too():
    process = start("import os; print(hasattr(os, 'pread'), hasattr(os, 'O_BINARY'))")
    assert process.communicate()[0] == "False True\n"


@pytest.mark.usefixtures("each_system")
def test_reads_and_writes_at_a_position(tmp_path):
    """Threads that share a descriptor do not move each other's."""
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | portable.BINARY)
    parts = [bytes([n]) * 1000 for n in range(8)]

    def work(n):
        for _ in range(50):
            assert portable.write_at(descriptor, parts[n], 1000 * n) == 1000
            assert portable.read_at(descriptor, 1000, 1000 * n) == parts[n]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert portable.read_at(descriptor, 9000, 0) == b"".join(parts)
    os.close(descriptor)
