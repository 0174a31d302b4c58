"""The recorder's storage with the real game and real files: exact, verified, and safe against kills."""

import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwop_datasets import DatasetReader, DatasetWriter, first_difference, read_journal
from qwop_datasets.journal import journal_path
from qwop_datasets.recovery import recover_dataset
from qwop_game import Simulator
from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KeyEvent, keys_from_events
from qwop_recorder.personal_best import personal_best
from qwop_recorder.phases import Command, Phase
from qwop_recorder.recovery import recover
from qwop_recorder.session import Session, SessionOptions
from qwop_recorder.storage import EpisodeStore

OFFSET = 1_800_000_000.25
OPTIONS = SessionOptions(countdown=1 / 30, rewind=0.5)


class Table:
    """A session on the real game and a real file, played by a script."""

    def __init__(self, path, options=OPTIONS, player="ada", **store):
        self.store = EpisodeStore(path, player, OFFSET, {"engine": "scalar"}, **store)
        self.session = Session(Simulator(1, engine="scalar"), self.store, options)
        self.now, self.down = 0.0, 0

    def tick(self, keys: int) -> None:
        self.now += 1 / 30
        events = [
            KeyEvent(self.now - 0.01, key, bool(keys & key), "window")
            for key in (1, 2, 4, 8)
            if (keys ^ self.down) & key
        ]
        self.down = keys
        self.session.tick(events, self.now, 0.0005)

    def begin(self) -> None:
        while self.session.phase is not Phase.PLAYING:
            self.tick(0)

    def play(self, keys) -> None:
        for mask in keys:
            self.tick(int(mask))

    def do(self, *commands: Command) -> None:
        for command in commands:
            self.session.command(command, self.now)


