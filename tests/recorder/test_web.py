"""Recording from the web page: what a page sends is stored exactly and at once; hostile pages get nowhere."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import aiohttp
import numpy as np
import pytest
from page_changes import KEYS, PLAY, begin, run_of, talk

from qwop_datasets import DatasetReader, journal_path, read_journal, recover_dataset
from qwop_recorder import RecordConfig, cli
from qwop_recorder.keeping import StoreError
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.storage import EpisodeStore
from qwop_recorder.web import RunsAtOnce
from qwop_recorder.web_session import PageError, PageSession


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.h5"


def page_session(path, **options):
    config = RecordConfig(path, web=True, **options)
    runs = RunsAtOnce(EpisodeStore(path, config.player, 0.0, {"frame_skip": 1}), print)
    return PageSession(config, runs, PersonalBest())


def test_a_kept_run_is_in_the_file_at_once_and_exact(path):
    session = page_session(path)
    (news,) = session.apply(0, run_of())
    assert news["kept"] == f"{0:032x}" and "replay exact" in news["line"]
    (episode,) = DatasetReader(path)
    assert (episode.keys == KEYS).all() and episode.verified == "exact" and episode.player == "Zoë"
    assert episode.provenance["page_sha256"] == "checked" and episode.provenance["license"] == "CC0-1.0"
    assert episode.wall_times[0] == 1.7e9 + 2 and episode.truncated
    assert session.stored == len(KEYS) + 3


def test_changes_that_come_twice_are_played_once_and_a_gap_is_refused(path):
    session = page_session(path)
    changes = run_of()
    session.apply(0, changes[:10])
    session.apply(5, changes[5:30])
    session.apply(30, changes[30:])
    assert (DatasetReader(path)[0].keys == KEYS).all()
    with pytest.raises(PageError, match="is missing"):
        session.apply(session.stored + 1, [["drop"]])


def test_every_frame_is_in_the_journal_before_it_is_acknowledged(path):
    session = page_session(path)
    session.apply(0, run_of()[:21])
    copied = path.with_name("copy.h5.journal")  # the session holds the journal itself
    copied.write_bytes(journal_path(path).read_bytes())
    (episode,), _ = read_journal(copied)
    assert (episode.keys == KEYS[:20]).all() and "recovered" in episode.tags


def test_a_rewind_leaves_one_exact_run(path):
    session = page_session(path)
    changes = run_of()
    changes[30:30] = [["frame", 15, 2.9, 0.0], ["rewind", 25, 2.95]]
    changes[32:32] = changes[26:30]
    changes[-1][1]["observations_sha256"] = None
    session.apply(0, changes)
    episode = DatasetReader(path)[0]
    assert episode.verified == "exact" and episode.rewinds["to_frame"].tolist() == [25]
    assert (episode.keys == KEYS).all() and "rewound" in episode.tags


def test_who_played_and_how_fast_is_stored(path):
    changes = run_of()
    changes[-1][1] |= {"players": [[0, "person"], [20, "policy"]], "pace": [[0, 1], [5, 0.5]]}
    page_session(path).apply(0, changes)
    episode = DatasetReader(path)[0]
    assert episode.source == "human" and episode.tags == ("slow-motion", "taken-over")
    assert episode.provenance["played_by"] == '[[0, "person"], [20, "policy"]]'
    assert episode.provenance["slowest_pace"] == 0.5


def test_other_numbers_than_the_pages_are_an_alarm(path):
    changes = run_of()
    changes[-1][1]["observations_sha256"] = "0" * 64
    (news,) = page_session(path).apply(0, changes)
    assert "other numbers" in news["problem"]
    assert DatasetReader(path)[0].provenance["page_sha256"] == "differs"


def test_session_options_hold_in_the_page_too(path):
    session = page_session(path, min_distance=50, player="ada")
    (news,) = session.apply(0, run_of())
    assert "under --min-distance 50" in news["rejected"] and not path.exists()
    session = page_session(path.with_name("b.h5"), player="ada")
    session.apply(0, run_of(1))
    assert DatasetReader(path.with_name("b.h5"))[0].player == "ada"


def test_a_run_beyond_the_longest_is_cut_and_a_rewind_takes_it_up_again(path):
    runs = RunsAtOnce(EpisodeStore(path, "", 0.0, {}), print)
    session = PageSession(RecordConfig(path, web=True), runs, PersonalBest(), max_frames=30)
    changes = run_of()
    (news,) = session.apply(0, changes[:-2])
    assert "the rest of it is not recorded" in news["problem"] and session.run.num_frames == 30
    assert session.frames == len(KEYS)
    rewinds = [["rewind", 40, 9.0], ["rewind", 25, 9.1], ["frame", 9, 9.2, 0.0]]
    session.apply(session.stored, rewinds)
    assert session.run.keys == [*KEYS[:25], 9]
    session.apply(session.stored, [["keep", changes[-1][1] | {"observations_sha256": None}]])
    assert DatasetReader(path)[0].verified == "exact"


def test_a_rewind_far_back_in_a_long_run_is_exact(path):
    session = page_session(path)
    session.apply(0, [begin(), *(["frame", 0, i / 30, 0.0] for i in range(700))])
    session.apply(701, [["rewind", 650, 30.0], *(["frame", 9, 31 + i / 30, 0.0] for i in range(5))])
    session.apply(707, [["rewind", 299, 32.0], ["frame", 6, 33.0, 0.0], ["keep", run_of()[-1][1]]])
    episode = DatasetReader(path)[0]
    assert episode.verified == "exact" and episode.num_frames == 300
    assert episode.provenance["page_sha256"] == "differs"


def test_who_played_is_in_the_journal_before_the_keeping_is_acknowledged(path, monkeypatch):
    session = page_session(path)
    changes = run_of()
    changes[-1][1] |= {"players": [[0, "person"], [20, "policy"]]}
    session.apply(0, changes[:-1])
    copied = path.with_name("copy.h5.journal")

    def commit(_store, _run):
        copied.write_bytes(journal_path(path).read_bytes())
        raise StoreError("the disk is full")

    monkeypatch.setattr(EpisodeStore, "commit", commit)
    session.apply(session.stored, changes[-1:])
    (episode,), _ = read_journal(copied)
    assert episode.tags == ("taken-over",) and "played_by" in episode.provenance


@pytest.mark.parametrize(
    "change",
    [
        "text",
        [],
        ["fly"],
        ["frame", 16, 1.0, 0.0],
        ["frame", True, 1.0, 0.0],
        ["frame", 1, float("nan"), 0.0],
        ["frame", 1],
        ["event", 1.0, 3, True, "page"],
        ["event", 1.0, 1, True, "mind"],
        ["event", 0.5, 1, True, "page"],
        ["event", float("nan"), 1, True, "page"],
        ["event", float("inf"), 1, True, "page"],
        ["event", 10**400, 1, True, "page"],
        ["event", "2", 1, True, "page"],
        ["event", 2.0, 1, 1, "page"],
        ["frame", 1, True, 0.0],
        [["frame"], 1],
        [{}, 1],
        ["rewind", 99, 1.0],
        ["rewind", "1", 1.0],
        begin(1, id="../../x"),
        begin(1, player="x" * 65),
        begin(1, player="a\nb"),
        begin(1, trig="glibc"),
        begin(1, created="now"),
        begin(1, clock_offset="now"),
        ["begin", None],
    ],
)
def test_an_invented_change_is_one_line_and_the_run_stays(path, change):
    session = page_session(path)
    session.apply(0, [begin(), *PLAY])
    with pytest.raises(PageError) as error:
        session.apply(4, [change])
    assert "\n" not in str(error.value)
    session.close()
    assert DatasetReader(path)[0].keys.tolist() == [1]


# -- the server ------------------------------------------------------------------------------------------


@pytest.fixture
def server(path):
    """A server of the page in a thread: its address, its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qwop_recorder.cli", str(path), "--web", "--port", "0", "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    address, _, token = process.stdout.readline().removeprefix("play at ").strip().partition("#token=")
    yield process, address, token
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_page_records_and_ctrl_c_keeps_the_run_under_way(server, path):
    process, address, token = server
    answers, _ = talk(address, token, {"first": 0, "changes": run_of()})
    assert answers[0] == {"stored": 0} and answers[-1] == {"stored": len(KEYS) + 3}
    talk(address, token, {"first": len(KEYS) + 3, "changes": [begin(1), *PLAY]})
    answers, _ = talk(address, token)  # a connection that broke: the server says where it stands
    assert answers == [{"stored": len(KEYS) + 7}]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and not err
    assert "2 runs played, 2 kept" in out and "replay exact" in out
    _first, second = DatasetReader(path)
    assert second.truncated and second.keys.tolist() == [1] and not journal_path(path).exists()


