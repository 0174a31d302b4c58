"""`qwop-record` as a person meets it: a real window, real keys typed by xdotool, the file that comes out."""

import signal
import subprocess
import sys
import time

import numpy as np
import pygame
import pytest

from qwop_datasets import KEY_SOURCES, DatasetReader, Episode, replay_keys, write_dataset
from qwop_datasets.journal import journal_path
from qwop_game import CANONICAL_START, Operation, Simulator, key_text
from qwop_recorder.cli import main
from qwop_recorder.ghost import Ghost
from qwop_recorder.key_events import KEYS, KeyEvent, KeyQueue, keys_from_events
from qwop_recorder.key_sources import WindowKeys
from qwop_recorder.phases import Command, Phase
from qwop_recorder.session import Session, SessionOptions
from qwop_recorder.texts import help_lines
from qwop_recorder.window import Window

PATIENCE = 60.0  # s, before a test gives up on a process; never a thing that is asserted


class Recorder:
    """A running `qwop-record FILE`."""

    def __init__(self, path, screen, *options):
        self.path, self.type = path, screen.type
        command = [sys.executable, "-m", "qwop_recorder.cli", str(path), "--countdown", "0", *options]
        self.process = subprocess.Popen(
            command,
            env=screen.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def wait_for_frames(self, count: int) -> None:
        """Until the journal holds at least `count` frames (a frame's record is 276 bytes)."""
        journal, give_up = journal_path(self.path), time.monotonic() + PATIENCE
        while not journal.exists() or journal.stat().st_size < 500 + 276 * count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < give_up, "the recorder plays no frames"
            time.sleep(0.005)

    def end(self) -> tuple[int, str, str]:
        """Exit code and what was printed."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err


def check(episode, source: str) -> None:
    """Every frame of the file follows from the keys' own stamps and replays bit for bit."""
    game = Simulator(1)
    for frame, keys in enumerate(episode.keys):
        assert game.raw_observation[0].tobytes() == episode.raw_observations[frame].tobytes()
        game.step(np.array([keys], np.uint8))
    assert game.raw_observation[0].tobytes() == episode.raw_observations[-1].tobytes()
    events = [KeyEvent(e["time"], int(e["key"]), bool(e["pressed"]), "") for e in episode.key_events]
    stamps = episode.wall_times - episode.wall_clock_offset
    assert keys_from_events(events, stamps).tolist() == episode.keys.tolist()
    assert {KEY_SOURCES[i] for i in episode.key_events["source"]} == {source}
    assert episode.verified == "exact" and episode.source == "human"


def segments(keys: np.ndarray, key: int) -> list[int]:
    """Lengths of the stretches of frames in which `key` is held."""
    held = np.concatenate([[0], (keys & key) > 0, [0]]).astype(int)
    return (np.flatnonzero(np.diff(held) == -1) - np.flatnonzero(np.diff(held) == 1)).tolist()


@pytest.mark.parametrize("source", ["pynput", "window"])
def test_every_key_that_xdotool_types_is_in_the_file_frame_by_frame(tmp_path, screen, source):
    path = tmp_path / "runs.h5"
    # The runner falls some time after each of these; two sessions, so that all keys come before that.
    scripts = [f"{screen.TAPS} {screen.REPEAT}", screen.ROLLOVER]
    for script in scripts:
        recorder = Recorder(path, screen, "--keys", source, "--player", "ada")
        recorder.wait_for_frames(2)
        recorder.type(script)
        recorder.type("key Escape sleep 0.05 key Escape")
        code, out, err = recorder.end()
        assert (code, err) == (0, ""), err
        assert "replay exact" in out and "lateness median" in out
    episodes = list(DatasetReader(path))
    assert len(episodes) == 2 and all(e.truncated and e.player == "ada" for e in episodes)
    for episode, script in zip(episodes, scripts, strict=True):
        check(episode, source)
        events = [(int(e["key"]), bool(e["pressed"])) for e in episode.key_events]
        assert events == screen.sent(script)

    # How long a hold is follows from the stamps, which are checked above. What has to be there on the slowest
    # machine: each key that was pressed, in one piece, repeat or not. On a faster one: each tap by itself.
    taps, rollover = (episode.keys for episode in episodes)
    slowest = [np.diff(episode.wall_times).max() for episode in episodes]
    assert len(segments(taps, KEYS["p"])) == len(segments(taps, KEYS["o"])) == 1
    assert len(segments(taps, KEYS["q"])) == 3 or slowest[0] > 0.14
    press, release = episodes[0].key_events["time"][-2:]
    assert release - press > 0.59
    assert [len(segments(rollover, key)) for key in KEYS.values()] == [1, 1, 1, 1]
    order = [int(keys) for i, keys in enumerate(rollover) if keys and (i == 0 or keys != rollover[i - 1])]
    states = ["Q", "QW", "QWO", "QWOP", "WOP", "OP", "P"]
    assert [key_text(k) for k in order] == states or slowest[1] > 0.05


def test_another_windows_typing_is_not_recorded(tmp_path, screen):
    path = tmp_path / "runs.h5"
    recorder = Recorder(path, screen, "--keys", "pynput")
    recorder.wait_for_frames(2)
    window = screen.focused()
    recorder.type("keydown q sleep 0.1 keyup q sleep 0.1")
    with screen.another_window() as other:
        recorder.type(f"windowfocus {other} sleep 0.2 keydown w sleep 0.1 keyup w sleep 0.1")
        recorder.type(
            f"windowfocus {window} sleep 0.2 key space sleep 0.2 keydown o sleep 0.1 keyup o sleep 0.1"
        )
    recorder.process.send_signal(signal.SIGINT)
    code, _, err = recorder.end()
    assert (code, err) == (0, "")
    (episode,) = DatasetReader(path)
    check(episode, "pynput")
    assert [(int(e["key"]), bool(e["pressed"])) for e in episode.key_events] == screen.sent(
        "keydown q keyup q keydown o keyup o"
    )


def close_window(name: str) -> None:
    """What a window manager sends when the cross is clicked, to the window that has the focus."""
    xlib = pytest.importorskip("Xlib.display", reason="python-xlib is pynput's on Linux only")
    from Xlib.protocol.event import ClientMessage

    connection = xlib.Display(name)
    window = connection.get_input_focus().focus
    delete, protocols = connection.get_atom("WM_DELETE_WINDOW"), connection.get_atom("WM_PROTOCOLS")
    window.send_event(ClientMessage(window=window, client_type=protocols, data=(32, [delete, 0, 0, 0, 0])))
    connection.sync()
    connection.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, "close"])
