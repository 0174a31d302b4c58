"""A group's server: many players in one file; nobody without an invitation, and nobody in another's way."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import aiohttp
import numpy as np
import pytest
from page_changes import KEYS, PLAY, begin, record_of, run_of, talk

from qwop_datasets import DatasetReader, journal_paths, recover_dataset
from qwop_recorder import RecordConfig, RecorderError, cli
from qwop_recorder.web_group import play_with_players
from qwop_recorder.web_invitations import Invitations, JoinError
from qwop_recorder.web_limits import Bucket, Limits

SITE = "https://runs.example"


class Group:
    """A server of a group in a process of its own."""

    def __init__(self, path, *arguments, players=3):
        command = [sys.executable, "-m", "qwop_recorder.cli", str(path), "--web", "--port", "0", "--no-open"]
        self.path = path
        self.process = subprocess.Popen(
            [*command, "--players", str(players), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.said = []
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "the links stay valid" in line:
                break
        links = [line.rstrip().rpartition(": ")[2] for line in lines if "#token=" in line]
        assert len(links) == players + 1, (lines, self.process.poll())
        self.address = links[0].partition("table.html")[0]
        self.screen, *self.tokens = [link.rpartition("=")[2] for link in links]
        self._reader = threading.Thread(
            target=lambda lines: self.said.extend(lines), args=(self.process.stdout,)
        )
        self._reader.start()

    def ask(self, path, token=None, body=None, **headers):
        """Status, content and headers of an answer."""
        headers = {"Origin": self.address.rstrip("/"), "Authorization": f"Bearer {token}"} | headers
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        method = headers.pop("method", None)
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def join(self, number, name, license="CC0-1.0"):
        status, text, _ = self.ask("join", self.tokens[number], {"player": name, "license": license})
        return status, json.loads(text)

    def talk(self, number, *messages, **options):
        return talk(self.address, self.tokens[number], *messages, **options)

    def stop(self):
        """End it with Ctrl-C; what it has said since the links."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self._reader.join()
        assert code == 0, self.process.stderr.read()
        return "".join(self.said)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.h5"


@pytest.fixture
def start(path):
    """Starts groups, and ends them."""
    started = []

    def start(*arguments, **options):
        started.append(Group(path, *arguments, **options))
        return started[-1]

    yield start
    for group in started:
        if group.process.poll() is None:
            group.kill()
        group.process.stdout.close()
        group.process.stderr.close()


@pytest.fixture
def group(start):
    """A group of three, who have joined."""
    group = start("--sites", SITE)
    for number, name in enumerate(["Zoë", "Ada <b>&amp;", "Kim"]):
        assert group.join(number, name) == (200, {"player": name, "joined": True})
    return group


def test_three_players_record_into_one_file(group, path):
    for number in range(3):
        changes = run_of(number, KEYS[: 30 + number])
        answers, code = group.talk(number, {"first": 0, "changes": changes}, session="one")
        assert answers[0] == {"stored": 0} and {"stored": len(changes)} in answers and code is None
    group.talk(1, {"first": 0, "changes": [begin(9), *PLAY]}, session="two")  # under way at the end
    said = group.stop()
    assert "4 runs played, 4 kept" in said and said.count("replay exact") == 4
    episodes = sorted(DatasetReader(path), key=lambda episode: episode.num_frames)
    assert [e.num_frames for e in episodes] == [1, 30, 31, 32]
    assert [e.player for e in episodes] == ["Ada <b>&amp;", "Zoë", "Ada <b>&amp;", "Kim"]
    assert {e.verified for e in episodes} == {"exact"} and {e.source for e in episodes} == {"human"}
    assert [e.provenance["invitation"] for e in episodes] == [2, 1, 2, 3]
    for episode in episodes:
        assert episode.provenance["license"] == "CC0-1.0" and str(episode.provenance["agreed"]).startswith(
            "20"
        )
    assert len({e.id for e in episodes}) == 4
    assert journal_paths(path) == []


