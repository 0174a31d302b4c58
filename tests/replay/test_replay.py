"""Replays: the check, the window's keys, videos that are always finished, the page in a browser."""

import base64
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from qwop_cli import CommandError
from qwop_datasets import DatasetReader, DatasetWriter, Episode, replay_keys, video
from qwop_datasets.video import VideoError, VideoWriter
from qwop_evaluation import CheckpointPlayer, play, shipped_policy_path
from qwop_game import CANONICAL_START, Operation
from qwop_game.real import RealGame, RealGameError
from qwop_game.render import STANDING_HURDLE, Renderer, pygame
from qwop_replay import load_runs, replay, write_video
from qwop_replay.cli import main
from qwop_replay.playback import Playback, play_in_window
from qwop_replay.race import Race
from qwop_replay.real_game import play_live
from qwop_replay.runs import ReplayedRun
from qwop_replay.show import video_frames
from qwop_replay.web import runs_file

GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"


@pytest.fixture(scope="module")
def dataset(golden, golden_keys, tmp_path_factory, play_keys):
    """Episode 0: a whole run, 1: its first 3 seconds, 2: the same with one number changed."""
    path = tmp_path_factory.mktemp("replay") / "runs.h5"
    short = play_keys(golden_keys[:90], trig="glibc-fma")
    wrong = short.raw_observations.copy()
    wrong[50, 0] += 0.25
    with DatasetWriter(path) as writer:
        writer.append(golden)
        writer.append(short)
        writer.append(play_keys(golden_keys[:90], trig="glibc-fma").replace(raw_observations=wrong))
    return path


# -- what is shown -------------------------------------------------------------------------------------


def test_hurdle_stands_until_it_is_met(golden):
    run = ReplayedRun("golden", golden)
    assert run.hurdle.shape == (2302, 2, 3)
    moved = np.flatnonzero((run.hurdle != run.hurdle[0]).any(axis=(1, 2)))
    assert run.hurdle_at(0) == pytest.approx(np.array(STANDING_HURDLE), abs=1e-4)
    # The runner is within a few meters of it when it first moves, and it lies behind the runner in the end.
    assert 47.0 < golden.raw_observations[moved[0], 0] / 10 < 51.0
    assert run.hurdle_at(2301)[1] != pytest.approx(np.array(STANDING_HURDLE[1]), abs=0.5)


def test_run_beyond_its_end(dataset):
    (run,) = load_runs(str(dataset), 1, [])
    assert run.last_frame == 90
    assert run.raw_at(500).tolist() == run.episode.raw_observations[90].tolist()
    assert run.seconds_at(500) == run.episode.times[90]
    assert run.keys_at(89) == run.episode.keys[89]
    assert run.keys_at(90) == 0
    assert run.ending == "cut short"
    assert list(run.splits) == [10, 50, 100] and all(np.isnan(t) for t in run.splits.values())


def test_a_policy_plays_the_episode_of_a_seed(dataset):
    path = shipped_policy_path()
    run, ghost = load_runs(path, 5, [f"{path}:6"])
    (expected,) = play(CheckpointPlayer(path, numpy=True), [5])
    assert (
        np.array_equal(run.episode.keys, expected.keys)
        and run.name == "policy 5"
        and ghost.name == "policy 6"
    )
    assert run.episode.provenance["protocol"] == "P" and run.verification.exact
    assert load_runs(dataset, 1, [str(path)])[1].episode.provenance["seed"] == 0


def test_a_policy_that_can_not_be_watched(dataset, tmp_path, capsys):
    foreign = tmp_path / "x.safetensors"
    foreign.write_bytes(dataset.read_bytes())
    for arguments, message in (
        ([tmp_path / "none.safetensors"], "no such checkpoint"),
        ([foreign], "not a readable checkpoint"),
        ([dataset, "--ghost", foreign], "not a readable checkpoint"),
        (
            [shipped_policy_path(), "--episode", -1],
            "no episode -1: a policy's are numbered by their seed, from 0",
        ),
    ):
        assert main([str(a) for a in arguments]) == 2
        captured = capsys.readouterr()
        assert message in captured.err and captured.err.count("\n") == 1 and not captured.out


