"""Record the runs of many players at once into one dataset, served from this machine.

Each player has an invitation: a secret in the link, a name, and consent to the license of the data. A change
is acknowledged once it is on the disk. Kept runs are verified and filed by a process of their own.
"""

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import WSMsgType, web

from qwop_datasets import Recording, SharedJournal
from qwop_recorder.config import RecordConfig
from qwop_recorder.keeping import StoreError
from qwop_recorder.personal_best import PersonalBest
from qwop_recorder.storage import line_about
from qwop_recorder.web_http import REFUSED, REPLACED, Connection, Farewell, PageHost
from qwop_recorder.web_invitations import Invitation, Invitations
from qwop_recorder.web_player import Player, PlayerRuns
from qwop_recorder.web_requests import MAX_SENT_RUN, GroupRequests
from qwop_recorder.web_session import PageError, PageSession
from qwop_recorder.web_storing import Filed, GroupCommit, RunFiler
from qwop_recorder.web_table import BestTable

MAX_MESSAGE = 64 << 10
"""Largest message on a websocket, bytes: 200 changes have 20 kB."""
MESSAGE_COST, REWIND_COST = 5, 100
"""In changes."""
MAX_WAITING_FRAMES = 1_000_000
"""Of kept runs that wait for the file, in memory: 400 MB. The machine is too slow then."""
HELLO_SECONDS = 10
"""Time until a connection has to show its token."""
TRY_AGAIN = 1013
"""Close code of a websocket: the page tries again later."""
_SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)