def test_an_orderly_end_in_mid_run_keeps_the_run(tmp_path, screen, how):
    path = tmp_path / "runs.h5"
    recorder = Recorder(path, screen, "--keys", "window")
    recorder.wait_for_frames(10)
    if how == "close":
        close_window(screen.name)
    else:
        recorder.process.send_signal(how)
    code, out, err = recorder.end()
    assert (code, err) == (0, "") and "1 kept" in out
    (episode,) = DatasetReader(path)
    assert episode.truncated and episode.num_frames >= 10 and not journal_path(path).exists()


def test_commands_and_rewind_without_the_mouse(tmp_path, screen):
    path = tmp_path / "runs.h5"
    recorder = Recorder(path, screen, "--keys", "window", "--rewind", "0.3", "--episodes", "1")
    recorder.wait_for_frames(20)
    recorder.type("key Left sleep 0.1 key space sleep 0.1")  # back 9 frames, take over
    recorder.wait_for_frames(25)
    recorder.type("key space sleep 0.1 key r")  # pause, start over
    recorder.wait_for_frames(40)
    recorder.type("keydown q keydown o sleep 0.3 keyup q sleep 0.1 key Left sleep 0.1 key space sleep 0.3")
    recorder.type("key Escape sleep 0.1 key Escape")
    code, out, err = recorder.end()
    assert (code, err) == (0, "") and "1 kept" in out
    (episode,) = DatasetReader(path)
    assert len(episode.rewinds) == 1 and "rewound" in episode.tags and episode.verified == "exact"


def test_killed_while_playing_then_started_again(tmp_path, screen):
    path = tmp_path / "runs.h5"
    recorder = Recorder(path, screen, "--keys", "window")
    recorder.wait_for_frames(12)
    recorder.process.kill()
    recorder.end()
    recorder = Recorder(path, screen, "--keys", "window", "--recover", "no")
    code, _, err = recorder.end()
    assert code == 2 and "recover" in err and err.count("\n") == 1
    recorder = Recorder(path, screen, "--keys", "window")
    assert "recovered 1 run(s)" in recorder.process.stdout.readline()
    recorder.wait_for_frames(1)
    recorder.process.send_signal(signal.SIGINT)
    assert recorder.end()[0] == 0
    episodes = list(DatasetReader(path))
    assert [("recovered" in e.tags) for e in episodes] == [True, False]
    assert episodes[0].num_frames >= 12


