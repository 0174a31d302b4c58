"""The page in real browsers: typed keys, kept runs, links and the policy give the numbers of Python."""

import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from qwop_datasets import DatasetReader, Episode, replay_keys
from qwop_game import CANONICAL_START, Operation, Simulator
from qwop_recorder.key_events import KeyEvent, keys_from_events
from qwop_replay.runs import ReplayedRun
from qwop_replay.web import runs_file
from qwop_web import serve

pytestmark = pytest.mark.real_game


def test_a_typed_run_is_an_exact_demonstration(page, imported):
    page.execute_script("document.getElementById('player').value = 'Zoë <b>'")
    page.play("wqopwwoq")
    play_on = (
        "page.queue.put(1, true, 'page'); page.queue.put(1, false, 'page')"  # a tap shorter than a frame
    )
    page.execute_script(play_on)
    page.wait("return page.session.run.frames > 60 && page.session.run.keys.at(-1) === 0")
    page.execute_script("page.session.phase = 'ended'; page.command('keep')")
    record = page.wait("return page.records[0]")
    episode = imported(record)
    assert episode.player == "Zoë <b>" and episode.source == "human"
    assert episode.provenance["page_sha256"] == "checked"
    assert {1, 2, 4, 8} <= set(episode.keys.tolist())
    events = [KeyEvent(t, k, p, "page") for t, k, p, _ in episode.key_events.tolist()]
    instants = episode.wall_times - episode.wall_clock_offset
    assert (keys_from_events(events, record["instants"]) == episode.keys).all()
    assert np.diff(instants).min() > 0
    # The list shows the name as text, and a reload finds the run again.
    page.refresh()
    page.wait("return window.page && page.records.length === 1")
    assert page.execute_script("return document.querySelectorAll('#runs tbody tr').length") == 1


def test_rewind_and_take_over_is_one_exact_run(page, imported):
    page.play("wowqpo")
    page.wait("return page.session.run.frames > 45")
    from selenium.webdriver import ActionChains, Keys

    page.execute_script("page.session.options.rewind = 1")
    ActionChains(page).send_keys(Keys.ARROW_LEFT).perform()
    assert page.execute_script("return page.session.phase") == "rewound"
    frames = page.execute_script("return [page.session.cursor, page.session.run.frames]")
    assert frames[0] == frames[1] - 30
    ActionChains(page).send_keys(" ").perform()
    page.wait("return page.session.phase === 'playing'")
    ActionChains(page).key_down("p").pause(0.3).key_up("p").perform()
    page.wait(f"return page.session.run.frames > {frames[1]}")
    page.execute_script("page.session.phase = 'ended'; page.command('keep')")
    record = page.wait("return page.records[0]")
    episode = imported(record)
    assert "rewound" in episode.tags and episode.rewinds["to_frame"].tolist() == [frames[0]]
    assert len(episode.discarded_keys) == 30
    events = [KeyEvent(t, k, p, "page") for t, k, p, _ in episode.key_events.tolist()]
    assert (keys_from_events(events, record["instants"]) == episode.keys).all()


def test_losing_the_keyboard_pauses_and_releases_all_keys(page):
    page.play("w")
    page.execute_script("page.queue.put(8, true, 'page'); dispatchEvent(new Event('blur'))")
    assert page.execute_script("return [page.session.phase, page.queue.down]") == ["paused", 0]


def test_a_link_replays_the_run(page, address):
    rng = np.random.default_rng(2)
    masks = np.repeat(rng.integers(0, 16, 200), rng.integers(1, 40, 200)).tolist() + [3] * 700
    link, back = page.execute_async_script(
        """
        const [masks, done] = arguments;
        import("./runs.js").then(({ toFragment, fromFragment }) => {
          const link = toFragment(masks, "rounded");
          done([link, Array.from(fromFragment(link).keys)]);
        });
        """,
        masks,
    )
    assert back == masks
    page.get("about:blank")
    page.get(address + link)
    frame = page.wait("return window.page?.watched?.frame > 20 ? page.watched.frame : 0")
    # As text: Firefox's driver rounds doubles.
    state = json.loads(
        page.execute_script(
            "page.clock.due = Infinity;"
            "return JSON.stringify([page.watched.frame, Array.from(page.watched.game.state())])"
        )
    )
    simulator = Simulator(1, stop_at_end=False, engine="scalar")
    for mask in masks[: state[0]]:
        simulator.step(np.array([mask], np.uint8))
    assert state[0] >= frame and (simulator.state[0] == state[1]).all()


@pytest.mark.parametrize(
    "fragment", ["#run=1.9.AAAA", "#run=2.0.AAAA", "#run=1.0.%3Cscript%3E", "#run=1.0." + "_" * 50_000]
)
def test_a_damaged_link_is_ignored(page, address, fragment):
    page.get("about:blank")
    page.get(address + fragment)
    page.wait("return window.page !== undefined")
    assert page.execute_script("return page.watched === null && page.session.phase === 'ready'")


