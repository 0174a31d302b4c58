"""Record runs that a person plays in the web page, served from this machine.

The page plays by itself and sends each change of a run, in order. This side plays the same keys in its own
simulator and stores what that shows, so a stored run is exact whatever the page claims. A change is
acknowledged once it is in the journal.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import webbrowser
from collections.abc import Callable
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from qwop_cli import interrupts
from qwop_datasets import (
    KEY_SOURCES,
    Change,
    End,
    Frame,
    KeyEvent,
    Recording,
    Rewind,
    name_problem,
    page_play_fields,
)
from qwop_game import Simulator
from qwop_game.rules import has_finished, is_over
from qwop_recorder.config import RecordConfig
from qwop_recorder.errors import RecorderError
from qwop_recorder.keeping import Keeper, reason_to_reject
from qwop_recorder.loop import FrameTiming
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.storage import EpisodeStore
from qwop_web import content_type, page_files

MAX_MESSAGE = 256 << 10
"""Largest message of a page, bytes: 200 changes have 20 kB."""
MAX_FRAMES = 30 * 3600
"""Longest run, frames: an hour."""
SECURITY = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
REFUSED, REPLACED = 4003, 4000  # close codes of the websocket


class PageError(Exception):
    """The page sent what it never sends; one line."""


class PageSession:
    """The runs of one page: each change is played, journaled, and acknowledged by its number.

    Args:
        config: The session's options.
        store: Where runs go; None: practice.
        tell: Takes a line about each run that enters the file.
        best: The player's best so far.
    """

    def __init__(
        self,
        config: RecordConfig,
        store: EpisodeStore | None,
        tell: Callable[[str], None],
        best: PersonalBest,
    ) -> None:
        self._config = config
        self._store = store
        self._tell = tell
        self.best = best
        self.keeper = Keeper(store, tell)
        self.timing = FrameTiming()
        self.run: Recording | None = None
        self.attempts = 0
        self.stored = 0
        """Changes that are in the journal."""
        self._simulator = Simulator(1, trig=config.trig)
        self._kinds: dict[str, Callable[..., dict[str, Any] | None]] = {
            "begin": self._begin,
            "event": self._event,
            "frame": self._frame,
            "rewind": self._rewind,
            "end": lambda: None,
            "keep": self._keep,
            "drop": self._drop,
        }

    @property
    def enough(self) -> bool:
        """Whether as many runs are kept as --episodes asks for."""
        return self._config.episodes is not None and self.keeper.kept >= self._config.episodes

    def apply(self, first: int, changes: list[Any]) -> list[dict[str, Any]]:
        """Play and store changes; those that are stored already are skipped.

        Args:
            first: Number of the first one.
            changes: See sync.js.

        Returns:
            News for the page.

        Raises:
            PageError: A change that no page sends; those before it are stored.
        """
        if first > self.stored:
            raise PageError(f"change {self.stored} is missing")
        news: list[Any] = []
        change: list[Any]
        for change in changes[self.stored - first :]:
            if type(change) is not list or not change or change[0] not in self._kinds:
                raise PageError(f"unknown change {str(change)[:40]}")
            try:
                answer = self._kinds[change[0]](*change[1:])
            except (TypeError, ValueError, KeyError, OverflowError) as error:
                raise PageError(f"{change[0]}: {' '.join(str(error).split())[:120]}") from None
            self.stored += 1
            if answer:
                news.append(answer)
        if self.keeper.problem:
            self.keeper.flush()
        if self.keeper.problem:
            news.append({"problem": f"the disk refuses the run: {self.keeper.problem}"})
        return news

    def close(self) -> None:
        """Keep what was played of the latest run as one cut short, and put all kept runs into the file."""
        run, self.run = self.run, None
        if run is not None and run.num_frames:
            if run.end is None:
                self.keeper.write(run, run.add(End(truncated=True)))
            self.keeper.keep(run)
        self._save()

    def _save(self) -> list[str]:
        before = len(self.keeper.log)
        self.keeper.finish()
        lines = self.keeper.log[before:]
        for line in lines:
            self._tell(line)
        return lines

    # -- the changes -----------------------------------------------------------------------------------

    def _begin(self, about: dict[str, Any]) -> None:
        player = self._config.player or str(about["player"])
        if problem := name_problem(player):
            raise ValueError(problem)
        if about["trig"] != self._config.trig:
            raise ValueError(f"the page plays {about['trig']!r:.20}, not {self._config.trig}")
        date = re.fullmatch(r"[0-9T:.Z-]{10,40}", about["created"])
        if not date or not re.fullmatch(r"[0-9a-f]{32}", about["id"]):
            raise ValueError("a run's id or date is malformed")
        clock_offset = float(about["clock_offset"])
        if not np.isfinite(clock_offset):
            raise ValueError("clock_offset is no number")
        if self.run is not None:
            self.keeper.drop(self.run)
        self._simulator.reset()
        self.run = self.keeper.recording(self._simulator.raw_observation[0], float(self._simulator.time[0]))
        self.run.fields |= {
            "id": about["id"],
            "created": about["created"],
            "player": player,
            "wall_clock_offset": clock_offset,
        }
        self.attempts += 1
        self.timing.begin()
        self.keeper.begin(self.run)

    def _current(self) -> Recording:
        if self.run is None:
            raise ValueError("no run has begun")
        return self.run

    def _event(self, time: float, key: int, pressed: bool, source: str) -> None:
        run = self._current()
        if key not in (1, 2, 4, 8) or source not in KEY_SOURCES or not isinstance(pressed, bool):
            raise ValueError("not a key event")
        if run.key_events and not run.key_events[-1].time <= float(time):
            raise ValueError("events run backwards")
        self.keeper.write(run, run.add(KeyEvent(float(time), key, pressed, source)))

    def _frame(self, keys: int, instant: float, lateness: float) -> None:
        run = self._current()
        if type(keys) is not int or not 0 <= keys <= 15:
            raise ValueError(f"{keys!r:.20} is no key mask")
        if run.end is not None or run.num_frames >= MAX_FRAMES:
            raise ValueError("the run is over")
        wall_time = run.wall_clock_offset + float(instant)
        if not np.isfinite([wall_time, float(lateness)]).all():
            raise ValueError("a frame's time is no number")
        self._simulator.step(np.array([keys], np.uint8))
        simulator = self._simulator
        row, time = simulator.raw_observation[0], float(simulator.time[0])
        changes: list[Change] = [run.add(Frame(keys, row, time, wall_time, float(lateness)))]
        flags, distance = simulator.flags, simulator.distance
        if is_over(flags, distance)[0]:
            changes.append(run.add(End(terminated=True, success=bool(has_finished(flags, distance)[0]))))
        self.timing.frame(float(instant), float(lateness))
        self.keeper.write(run, *changes)

    def _rewind(self, frame: int, time: float) -> None:
        run = self._current()
        if type(frame) is not int:
            raise ValueError(f"{frame!r:.20} is no frame")
        self.keeper.write(run, run.add(Rewind(frame, run.wall_clock_offset + float(time))))
        self._simulator.reset()
        for keys in run.keys:
            self._simulator.step(np.array([keys], np.uint8))
        self.timing.begin()

    def _keep(self, about: dict[str, Any]) -> dict[str, Any]:
        run = self._current()
        if not run.num_frames:
            raise ValueError("a run without a frame")
        play = page_play_fields(about["players"], about["pace"])
        self.run = None
        observations = np.array(run.raw_observations, np.float32).tobytes()
        digest = about.get("observations_sha256")
        same = digest is None or digest == hashlib.sha256(observations).hexdigest()
        reject = reason_to_reject(run, self._config.min_distance, self._config.max_knee_share)
        if reject:
            self.keeper.drop(run)
            return {"rejected": reject}
        run.fields |= {"source": play["source"], "tags": play["tags"]}
        run.fields["provenance"] = {
            **run.fields.get("provenance", {}),
            **play["provenance"],
            "license": str(about.get("license") or "not given")[:40],
            "page_sha256": "checked" if same and digest else "none" if same else "differs",
        }
        if run.end is None:
            self.keeper.write(run, run.add(End(truncated=True)))
        if not run.rewinds:
            self.best.update(run.distance, run.time, run.success)
        self.keeper.keep(run)
        lines = self._save()
        news: dict[str, Any] = {"line": lines[-1] if lines else "", "kept": run.id}
        if not same:
            news["problem"] = "the page computed other numbers than the recorder: please report this"
        if self.keeper.unsaved:
            del news["kept"]
        return news

    def _drop(self) -> None:
        run, self.run = self.run, None
        if run is not None:
            self.keeper.drop(run)


class WebRecorder:
    """The server: files for the page, and one websocket on which a page records.

    A page that is loaded anew ends the session of the one before: its run is kept as one cut short.

    token: The secret that a page has to know.
    """

    def __init__(self, config: RecordConfig, make_session: Callable[[], PageSession]) -> None:
        self.config = config
        self.token = secrets.token_urlsafe(24)
        self.done = asyncio.Event()
        self._make_session = make_session
        self.session = make_session()
        self._session_id = ""
        self._socket: web.WebSocketResponse | None = None
        self._files = page_files()
        self.hosts: set[str] = set()

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/session.json", self._settings)
        app.router.add_get("/record", self._record)
        app.router.add_get("/{name:[A-Za-z0-9_.-]*}", self._file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        # Another site's page whose name was pointed at this machine still says its own name here.
        if request.host not in self.hosts:
            raise web.HTTPMisdirectedRequest(body=b"unknown host\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(SECURITY)
        return response

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._files:
            raise web.HTTPNotFound(body=b"no such file\n")
        body = await asyncio.to_thread(self._files[name].read_bytes)
        return web.Response(body=body, content_type=content_type(name))

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
        if request.headers.get("Origin") not in {f"http://{host}" for host in self.hosts}:
            raise web.HTTPForbidden(body=b"another site's page\n")
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=20, compress=False)
        await socket.prepare(request)
        try:
            hello = json.loads(await asyncio.wait_for(socket.receive_str(), 10))
            token, session = str(hello["token"]), str(hello["session"])
        except (ValueError, KeyError, TypeError, asyncio.TimeoutError):
            await socket.close(code=REFUSED, message=b"expected a token")
            return socket
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            await socket.close(code=REFUSED, message=b"wrong token: use the link that qwop-record printed")
            return socket
        if self._socket is not None:
            await self._socket.close(code=REPLACED, message=b"the page was opened again elsewhere")
        self._socket = socket
        if session != self._session_id:
            self._session_id = session
            self.session.close()
            self.session.stored = 0
        await socket.send_json({"stored": self.session.stored})
        async for message in socket:
            if message.type != WSMsgType.TEXT or self._socket is not socket:
                break
            try:
                content = json.loads(message.data)
                news = self.session.apply(int(content["first"]), list(content["changes"]))
            except (PageError, ValueError, KeyError, TypeError, RecursionError) as error:
                reason = f"not understood: {error}"[:120]
                await socket.close(code=REFUSED, message=reason.encode()[:120])
                break
            for item in news:
                await socket.send_json(item)
            await socket.send_json({"stored": self.session.stored})
            if self.session.enough:
                await socket.send_json({"finished": True})
                self.done.set()
        return socket


def play_in_page(
    config: RecordConfig,
    store: EpisodeStore | None,
    best: PersonalBest,
    tell: Callable[[str], None],
) -> PageSession:
    """Serve the page until Ctrl-C, or until enough runs are kept.

    Args:
        config: The session's options.
        store: Where runs go; None: practice.
        best: The player's best so far.
        tell: Takes the page's address, and a line about each run that enters the file.

    Returns:
        The session; all its kept runs are in the file.

    Raises:
        RecorderError: The port is taken.
    """

    async def run() -> PageSession:
        server = WebRecorder(config, lambda: PageSession(config, store, tell, best))
        runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, config.host, config.port)
            await site.start()
        except (OSError, OverflowError) as error:
            await runner.cleanup()
            raise RecorderError(f"--port {config.port}: {error}; choose another") from None
        port = runner.addresses[0][1]
        server.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", config.host)}
        address = f"http://{config.host}:{port}/#token={server.token}"
        tell(f"play at {address}")
        if not config.no_open:
            webbrowser.open(address)
        loop = asyncio.get_running_loop()

        def end(_number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(server.done.set)

        with interrupts(end):
            while not server.done.is_set():  # Windows wakes a waiting loop for no signal
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(server.done.wait(), 0.5)
            await runner.cleanup()
            server.session.close()
        return server.session

    return asyncio.run(run())