def test_every_phase_is_drawn_with_its_own_keys_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    window = Window("test")
    try:
        session = Session(Simulator(1), None, SessionOptions(countdown=1 / 30, rewind=0.1))
        queue, source = KeyQueue(lambda: 0.0), WindowKeys(KeyQueue(lambda: 0.0))
        pictures, helps = {}, {}

        def look() -> None:
            window.poll(source, queue)
            window.draw(session)
            pictures[session.phase] = pygame.surfarray.array3d(window.surface)
            helps[session.phase] = " ".join(help_lines(session))

        look()
        session.tick([], 0.0, 0.0)
        session.tick([KeyEvent(0.01, KEYS["q"], True, "window")], 0.033, 0.0)
        look()
        session.command(Command.GO)
        look()
        session.command(Command.GO)
        fall = [KeyEvent(0.0, KEYS["q"], False, "window"), KeyEvent(0.0, KEYS["o"], True, "window")]
        for frame in range(100):
            session.tick([] if frame else fall, frame / 30, 0.0)
        look()
        session.command(Command.BACK)
        look()
    finally:
        window.close()
    assert set(helps) == {Phase.COUNTDOWN, Phase.PLAYING, Phase.PAUSED, Phase.ENDED, Phase.REWOUND}
    assert len({picture.tobytes() for picture in pictures.values()}) == 5
    assert "take over" in helps[Phase.REWOUND] and "pause" in helps[Phase.PLAYING]
    # Q is lit at the bottom left while it is held, and dark before
    lit = [pictures[phase][15:60, 440:490].mean(axis=(0, 1)) for phase in (Phase.COUNTDOWN, Phase.PLAYING)]
    assert lit[1][0] > lit[0][0] + 60


def ghost_run(keys: list[int], start=None) -> Episode:
    """An episode with these keys, from the canonical start or from one of its own."""
    (played,) = replay_keys([np.array(keys, np.uint8)], starts=[start])
    return Episode(
        np.array(keys, np.uint8),
        played.raw_observations,
        played.times,
        terminated=played.over,
        truncated=not played.over,
        success=False,
        source="human",
        start=start,
    )


def test_a_ghost_is_where_it_was_at_the_same_time_of_the_games_clock():
    keys = [9] * 20 + [6] * 20
    ghost = Ghost(ghost_run(keys))
    rows = ghost.episode.raw_observations
    for frame, clock in ((0, 0.0), (0, 2 / 30), (1, 3 / 30), (40, 42 / 30), (40, 99.0)):
        assert ghost.observation(clock).tobytes() == rows[frame].tobytes()
    # One that begins right at the game's own reset, two frames earlier on its clock.
    early = Ghost(ghost_run([0, 0, *keys], CANONICAL_START.then(Operation.RESET).array))
    assert early.episode.times[0] == 0.0 and ghost.episode.times[0] == pytest.approx(2 / 30)
    for frame, clock in ((0, 0.0), (2, 2 / 30), (3, 3 / 30)):
        assert early.observation(clock).tobytes() == early.episode.raw_observations[frame].tobytes()
    assert early.observation(12 / 30)[:1] == pytest.approx(ghost.observation(12 / 30)[:1], abs=1e-3)


