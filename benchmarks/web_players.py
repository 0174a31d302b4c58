"""What a group of players costs: python benchmarks/web_players.py [--players 1 10 100 300] [--seconds S]

Starts `qwop-record --web --players N` and plays N players over websockets, as the page does: 30 frames a
second each, a frame is sent when nothing is under way, else with the next message. Runs take about 20 s; all
of them are kept, verified and filed. A list of objects, one for each number of players:

    message_*_ms   from sending a message to its acknowledgement: the changes are on the disk
    frame_*_ms     from playing a frame to its acknowledgement
    server         share of one core that the server takes; filer: that of the process that verifies and files
    load           of this program: share of one core
    runs           in the file, all of them `verified exact`
    memory_mb      of the server, at the beginning and at the end of the measurement
"""

import asyncio
import base64
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_datasets import DatasetReader, replay_keys

PROGRAM = "web_players"
FRAME = 1 / 30


@dataclass(frozen=True)
class PlayersConfig:
    """Measure what a group of players costs the recorder."""

    players: tuple[int, ...] = (1, 10, 100, 300)
    """Numbers of players to measure, one after another."""
    seconds: float = 30.0
    """Length of each measurement; ten more seconds before it are not counted."""
    memory_seconds: float | None = None
    """Print the server's memory each time after so many seconds."""
    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list instead of a table."""
    folder: Path | None = None
    """Folder on the disk to write to; that of temporary files without this flag."""

    def __post_init__(self) -> None:
        if not self.players or min(self.players) < 1:
            raise CommandError("--players: expected numbers of 1 or more")
        if self.seconds <= 0:
            raise CommandError(f"--seconds {self.seconds:g}: expected more than 0")
        if self.folder is not None and not self.folder.is_dir():
            raise CommandError(f"--folder {self.folder}: is not a folder; choose another")


def some_runs(count: int = 40, seed: int = 0) -> list[list[int]]:
    """Key masks of runs that stand for a while, then run and fall: 20 s in the median."""
    random = np.random.default_rng(seed)
    keys = []
    for _ in range(count):
        stand = np.zeros(int(random.uniform(240, 900)), np.uint8)
        run = np.repeat(random.choice([0, 9, 6, 5, 10], 80), random.integers(3, 12, 80)).astype(np.uint8)
        keys.append(np.concatenate([stand, run]))
    return [k[: r.frames_until_end].tolist() for k, r in zip(keys, replay_keys(keys), strict=True)]


@dataclass
class Measured:
    """Latencies, s."""

    messages: list[float] = field(default_factory=list)
    frames: list[float] = field(default_factory=list)
    on: bool = False


class Socket(asyncio.Protocol):
    """A websocket that costs little: a client's messages below 64 kB, a server's below 126 bytes."""

    def __init__(self, player: "LoadPlayer", request: bytes) -> None:
        self._player = player
        self._request = request
        self._data = b""
        self._open = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._open:
            head, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise RuntimeError(head.decode())
            self._open, self._data = True, rest
            self._player.opened()
        while len(self._data) >= 2 and len(self._data) >= (end := 2 + self._data[1]):
            kind, payload, self._data = self._data[0] & 15, self._data[2:end], self._data[end:]
            if kind == 9:  # ping
                self._transport.write(b"\x8a" + bytes([0x80 | len(payload), 0, 0, 0, 0]) + payload)
            elif kind == 8:
                self._player.failed = payload.decode(errors="replace")
            elif kind == 1:
                self._player.answered(payload)

    def send(self, text: str) -> None:
        """Send a message; masked with zeros, which changes nothing."""
        data = text.encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        self._transport.write(b"\x81" + size + b"\0\0\0\0" + data)

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()


class LoadPlayer:
    """Plays one run after another."""

    def __init__(self, number: int, token: str, runs: Sequence[list[int]], measured: Measured) -> None:
        self.token = token
        self.failed = ""
        self._runs = runs
        self._run = number
        self._frame = 0
        self._measured = measured
        self._random = np.random.default_rng(number)
        self._waiting: list[tuple[str, float]] = []  # changes that were not sent, and when they were made
        self._under_way: list[tuple[str, float]] = []
        self._sent_at = 0.0
        self._acknowledged = 0
        self._ready = False
        self._last = 0
        self.frames = 0

    async def connect(self, address: str, port: int) -> None:
        """Open the websocket."""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        head = (
            f"GET /record HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        _, self._socket = await loop.create_connection(lambda: Socket(self, head.encode()), "127.0.0.1", port)

    def opened(self) -> None:
        """The handshake is over."""
        self._socket.send(json.dumps({"token": self.token, "session": secrets.token_hex(16)}))

    def answered(self, payload: bytes) -> None:
        """A message of the server."""
        if not payload.startswith(b'{"stored"'):
            return
        stored = int(payload[10:].strip(b" :}"))
        self._ready = True
        if self._under_way and stored >= self._acknowledged + len(self._under_way):
            now = time.perf_counter()
            if self._measured.on:
                self._measured.messages.append(now - self._sent_at)
                self._measured.frames += [now - at for text, at in self._under_way if text[2] == "f"]
            self._acknowledged += len(self._under_way)
            self._under_way = []
            self._send()

    def play(self) -> None:
        """One frame."""
        keys, now = self._runs[self._run % len(self._runs)], time.perf_counter()
        if self._frame == 0:
            about = {
                "id": secrets.token_hex(16),
                "created": "2026-01-01T00:00:00Z",
                "clock_offset": 0,
                "trig": "rounded",
                "player": "",
            }
            self._waiting.append((json.dumps(["begin", about]), now))
        mask = keys[self._frame]
        for bit in (1, 2, 4, 8):
            if (mask ^ self._last) & bit:
                pressed = "true" if mask & bit else "false"
                self._waiting.append((f'["event",{now!r},{bit},{pressed},"page"]', now))
        self._last = mask
        self._waiting.append((f'["frame",{mask},{now!r},0.00123]', now))
        self.frames += 1
        self._frame += 1
        if self._frame == len(keys):
            keep = {
                "observations_sha256": None,
                "license": None,
                "pace": [[0, 1]],
                "players": [[0, "person"]],
            }
            self._waiting += [('["end"]', now), (json.dumps(["keep", keep]), now)]
            self._frame = self._last = 0
            self._run += 7
        self._send()

    def _send(self) -> None:
        if self._waiting and not self._under_way and self._ready and not self.failed:
            self._under_way, self._waiting = self._waiting[:200], self._waiting[200:]
            changes = ",".join(text for text, _ in self._under_way)
            self._sent_at = time.perf_counter()
            self._socket.send(f'{{"first":{self._acknowledged},"changes":[{changes}]}}')

    def close(self) -> None:
        """Leave."""
        self._socket.close()


def processor_seconds(process: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """Resident memory."""
    pages = Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text(encoding="utf-8").split()]


async def drive(players: list[LoadPlayer], until: float) -> None:
    """Play all players, spread over the thirtieth of a second, until a time on the clock."""
    start, number, count = time.perf_counter(), 0, len(players)
    while True:
        now = time.perf_counter()
        due = int((now - start) / FRAME * count)
        while number < due:
            players[number % count].play()
            number += 1
            if time.perf_counter() - now > 0.002:  # let answers in
                break
        if now > until:
            return
        await asyncio.sleep(max(0.0, start + (number + 1) * FRAME / count - time.perf_counter()))


async def measure(config: PlayersConfig, count: int, folder: Path) -> dict[str, Any]:
    """One row of the table."""
    file = folder / f"{count}.h5"
    command = [sys.executable, "-m", "qwop_recorder.cli", str(file), "--web", "--port", "0", "--no-open"]
    process = subprocess.Popen(
        [*command, "--players", str(count), "--limits.connections", "2000"],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    assert process.stdout
    address = process.stdout.readline().rpartition(": ")[2].partition("/table")[0]
    port = int(address.rpartition(":")[2])
    while "stay valid" not in process.stdout.readline():
        pass
    drain = asyncio.get_running_loop().run_in_executor(None, process.stdout.read)
    invited = json.loads(Path(f"{file}.invitations").read_text(encoding="utf-8"))["invitations"][1:]
    measured = Measured()
    runs = some_runs()
    players = [LoadPlayer(one["number"], one["token"], runs, measured) for one in invited]
    for player, one in zip(players, invited, strict=True):
        body = json.dumps({"player": f"player {one['number']}", "license": "CC0-1.0"}).encode()
        headers = {"Authorization": f"Bearer {player.token}", "Origin": address}
        request = urllib.request.Request(f"{address}/join", body, headers, method="POST")
        await asyncio.to_thread(lambda request=request: urllib.request.urlopen(request).read())
        await player.connect(address, port)

    async def watch_memory() -> None:
        while config.memory_seconds:
            await asyncio.sleep(config.memory_seconds)
            print(f"{time.perf_counter() - begun:7.0f} s  {memory_mb(process.pid):6.1f} MB", file=sys.stderr)

    begun = time.perf_counter()
    await drive(players, begun + 10)
    watcher = asyncio.create_task(watch_memory())
    measured.on = True
    server, load, frames = processor_seconds(process.pid), time.process_time(), sum(p.frames for p in players)
    filer = sum(map(processor_seconds, children(process.pid)))
    memory, begun = memory_mb(process.pid), time.perf_counter()
    await drive(players, begun + config.seconds)
    seconds = time.perf_counter() - begun
    measured.on = False
    watcher.cancel()
    row: dict[str, Any] = {
        "players": count,
        "frames_per_second": round((sum(p.frames for p in players) - frames) / seconds, 1),
        **_latencies("message", measured.messages),
        **_latencies("frame", measured.frames),
        "server": round((processor_seconds(process.pid) - server) / seconds, 3),
        "filer": round((sum(map(processor_seconds, children(process.pid))) - filer) / seconds, 3),
        "load": round((time.process_time() - load) / seconds, 3),
        "memory_mb": [round(memory, 1), round(memory_mb(process.pid), 1)],
    }
    failed = [player.failed for player in players if player.failed]
    if failed:
        raise CommandError(f"{len(failed)} connections were closed: {failed[0]}")
    await asyncio.sleep(0.5)  # the last acknowledgements
    for player in players:
        player.close()
    process.send_signal(signal.SIGINT)
    await drain
    process.wait()
    with DatasetReader(file) as reader:
        row["runs"] = len(reader)
        exact = int((reader.index["verified"] == 1).sum())
        row["file_bytes_per_frame"] = round(file.stat().st_size / float(reader.index["frames"].sum()), 1)
    if exact != row["runs"]:
        raise CommandError(f"{row['runs'] - exact} runs are not exact")
    return row


def _latencies(what: str, seconds: list[float]) -> dict[str, float]:
    ms = sorted(1000 * s for s in seconds)
    return {
        f"{what}_median_ms": round(statistics.median(ms), 1),
        f"{what}_p99_ms": round(ms[int(0.99 * len(ms))], 1),
        f"{what}_worst_ms": round(ms[-1], 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, PlayersConfig, arguments, description=__doc__))
    )


def benchmark(config: PlayersConfig) -> None:
    """Measure, and print the table."""
    rows = []
    for count in config.players:
        with tempfile.TemporaryDirectory(dir=config.folder) as folder:
            row = asyncio.run(measure(config, count, Path(folder)))
        rows.append(row)
        if not config.json:
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if config.json:
        print(json_text(rows, indent=1))


if __name__ == "__main__":
    raise SystemExit(main())