def test_the_table_shows_the_best_to_those_who_are_invited(group):
    far, near = KEYS[:5], KEYS[:20]
    for number, keys in ((0, near), (0, far), (1, near)):
        group.talk(number, {"first": 0, "changes": run_of(len(keys), keys)}, session=f"s{len(keys)}")
    slow: list[Any] = run_of(7)
    slow[-1][1]["pace"] = [[0, 0.5]]
    group.talk(2, {"first": 0, "changes": slow})
    deadline = time.monotonic() + 30
    while True:
        status, text, _ = group.ask("table.json", group.screen)
        rows = {row["player"]: row for row in json.loads(text)["rows"]}
        if sum(row["runs"] for row in rows.values()) == 4:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status == 200 and rows["Zoë"]["runs"] == 2
    assert rows["Zoë"]["distance"] > rows["Ada <b>&amp;"]["distance"]
    assert rows["Kim"] == {"player": "Kim", "distance": None, "time": None, "runs": 1}  # slow motion
    assert "token" not in text and group.ask("table.json", group.tokens[1])[0] == 200
    for token in (None, "x" * 32, ""):
        assert group.ask("table.json", token)[0] == 403


def test_nobody_gets_in_without_an_invitation_a_name_and_consent(start):
    group = start()
    hello = {"first": 0, "changes": [begin(), *PLAY]}
    assert group.talk(0, hello) == ([], 4003)  # has not joined
    assert group.join(0, "Zoë", license="MIT")[0] == 400
    assert group.join(0, "Zoë", license="")[0] == 400
    for name in ("", "  ", "x" * 65, "a\nb\x00", "\x1b[31m", "\ud800"):
        status, said = group.join(0, name)
        assert status == 400 and said["problem"], name
    assert group.join(0, "Zoë")[0] == 200
    assert group.join(1, " ZOË ")[0] == 400  # the name is taken, in other letters, too
    assert group.join(0, "Mallory")[1]["player"] == "Zoë"  # a name stays
    address, token = group.address, group.tokens[0]
    assert group.talk(0, hello)[0][-1] == {"stored": 4}
    assert talk(address, "x" * 32, hello) == ([], 4003)
    assert talk(address, group.screen, hello) == ([], 4003)
    assert talk(address, token, hello, session="../x y") == ([], 4003)
    for origin in ("http://evil.example", "null", SITE):
        assert talk(address, token, hello, origin=origin)[1] == 403
        assert group.ask("join", token, {}, Origin=origin)[0] == 403
    assert talk(address, token, hello, host="evil.example")[1] == 421
    assert group.ask("", Host="evil.example:80")[0] == 421
    for body in (b"{", b"[]", b"[" * 50_000, b'{"player": 1}', b"\xff"):
        assert group.ask("join", token, body)[0] == 400, body[:10]
    for name in (
        "../config.py",
        "%2e%2e/config.py",
        "..%2fruns.h5.invitations",
        "runs.h5.invitations",
        "x/y",
    ):
        assert group.ask(name)[0] in (403, 404), name
    status, text, headers = group.ask("session.json")
    assert json.loads(text)["license"] == "CC0-1.0" and headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    answers, _ = group.talk(0)
    assert answers == [{"stored": 4}]


def test_no_player_reaches_another_players_run(group, path):
    """All use the same ids; one throws its run away, another one's is damaged."""
    group.talk(0, {"first": 0, "changes": run_of(5)[:21]})
    group.talk(1, {"first": 0, "changes": [*run_of(5)[:31], ["drop"]]})
    assert group.talk(2, {"first": 0, "changes": [*run_of(5)[:11], ["frame", 99, 1, 1]]})[1] == 4003
    group.talk(0, {"first": 21, "changes": run_of(5)[21:]})
    group.kill()
    recover_dataset(path)
    found = {e.player: e for e in DatasetReader(path)}
    assert set(found) == {"Zoë", "Kim"}
    assert (found["Zoë"].keys == KEYS).all() and found["Kim"].keys.tolist() == KEYS[:10].tolist()


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        "null",
        "[" * 50_000,
        '{"first": 0}',
        '{"first": "x", "changes": []}',
        '{"first": 1e999, "changes": []}',
        '{"first": 99, "changes": [["drop"]]}',
        '{"first": 0, "changes": [1]}',
        '{"first": 0, "changes": [["frame", 16, 1, 1]]}',
        '{"first": 0, "changes": {"a": 1}}',
        '{"first": 21, "changes": [["begin", {"id": "../../x"}]]}',
        '{"first": 21, "changes": [["frame", 1, NaN, 0]]}',
        "x" * (70 << 10),
    ],
)
def test_what_no_page_sends_ends_one_connection_only(shared_group, message):
    group, under_way = shared_group
    answers, code = group.talk(1, message, session="hostile")
    assert answers == [{"stored": 0}] and code in (4003, 1009)
    under_way[0] += 1
    first = 20 + under_way[0]
    answers, _ = group.talk(0, {"first": first, "changes": [["frame", 1, 2 + first / 30, 0.0]]})
    assert answers[-1] == {"stored": first + 1}