class PlayersServer:
    """The server of a group.

    Args:
        config: The session's options.
        invitations: Who may play.
        journal: The journal of all players.
        fields: What is known of every run, see Recording.
        tell: Takes a line about each run that enters the file.

    problem: Why nothing is accepted, or empty. kept: Runs that are in the file.
    """

    def __init__(
        self,
        config: RecordConfig,
        invitations: Invitations,
        journal: SharedJournal,
        fields: Mapping[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        self.config = config
        self.limits = config.limits
        self.journal = journal
        self.fields = fields
        self.done = asyncio.Event()
        self.table = BestTable(config.file)
        self.commits = GroupCommit(journal)
        self.filer = RunFiler(config.file, tell)
        self.host = PageHost()
        self.kept = 0
        self.problem = ""
        self.tell = tell
        self._invitations = invitations
        self._players: dict[int, Player] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """The aiohttp application."""
        routes = [web.get("/record", self._record), *GroupRequests(self, self._invitations).routes()]
        return self.host.application(routes, sites=self.config.sites, max_body=MAX_SENT_RUN)

    @property
    def num_playing(self) -> int:
        """Players who are connected."""
        return sum(player.connection is not None for player in self._players.values())

    @property
    def attempts(self) -> int:
        """Runs that were played; once all sessions have ended."""
        return sum(player.attempts for player in self._players.values())

    def player(self, invitation: Invitation) -> Player:
        """The player of an invitation."""
        if invitation.number not in self._players:
            self._players[invitation.number] = Player(invitation)
        return self._players[invitation.number]

    def has_agreed(self, invitation: Invitation) -> bool:
        """Whether the player has a name, and has agreed to this server's license."""
        return bool(invitation.player) and invitation.license == self.config.license

    # -- play on a websocket ----------------------------------------------------------------------------

    async def _record(self, request: web.Request) -> web.WebSocketResponse:
        self.host.check_origin(request)
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE, heartbeat=20, compress=False)
        await socket.prepare(request)
        connection = Connection(socket)
        code, reason = await connection.run(self._talk(request, connection))
        await self._close(socket, code, reason)
        return socket

    async def _talk(self, request: web.Request, connection: Connection) -> Farewell:
        """Record what comes, and say why that ended."""
        socket = connection.socket
        try:
            hello = json.loads(await asyncio.wait_for(socket.receive_str(), HELLO_SECONDS))
            token, session_id = str(hello["token"]), str(hello["session"])
        except (ValueError, KeyError, TypeError, RecursionError, asyncio.TimeoutError):
            return REFUSED, "expected a token"
        invitation = self._invitations.find(token)
        if invitation is None or not invitation.plays:
            return REFUSED, "no valid invitation: use the link that you were given"
        if not self.has_agreed(invitation) or not _SESSION.fullmatch(session_id):
            return REFUSED, "the name and the consent are missing: open the link again"
        if self.problem:
            return TRY_AGAIN, self.problem
        player = self.player(invitation)
        if player.frames_played > self.limits.frames_per_player:
            return REFUSED, self._enough
        self.host.admit(request)
        session = self._take_over(player, session_id, connection)
        try:
            await self.commits.durable()  # what the disk refused before comes first
            await socket.send_json({"stored": session.stored})
            return await self._listen(player, session, socket)
        except StoreError as error:
            self._full(str(error))
            return TRY_AGAIN, self.problem
        finally:
            if player.connection is connection:
                player.connection = None
                player.seen = asyncio.get_running_loop().time()

    def _take_over(self, player: Player, session_id: str, connection: Connection) -> PageSession:
        old, player.connection = player.connection, connection
        if old is not None:
            old.leave(REPLACED, "the page was opened again elsewhere")
        if player.session is None or session_id != player.session_id:
            player.end_session()
            player.session_id = session_id
            player.session = PageSession(
                self.config,
                PlayerRuns(player, self.journal, self.fields, self._file),
                PersonalBest(),  # the table counts
                player=player.invitation.player,
                provenance=player.provenance,
                rename=player.rename,
                max_frames=self.limits.frames_per_run,
            )
        return player.session

    async def _listen(self, player: Player, session: PageSession, socket: web.WebSocketResponse) -> Farewell:
        loop = asyncio.get_running_loop()
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                break
            try:
                content = json.loads(message.data)
                first, changes = int(content["first"]), list(content["changes"])
                cost = MESSAGE_COST + sum(
                    REWIND_COST if change[:1] == ["rewind"] else 1 for change in changes
                )
                if wait := player.bucket.take(cost, loop.time()):
                    await asyncio.sleep(wait)  # nothing more is read meanwhile
                news = session.apply(first, changes)
            except (PageError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                await self.commits.durable()
                return REFUSED, f"not understood: {error}"
            stored = session.stored
            await self.commits.durable()
            for item in news:
                await socket.send_json(item)
            await socket.send_str(f'{{"stored": {stored}}}')
            if player.frames_played > self.limits.frames_per_player:
                return REFUSED, self._enough
        return 1000, ""

    @property
    def _enough(self) -> str:
        return f"you have recorded your {self.limits.hours_per_player:g} hours: thank you"

    # -- kept runs ----------------------------------------------------------------------------------------

    def _file(self, player: Player, run: Recording) -> None:
        self.filer.put(run, lambda filed: self._filed(player, filed, run))

    def _filed(self, player: Player, filed: Filed, run: Recording) -> None:
        self.journal.done(run)
        line = line_about(run, filed.verified)
        self.count(player, filed, line)
        page_id = player.page_ids.pop(run.id, "")
        if player.connection is not None:
            self._start(self._send(player.connection.socket, {"line": line, "kept": page_id}))

    def count(self, player: Player, filed: Filed, line: str) -> None:
        """Count a run that is in the file."""
        name = player.invitation.player
        self.kept += 1
        self.table.add(name, filed.distance, filed.time, filed.success, filed.counts)
        self.tell(f"{line}  {name}")
        if self.config.episodes is not None and self.kept >= self.config.episodes:
            self.done.set()

    # -- the server's own work ------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, socket: web.WebSocketResponse, news: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            await asyncio.wait_for(socket.send_json(news), 20)

    async def _close(self, socket: web.WebSocketResponse, code: int, reason: str) -> None:
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            await asyncio.wait_for(socket.close(code=code, message=reason.encode()[:120]), 10)

    def _full(self, problem: str) -> None:
        """Accept nothing more until there is room again. Pages keep what was not acknowledged."""
        if not self.problem:
            self.tell(f"nothing is accepted: {problem}")
        self.problem = problem[:110]
        for player in self._players.values():
            if player.connection is not None:
                player.connection.leave(TRY_AGAIN, self.problem)

    async def watch(self) -> None:
        """Look at the disk once a second, and end the sessions of players who have left."""
        folder = self.config.file.resolve().parent
        loop = asyncio.get_running_loop()
        while True:
            free = shutil.disk_usage(folder).free / 1e9
            if free < self.limits.free_gb:
                self._full(f"the recorder's disk has only {free:.1f} GB left")
            elif self.filer.frames > MAX_WAITING_FRAMES:
                self._full(f"{len(self.filer)} runs wait to be verified")
            elif self.problem:
                try:
                    await self.commits.durable()
                    self.problem = ""
                    self.tell("changes are accepted again")
                except StoreError:
                    pass
            for player in self._players.values():
                away = player.connection is None and loop.time() - player.seen > 60 * self.limits.away_minutes
                if away and player.session is not None:
                    player.end_session()
            self.host.sweep(loop.time(), self.limits.connections)
            await asyncio.sleep(1)

    async def finish(self) -> None:
        """End all sessions, and put all kept runs into the file."""
        for player in self._players.values():
            if player.connection is not None:
                player.connection.leave(TRY_AGAIN, "the recorder was stopped")
        for player in self._players.values():
            player.end_session()
        await self.filer.drained()
        with contextlib.suppress(StoreError):
            await self.commits.durable()
