"""The real game: what can be tested without it, with stand-ins; and the game itself where it is installed.

The second half runs where `qwop-game doctor` finds the game's file (QWOP_GAME_DIR or the usual folder), a
browser and a driver; elsewhere it is skipped, with the reason.
"""

import base64
import contextlib
import copy
import importlib.util
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import qwop_game
from qwop_datasets import KEY_SOURCES, DatasetReader, DatasetWriter
from qwop_datasets.verify import verify_episode
from qwop_evaluation import cli as evaluation_cli
from qwop_evaluation.lookahead import Lookahead
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.protocol import play
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game import Operation, Session, Simulator
from qwop_game.real import RealGame, RealGameError, find, install
from qwop_game.real import browser as browser_module
from qwop_game.real import game as real_game
from qwop_game.real.browser import Browser, BrowserLost, PageError
from qwop_game.real.cli import main
from qwop_game.real.parity import Parity, add, compare, drawn_keys, embedded_states
from qwop_game.real.reaper import command_lines
from qwop_recorder import RecordConfig
from qwop_recorder import cli as recorder_cli
from qwop_recorder import real_game as recorder_page
from qwop_recorder.errors import RecorderError
from qwop_recorder.key_events import KeyEvent, keys_from_events
from qwop_recorder.loop import SystemClock
from qwop_recorder.phases import Phase
from qwop_recorder.recorder import record
from qwop_replay import VideoError, replay_in_real_game
from qwop_replay import cli as replay_cli
from qwop_replay.real_game import play_live
from qwop_replay.runs import ReplayedRun

pytestmark = pytest.mark.real_game

GOLDEN = Path(__file__).parents[1] / "golden"
PATIENCE = 120.0  # s, before a test gives up on a process; never a thing that is asserted


def why_not() -> str | None:
    try:
        install.installed()
        find.find_pair()
    except RealGameError as error:
        return str(error)
    return None


OBSTACLE = why_not()
needs_game = pytest.mark.skipif(OBSTACLE is not None, reason=f"the real game can't run: {OBSTACLE}")


def random_keys(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, 16, frames), rng.integers(1, 12, frames))[:frames].astype(np.uint8)


# -- finding browser and driver ------------------------------------------------------------------------


def program(folder: Path, name: str, prints: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with an empty PATH, no usual places and no game."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("QWOP_BROWSER", raising=False)
    monkeypatch.delenv("QWOP_DRIVER", raising=False)
    monkeypatch.setenv("QWOP_GAME_DIR", str(tmp_path / "game"))
    monkeypatch.setattr(find, "_BROWSER_PLACES", {})
    monkeypatch.setattr(find, "_DRIVER_PLACES", {})
    return folder


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)\n", "156.0.8078.79"),
        ("Google Chrome 120.0.6099.71 unknown\n", "120.0.6099.71"),
        ("ChromeDriver 114.0.5735.90 (386bc09e8f4f2e025eddae123f36f6263096ae49-refs/...)", "114.0.5735.90"),
        ("Brave Browser 119.1.60.125", "119.1.60.125"),
        ("something else", ""),
        ("", ""),
    ],
)
def test_versions_are_read_from_what_programs_print(text, version):
    assert find.parse_version(text) == version


def test_nothing_found_says_what_to_do(bare):
    with pytest.raises(
        RealGameError, match=r"no Chrome, Chromium or Firefox was found: .*--browser or QWOP_BROWSER"
    ):
        find.find_browser()
    with pytest.raises(RealGameError, match=r"no chromedriver was found: .*--driver or QWOP_DRIVER"):
        find.find_driver()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
def test_of_several_browsers_the_one_that_fits_the_driver_is_taken(bare):
    program(bare, "chromium", "Chromium 101.0.1.2")
    chrome = program(bare, "google-chrome", "Google Chrome 102.0.3.4 ")
    driver = program(bare, "chromedriver", "ChromeDriver 102.0.3.9 (abc)")
    one, other = find.find_pair()
    assert (one.path, one.version, other.path, other.major) == (chrome, "102.0.3.4", driver, "102")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
def test_versions_that_do_not_match_are_both_named(bare, monkeypatch):
    program(bare, "chromium", "Chromium 101.0.1.2")
    driver = program(bare, "mydriver", "ChromeDriver 99.0.3.9 (abc)")
    monkeypatch.setenv("QWOP_DRIVER", str(driver))
    with pytest.raises(RealGameError, match=r"101\.0\.1\.2.*99\.0\.3\.9: get chromedriver 101 "):
        find.find_pair()
    with pytest.raises(RealGameError, match=r"--driver /none: no such program, or it is not exec"):
        find.find_pair(driver="/none")
    monkeypatch.setenv("QWOP_BROWSER", "/none")
    with pytest.raises(RealGameError, match=r"QWOP_BROWSER /none: no such program, or it is not exec"):
        find.find_pair()


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
def test_a_wrapper_that_tells_no_version_is_left_to_the_driver(bare):
    wrapper = program(bare, "wrapper", "")
    program(bare, "chromedriver", "ChromeDriver 102.0.3.9")
    assert find.find_pair(browser=wrapper)[0] == find.Program(wrapper, "")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
def test_firefox_goes_with_any_geckodriver_and_chrome_with_none(bare):
    firefox = program(bare, "firefox", "Mozilla Firefox 153.8.0esr")
    with pytest.raises(
        RealGameError, match=r"no geckodriver was found: .*geckodriver/releases, or say where"
    ):
        find.find_pair()
    chromium = program(bare, "chromium", "Chromium 101.0.1.2")
    gecko = program(bare, "geckodriver", "geckodriver 0.33.0 (a80e5fd61076 2023-04-02)")
    pair = find.find_pair()
    assert pair == (find.Program(firefox, "153.8.0", "firefox"), find.Program(gecko, "0.33.0", "firefox"))
    with pytest.raises(RealGameError, match="no chromedriver was found"):
        find.find_pair(browser=chromium)
    with pytest.raises(RealGameError, match=r"chromium needs a chromedriver; .*geckodriver is not one"):
        find.find_pair(browser=chromium, driver=gecko)
    chrome_driver = program(bare, "chromedriver", "ChromeDriver 101.0.3.9 (abc)")
    assert [one.path for one in find.find_pair()] == [chromium, chrome_driver]
    assert [one.path for one in find.find_pair(browser=firefox)] == [firefox, gecko]


# -- installing ----------------------------------------------------------------------------------------