@pytest.fixture
def served_runs():
    """Two runs of a page that was played before, from the server of `qwop-replay --web`."""
    begun = CANONICAL_START.play([9] * 30).then(Operation.RESET)
    starts = [begun.array, begun.play([6] * 20).then(Operation.RESET).play([0] * 3).array]
    keys = np.repeat(np.array([9, 6], np.uint8), 12)
    played = replay_keys([keys, keys], starts=starts)
    runs = [
        ReplayedRun(
            name,
            Episode(
                keys=keys,
                raw_observations=run.raw_observations,
                times=run.times,
                terminated=run.over,
                truncated=not run.over,
                success=False,
                source="human",
                start=start,
            ),
        )
        for name, run, start in zip(("first", "second"), played, starts, strict=True)
    ]
    with serve(more={"runs.json": runs_file(runs)}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/?runs", runs
        server.shutdown()


def test_runs_of_a_played_page_are_shown_from_their_own_starts(driver, served_runs):
    address, runs = served_runs
    driver.get(address)
    driver.wait("return window.page && page.watched && page.ghost")
    assert driver.execute_script("return page.ghost.name") == "second"
    last = len(runs[0].episode.keys)
    for frame in (0, last, 5):  # forward, and back to the start
        shown = driver.execute_script(
            "page.watched.place(arguments[0]); page.ghost.place(arguments[0]);"
            "return [page.watched, page.ghost].map(({game}) => Array.from(game.observation()))",
            frame,
        )
        for run, numbers in zip(runs, shown, strict=True):
            assert np.float32(numbers).tolist() == run.episode.raw_observations[frame].tolist()
    # After the end: the review, with a film and without a link, which could not hold the start.
    driver.wait("return !document.getElementById('review').hidden")
    hidden = [
        driver.execute_script(f"return document.getElementById('{name}').hidden") for name in ("link", "film")
    ]
    assert hidden == [True, False]
    free = driver.execute_script(
        "const {free} = page.engine; page.stopWatching(); page.ghost.close(); return free.length"
    )
    assert free == driver.execute_script("return page.engine.exports.game_count()") - 1  # the session's


def test_the_page_fits_a_phone_and_has_no_overflow(page):
    size = page.get_window_size()
    try:
        page.set_window_size(520, 900)  # a browser's window has a least width; the frame inside is a phone's
        page.execute_script("document.body.style.width = '360px'")
        assert page.execute_script("return document.querySelector('main').scrollWidth") <= 360
        for key in "qwop":
            box = page.execute_script(
                "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
                "return [b.width, b.height]",
                f"[data-key={key}]",
            )
            assert min(box) >= 44
    finally:
        page.set_window_size(size["width"], size["height"])


@pytest.fixture
def recorder(tmp_path):
    """`qwop-record --web`: its process and the link to its page."""
    path = tmp_path / "runs.h5"
    arguments = [str(path), "--web", "--port", "0", "--no-open", "--countdown", "0.1", "--rewind", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "qwop_recorder.cli", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout
        yield process, process.stdout.readline().removeprefix("play at ").strip(), path
        process.kill()


def test_the_page_records_through_its_server(driver, recorder):
    process, link, path = recorder
    driver.get("about:blank")
    driver.get(link)
    driver.wait("return window.page?.sync?.state === 'connected'")
    assert driver.execute_script("return location.hash") == ""  # the token is not left in the address bar
    driver.play("wqopwo")
    driver.wait("return page.session.run.frames > 40")
    from selenium.webdriver import ActionChains, Keys

    ActionChains(driver).send_keys(Keys.ARROW_LEFT).send_keys(" ").perform()
    driver.wait("return page.session.phase === 'playing'")
    # The connection breaks and comes back: the page plays on, and what was played meanwhile arrives.
    driver.execute_script("page.sync.socket.close()")
    driver.wait("return page.sync.state === 'connected' && page.session.run.frames > 60")
    driver.execute_script("page.session.phase = 'ended'; page.command('keep')")
    driver.wait("return page.records.at(-1)?.stored === true && page.sync.settled")
    (episode,) = DatasetReader(path)
    keys = driver.execute_script("return page.session.run.keys")
    assert episode.keys.tolist() == keys and episode.verified == "exact"
    assert episode.provenance["page_sha256"] == "checked" and "rewound" in episode.tags
    events = [KeyEvent(t, k, p, "page") for t, k, p, _ in episode.key_events.tolist()]
    instants = episode.wall_times - episode.wall_clock_offset
    assert (keys_from_events(events, instants) == episode.keys).all()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    driver.wait("return page.sync.state === 'connecting'")
    assert "lost" in driver.execute_script("return document.getElementById('recorder').textContent")