@pytest.fixture(scope="module")
def shared_group(tmp_path_factory):
    """One server for many hostile messages, and how many frames its first player has played since."""
    group = Group(tmp_path_factory.mktemp("shared") / "runs.h5")
    for number in range(3):
        group.join(number, f"player {number}")
    group.talk(0, {"first": 0, "changes": run_of()[:21]})
    yield group, [0]
    group.stop()
    (episode,) = DatasetReader(group.path)
    assert episode.verified == "exact" and episode.keys[:20].tolist() == KEYS[:20].tolist()
    group.process.stdout.close()
    group.process.stderr.close()


def test_frames_that_come_again_are_played_once_and_a_gap_is_refused(group, path):
    changes = run_of()
    group.talk(0, {"first": 0, "changes": changes[:20]}, {"first": 3, "changes": changes[3:30]})
    assert group.talk(0, {"first": 31, "changes": changes[31:]})[1] == 4003
    assert group.talk(0, {"first": -5, "changes": []})[0][-1] == {"stored": 30}
    group.talk(0, {"first": 30, "changes": changes[30:]})
    group.stop()
    assert (DatasetReader(path)[0].keys == KEYS).all()


def test_the_same_invitation_twice_is_one_player(group, path):
    """The later connection goes on; another page ends the run of the one before."""

    async def run():
        headers = {"Origin": group.address.rstrip("/")}
        async with aiohttp.ClientSession() as client:

            async def connect(session):
                connection = await client.ws_connect(group.address + "record", headers=headers)
                await connection.send_json({"token": group.tokens[0], "session": session})
                return connection, await connection.receive_json()

            first, stored = await connect("a")
            assert stored == {"stored": 0}
            await first.send_json({"first": 0, "changes": run_of()[:21]})
            assert await first.receive_json() == {"stored": 21}
            second, stored = await connect("a")
            assert stored == {"stored": 21}
            await first.receive()
            assert first.close_code == 4000
            await second.send_json({"first": 21, "changes": run_of()[21:30]})
            assert await second.receive_json() == {"stored": 30}
            third, stored = await connect("b")
            assert stored == {"stored": 0}
            await second.receive()
            await third.close()

    asyncio.run(run())
    group.stop()
    (episode,) = DatasetReader(path)
    assert episode.truncated and (episode.keys == KEYS[:29]).all()


def test_a_flood_a_slow_reader_and_half_open_connections_leave_the_others_alone(start, path):
    resource = pytest.importorskip("resource", reason="Windows has no limit of open files")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip(f"this system allows {hard} open files, fewer than the test needs")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    group = start("--limits.connections", "60")
    for number in range(3):
        group.join(number, f"player {number}")
    host, port = "127.0.0.1", int(group.address.rstrip("/").rpartition(":")[2])
    half_open = []
    for number in range(1000):
        half_open.append(socket.create_connection((host, port), timeout=20))
        if number % 2:
            half_open[-1].sendall(b"GET /record HTTP/1.1\r\nHost: ")
    stop = threading.Event()

    def flood(number):
        async def run():
            async with aiohttp.ClientSession() as client:
                headers = {"Origin": group.address.rstrip("/")}
                connection = await client.ws_connect(group.address + "record", headers=headers)
                await connection.send_json({"token": group.tokens[number], "session": "s"})
                if number == 2:  # sends, and never reads
                    connection._reader._protocol.pause_reading()
                sent = 0
                while not stop.is_set():
                    await connection.send_json({"first": 0, "changes": []})
                    sent += 1
                    if sent % 100 == 0:
                        await asyncio.sleep(0)

        with contextlib.suppress(Exception):  # the end of the test
            asyncio.run(asyncio.wait_for(run(), 60))

    threads = [threading.Thread(target=flood, args=(number,), daemon=True) for number in (1, 2)]
    for thread in threads:
        thread.start()
    changes = run_of()
    for first in range(len(changes)):
        answers, _ = group.talk(0, {"first": first, "changes": [changes[first]]})
        assert {"stored": first + 1} in answers
    deadline = time.monotonic() + 30
    while sum(_is_open(connection) for connection in half_open) > 60:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stop.set()
    for connection in half_open:
        connection.close()
    said = group.stop()
    assert "3 kept" not in said and (DatasetReader(path)[0].keys == KEYS).all()