def stand_in() -> str:
    """Code of our own with all that qwop-gym's patcher looks for, and nothing of the game."""
    return (
        "!function(){var i={};"
        "x.one=function(){this.doneLoading=!0};"
        "0==h&&m.shutdown();"
        "t.preprocess_sound_meta(t.pack.sounds),t.load(t.pack.sounds,s(t,t.create_sound)),t.go();"
        "o.Core.__super__=C.AppFixedTimestep,o.Core.prototype=t(C.AppFixedTimestep.prototype,{});"
        "function f(){return this.request_update(),!0}"
        'var splitter=" \u2022 ";u.main()}();'
    )


def reformatted(code: str) -> str:
    for mark in ("=", ",", "(", "&&", ";", "{"):
        code = code.replace(mark, f" {mark}\n    ")
    return code


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("QWOP_GAME_DIR", str(tmp_path / "game"))
    return tmp_path


def test_the_folder_is_tried_before_the_game_is_fetched(folder, capsys):
    (folder / "game").write_text("", encoding="utf-8")  # in the folder's place
    assert main(["install"]) == 2
    error = capsys.readouterr().err
    assert "QWOP_GAME_DIR" in error and "not a folder" in error and error.count("\n") == 1


def test_the_file_is_patched_by_qwop_gym_and_remembered(folder):
    source = folder / "QWOP.min.js"
    source.write_text(stand_in(), encoding="utf-8")
    found = install.install(source)
    assert found == install.installed()
    assert found.patched_by == "qwop-gym 1.0.1" and found.source == "QWOP.min.js"
    assert found.source_sha256 == install.sha256(source.read_bytes())
    patched = found.path.read_text(encoding="utf-8")
    assert found.path == folder / "game" / "QWOP.min.js"
    assert "m.shutdown" not in patched and "AppFixedTimestep" not in patched and "\u2022" in patched
    assert install.missing_hooks(patched) == []
    # nothing was written into qwop-gym's own package
    package = Path(importlib.util.find_spec("qwop_gym").submodule_search_locations[0])
    written = package / "envs" / "v1" / "game" / "QWOP.min.js"
    assert not written.exists() or written.read_text(encoding="utf-8") != patched