def some_keys(frames: int, seed: int = 0) -> np.ndarray:
    """Random keys held for a few frames each; the runner lasts at least a second with them."""
    return np.repeat(np.random.default_rng(seed).integers(0, 16, frames // 3 + 1), 3)[:frames].astype(
        np.uint8
    )


def run_until_over(table: Table, seed: int = 0) -> None:
    table.begin()
    for mask in some_keys(3000, seed):
        if table.session.phase is Phase.ENDED:
            return
        table.tick(int(mask))
    raise AssertionError("the runner never fell")


def check(episode) -> None:
    """Replays bit for bit, and its stamps give its keys."""
    game = Simulator(1, engine="scalar")
    rows, times = [game.raw_observation[0].copy()], [game.time[0]]
    for keys in episode.keys:
        game.step(np.array([keys], np.uint8))
        rows.append(game.raw_observation[0].copy())
        times.append(game.time[0])
    assert np.array(rows).tobytes() == episode.raw_observations.tobytes()
    assert np.array(times).tobytes() == episode.times.tobytes()
    events = episode.key_events if episode.key_events is not None else []
    events = [KeyEvent(e["time"], int(e["key"]), bool(e["pressed"]), "") for e in events]
    stamps = episode.wall_times - episode.wall_clock_offset
    assert keys_from_events(events, stamps).tolist() == episode.keys.tolist()


def test_kept_runs_are_in_the_file_exactly_as_they_were_played(tmp_path):
    path = tmp_path / "runs.h5"
    table = Table(path)
    played = []
    for seed in range(3):
        run_until_over(table, seed)
        played.append(table.session.run)
        table.do(Command.GO)
    table.begin()
    table.play(some_keys(20, 9))
    played.append(table.session.run)
    table.do(Command.CLOSE)
    table.store.close()
    assert table.session.unsaved == [] and len(table.session.log) == 4
    assert all("exact" in line for line in table.session.log)
    assert not journal_path(path).exists()

    with DatasetReader(path) as reader:
        episodes = list(reader)
    assert len(episodes) == 4
    for run, episode in zip(played, episodes, strict=True):
        check(episode)
        assert episode.keys.tolist() == run.keys
        assert episode.raw_observations.tobytes() == np.array(run.raw_observations).tobytes()
        assert episode.times.tolist() == run.times
        assert episode.wall_times.tolist() == run.wall_times
        assert episode.lateness.tolist() == [np.float32(0.0005)] * run.num_frames
        assert (episode.source, episode.player, episode.game) == ("human", "ada", "embedded")
        assert episode.verified == "exact" and episode.provenance["engine"] == "scalar"
        assert episode.wall_clock_offset == OFFSET
        assert episode.key_events is not None and run.key_events is not None
        assert len(episode.key_events) == len(run.key_events) > 0
        assert "knee_near" in episode.gait
    assert [e.terminated for e in episodes] == [True, True, True, False]
    assert [e.truncated for e in episodes] == [False, False, False, True]
    assert len({e.id for e in episodes}) == 4


@settings(max_examples=15, deadline=None)
@given(
    play=st.lists(
        st.one_of(
            st.integers(0, 15).map(lambda mask: [mask] * 4),
            st.sampled_from([Command.BACK, Command.GO, Command.FORWARD, Command.RESTART, Command.DISCARD]),
        ),
        max_size=25,
    )
)
def test_the_sessions_run_is_the_journals_after_any_play(tmp_path_factory, play):
    """Keys, pauses, steps back and take-overs in any order; the journal is read as after a kill."""
    path = tmp_path_factory.mktemp("session") / "runs.h5"
    table = Table(path, SessionOptions(countdown=1 / 30, rewind=0.2))
    table.begin()
    for item in play:
        if isinstance(item, Command):
            table.do(item)
        else:
            table.play(item)
    run = table.session.run
    copy = path.with_name("copy.journal")
    copy.write_bytes(table.store.journal_file.read_bytes())
    table.store.close()
    episodes, damaged = read_journal(copy)
    assert damaged == 0
    in_journal = {episode.id: episode for episode in episodes}
    if run.num_frames:
        tags = () if run.end else ("recovered",)
        assert first_difference(run.episode(tags=tags), in_journal[run.id]) is None
        check(in_journal[run.id])
    else:
        assert run.id not in in_journal


def test_a_rewound_run_is_one_exact_run_and_says_so(tmp_path):
    path = tmp_path / "runs.h5"
    table = Table(path)
    run_until_over(table)
    before = list(table.session.run.keys)
    table.do(Command.BACK, Command.BACK)
    cut = len(before) - 30
    table.do(Command.GO)
    table.begin()
    table.play(some_keys(10, 5))
    table.do(Command.CLOSE)
    table.store.close()
    (episode,) = DatasetReader(path)
    check(episode)
    assert episode.keys.tolist() == before[:cut] + some_keys(10, 5).tolist()
    assert episode.rewinds[["from_frame", "to_frame"]].tolist() == [(len(before), cut)]
    assert episode.discarded_keys.tolist() == before[cut:]
    assert "rewound" in episode.tags and episode.verified == "exact" and episode.truncated


def test_discarded_runs_are_never_stored(tmp_path):
    path = tmp_path / "runs.h5"
    table = Table(path)
    for seed, command in enumerate([Command.DISCARD, Command.RESTART, Command.GO]):
        run_until_over(table, seed)
        table.do(command)
    table.begin()
    table.do(Command.DISCARD)  # the one kept, after all
    run_until_over(table, 3)
    kept = table.session.run.keys
    table.do(Command.GO, Command.CLOSE)
    table.store.close()
    assert [episode.keys.tolist() for episode in DatasetReader(path)] == [kept]


def test_a_session_without_runs_leaves_no_file(tmp_path):
    table = Table(tmp_path / "runs.h5")
    table.do(Command.CLOSE)
    table.store.close()
    assert list(tmp_path.iterdir()) == []


def test_appending_says_what_differs(tmp_path):
    other = tmp_path / "other.h5"
    DatasetWriter(other, {"game": "real", "browser": "140"})
    with pytest.raises(RecorderError, match="game: real there, embedded here") as error:
        EpisodeStore(other, "", 0.0, {})
    assert "browser: 140 there" in str(error.value) and "\n" not in str(error.value)
    foreign = tmp_path / "notes.h5"
    foreign.write_text("not a dataset", encoding="utf-8")
    with pytest.raises(RecorderError, match="notes.h5"):
        EpisodeStore(foreign, "", 0.0, {})
    assert foreign.read_text(encoding="utf-8") == "not a dataset"
    with pytest.raises(RecorderError, match="notes.h5: is a file, not a folder"):
        EpisodeStore(foreign / "runs.h5", "", 0.0, {})


def test_a_missing_folder_is_made(tmp_path):
    path = tmp_path / "new" / "more" / "runs.h5"
    table = Table(path)
    table.begin()
    table.play([1, 2, 3])
    table.store.close()
    assert len(recover_dataset(path).episodes) == 1 and len(DatasetReader(path)) == 1


def test_appending_to_a_file_that_names_no_settings_is_allowed(tmp_path):
    path = tmp_path / "runs.h5"
    DatasetWriter(path)
    table = Table(path)
    table.begin()
    table.play(some_keys(10))
    table.do(Command.CLOSE)
    table.store.close()
    assert len(DatasetReader(path)) == 1


def test_two_recorders_do_not_share_a_file(tmp_path):
    first = Table(tmp_path / "runs.h5")
    with pytest.raises(RecorderError, match="is running"):
        Table(tmp_path / "runs.h5")
    first.store.close()


def test_personal_best_comes_from_the_players_own_unaided_runs(tmp_path):
    path = tmp_path / "runs.h5"
    assert personal_best(path, "ada").distance is None
    for player, seeds in (("ada", (0, 1)), ("bob", (2, 3))):
        table = Table(path, player=player)
        for seed in seeds:
            run_until_over(table, seed)
            table.do(Command.GO)
        table.do(Command.CLOSE)
        table.store.close()
    episodes = list(DatasetReader(path))
    for player in ("ada", "bob"):
        best = personal_best(path, player)
        assert best.distance == max(e.distance for e in episodes if e.player == player)
        assert best.time is None
    assert personal_best(path, "cy").distance is None

    table = Table(path, player="cy")
    run_until_over(table)
    table.do(Command.BACK, Command.GO)
    table.begin()
    table.play(some_keys(5))
    table.do(Command.CLOSE)
    table.store.close()
    assert personal_best(path, "cy").distance is None


def test_a_full_disk_stops_play_and_everything_is_stored_once_there_is_room(tmp_path, monkeypatch):
    """The system refuses real writes, after part of a record was written."""
    path = tmp_path / "runs.h5"
    table = Table(path)
    table.begin()
    keys = some_keys(30)
    table.play(keys[:12])

    class Full:
        """The journal's file on a disk with `room` bytes left."""

        def __init__(self, file):
            self.file, self.room = file, 100

        def write(self, data):
            if self.room == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            part = bytes(data)[: self.room]
            self.room -= len(part)
            return self.file.write(part)

        def __getattr__(self, name):
            return getattr(self.file, name)

    journal = table.store._journal
    full = Full(journal._file)
    monkeypatch.setattr(journal, "_file", full)
    table.play(keys[12:13])
    assert table.session.phase is Phase.PAUSED and "the disk is full" in table.session.message
    table.do(Command.GO)
    assert table.session.phase is Phase.PAUSED
    full.room = 10**9
    table.do(Command.GO)
    table.begin()
    table.play(keys[13:])
    table.do(Command.CLOSE)
    table.store.close()
    (episode,) = DatasetReader(path)
    check(episode)
    assert episode.keys.tolist() == keys.tolist()


def test_a_run_that_the_file_refuses_waits_in_the_journal(tmp_path, monkeypatch):
    path = tmp_path / "runs.h5"
    table = Table(path)
    run_until_over(table)
    keys = list(table.session.run.keys)
    monkeypatch.setattr("qwop_recorder.storage.DatasetWriter", _refusing)
    table.do(Command.CLOSE)
    assert len(table.session.unsaved) == 1 and table.session.phase is Phase.DONE
    table.store.close()
    monkeypatch.undo()
    assert journal_path(path).exists() and not path.exists()
    assert [e.keys.tolist() for e in recover(path).episodes] == [keys]
    assert [e.keys.tolist() for e in DatasetReader(path)] == [keys]


def _refusing(*_, **__):
    from qwop_datasets import DatasetError

    raise DatasetError("runs.h5: the disk is full")


@pytest.fixture
def memory_path(tmp_path):
    """A folder in memory where there is one: a kill does not care, and many syncs to a disk take long."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


KILLED = textwrap.dedent(
    """
    import os, sys, time
    import numpy as np
    from pathlib import Path
    sys.path.insert(0, os.path.dirname(sys.argv[1]))
    from test_storage import Table, run_until_over, some_keys
    from qwop_recorder.phases import Command, Phase
    from qwop_recorder.session import SessionOptions

    folder, kills = Path(sys.argv[2]), int(sys.argv[3])
    random = np.random.default_rng(int(sys.argv[4]))

    def play(path, pipe):
        # run after run, a line for every frame that the session believes to be safe, another for every keep
        table = Table(path, SessionOptions(countdown=1 / 30, rewind=0.5))
        seed = 0
        while True:
            table.begin()
            for mask in some_keys(3000, seed):
                table.tick(int(mask))
                os.write(pipe, b"%d %d\\n" % (seed, table.session.run.num_frames))
                if table.session.phase is Phase.ENDED:
                    break
            table.do(Command.GO)
            seed += 1

    for number in range(kills):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                play(folder / f"{number}.h5", writer)
            finally:
                os._exit(1)
        os.close(writer)
        # wait for a random number of frames, then a random moment more, and kill
        wanted, data = int(random.integers(1, 200)), b""
        while data.count(b"\\n") < wanted:
            data += os.read(reader, 4096)
        time.sleep(float(random.uniform(0, 0.002)))
        os.kill(child, 9)
        os.waitpid(child, 0)
        while part := os.read(reader, 65536):
            data += part
        (folder / f"{number}.acks").write_bytes(data[: data.rindex(b"\\n")])
    """
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_at_50_random_moments_no_frame_is_lost(memory_path):
    tmp_path, kills = memory_path, 50
    subprocess.run([sys.executable, "-c", KILLED, __file__, str(tmp_path), str(kills), "11"], check=True)
    in_the_file_before = 0
    for number in range(kills):
        path = tmp_path / f"{number}.h5"
        acks = [
            tuple(map(int, line.split()))
            for line in (tmp_path / f"{number}.acks").read_text(encoding="utf-8").splitlines()
        ]
        frames = {seed: max(f for s, f in acks if s == seed) for seed, _ in acks}
        in_the_file_before += path.exists()
        recover(path)
        assert not journal_path(path).exists()
        episodes = list(DatasetReader(path))
        # nothing twice, nothing lost; at most the run or the frame that was under way comes on top
        assert len({e.id for e in episodes}) == len(episodes)
        assert len(frames) <= len(episodes) <= len(frames) + 1
        for seed, played in frames.items():
            episode = episodes[seed]
            check(episode)
            assert episode.num_frames >= played
            assert episode.keys.tolist() == some_keys(3000, seed)[: episode.num_frames].tolist()
    assert 0 < in_the_file_before < kills  # the kills hit both before and after the first append


def test_the_journal_of_a_killed_session_has_to_be_recovered_first(tmp_path):
    table = Table(tmp_path / "alive.h5")
    table.begin()
    table.play(some_keys(10))
    path = tmp_path / "runs.h5"  # what a kill at this moment leaves
    journal_path(path).write_bytes(table.store.journal_file.read_bytes())
    table.store.close()
    with pytest.raises(RecorderError, match="unsaved episode"):
        EpisodeStore(path, "", 0.0, {})
    found = recover(path)
    assert [e.num_frames for e in found.episodes] == [10]
    (episode,) = DatasetReader(path)
    check(episode)
    assert episode.truncated and "recovered" in episode.tags
    EpisodeStore(path, "", 0.0, {}).close()