def test_pictures_show_keys_splits_and_ghosts(golden, golden_keys, play_keys):
    renderer = Renderer()
    surface = pygame.Surface((640, 400))

    def picture(runs, frame):
        Race(runs, renderer).draw(surface, frame)
        return pygame.surfarray.array3d(surface).copy()

    run = ReplayedRun("golden", golden)
    other_keys = ReplayedRun("other", golden.replace(keys=np.roll(golden.keys, 1)))
    frame = int(np.flatnonzero(golden.keys != np.roll(golden.keys, 1))[3])
    changed = (picture([run], frame) != picture([other_keys], frame)).any(axis=2)
    assert changed.any()
    assert not changed[:, :330].any()  # only the keys at the bottom differ

    ten_meters = int(np.flatnonzero(golden.raw_observations[:, 0] >= 100)[0])
    without = picture([ReplayedRun("x", golden.replace(times=golden.times * 0 + 50.0))], ten_meters)
    before = picture([run], ten_meters - 1)
    assert (picture([run], ten_meters)[560:, 60:90] != before[560:, 60:90]).mean() > 0.3  # the split's plate
    assert without.shape == (640, 400, 3)

    ghost = ReplayedRun("ghost", play_keys(golden_keys[:200], trig="glibc-fma"))
    assert Race([run, ghost], renderer).last_frame == 2301
    assert (picture([run, ghost], 150) != picture([run], 150)).any()
    with pytest.raises(ValueError, match="no runs"):
        Race([], renderer)


# -- the window ----------------------------------------------------------------------------------------


def test_playback():
    film = Playback(last_frame=100)
    film.advance(1.0)
    assert film.frame == 30
    film.change_speed(1)
    film.advance(0.5)
    assert (film.speed, film.frame) == (2.0, 60)
    film.advance(10.0)
    assert (film.frame, film.playing) == (100, False)
    film.toggle()  # from the start, once it is over
    assert (film.frame, film.playing) == (0, True)
    film.toggle()
    film.advance(1.0)
    assert (film.frame, film.playing) == (0, False)
    film.step(-1)
    assert film.frame == 0
    film.step(7)
    film.step(-2)
    assert (film.frame, film.playing) == (5, False)
    for _ in range(20):
        film.change_speed(-1)
    assert film.speed == 0.1
    film.seek(1000)
    assert film.frame == 100
    film = Playback(last_frame=100, speed=3.0)
    film.change_speed(1)
    assert film.speed == 4.0


def press(key, mod=0):
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key, mod=mod))


def test_keys_and_mouse_in_the_window(dataset, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()
    keys = [pygame.K_SPACE, *[pygame.K_RIGHT] * 5, pygame.K_LEFT, pygame.K_ESCAPE]
    for key in keys:
        press(key)
    runs = load_runs(str(dataset), 1, [])
    assert play_in_window(runs, "test") == 4
    pygame.display.init()
    press(pygame.K_RIGHT, pygame.KMOD_LSHIFT)
    press(pygame.K_q)
    assert play_in_window(runs, "test") == 30
    pygame.display.init()
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(959, 610), button=1))
    pygame.event.post(pygame.event.Event(pygame.MOUSEBUTTONDOWN, pos=(300, 300), button=1))
    press(pygame.K_LEFT)
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert play_in_window(runs, "test") == 89


# -- the command ---------------------------------------------------------------------------------------