def test_another_layout_and_a_patched_copy_are_taken_too(folder):
    plain, loose = folder / "plain.js", folder / "loose.js"
    plain.write_text(stand_in(), encoding="utf-8")
    loose.write_text(reformatted(stand_in()).replace("&&\n    m.shutdown (\n    )", ""), encoding="utf-8")
    first = install.install(plain)
    code = first.path.read_text(encoding="utf-8")
    second = install.install(loose)
    assert second.patched_by == "qwop-gym 1.0.1, white space ignored"
    squeezed = "".join(second.path.read_text(encoding="utf-8").split())
    assert squeezed.replace("&&m.shutdown()", "") == "".join(code.split())
    third = install.install(first.path)
    assert third.patched_by == "patched already" and third.sha256 == third.source_sha256


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"alert(1)", r"x\.js: not the game, or another edition of it .*'!function\(\)'"),
        (b"\xff\xfe\x00", r"x\.js: not a JavaScript file in UTF-8"),
        (stand_in().replace("u.main()", "u.begin()").encode(), r"\('u\.main\(\)', which qwop-gym's patcher"),
        (None, r"x\.js: No such file"),
    ],
)
def test_what_is_not_the_game_is_refused(folder, capsys, data, message):
    source = folder / "x.js"
    if data is not None:
        source.write_bytes(data)
    assert main(["install", str(source)]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1
    assert not (folder / "game").exists()


def test_without_qwop_gym_the_command_says_how_to_install_it(folder, capsys, monkeypatch):
    source = folder / "x.js"
    source.write_text(stand_in(), encoding="utf-8")
    monkeypatch.setitem(sys.modules, "qwop_gym", None)
    assert main(["install", str(source)]) == 2
    assert capsys.readouterr().err == (
        "qwop-game: qwop-gym is not installed: pip install --no-deps imitation==1.0.1 qwop-gym==1.0.1\n"
    )


def test_a_changed_or_damaged_installation_is_noticed(folder):
    with pytest.raises(RealGameError, match=r"not installed .*: run qwop-game install"):
        install.installed()
    source = folder / "x.js"
    source.write_text(stand_in(), encoding="utf-8")
    found = install.install(source)
    found.path.write_text(found.path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(RealGameError, match="has changed since it was installed"):
        install.installed()
    (found.path.parent / "installed.json").write_text(json.dumps({"sha256": 1}), encoding="utf-8")
    with pytest.raises(RealGameError, match="damaged"):
        install.installed()


def test_without_a_network_the_command_names_the_other_way(folder, monkeypatch, capsys):
    def refuse(*_args, **_options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(install.urllib.request, "urlopen", refuse)
    assert main(["install"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "qwop-game: https://www.foddy.net/QWOP.min.js: Name or service not known; save it"
    )
    assert error.count("\n") == 1


def test_the_game_lies_in_the_users_own_data_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("QWOP_GAME_DIR", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr(install.sys, "platform", "linux")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert install.game_directory() == tmp_path / ".local" / "share" / "qwop-stride"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert install.game_directory() == tmp_path / "xdg" / "qwop-stride"
    monkeypatch.setattr(install.sys, "platform", "darwin")
    assert install.game_directory() == tmp_path / "Library" / "Application Support" / "qwop-stride"


def test_doctor_has_a_line_for_each_thing_that_is_missing(bare, capsys):
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ok", "qwop-gym"],
        ["MISSING", "game"],
        ["MISSING", "browser"],
        ["MISSING", "driver"],
    ]
    assert "run qwop-game install" in lines[1] and "not tried" in lines[4] and len(lines) == 5


def test_commands_without_the_game_end_with_one_line(bare, tmp_path, capsys):
    assert main(["parity", "--episodes", "1"]) == 2
    assert capsys.readouterr().err.startswith("qwop-game: the game's file is not installed")
    assert main(["parity", "--episodes", "-1"]) == 2
    assert recorder_cli.main([str(tmp_path / "runs.h5"), "--game", "real", "--headless"]) == 2
    error = capsys.readouterr().err
    assert "qwop-record: the game's file is not installed" in error and "Traceback" not in error
    for command in (evaluation_cli.main, recorder_cli.main, replay_cli.main):
        with contextlib.suppress(SystemExit):
            assert command([*(["x.h5"] if command is replay_cli.main else []), "--native"]) == 2
        assert re.search("--native.* (with|needs) --game real", capsys.readouterr().err)
    assert recorder_cli.main(["--game", "real", "--keys", "pynput"]) == 2
    assert "the keys of the real game come from its page" in capsys.readouterr().err


# -- the reaper ----------------------------------------------------------------------------------------


def test_the_reaper_kills_what_names_its_folder_and_nothing_else(tmp_path):
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "file").write_text("x", encoding="utf-8")
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    stays, goes = subprocess.Popen(sleeper), subprocess.Popen([*sleeper, f"--log={folder}/x"])
    script = Path(real_game.__file__).with_name("reaper.py")
    reaper = subprocess.Popen([sys.executable, str(script), str(folder)], stdin=subprocess.PIPE)
    try:
        assert goes.poll() is None
        reaper.stdin.close()
        reaper.wait(PATIENCE)
        assert goes.wait(PATIENCE) != 0
        assert stays.poll() is None and not folder.exists()
    finally:
        for process in (stays, goes, reaper):
            process.kill()
            process.wait()


# -- RealGame over a stand-in for the browser ----------------------------------------------------------


class StandIn:
    """What RealGame needs of a Browser, played by the embedded game. `trouble` is raised at a frame."""

    made: list["StandIn"] = []
    trouble: dict[int | str, Exception] = {}
    native_trig = "msun"
    version = "netscape 4.08"

    def __init__(self, _headless, _browser, _driver, _scripts, trig):
        self.simulator = Simulator(1, stop_at_end=False, trig=trig or self.native_trig or "rounded")
        self.frame, self.begun, self.calls = 0, False, []
        StandIn.made.append(self)

    def close(self):
        self.simulator.close()

    def load(self):
        self.simulator.reset()
        self.frame, self.begun = 0, False

    def run(self, script, *arguments):
        self.calls.append(arguments)
        if "begin" in script:
            self.begun = True
            return self._pack([self.simulator.state[0]])
        if "again" in script:
            if "again" in StandIn.trouble:
                raise StandIn.trouble.pop("again")
            self.simulator.operate(Session().then(Operation.RESET).then(Operation.PLAY, 2).array)
            self.frame = 0
            return self._pack([self.simulator.state[0]])
        frame, keys, every, stop_at_end, _draw = arguments
        if frame != self.frame or not self.begun:
            raise PageError(f"lost: the page is at frame {self.frame}, not at {frame}")
        rows = []
        for i, mask in enumerate(keys):
            if stop_at_end and self.simulator.flags[0] & 8:
                break
            if self.frame in StandIn.trouble:
                raise StandIn.trouble.pop(self.frame)
            self.simulator.step(np.array([mask], np.uint8))
            self.frame += 1
            if (i + 1) % every == 0 or i + 1 == len(keys) or (stop_at_end and self.simulator.flags[0] & 8):
                rows.append(self.simulator.state[0])
        return self.frame, self._pack(rows)

    @staticmethod
    def _pack(rows):
        return base64.b64encode(np.array(rows, "<f8").tobytes()).decode()


@pytest.fixture
def stand_ins(monkeypatch):
    monkeypatch.setattr(real_game, "Browser", StandIn)
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "trouble", {})
    return StandIn


def test_a_run_is_asked_for_in_chunks_and_stops_with_the_game(stand_ins):
    keys = drawn_keys(9, frames=1200)  # Q and P held: falls
    game, states = RealGame(), embedded_states(drawn_keys(9, frames=1200))
    game.reset()
    rows = game.run(keys)
    assert np.array_equal(rows, states[1:]) and len(rows) < 1200
    assert game.flags[0] & 9 == 9 and game.snapshot().shape == (1, len(rows))
    assert max(len(call[1]) for call in stand_ins.made[0].calls[1:]) == real_game.CHUNK
    game.step(np.array([3], np.uint8), 4)  # over: nothing moves
    assert np.array_equal(game.state[0], states[-1]) and game.snapshot().shape == (1, len(rows))


def test_the_variant_of_a_game_is_the_one_that_was_asked_for(stand_ins):
    for trig in qwop_game.TRIG_VARIANTS:
        game = RealGame(trig=trig)
        game.reset()
        assert (game.trig, game.trig_source) == (trig, "pinned")
        keys = drawn_keys(20, frames=200)
        assert np.array_equal(game.run(keys), embedded_states(keys, trig)[1:])
        assert compare(game, [keys]).differing == 0
    with pytest.raises(ValueError, match="unknown trigonometry variant 'libm'"):
        RealGame(trig="libm")


LLVM_IS_NOT_ROUNDED = {585: 30, 499: 78, 119: 194}
"""Drawn episodes, and the frame after which the games of these two variants differ."""


def test_some_drawn_episodes_tell_llvm_from_rounded():
    for episode, frame in LLVM_IS_NOT_ROUNDED.items():
        keys = drawn_keys(episode, frames=frame)
        differs = (embedded_states(keys, "llvm") != embedded_states(keys, "rounded")).any(1)
        assert np.flatnonzero(differs).tolist() == [frame]


def test_a_native_game_has_the_browsers_variant(with_provenance, monkeypatch):
    game = RealGame(trig=None)
    game.reset()
    assert (game.trig, game.trig_source) == ("msun", "native")
    assert compare(game, [drawn_keys(20, frames=200)]).differing == 0
    # and so has the game of a planner and of a judge, without being told
    (episode,) = play(Scripted(), [0], max_seconds=4, game=RealGame(trig=None))
    assert np.array_equal(
        episode.raw_observations, play(Scripted(), [0], max_seconds=4, trig="msun")[0].raw_observations
    )
    monkeypatch.setattr(StandIn, "native_trig", None)
    with pytest.raises(RealGameError, match="no variant of the embedded game: omit --native"):
        RealGame(trig=None).reset()


@pytest.mark.parametrize("trouble", [BrowserLost("the browser is gone"), PageError("lost: the page is new")])
def test_a_lost_episode_comes_back_exactly(stand_ins, caplog, trouble):
    keys, other = random_keys(90), Simulator(1)
    stand_ins.trouble[70] = trouble
    game = RealGame()
    game.reset()
    for mask in keys:
        game.step(np.array([mask], np.uint8))
        other.step(np.array([mask], np.uint8))
        assert np.array_equal(game.state, other.state)
    assert len(stand_ins.made) == 2
    assert "70 frames into the episode: another browser has restored the same state" in caplog.text


def test_without_recovery_a_lost_episode_says_so_until_the_next_reset(stand_ins):
    stand_ins.trouble[3] = BrowserLost("the game's window was closed")
    game = RealGame(recover=False)
    game.reset()
    line = "the game's window was closed, 3 frames into the episode: the episode is lost; reset"
    step = np.array([1], np.uint8)
    game.step(step, 3)
    for _ in range(2):
        with pytest.raises(RealGameError, match=line):
            game.step(step)
    game.reset()
    game.step(step, 3)
    assert len(stand_ins.made) == 2


def test_an_episode_that_replays_differently_is_refused(stand_ins):
    game = RealGame()
    game.reset()
    game.step(np.array([1], np.uint8), 5)
    game._row[0] += 1e-9  # as if the page had shown something else before
    stand_ins.trouble[5] = BrowserLost("the browser is gone")
    with pytest.raises(RealGameError, match="its replay reached another state"):
        game.step(np.array([1], np.uint8))


def test_a_browser_that_never_stays_is_given_up(stand_ins, monkeypatch):
    monkeypatch.setattr(
        StandIn, "load", lambda self: (_ for _ in ()).throw(BrowserLost("the browser is gone"))
    )
    with pytest.raises(RealGameError, match="the game did not start: the browser is gone"):
        RealGame().reset()
    assert len(stand_ins.made) == 3


def test_another_start_is_refused(stand_ins, monkeypatch):
    monkeypatch.setattr(StandIn, "load", lambda self: self.simulator.step(np.array([0], np.uint8)))
    with pytest.raises(RealGameError, match="not at the canonical start"):
        RealGame().reset()


def test_step_before_reset_says_so(stand_ins):
    with pytest.raises(RealGameError, match=r"call reset\(\) first"):
        RealGame().step(np.array([0], np.uint8))


def test_a_snapshot_brings_an_episode_back(stand_ins):
    game = RealGame()
    game.reset()
    game.run(random_keys(60))
    there, state = game.snapshot(), game.state
    game.run(random_keys(20, 1))
    assert not np.array_equal(game.state, state)
    game.restore(there)
    assert np.array_equal(game.state, state) and np.array_equal(game.snapshot(), there)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda game: pickle.loads(pickle.dumps(game))])