def test_a_ghost_is_drawn_beside_the_runner(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    ahead = ghost_run([9] * 60)
    ahead = ahead.replace(raw_observations=ahead.raw_observations + np.float32([10, 0, 0, 0, 0] * 12))
    pictures = []
    for ghost in (None, Ghost(ahead)):
        window = Window("test", ghost)
        try:
            session = Session(Simulator(1), None, SessionOptions(countdown=1 / 30))
            for tick in range(5):
                session.tick([], tick / 30, 0.0)
            window.draw(session)
            pictures.append(pygame.surfarray.array3d(window.surface).astype(int))
        finally:
            window.close()
    changed = (pictures[0] != pictures[1]).any(axis=2)
    # The runner's torso is at x = 335 px, the ghost's 10 units of 21.7 px to its right.
    assert changed[460:660, 50:410].mean() > 0.2 and not changed[700:].any()
    left = changed[:440].copy()
    left[:170, 95:122] = False  # the plate "ghost 1.0 m ahead"
    assert not left.any()


@pytest.mark.parametrize("where", ["another file", "the file itself"])
def test_the_recording_does_not_depend_on_the_ghost(tmp_path, screen, where):
    path, ghosts = tmp_path / "runs.h5", tmp_path / "ghosts.h5"
    write_dataset(ghosts, [ghost_run([9] * 20), ghost_run([6] * 30)])
    place = f"{ghosts}:1"
    if where == "the file itself":
        write_dataset(path, [ghost_run([6] * 30)])
        place = ":0"
    before = ghosts.read_bytes()
    recorder = Recorder(path, screen, "--keys", "window", "--ghost", place)
    recorder.wait_for_frames(2)
    recorder.type(f"{screen.ROLLOVER} key Escape sleep 0.05 key Escape")
    code, out, err = recorder.end()
    assert (code, err) == (0, "") and "replay exact" in out
    episode = DatasetReader(path)[-1]
    check(episode, "window")
    events = [(int(e["key"]), bool(e["pressed"])) for e in episode.key_events]
    assert events == screen.sent(screen.ROLLOVER) and "ghost" not in str(dict(episode.provenance))
    assert ghosts.read_bytes() == before


def test_practice_writes_nothing(tmp_path, screen):
    path = tmp_path / "runs.h5"
    recorder = Recorder(path, screen, "--practice", "--keys", "window")
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        time.sleep(0.3)
        recorder.type("key Escape")
        if recorder.process.poll() is not None:
            break
    code, out, _ = recorder.end()
    assert code == 0 and "nothing was recorded" in out and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ghost", "none.h5"], "--ghost none.h5: none.h5"),
        (["--ghost", "{ghosts}:1"], "no episode 1: it has 1, numbered from 0"),
        (["--ghost", ":0"], "runs.h5"),
        (["--ghost", "{ghosts}", "--web"], "omit --web, whose page has ghosts"),
        (["--ghost", "{ghosts}", "--game", "real"], "omit --game real"),
    ],
)
def test_a_ghost_that_can_not_be_shown_is_one_line(tmp_path, capsys, options, message):
    ghosts = tmp_path / "ghosts.h5"
    write_dataset(ghosts, [ghost_run([9] * 5)])
    words = [option.replace("{ghosts}", str(ghosts)) for option in options]
    assert main([str(tmp_path / "runs.h5"), *words]) == 2
    line = capsys.readouterr().err
    assert message in line and line.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["ghosts.h5"]


def refused(*arguments: str, environment: dict[str, str]) -> str:
    """What the command prints when it refuses: one line, exit code 2."""
    command = [sys.executable, "-m", "qwop_recorder.cli", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE, encoding="utf-8"
    )
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_no_display_is_one_line(tmp_path, no_display):
    line = refused(str(tmp_path / "runs.h5"), environment=no_display)
    assert line.startswith("qwop-record: no display") and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option", ["--episodes=0", "--max-knee-share=2", "--countdown=-1", "--rewind=0", f"--player={'x' * 65}"]
)
def test_bad_options_are_one_line(tmp_path, capsys, option):
    assert main([str(tmp_path / "runs.h5"), option]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"qwop-record: {option.split('=')[0]}") and line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("\udcff\udcfe", "the name is not UTF-8"),
        ("ada\nlovelace", "has '\\n'"),
        ("\x1b[31mada", "has '\\x1b'"),
        ("ä" * 33, "has 66 bytes of UTF-8; at most 64"),
    ],
)
def test_a_bad_name_of_the_player_is_one_line(tmp_path, capsys, name, problem):
    assert main([str(tmp_path / "runs.h5"), "--player", name]) == 2
    line = capsys.readouterr().err
    assert line.startswith("qwop-record: --player: ") and problem in line and line.count("\n") == 1
    assert "\x1b" not in line and list(tmp_path.iterdir()) == []


def test_files_it_may_not_append_to_are_left_as_they_are(tmp_path, screen):
    foreign = tmp_path / "notes.h5"
    foreign.write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 500)
    assert "notes.h5" in refused(str(foreign), environment=screen.environment)
    assert foreign.read_bytes() == b"\x89HDF\r\n\x1a\n" + b"x" * 500
    assert "notes.h5" in refused(
        str(foreign / "runs.h5"), environment=screen.environment
    )  # its folder is a file
    assert [p.name for p in tmp_path.iterdir()] == ["notes.h5"]