def _is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_a_bucket_lets_so_much_through_and_no_more():
    bucket = Bucket(rate=100, size=50)
    assert bucket.take(50, 1.0) == 0
    assert bucket.take(10, 1.0) == pytest.approx(0.1)
    assert bucket.take(10, 1.3) == 0
    waits = [bucket.take(1, 10.0) for _ in range(60)]
    assert waits[:50] == [0] * 50 and waits[-1] == pytest.approx(0.1)
    assert bucket.take(0, 500.0) == 0 and bucket.take(51, 1000.0) == pytest.approx(0.01)


def test_limits_of_a_run_and_of_a_player(start, path):
    group = start("--limits.minutes-per-run", "0.02", "--limits.hours-per-player", "0.0005")  # 36, 54 frames
    group.join(0, "Zoë")
    answers, code = group.talk(0, {"first": 0, "changes": run_of()})
    assert "0.02 minutes" in answers[1]["problem"]
    long = run_of(1)
    empty = {"first": 40, "changes": []}
    long[1:1] = [["frame", 0, 1 + i / 300, 0.0] for i in range(20)]
    answers, code = group.talk(0, {"first": 0, "changes": long[:40]}, empty, session="t")
    assert answers[-1] == {"stored": 40} and code == 4003
    assert group.talk(0, session="u") == ([], 4003)
    assert group.ask("runs", group.tokens[0], record_of(3))[0] == 403
    group.stop()
    first, second = DatasetReader(path)
    assert first.num_frames == second.num_frames == 36 and first.verified == "exact"
    assert first.provenance["page_sha256"] == "none"


def test_nothing_is_accepted_when_the_disk_is_nearly_full(start, path):
    group = start("--limits.free-gb", "1e9")
    group.join(0, "Zoë")
    deadline = time.monotonic() + 20
    while not any("nothing is accepted" in line for line in group.said):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert group.talk(0, {"first": 0, "changes": run_of()}) == ([], 1013)
    status, text, _ = group.ask("runs", group.tokens[0], record_of())
    assert status == 503 and "GB left" in text
    group.stop()
    assert not path.exists()


def test_a_run_that_is_sent_as_a_whole_is_verified_on_arrival(group, path):
    status, text, headers = group.ask("runs", group.tokens[0], record_of(), Origin=SITE)
    assert status == 200 and json.loads(text)["verified"] == "exact"
    assert headers["Access-Control-Allow-Origin"] == SITE
    status, _, headers = group.ask("runs", method="OPTIONS", Origin=SITE)
    assert status == 204 and "Authorization" in headers["Access-Control-Allow-Headers"]
    assert group.ask("runs", method="OPTIONS", Origin="https://evil.example")[0] == 403
    status, _, headers = group.ask("runs", group.tokens[0], record_of(1), Origin="https://evil.example")
    assert status == 403 and headers["Access-Control-Allow-Origin"] is None
    assert group.ask("runs", group.screen, record_of(1))[0] == 403
    assert group.ask("runs", "x" * 32, record_of(1))[0] == 403
    for body in (
        record_of(1, observations_sha256="0" * 64),
        record_of(1) | {"keys": "AAAA"},
        record_of(1, id="../../x"),
        record_of(1, players=[]),
        {},
        b"[" * 100_000,
    ):
        status, text, _ = group.ask("runs", group.tokens[0], body)
        assert status == 422 and json.loads(text)["problem"], body
    assert group.ask("runs", group.tokens[0], b"x" * (5 << 20))[0] == 413
    assert group.ask("runs", group.tokens[0], record_of())[0] == 200  # again: it is there
    assert group.ask("runs", group.tokens[1], record_of())[0] == 200  # another player's
    group.stop()
    first, second = DatasetReader(path)
    assert first.player == "Zoë" and second.player == "Ada <b>&amp;" and first.id != second.id
    assert first.provenance["license"] == "CC0-1.0" and first.provenance["invitation"] == 1
    assert (first.keys == KEYS).all() and first.verified == "exact"