@pytest.mark.parametrize("recover", [True, False])
def test_a_copy_goes_on_in_a_browser_of_its_own(stand_ins, caplog, way, recover):
    game, keys = RealGame(recover=recover), random_keys(80)
    with pytest.raises(RealGameError, match=r"call reset\(\) first"):
        way(game).step(np.array([0], np.uint8))
    game.reset()
    at_start = way(way(game))
    game.run(keys[:60])
    other = way(game)
    assert len(stand_ins.made) == 1 and np.array_equal(other.state, game.state)
    assert np.array_equal(other.run(keys[60:]), game.run(keys[60:]))
    assert np.array_equal(at_start.run(keys), embedded_states(keys)[1:])
    assert len(stand_ins.made) == 3 and not caplog.records
    assert np.array_equal(other.snapshot(), game.snapshot())
    game.close()
    for closed in (game, way(game)):
        with pytest.raises(RealGameError, match=r"the game is closed: call reset\(\) first"):
            closed.step(np.array([0], np.uint8))
    other.step(np.array([0], np.uint8))


def test_a_copied_environment_goes_on_alike(stand_ins):
    env = gymnasium.make("qwop_game/QWOP-real-v0", frame_skip=3, observation="features")
    env.reset(seed=1)
    for action in (4, 8, 4):
        env.step(action)
    other = pickle.loads(pickle.dumps(env))
    for action in (0, 5, 7):
        ours, theirs = env.step(action), other.step(action)
        assert ours[0].tobytes() == theirs[0].tobytes() and ours[1:4] == theirs[1:4]
    assert other.unwrapped.game is other.unwrapped.games.simulator is not env.unwrapped.game


