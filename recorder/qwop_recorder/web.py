"""Record runs that one person plays in the web page, served from this machine.

A change is acknowledged once it is in the journal; see web_session.py.
"""

import asyncio
import hmac
import json
import secrets
import webbrowser
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

from qwop_datasets import Change, Recording
from qwop_recorder.config import RecordConfig
from qwop_recorder.keeping import Keeper
from qwop_recorder.loop import FrameTiming
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.storage import EpisodeStore
from qwop_recorder.web_http import (
    REFUSED,
    REPLACED,
    Connection,
    Farewell,
    PageHost,
    listen,
    until_interrupted,
)
from qwop_recorder.web_session import PageError, PageSession

MAX_MESSAGE = 256 << 10
"""Largest message of a page, bytes: 200 changes have 20 kB."""


class RunsAtOnce:
    """The runs of a page (see `web_session.Runs`): a kept one enters the file before the next change.

    Args:
        store: Where runs go; None: practice.
        tell: Takes a line about each run that enters the file.
    """

    def __init__(self, store: EpisodeStore | None, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.keeper = Keeper(store, tell)

    def recording(self, raw_observation: NDArray[np.float32], time: float) -> Recording:
        """Make the recording of a run."""
        return self.keeper.recording(raw_observation, time)

    def begin(self, run: Recording) -> None:
        """Store the start of a run."""
        self.keeper.begin(run)

    def write(self, run: Recording, *changes: Change) -> None:
        """Store changes that were added to the run."""
        self.keeper.write(run, *changes)

    def drop(self, run: Recording) -> None:
        """Throw the run away."""
        self.keeper.drop(run)

    def keep(self, run: Recording) -> dict[str, Any]:
        """Put the run into the file; returns news for the page."""
        self.keeper.keep(run)
        before = len(self.keeper.log)
        self.keeper.finish()
        lines = self.keeper.log[before:]
        for line in lines:
            self._tell(line)
        news: dict[str, Any] = {"line": lines[-1] if lines else ""}
        return news if self.keeper.unsaved else news | {"kept": run.id}

    def problem(self) -> str | None:
        """Try again what the disk has refused; returns why it still does, or None."""
        if self.keeper.problem:
            self.keeper.flush()
        return self.keeper.problem


class WebRecorder:
    """The server: files for the page, and one websocket on which a page records.

    A page that is loaded anew ends the session of the one before: its run is kept as one cut short.

    token: The secret that a page has to know.
    """

    def __init__(self, config: RecordConfig, runs: RunsAtOnce, best: PersonalBest) -> None:
        self.config = config
        self.runs = runs
        self.token = secrets.token_urlsafe(24)
        self.done = asyncio.Event()
        self.host = PageHost()
        self.timing = FrameTiming()
        self.attempts = 0  # of the sessions before this one
        self._best = best
        self.session = self._new_session()
        self._session_id = ""
        self._connection: Connection | None = None

    def application(self) -> web.Application:
        """The aiohttp application."""
        return self.host.application(
            [web.get("/session.json", self._settings), web.get("/record", self._record)]
        )

    def _new_session(self) -> PageSession:
        return PageSession(self.config, self.runs, self._best, timing=self.timing)

    async def _settings(self, request: web.Request) -> web.Response:
        config = self.config
        return web.json_response(
            {
                "file": "nothing: practice" if config.practice else config.file.name,
                "player": config.player,
                "trig": config.trig,
                "options": {"countdown": config.countdown, "rewind": config.rewind},
            }
        )

    async def _record(self, request: web.Request) -> web.WebSocketResponse:
        self.host.check_origin(request)
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=20, compress=False)
        await socket.prepare(request)
        connection = Connection(socket)
        code, reason = await connection.run(self._talk(connection))
        await socket.close(code=code, message=reason.encode()[:120])
        return socket

    async def _talk(self, connection: Connection) -> Farewell:
        """Record what comes, and say why that ended."""
        socket = connection.socket
        try:
            hello = json.loads(await asyncio.wait_for(socket.receive_str(), 10))
            token, session = str(hello["token"]), str(hello["session"])
        except (ValueError, KeyError, TypeError, RecursionError, asyncio.TimeoutError):
            return REFUSED, "expected a token"
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            return REFUSED, "wrong token: use the link that qwop-record printed"
        if self._connection is not None:
            self._connection.leave(REPLACED, "the page was opened again elsewhere")
        self._connection = connection
        if session != self._session_id:
            self._session_id = session
            self.attempts += self.session.attempts
            self.session.close()
            self.session = self._new_session()
        await socket.send_json({"stored": self.session.stored})
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            try:
                content = json.loads(message.data)
                news = self.session.apply(int(content["first"]), list(content["changes"]))
            except (PageError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                return REFUSED, f"not understood: {error}"
            if problem := self.runs.problem():
                news.append({"problem": f"the disk refuses the run: {problem}"})
            for item in news:
                await socket.send_json(item)
            await socket.send_json({"stored": self.session.stored})
            wanted = self.config.episodes
            if wanted is not None and self.runs.keeper.kept >= wanted:
                await socket.send_json({"finished": True})
                self.done.set()
        return 1000, ""


def play_in_page(
    config: RecordConfig,
    store: EpisodeStore | None,
    best: PersonalBest,
    tell: Callable[[str], None],
) -> WebRecorder:
    """Serve the page until Ctrl-C, or until enough runs are kept.

    Args:
        config: The session's options.
        store: Where runs go; None: practice.
        best: The player's best so far.
        tell: Takes the page's address, and a line about each run that enters the file.

    Returns:
        The server, after its end; all kept runs are in the file.

    Raises:
        RecorderError: The port is taken.
    """

    async def run() -> WebRecorder:
        server = WebRecorder(config, RunsAtOnce(store, tell), best)
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1)
        port = await listen(runner, server.host, config.host, config.port)
        server.host.named(config.host, port)
        address = f"http://{config.host}:{port}/#token={server.token}"
        tell(f"play at {address}")
        if not config.no_open:
            webbrowser.open(address)
        await until_interrupted(server.done)
        await runner.cleanup()
        server.attempts += server.session.attempts
        server.session.close()
        return server

    return asyncio.run(run())