def test_hostile_clients_get_nowhere(server, path):
    process, address, token = server
    hello = {"first": 0, "changes": [begin(), *PLAY]}
    talk(address, token, hello)
    assert talk(address, "x" * 32, hello) == ([], 4003)
    assert talk(address, token, hello, origin="http://evil.example")[1] == 403
    assert talk(address, token, hello, host="evil.example")[1] == 421
    for message in ("{", "[]", "[" * 50_000, '{"first": 0}', '{"first": 9, "changes": [["drop"]]}'):
        answers, code = talk(address, token, message)
        assert code == 4003, message[:20]
    assert talk(address, token, "x" * (300 << 10))[1] == 1009  # too long
    for name in (
        "../config.py",
        "%2e%2e/config.py",
        "..%2f..%2fpyproject.toml",
        "index.html/../../x",
        "none.js",
    ):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + name)
        assert error.value.code in (403, 404), name
    with urllib.request.urlopen(address) as page:
        assert page.headers["Content-Type"] == "text/html" and b"main.js" in page.read()
    answers, _ = talk(address, token)
    assert answers == [{"stored": 4}] and process.poll() is None  # the recording under way is as it was


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
def test_a_killed_server_loses_no_acknowledged_frame(path):
    rng = np.random.default_rng(3)
    for attempt in range(6):
        process = subprocess.Popen(
            [sys.executable, "-m", "qwop_recorder.cli", str(path), "--web", "--port", "0", "--no-open"],
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        lines = iter(process.stdout.readline, "")
        address, _, token = (
            next(line for line in lines if "#token=" in line)
            .removeprefix("play at ")
            .strip()
            .partition("#token=")
        )
        acknowledged = 0

        async def play(address=address, token=token, attempt=attempt):
            nonlocal acknowledged
            async with aiohttp.ClientSession() as client:
                socket = await client.ws_connect(address + "record", headers={"Origin": address.rstrip("/")})
                await socket.send_json({"token": token, "session": "s"})
                await socket.receive()
                changes = run_of(100 + attempt)[: len(KEYS) + 1]
                for first, change in enumerate(changes):
                    await socket.send_json({"first": first, "changes": [change]})
                    answer = await socket.receive(timeout=20)
                    if answer.type != aiohttp.WSMsgType.TEXT:
                        return
                    acknowledged = json.loads(answer.data)["stored"]

        killer = threading.Timer(float(rng.uniform(0.0, 0.08)), process.kill)
        killer.start()
        try:
            asyncio.run(play())
        except (aiohttp.ClientError, ConnectionError):
            pass
        time.sleep(0.1)
        process.kill()
        process.communicate()
        found = recover_dataset(path)
        frames = [e for e in found.episodes if e.id == f"{100 + attempt:032x}"]
        if acknowledged > 1:
            assert frames and frames[0].num_frames >= acknowledged - 1
            assert (frames[0].keys == KEYS[: frames[0].num_frames]).all() and frames[0].verified == "exact"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--web", "--game", "real"], "omit --game real"),
        (["--web", "--keys", "window"], "omit it"),
        (["--web", "--port", "70000"], "expected a port from 0 to 65535"),
        (["--web", "--port", "1", "--host", "999.9.9.9", "--no-open"], "choose another"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, arguments, said):
    assert cli.main([str(tmp_path / "runs.h5"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