def test_threads_take_turns_in_the_browser(stand_ins, monkeypatch):
    """Two calls into the page at a time would mix up the browser's answers."""
    inside, most = [0], [0]
    run = StandIn.run

    def counted(self, *arguments):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.0005)
        answer = run(self, *arguments)
        inside[0] -= 1
        return answer

    monkeypatch.setattr(StandIn, "run", counted)
    game = RealGame()
    game.reset()
    step = np.array([1], np.uint8)
    threads = [threading.Thread(target=lambda: [game.step(step) for _ in range(25)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] and game.snapshot().shape == (1, 100)


def check_same_environment(make_real) -> None:
    """Both environments, step by step, on three episodes with different settings."""
    for seed, settings in enumerate(
        ({}, {"frame_skip": 1, "observation": "features"}, {"action_set": "full", "max_frames": 60})
    ):
        ours, real = qwop_game.QWOPEnv(**settings), make_real(**settings)
        assert ours.action_space == real.action_space and ours.observation_space == real.observation_space
        rng = np.random.default_rng(seed)
        (first, info), (other, other_info) = ours.reset(seed=1), real.reset(seed=1)
        over = False
        while not over:
            assert np.array_equal(first, other) and first.dtype == other.dtype
            assert info.keys() == other_info.keys()
            for name, value in info.items():
                assert type(value) is type(other_info[name])
                assert np.array_equal(value, other_info[name]), name
            action = int(rng.integers(ours.action_space.n))
            first, reward, terminated, truncated, info = ours.step(action)
            other, *rest, other_info = real.step(action)
            assert [reward, terminated, truncated] == rest
            over = terminated or truncated
        assert np.array_equal(first, other)
        ours.close()
        real.close()


def test_the_environment_is_the_same_but_for_the_game(stand_ins):
    check_same_environment(lambda **settings: gymnasium.make("qwop_game/QWOP-real-v0", **settings).unwrapped)


class Scripted:
    """A `Player` that strides by rote."""

    name, frame_skip, action_set, samples = "rote", 3, "full", False

    def __init__(self):
        self.decisions = 0

    def scores(self, features):
        self.decisions += 1
        return np.eye(16)[[(7, 8)[self.decisions // 5 % 2]] * len(features)]


@pytest.fixture
def with_provenance(stand_ins, monkeypatch):
    """Stand-ins that name a browser, as the provenance of a run needs it."""
    program = find.Program(Path("chrome"), "1.2")
    game_file = install.Installed(Path("x"), "x", "aa", "bb", "y", "2024-02-29")
    for name, value in (("browser", program), ("driver", program), ("game", game_file)):
        monkeypatch.setattr(StandIn, name, value, raising=False)


@pytest.mark.parametrize(("native", "exact"), [("llvm", True), ("msun", False)])
def test_a_native_replay_in_another_variant_says_so_and_compares(
    with_provenance, monkeypatch, tmp_path, capsys, native, exact
):
    """A short run is often the same in both: the comparison decides. None of it where the variants agree."""
    (episode,) = play(Scripted(), [0], max_seconds=4, game=RealGame())
    path = tmp_path / "runs.h5"
    DatasetWriter(path).append(episode)
    replay = [str(path), "--game", "real", "--speed", "100"]
    monkeypatch.setattr(StandIn, "native_trig", native)
    assert replay_cli.main([*replay, "--native"]) == (0 if exact else 2)
    out, err = capsys.readouterr()
    assert f"runs 0 was recorded with rounded, and this browser's own sine and cosine are {native}" in err
    assert "omit --native to play it with rounded" in err
    equal = f"{episode.num_frames} frames in the real game ({native}, native), each equal to the recorded one"
    assert (equal in out) == exact
    assert (f"in the real game ({native}, native) it differs: frame " in err) != exact
    monkeypatch.setattr(StandIn, "native_trig", "rounded")
    assert replay_cli.main([*replay, "--native"]) == replay_cli.main(replay) == 0
    assert capsys.readouterr().err == ""


def test_a_replay_in_the_real_game_from_python(with_provenance, monkeypatch, tmp_path):
    (episode,) = play(Scripted(), [0], max_seconds=4, game=RealGame())
    path = tmp_path / "runs.h5"
    DatasetWriter(path).append(episode)
    started = []
    result = replay_in_real_game(
        path, -1, speed=100, on_start=lambda run, game: started.append((run.name, game.trig))
    )
    assert started == [("runs 0", "rounded")]
    assert (result.trig, result.trig_source) == ("rounded", "pinned")
    assert result.verification.exact and result.run.last_frame == episode.num_frames
    monkeypatch.setattr(StandIn, "native_trig", "msun")
    result = replay_in_real_game(episode, speed=100, native=True)
    assert (result.trig, result.trig_source, result.verification.exact) == ("msun", "native", False)

    # What is wrong is said before a browser is opened.
    browsers = len(StandIn.made)
    (tmp_path / "run.mp4").touch()
    with pytest.raises(VideoError, match="exists already"):
        replay_in_real_game(path, video=tmp_path / "run.mp4")
    with pytest.raises(ValueError, match="speed is 0"):
        replay_in_real_game(path, speed=0)
    assert len(StandIn.made) == browsers


@pytest.mark.parametrize("option", [("--ghost", ":1"), ("--html", "run.html"), ("--size", "960x540")])
def test_the_real_game_shows_one_run_in_its_own_picture(option, capsys):
    assert replay_cli.main(["runs.h5", "--game", "real", *option]) == 2
    assert "omit --ghost, --html and --size" in capsys.readouterr().err


def test_the_provenance_tells_where_sine_and_cosine_come_from(with_provenance):
    for trig, source in (("fdlibm", "pinned"), (None, "native")):
        provenance = RealGame(trig=trig).provenance()
        assert provenance["trig_source"] == source and provenance["browser"] == "netscape 4.08"


def test_the_parity_command_counts_and_names_what_it_compared(with_provenance, tmp_path, capsys):
    keys = tmp_path / "keys.npz"
    np.savez(keys, run=drawn_keys(585, frames=60))
    parity = ["parity", "--episodes", "0", "--keys", str(keys)]
    for native, how in ((["--native"], "msun (native)"), (["--trig", "llvm"], "llvm (pinned)")):
        assert main([*parity, *native]) == 0
        counted, named = capsys.readouterr().out.splitlines()
        assert counted.startswith("1 episodes, 0 of them over 100 m, 60 frames; 0 of 5612 doubles differ")
        assert named == f"netscape 4.08, sine and cosine {how}, game's file SHA-256 bb"
    # qwop-data convert --to npz writes the keys of all runs in one array, beside others
    np.savez(keys, keys=drawn_keys(585, frames=60), times=np.zeros(61))
    assert main(parity) == 2
    assert "one uint8 array of key masks for each run" in capsys.readouterr().err


def test_plans_for_the_real_game_are_made_in_the_embedded_one(with_provenance):
    player, lookahead = CheckpointPlayer(shipped_policy_path()), Lookahead(3, segment=2, horizon=4)
    (embedded,) = play(player, [3], max_seconds=2, lookahead=lookahead)
    (real,) = play(player, [3], max_seconds=2, lookahead=lookahead, game=RealGame())
    assert np.array_equal(embedded.keys, real.keys)
    assert np.array_equal(embedded.raw_observations, real.raw_observations)
    assert not np.array_equal(real.keys, play(player, [3], max_seconds=2)[0].keys)


def test_protocol_p_gives_the_same_episodes_in_both_games(stand_ins, with_provenance):
    embedded = [play(Scripted(), [seed], max_seconds=4)[0] for seed in (0, 1)]
    stand_ins.trouble[40] = BrowserLost("the browser is gone")
    for seed, ours in enumerate(embedded):
        (real,) = play(Scripted(), [seed], max_seconds=4, game=RealGame())
        assert np.array_equal(ours.keys, real.keys) and np.array_equal(ours.times, real.times)
        assert np.array_equal(ours.raw_observations, real.raw_observations)
        assert (real.game, real.provenance["game_sha256"], real.provenance["frame_skip"]) == ("real", "bb", 3)
        assert verify_episode(real).exact
        # and its keys, pressed again there, give it once more; other keys are told apart
        assert play_live(ReplayedRun("run", real), RealGame(stop_at_end=False), speed=100).exact
        other = real.replace(keys=np.where(np.arange(real.num_frames) == 9, 4, real.keys).astype(np.uint8))
        verification = play_live(ReplayedRun("run", other), RealGame(stop_at_end=False), speed=100)
        assert (verification.exact, verification.frame) == (False, 10)


class StandInPage(StandIn):
    """A page in which somebody plays: its batches come from `script`, (frames' keys, events, commands)."""

    script: list = []

    def run(self, script, *arguments):
        if "performance.now" in script:
            return 0.0
        if "show" in script or "start" in script:
            self.playing = "start" in script or getattr(self, "playing", False)
            return None
        if "take" not in script:
            return super().run(script, *arguments)
        batch = {"frames": "", "events": [], "commands": [], "playing": False, "focused": True}
        if arguments[0] or not getattr(self, "playing", False):  # the session is idle, or has not started it
            return batch | {"commands": StandInPage.script.pop(0)[2] if self.frame else []}
        keys, events, commands = StandInPage.script.pop(0)
        if keys is None:
            raise BrowserLost("the browser is gone")
        rows = []
        for i, mask in enumerate(keys):
            self.simulator.step(np.array([mask], np.uint8))
            self.frame += 1
            instant = 1e6 + 1000 * self.frame / 30
            so_far = sum(event[0] <= instant for event in events) if i + 1 < len(keys) else len(events)
            rows.append(np.append(self.simulator.state[0], [mask, instant, 0.2, so_far, instant + 5]))
        self.playing = not commands
        return batch | {
            "frames": self._pack(rows),
            "events": events,
            "commands": commands,
            "playing": self.playing,
        }


class Hasty(SystemClock):
    def sleep(self, seconds):
        pass


def use_stand_in_page(monkeypatch, script):
    """Let a real game play this script of the page instead of a browser."""
    monkeypatch.setattr(real_game, "Browser", StandInPage)
    monkeypatch.setattr(StandInPage, "script", script)
    program = find.Program(Path("chrome"), "1.2")
    game_file = install.Installed(Path("x"), "x", "aa", "bb", "y", "2024-02-29")
    for name, value in (("browser", program), ("driver", program), ("game", game_file)):
        monkeypatch.setattr(StandIn, name, value, raising=False)


@pytest.mark.parametrize("lost", [False, True])
def test_a_session_takes_what_the_page_played(stand_ins, monkeypatch, tmp_path, lost):
    at = 1e6 + 1000 / 30
    first = (
        [0, 1, 1, 9, 8],
        [[at + 5, 1, True, "page"], [at + 80, 8, True, "page"], [at + 105, 1, False, "page"]],
    )
    second = ([10, 8], [[at + 150, 2, True, "page"], [at + 151, 2, False, "page"]])
    end = (None, [], []) if lost else ([8], [], ["FINISH"])
    script = [(*first, []), (*second, []), end, (None, [], ["FINISH"])]
    use_stand_in_page(monkeypatch, script)
    path = tmp_path / "runs.h5"
    config = RecordConfig(path, "ada", game="real", headless=True, countdown=0)
    if lost:
        with pytest.raises(RecorderError, match="the browser is gone; the session has ended"):
            record(config, clock=Hasty())
    else:
        assert record(config, clock=Hasty()).kept == 1
    (episode,) = checked(path)
    played = [*first[0], *second[0], *([] if lost else [8])]
    assert episode.keys.tolist() == played and episode.truncated
    assert [KEY_SOURCES[event["source"]] for event in episode.key_events] == ["page"] * 5


def episodes_in_one_page(game, count=4):
    """Play until each fall and reset softly. Yields each start, its keys and the states after each frame."""
    for number in range(count):
        game.reset()
        keys = random_keys(500, seed=number)
        rows = game.run(keys)
        yield game.episode_start, keys[: len(rows)], rows


def replayed(start, keys):
    simulator, rows = Simulator(1), []
    simulator.begin(start)
    for mask in keys:
        simulator.step(np.array([mask], np.uint8))
        rows.append(simulator.state[0])
    return np.array(rows)


def test_episodes_in_one_page_have_what_happened_before_as_their_start(stand_ins, caplog):
    game = RealGame(keep_page=True)
    starts = []
    for start, keys, rows in episodes_in_one_page(game):
        assert 20 < len(keys) < 500 and np.array_equal(replayed(start, keys), rows)
        starts.append(start)
    assert len(stand_ins.made) == 1 and game.loads == 1
    assert starts[0] is None and [Session.of(s).start_problem() for s in starts[1:]] == [None] * 3
    assert len({len(s) for s in starts[1:]}) == 3
    game.reset()
    before = game.episode_start
    game.reset()  # nothing was played: the same start
    assert np.array_equal(game.episode_start, before) and game.loads == 1
    game.run(random_keys(40))
    middle, state = game.snapshot(), game.state
    game.run(random_keys(30, 1))
    game.restore(middle)  # loads the page and plays all that happened in it
    assert (
        np.array_equal(game.state, state) and np.array_equal(game.episode_start, before) and game.loads == 2
    )
    assert not caplog.text


@pytest.mark.parametrize("at", ["again", 30])
def test_a_lost_page_of_several_episodes(stand_ins, caplog, at):
    """Lost at a reset: a new page. Lost within an episode: all episodes of the page come back."""
    game = RealGame(keep_page=True)
    list(episodes_in_one_page(game, 2))
    start = game.episode_start
    if at == "again":
        stand_ins.trouble["again"] = BrowserLost("the browser is gone")
        game.reset()
        assert game.episode_start is None and game.loads == 2 and len(stand_ins.made) == 2
        assert "the page is lost (the browser is gone): loading it again" in caplog.text
    else:
        game.reset()
        start = game.episode_start
        keys = random_keys(60, 9)
        stand_ins.trouble[30] = BrowserLost("the browser is gone")
        rows = [game.run(keys[:30]), game.run(keys[30:])]
        assert np.array_equal(np.concatenate(rows), replayed(start, keys)[: sum(map(len, rows))])
        assert "30 frames into the episode: another browser has restored the same state" in caplog.text
        assert np.array_equal(game.episode_start, start)


def test_runs_in_one_page_are_recorded_with_their_start(stand_ins, monkeypatch, tmp_path):
    at = 1e6 + 1000 / 30
    event = [[at + 5, 1, True, "page"]]
    first = ([0, 1, 1, 1, 1], event, ["FINISH"])
    second = ([1, 1], [], ["FINISH"])
    script = [first, (None, [], ["RESTART"]), second, (None, [], ["FINISH"])]
    use_stand_in_page(monkeypatch, script)
    path = tmp_path / "runs.h5"
    record(RecordConfig(path, "ada", game="real", headless=True, countdown=0, keep_page=True), clock=Hasty())
    assert len(stand_ins.made) == 1
    (episode,) = checked(path)
    assert episode.verified == "exact" and episode.start is not None
    assert np.array_equal(episode.start[-3:], [[2, 1, 4], [1, 0, 1], [2, 0, 2]])


# -- parity --------------------------------------------------------------------------------------------


def test_parity_counts_every_value_that_differs():
    states = embedded_states(drawn_keys(20, frames=45))
    total = Parity()
    add(total, states, states.copy())
    assert (total.episodes, total.frames, total.values, total.differing) == (1, 45, 46 * 92, 0)
    other = states.copy()
    other[7, 3] = np.nextafter(other[7, 3], 9)  # torso.vx by one ulp: not to be seen in float32
    other[9, 0] += 1.0
    add(total, other, states)
    assert (total.differing, total.observations_differing) == (2, 1)
    assert total.first.startswith("episode 1, frame 7, torso.vx: ")
    add(total, states[:35], states)
    assert total.differing == 2 + 11 * 92


def test_drawn_keys_hold_each_combination_once_and_are_drawn_the_same_again():
    assert [set(drawn_keys(i, frames=9).tolist()) for i in range(16)] == [{i} for i in range(16)]
    assert np.array_equal(drawn_keys(30), drawn_keys(30)) and not np.array_equal(
        drawn_keys(30), drawn_keys(32)
    )
    assert len(drawn_keys(31)) == 3000 and drawn_keys(31).max() <= 15


# -- the game itself -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def game():
    game = RealGame()
    yield game
    game.close()


def left_behind() -> list[str]:
    return [text for text in command_lines().values() if "qwop-browser-" in text]


VICTIMS = {
    "renderer": "--type=renderer",
    "driver": r"driver\0--port",
    "browser": r"--user-data-dir|-profile\0",
}
"""Patterns of command lines, of Chromium's processes and Firefox's."""


def processes(game: RealGame, pattern: str) -> list[int]:
    folder = str(game._browser._folder)
    return [pid for pid, text in command_lines().items() if folder in text and re.search(pattern, text)]


@needs_game
def test_both_games_give_the_same_numbers(game):
    result = compare(game, [drawn_keys(episode) for episode in (0, 9, 17, 18, 21)])
    assert result.frames > 1000 and (result.differing, result.first) == (0, None)


@needs_game
def test_a_whole_run_over_the_hurdle_to_the_sand_is_the_same(game):
    with np.load(GOLDEN / "rounded_runs.npz") as file:
        keys = file["actions_0"]
    result = compare(game, [keys])
    assert (result.finished, result.frames, result.differing) == (1, len(keys), 0)


@needs_game
@pytest.mark.parametrize("trig", ["rounded", None])
def test_every_browser_plays_the_same_game(browser_pair, trig):
    """With exact sine and cosine the canonical game, with its own the embedded game of its variant."""
    browser, driver = browser_pair
    game = RealGame(True, browser.path, driver.path, trig=trig)
    try:
        if trig is None and game.native_trig not in qwop_game.TRIG_VARIANTS:
            pytest.skip(f"the embedded game does not know this browser's own variant ({game.native_trig})")
        known = "rounded" if game.trig == "llvm" else game.trig  # no trace tells these two apart
        with np.load(GOLDEN / f"{known}_runs.npz") as file:
            keys = file["actions_0"]
        drawn = (9, 20, 21, *LLVM_IS_NOT_ROUNDED)
        result = compare(game, [keys, *map(drawn_keys, drawn)])
    finally:
        game.close()
    assert (result.finished, result.differing, result.first) == (1, 0, None)


@needs_game
def test_the_real_environment_is_the_same(game):
    check_same_environment(lambda **settings: gymnasium.make("qwop_game/QWOP-real-v0", **settings).unwrapped)


@needs_game
def test_the_games_own_reset_leads_to_the_embedded_games_start(caplog):
    game = RealGame(keep_page=True)
    try:
        for start, keys, rows in episodes_in_one_page(game):
            assert np.array_equal(replayed(start, keys), rows)
        assert game.loads == 1 and game.episode_start is not None and not caplog.text
    finally:
        game.close()


@needs_game
def test_pictures_change_with_the_game(game):
    game.reset()
    before = game.picture()
    assert before.shape == (400, 640, 3) and before.std() > 20
    game.run(np.full(60, 9, np.uint8))
    assert (game.picture() != before).mean() > 0.05


@needs_game
def test_a_port_that_is_taken_is_left_for_another(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], browser_module.free_port()]
        monkeypatch.setattr(browser_module, "free_port", lambda: ports.pop(0))
        browser = Browser()
        try:
            browser.load()
            assert ports == [] and browser.run("return bridge.ready") is True
        finally:
            browser.close()


@needs_game
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("victim", ["renderer", "driver", "page"])
def test_whatever_is_killed_the_episode_goes_on_exactly(victim, caplog):
    keys, other = random_keys(60, 3), Simulator(1)
    game = RealGame()
    try:
        game.reset()
        for frame, mask in enumerate(keys):
            if frame == 30:
                if victim == "page":
                    game.selenium.refresh()
                victims = processes(game, VICTIMS[victim]) if victim in VICTIMS else []
                if victim in VICTIMS and not victims:
                    pytest.skip("this browser's renderers do not name their session")
                for pid in victims:
                    os.kill(pid, signal.SIGKILL)
            game.step(np.array([mask], np.uint8))
            other.step(np.array([mask], np.uint8))
            assert np.array_equal(game.state, other.state)
        assert "30 frames into the episode: another browser has restored" in caplog.text
        folder = str(game._browser._folder)
    finally:
        game.close()
    assert not [text for text in left_behind() if folder in text] and not Path(folder).exists()


PLAYS_ON = """
import numpy as np
from qwop_game.real import RealGame
game = RealGame()
game.reset()
print(game._browser._folder, flush=True)
while True:
    game.step(np.array([1], np.uint8))
"""


@needs_game
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_no_browser_survives_its_program(how):
    program = subprocess.Popen(
        [sys.executable, "-c", PLAYS_ON],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        encoding="utf-8",
    )
    folder = program.stdout.readline().strip()
    assert [text for text in left_behind() if folder in text]
    os.killpg(program.pid, getattr(signal, how))  # as a terminal's Ctrl-C reaches the whole group
    error = program.communicate(timeout=PATIENCE)[1]
    assert ("KeyboardInterrupt" in error) == (how == "SIGINT")
    deadline = time.monotonic() + PATIENCE
    while [text for text in left_behind() if folder in text] or Path(folder).exists():
        assert time.monotonic() < deadline, "the browser is still there"
        time.sleep(0.1)


# -- recording in the page -----------------------------------------------------------------------------

SPY = """
window.spied = [];
const person = bridge.person, typed = person.typed.bind(person);
person.typed = (event) => {
  if (event.type !== "keypress") spied.push([event.timeStamp, event.key, event.type === "keydown"]);
  typed(event);
};
"""


class Typist(SystemClock):
    """A clock whose sleep lets the driver type: `script` maps a session's phase to what is typed, in turn."""

    def __init__(self, script):
        super().__init__()
        self.script, self.session, self.game, self.folder, self.phases = script, None, None, "", []

    def sleep(self, seconds):
        super().sleep(seconds)
        if not self.phases or self.phases[-1] is not self.session.phase:
            self.phases.append(self.session.phase)
        waiting = self.script.get(self.session.phase)
        if waiting:
            waiting.pop(0)(self.game)


def typed(*parts):
    """Keys down (lower case), up (upper case), pauses (s)."""
    from selenium.webdriver import ActionChains

    def act(game):
        chain = ActionChains(game.selenium, duration=0)
        for part in parts:
            if isinstance(part, float):
                chain.pause(part)
            elif len(part) > 1 or not part.isalpha():
                chain.send_keys(part)
            elif part.islower():
                chain.key_down(part)
            else:
                chain.key_up(part.lower())
        chain.perform()

    return act


def record_typed(monkeypatch, path, script, **options) -> Typist:
    """`qwop-record --game real` in headless Chromium, with the driver typing."""
    typist, play_in_page = Typist(script), recorder_page.play

    def spied_play(session, game, *rest):
        typist.session, typist.game, typist.folder = session, game, str(game._browser._folder)
        play_in_page(session, game, *rest)

    monkeypatch.setattr(recorder_page, "play", spied_play)
    config = RecordConfig(path, "ada", game="real", headless=True, countdown=0.1, **options)
    typist.result = None
    try:
        typist.result = record(config, clock=typist).unsaved
    except RecorderError as error:
        typist.result = str(error)
    return typist


def checked(path) -> list:
    """The file's episodes; each is exact, and its frames' keys follow from its stamps alone."""
    with DatasetReader(path) as reader:
        episodes = list(reader)
    for episode in episodes:
        assert (episode.game, episode.verified) == ("real", "exact")
        sampled = episode.wall_times - episode.wall_clock_offset
        events = [
            KeyEvent(float(e["time"]), int(e["key"]), bool(e["pressed"]), "page") for e in episode.key_events
        ]
        assert np.array_equal(keys_from_events(events, sampled), episode.keys)
    return episodes


@needs_game
def test_keys_typed_into_the_page_are_recorded_frame_by_frame(monkeypatch, tmp_path):
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "runs.h5"
    script = {
        Phase.PLAYING: [
            lambda game: game.selenium.execute_script(SPY),
            typed("q", "w", "o", "p", 0.15, "Q", "W", "O", "P"),  # four keys at once
            typed("w", "W"),  # a tap shorter than a frame
            typed("o", "o", "o", 0.1, "O"),  # auto-repeat
            typed("x", "X", "q", 0.2, "Q"),  # a key of no meaning
            typed(Keys.ESCAPE),
        ],
        Phase.PAUSED: [typed(Keys.ESCAPE)],
    }
    spied: list = []
    script[Phase.PAUSED].insert(0, lambda game: spied.extend(game.selenium.execute_script("return spied")))
    assert record_typed(monkeypatch, path, script).result == 0
    (episode,) = checked(path)
    assert episode.truncated and not episode.terminated and episode.provenance["game_sha256"]
    seen, down = [], set()
    for time_, key, pressed in spied:  # what the page was told, without repeats
        if key in "qwop" and pressed != (key in down):
            down ^= {key}
            seen.append((time_ / 1000, key, pressed))
    stored = [("qwop"[int(np.log2(e["key"]))], bool(e["pressed"])) for e in episode.key_events]
    assert stored == [(key, pressed) for _, key, pressed in seen] and len(stored) == 14
    assert len([key for _, key, _ in spied if key in "qwop"]) == 16 and len(spied) >= 18
    # each tap is in one frame at least, and the four keys are in one frame together
    assert 15 in episode.keys and (episode.keys == 2).sum() >= 1
    # stamps are the page's own, but for one that comes before the frame that was already played
    gaps = np.diff([time_ for time_, _, _ in seen])
    assert np.abs(np.diff(episode.key_events["time"]) - gaps).max() < 1 / 30


@needs_game
def test_pause_step_back_and_the_next_run_work_in_the_page(monkeypatch, tmp_path):
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "runs.h5"
    wait = lambda game: None  # noqa: E731
    script = {
        Phase.PLAYING: [
            typed("q", 0.2, "o", 0.2, "Q", "O"),
            *[wait] * 12,
            typed("w", 0.1, "W", Keys.ARROW_LEFT),
            *[wait] * 3,
            typed("q", 0.1, Keys.SPACE),
            typed(Keys.ESCAPE),
        ],
        Phase.REWOUND: [typed(Keys.SPACE)],
        Phase.PAUSED: [typed("Q", Keys.SPACE), typed(Keys.ESCAPE)],
    }
    typist = record_typed(monkeypatch, path, script, rewind=0.5)
    assert typist.result == 0 and Phase.REWOUND in typist.phases
    (episode,) = checked(path)
    assert len(episode.rewinds) == 1 and len(episode.discarded_keys) == 15


@needs_game
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
@pytest.mark.parametrize("how", ["browser", "page"])
def test_what_was_played_is_kept_when_the_page_is_lost(monkeypatch, tmp_path, how):
    path = tmp_path / "runs.h5"

    def lose(game):
        if how == "page":
            game.selenium.close()
        for pid in processes(game, VICTIMS["browser"]):
            os.kill(pid, signal.SIGKILL)

    script = {Phase.PLAYING: [typed("q", 0.3, "p", 0.2, "Q", "P"), lambda game: None, lose]}
    typist = record_typed(monkeypatch, path, script)
    assert typist.result.endswith("; the session has ended, and the run so far by then is kept")
    (episode,) = checked(path)
    assert episode.truncated and episode.num_frames >= 10
    assert not Path(f"{path}.journal").exists()
    assert not [text for text in left_behind() if typist.folder in text]


@needs_game
def test_a_visible_game_without_a_display_says_so(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("displays are named on Linux only")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(RealGameError, match="no display for the browser's window"):
        Browser(headless=False)