def test_replay_takes_files_and_episodes(dataset, tmp_path, capsys):
    with DatasetReader(dataset) as reader:
        stored = reader[1]
    seen, gif = [], tmp_path / "a.gif"
    runs = replay(dataset, 1, html=tmp_path / "a.html", video=gif, size=(64, 64), on_load=seen.append)
    assert [run.name for run in runs] == ["runs 1"] and seen == [runs]
    assert gif.stat().st_size > 0
    replay(stored, ghosts=[stored, f"{dataset}:2"], html=tmp_path / "b.html")
    assert "run and run and runs 2" in (tmp_path / "b.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out == ""


def test_replay_never_writes_over_what_it_reads(dataset, tmp_path):
    before = dataset.read_bytes()
    with pytest.raises(CommandError, match="is the same place"):
        replay(dataset, html=dataset, force=True)
    with pytest.raises(VideoError, match="exists already"):
        (tmp_path / "a.html").write_text("precious", encoding="utf-8")
        replay(dataset, html=tmp_path / "a.html")
    with pytest.raises(CommandError, match="the recording is a single episode"):
        replay(load_runs(dataset)[0].episode, ghosts=[":1"], html=tmp_path / "b.html")
    with pytest.raises(ValueError, match="speed is 0: it must lie between"):
        replay(dataset, speed=0.0)
    assert dataset.read_bytes() == before and (tmp_path / "a.html").read_text(encoding="utf-8") == "precious"


def test_a_replay_that_differs_says_where_and_by_how_much(dataset, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main([str(dataset), "--episode", "2", "--html", str(page)]) == 0
    captured = capsys.readouterr()
    assert "DOES NOT REPLAY" in captured.out
    assert captured.err.count("\n") == 1
    assert "runs 2: differs: frame 50, torso.x by 0.25" in captured.err
    assert main([str(dataset), "--episode", "1", "--html", str(page), "--force"]) == 0
    captured = capsys.readouterr()
    assert "cut short" in captured.out and "replays bit for bit" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(("suffix", "rate"), [(".mp4", 30), (".gif", 15)])
def test_video_holds_every_frame(dataset, tmp_path, suffix, rate, capsys):
    path = tmp_path / f"run{suffix}"
    arguments = [str(dataset), "--episode", "1", "--ghost", ":2", "--size", "192x120"]
    assert main([*arguments, "--video", str(path)]) == 0
    # frames 0 to 90, and the last one for one second more: 121 pictures
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames == (121 if rate == 30 else 61)
    assert seconds == pytest.approx(121 / 30, abs=0.08)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    # The first picture is the start, the last the end, as the renderer draws them.
    if suffix == ".gif":
        return
    pictures = imageio_ffmpeg.read_frames(str(path))
    next(pictures)
    first = np.frombuffer(next(pictures), np.uint8).reshape(120, 192, 3).astype(int)
    renderer, surface = Renderer(192, 120), pygame.Surface((192, 120))
    race = Race(load_runs(str(dataset), 1, [":2"]), renderer)
    differences = []
    for frame in (0, 60):
        race.draw(surface, frame)
        expected = pygame.surfarray.array3d(surface).swapaxes(0, 1).astype(int)
        differences.append(np.abs(first - expected).mean())
    pictures.close()
    assert differences[0] < 0.7 * differences[1]


def test_video_speed(dataset, tmp_path):
    run = load_runs(str(dataset), 1, [])
    assert write_video(tmp_path / "fast.mp4", run, speed=3.0, size=(128, 80)) == 31 + 30
    assert write_video(tmp_path / "slow.mp4", run, speed=0.5, size=(128, 80)) == 181 + 30
    assert list(video_frames(4, 0.5))[:9] == [0, 0, 1, 2, 2, 2, 3, 4, 4]
    assert list(video_frames(10, 4.0))[:4] == [0, 4, 8, 10]


def test_ctrl_c_leaves_a_finished_video(dataset, tmp_path):
    path = tmp_path / "run.mp4"
    process = subprocess.Popen(
        [sys.executable, "-m", "qwop_replay.cli", str(dataset), "--video", str(path), "--size", "320x200"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    )
    part = tmp_path / "run.part.mp4"
    while process.poll() is None and not part.exists():
        time.sleep(0.02)
    time.sleep(0.5)  # some frames are drawn; all 2332 would take many times as long
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "qwop-replay: interrupted\n"
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    assert frames is not None and 0 < frames < 2332
    assert not part.exists()


def test_ffmpeg_that_fails_is_quoted(tmp_path, monkeypatch):
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text("#!/bin/sh\necho 'the disk is on fire' >&2\nexit 1\n", encoding="utf-8")
    ffmpeg.chmod(0o755)
    monkeypatch.setattr(video.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(ffmpeg))
    with pytest.raises(VideoError, match="x.mp4: ffmpeg stopped: the disk is on fire"):
        with VideoWriter(tmp_path / "x.mp4", (640, 400)) as writer:
            for _ in range(10):
                writer.write(np.zeros((400, 640, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["ffmpeg"]


def test_a_video_of_nothing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), VideoWriter(tmp_path / "x.mp4", (128, 80)):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with VideoWriter(tmp_path / "x.mp4", (128, 80)) as writer:
        with pytest.raises(ValueError, match=r"uint8 \[80, 128, 3\]"):
            writer.write(np.zeros((128, 80, 3), np.uint8))


def test_mistakes_are_one_line_and_exit_code_2(dataset, tmp_path, capsys, monkeypatch):
    taken, foreign, empty = tmp_path / "taken.mp4", tmp_path / "foreign.h5", tmp_path / "empty.h5"
    taken.write_bytes(b"precious")
    foreign.write_bytes(b"not a dataset")
    DatasetWriter(empty)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    source = str(dataset)
    cases = [
        ([str(tmp_path / "missing.h5")], "missing.h5"),
        ([str(foreign)], "foreign.h5"),
        ([str(empty)], "no episodes"),
        ([source, "--episode", "3"], "no episode 3: it has 3, numbered from 0"),
        ([source, "--ghost", "nowhere.h5"], "nowhere.h5"),
        ([source, "--ghost", ":9"], "no episode 9"),
        ([source, "--video", str(taken)], "taken.mp4: exists already; --force replaces it"),
        ([source, "--html", str(taken)], "exists already"),
        ([source, "--video", str(tmp_path / "run.avi")], "must end in .mp4 or .gif"),
        ([source, "--video", str(Path(source) / "run.mp4")], "not a folder"),
        ([source, "--video", str(tmp_path)], "a folder"),
        ([source, "--html", source, "--force"], "FILE is the same place"),
        ([source, "--ghost", f"{taken}:1", "--html", str(taken), "--force"], "is the same place"),
        (
            [source, "--video", str(tmp_path / "a.mp4"), "--html", str(tmp_path / "a.mp4")],
            "is the same place",
        ),
        ([source, "--speed", "0"], "--speed 0.0"),
        ([source, "--size", "101x100"], "--size: 101x100: expected WIDTHxHEIGHT in even pixels"),
        ([source, "--web", "--html", "a.html"], "omit --video, --html"),
        ([source, "--web", "--game", "real"], "omit --video, --html and --game real"),
        ([source, "--web", "--episode", "2"], "differs: frame 50"),
        ([source, "--web", "--ghost", ":2"], "use --html"),
        ([source, "--web", "--port", "70000"], "--port 70000"),
        ([source, "--no-open"], "--port and --no-open need --web"),
        ([source, "--sped", "2"], "Unrecognized options: --sped, 2"),
    ]
    if sys.platform.startswith("linux"):
        cases.append(([source], "no window can be opened"))
    for arguments, message in cases:
        try:
            code = main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), (arguments, error)
        assert message in error

    def no_ffmpeg():
        raise RuntimeError("No ffmpeg exe could be found.\nInstall it.")

    monkeypatch.setattr(video.imageio_ffmpeg, "get_ffmpeg_exe", no_ffmpeg)
    assert main([source, "--video", str(tmp_path / "run.mp4")]) == 2
    error = capsys.readouterr().err
    assert "no ffmpeg" in error and error.count("\n") == 1
    with pytest.raises(VideoError):
        VideoWriter(tmp_path / "run.mp4", (64, 64))
    assert taken.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty.h5", "foreign.h5", "taken.mp4"]


# -- the page ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    options.add_argument("--window-size=1100,1300")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driver
    driver.quit()


def test_page_in_a_browser(dataset, golden, tmp_path, browser, capsys):
    from PIL import Image
    from selenium.webdriver import ActionChains, Keys

    path = tmp_path / "run.html"
    assert main([str(dataset), "--ghost", ":1", "--html", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    assert "src=" not in text and "http" not in text.replace("http-equiv", "")  # nothing from outside
    browser.get(path.as_uri())
    assert browser.title == "runs 0 and runs 1"

    def where():
        return browser.find_element("id", "where").text

    def keys(*pressed):
        ActionChains(browser).send_keys(*pressed).perform()

    def stage():
        return np.asarray(
            Image.open(io.BytesIO(browser.find_element("id", "stage").screenshot_as_png)).convert("RGB")
        )

    assert where() == f"frame 0 of 2301 · {golden.times[0]:.2f} s"
    start = stage()
    keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert where().startswith("frame 2 of")
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(Keys.SHIFT).perform()
    assert where() == f"frame 32 of 2301 · {golden.times[32]:.2f} s"
    keys(Keys.ARROW_LEFT)
    browser.find_element("id", "forward").click()
    browser.find_element("id", "back").click()
    assert where().startswith("frame 31 of")
    assert (stage() != start).any()
    keys(Keys.END)
    assert where() == f"frame 2301 of 2301 · {golden.times[-1]:.2f} s"
    keys(Keys.HOME)
    assert (stage() == start).all()

    # The scrub bar and a click in the gait diagram seek; the middle of both is the middle of the run.
    scrub = browser.find_element("id", "scrub")
    ActionChains(browser).move_to_element(scrub).click().perform()
    assert abs(int(where().split()[1]) - 1150) < 40
    keys(Keys.HOME)
    diagram = browser.find_element("id", "gait")
    ActionChains(browser).move_to_element(diagram).click().perform()
    assert abs(int(where().split()[1]) - 1150) < 120

    # Playing at 4 x gets ahead and pauses.
    browser.execute_script("document.getElementById('speed').value = '4'")
    keys(Keys.HOME)
    button = browser.find_element("id", "play")
    button.click()
    assert button.text == "Pause"
    deadline = time.monotonic() + 20
    while int(where().split()[1]) < 40 and time.monotonic() < deadline:
        time.sleep(0.05)
    button.click()
    stopped = where()
    assert int(stopped.split()[1]) >= 40
    time.sleep(0.3)
    assert where() == stopped and button.text == "Play"

    # What is drawn is what was recorded: the decoded arrays are the episode's, to the bit.
    poses = np.array(browser.execute_script("return Array.from(runs[0].poses.subarray(36 * 700, 36 * 701))"))
    assert poses.tolist() == golden.raw_observations[700].reshape(12, 5)[:, :3].ravel().tolist()
    contacts = browser.execute_script("return Array.from(runs[0].contacts)")
    assert len(contacts) == 2302 and {8, 9, 10, 11} <= set(contacts)
    assert sum(c >> 2 & 1 for c in contacts) == 3  # a knee is near in 3 frames, as the gait metrics say
    assert browser.execute_script("return runs[0].hurdle.length") < 6 * 1500

    cells = browser.find_element("id", "runs").text
    assert "runs 0 finish 101.7 76.77 9.50 40.63 75.60 0.1 95.8 42" in cells
    browser.find_elements("css selector", "#runs td")[10].click()  # follow the ghost
    assert browser.execute_script("return followed") == 1

    problems = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert problems == []


def test_the_play_page_shows_runs_of_a_file(dataset, browser):
    """Through the command: the first run is watched against the second, frame by frame as recorded."""
    command = [sys.executable, "-m", "qwop_replay.cli", str(dataset), "--web", "--port", "0", "--no-open"]
    with subprocess.Popen(
        [*command, "--ghost", ":1"], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
        browser.get(lines[2].split()[0])
        deadline = time.monotonic() + 30
        while not browser.execute_script("return window.page?.watched?.frame > 30"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        frame, seen, ghost, offered = browser.execute_script(
            "page.clock.due = Infinity; const { watched, ghost } = page;"
            "return [watched.frame, Array.from(watched.game.observation()), "
            "[ghost.name, ghost.frame, Array.from(ghost.game.observation())], "
            "Array.from(document.querySelectorAll('#ghost option'), (option) => option.textContent)]"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
    with DatasetReader(dataset) as reader:
        first, second = reader[0], reader[1]
    assert seen == first.raw_observations[frame].tolist()
    assert ghost == ["runs 1", frame, second.raw_observations[frame].tolist()]
    assert offered[-2:] == ["runs 0", "runs 1"]


def test_page_escapes_names(dataset, tmp_path, browser):
    episode = DatasetReader(dataset)[1]
    from qwop_replay.html import page

    name = "</script><b>x</b>"
    path = tmp_path / "names.html"
    path.write_text(page([ReplayedRun(name, episode)], name), encoding="utf-8")
    browser.get(path.as_uri())
    assert browser.title == name
    assert browser.find_elements("css selector", "#runs td")[0].text == name
    with pytest.raises(ValueError, match="no runs"):
        page([], "nothing")


def test_a_run_of_a_played_page_is_shown_with_its_start(monkeypatch):
    start = CANONICAL_START.play([9] * 30).then(Operation.RESET).array
    keys = np.repeat(np.array([9, 6], np.uint8), 12)
    (played,) = replay_keys([keys], starts=[start])
    episode = Episode(
        keys=keys,
        raw_observations=played.raw_observations,
        times=played.times,
        terminated=played.over,
        truncated=not played.over,
        success=False,
        source="human",
        start=start,
    )
    run = ReplayedRun("run", episode)
    assert run.verification.exact and run.hurdle.shape == (25, 2, 3)
    (shown,) = json.loads(runs_file([run]))
    assert np.frombuffer(base64.b64decode(shown["start"]), "<u4").reshape(-1, 3).tolist() == start.tolist()
    monkeypatch.setattr("qwop_replay.web.MAX_START_ROWS", len(start) - 1)
    with pytest.raises(
        CommandError, match=f"run: its start has {len(start)} rows, --web takes {len(start) - 1}: use --html"
    ):
        runs_file([run])
    with pytest.raises(RealGameError, match="the real game can't replay: omit --game real"):
        play_live(run, RealGame())