def test_a_server_that_starts_again_knows_its_players_and_takes_no_run_twice(start, path):
    group = start()
    group.join(0, "Zoë")
    group.talk(0, {"first": 0, "changes": run_of(1)}, session="a")
    group.talk(0, {"first": len(KEYS) + 3, "changes": run_of(2)[:20]}, session="a")
    group.kill()
    again = start(players=4)
    assert again.tokens[:3] == group.tokens and again.screen == group.screen
    assert again.join(0, "")[1] == {"player": "Zoë", "joined": True}
    answers, _ = again.talk(0, {"first": 0, "changes": run_of(1) + run_of(2)}, session="a")
    assert answers[0] == {"stored": 0}  # the page sees that this server knows nothing of its session
    again.stop()
    episodes = sorted(DatasetReader(path), key=lambda episode: episode.num_frames)
    assert [e.num_frames for e in episodes] == [19, len(KEYS), len(KEYS)]
    assert "recovered" in episodes[0].tags and {e.verified for e in episodes} == {"exact"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the process in /proc")
def test_a_filing_process_that_is_killed_loses_nothing(group, path):
    group.talk(0, {"first": 0, "changes": run_of(1)}, session="a")
    deadline = time.monotonic() + 30
    while not any("replay exact" in line for line in group.said):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed = 0
    for children in os.listdir(f"/proc/{group.process.pid}/task"):
        text = open(f"/proc/{group.process.pid}/task/{children}/children", encoding="utf-8").read()
        for child in text.split():
            command = open(f"/proc/{child}/cmdline", encoding="utf-8").read()
            if "spawn_main" in command:
                os.kill(int(child), signal.SIGKILL)
                killed += 1
    assert killed == 1
    group.talk(1, {"first": 0, "changes": run_of(1)}, session="a")
    assert "2 kept" in group.stop() and len(DatasetReader(path)) == 2


def test_episodes_end_the_group(start, path):
    group = start("--episodes", "1")
    group.join(0, "Zoë")
    group.talk(0, {"first": 0, "changes": run_of()})
    assert group.process.wait(30) == 0 and len(DatasetReader(path)) == 1


def moments():
    return int(os.environ.get("QWOP_KILLS", "6"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
def test_a_server_killed_at_any_moment_loses_no_acknowledged_frame(start, path):
    """Three players play and keep runs; QWOP_KILLS sets the number of kills."""
    rng, frames = np.random.default_rng(4), 0
    for attempt in range(moments()):
        group = start("--recover", "yes")
        acknowledged, keys = {}, {}
        for number in range(3):
            group.join(number, f"player {number}")

        async def play(number, group=group, attempt=attempt, acknowledged=acknowledged, keys=keys):
            masks = np.random.default_rng([attempt, number]).integers(0, 16, 4000).astype(np.uint8)
            async with aiohttp.ClientSession() as client:
                headers = {"Origin": group.address.rstrip("/")}
                connection = await client.ws_connect(group.address + "record", headers=headers)
                await connection.send_json({"token": group.tokens[number], "session": "s"})
                await connection.receive()
                first = 0
                for run in range(20):
                    page_id = 1000 * attempt + 100 * number + run
                    mine = masks[200 * run : 200 * run + 40 + 20 * number]
                    changes = [begin(page_id), *(["frame", int(k), 1.0, 0.0] for k in mine)]
                    changes.append(["keep", {"players": [[0, "person"]], "pace": [[0, 1]]}])
                    at = 0
                    while at < len(changes):
                        count = int(rng.integers(1, 4))
                        await connection.send_json({"first": first, "changes": changes[at : at + count]})
                        while True:
                            answer = await connection.receive(timeout=20)
                            if answer.type != aiohttp.WSMsgType.TEXT:
                                return
                            if "stored" in (said := json.loads(answer.data)):
                                break
                        at = min(at + count, len(changes))
                        first = said["stored"]
                        played = min(at - 1, len(mine))
                        keys[number, run] = mine[:played].tolist()

        async def play_all(play=play):
            await asyncio.gather(*(play(number) for number in range(3)), return_exceptions=True)

        killer = threading.Timer(float(rng.uniform(0.05, 1.5)), group.process.kill)
        killer.start()
        asyncio.run(play_all())
        killer.join()
        group.kill()
        recover_dataset(path)
        stored = list(DatasetReader(path)) if path.exists() else []
        frames += sum(map(len, keys.values()))
        assert {e.verified for e in stored} <= {"exact"}
        for (number, run), played in keys.items():
            if played:
                found = [e.keys.tolist() for e in stored if e.player == f"player {number}"]
                assert any(one[: len(played)] == played for one in found), (attempt, number, run)
    assert frames > 10 * moments()
    print(f"{moments()} kills, {frames} acknowledged frames, none lost")


# -- invitations and options -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_invitations_are_for_the_owner_alone(path):
    invitations = Invitations(path, 5)
    assert stat.S_IMODE(invitations.path.stat().st_mode) == 0o600
    invitations.path.chmod(0o644)
    again = Invitations(path, 3)
    assert [one.token for one in again] == [one.token for one in invitations]
    assert stat.S_IMODE(invitations.path.stat().st_mode) == 0o600
    first = next(one for one in again if one.number == 1)
    assert again.find(first.token) is first and again.find(first.token[:-1]) is None
    with pytest.raises(JoinError, match="agree to the license CC0"):
        again.join(first, "Zoë", "MIT", "CC0-1.0")
    again.join(first, " Zoe\u0308  L. ", "CC0-1.0", "CC0-1.0")
    again.save()
    assert next(one for one in Invitations(path, 3) if one.number == 1).player == "Zoë L."
    assert [p.name for p in path.parent.iterdir()] == ["runs.h5.invitations"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("format"),
        lambda content: content.update(version=2),
        lambda content: content["invitations"].pop(0),
        lambda content: content["invitations"][1].update(token="short"),
        lambda content: content["invitations"][1].update(token=5),
        lambda content: content["invitations"][1].update(token=content["invitations"][2]["token"]),
        lambda content: content["invitations"][1].update(number=2),
        lambda content: content["invitations"][1].update(number="1"),
        lambda content: content["invitations"][1].update(color="red"),
        lambda content: content["invitations"].append(3),
    ],
)
def test_a_damaged_file_of_invitations_is_one_line(path, damage):
    file = Invitations(path, 2).path
    content = json.loads(file.read_text(encoding="utf-8"))
    damage(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(RecorderError, match="mend it, or move it away") as error:
        Invitations(path, 2)
    assert "\n" not in str(error.value)


def test_a_group_records_only_where_nobody_else_does(path):
    config = RecordConfig(path, web=True, players=1, port=1, host="999.9.9.9")
    with pytest.raises(RecorderError, match="choose another"):
        play_with_players(config, {}, print)
    assert journal_paths(path) == []
    with pytest.raises(RecorderError, match="free-gb 0: give more than 0"):
        Limits(free_gb=0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--players", "3"], "use it with --web"),
        (["--web", "--players", "-1"], "give 1 to 10000"),
        (["--web", "--players", "3", "--practice"], "players are recorded"),
        (["--web", "--players", "3", "--player", "ada"], "each player chooses a name"),
        (["--web", "--players", "3", "--license", "my own"], "SPDX"),
        (["--web", "--players", "3", "--url", "qwop.example"], "give scheme and host"),
        (["--web", "--players", "3", "--sites", "https://a.example/x"], "give scheme and host"),
        (["--web", "--url", "https://a.example"], "use it with --players"),
        (["--web", "--players", "3", "--limits.connections", "0"], "give more than 0"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, arguments, said):
    assert cli.main([str(tmp_path / "runs.h5"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
