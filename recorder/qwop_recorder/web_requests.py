"""What a group's server answers beside the websocket: joining, the table, runs that are sent as a whole."""

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from qwop_recorder.errors import RecorderError
from qwop_recorder.web_invitations import Invitation, Invitations, JoinError
from qwop_recorder.web_storing import Filed, SentRun

if TYPE_CHECKING:
    from qwop_recorder.web_players import PlayersServer

MAX_SENT_RUN = 4 << 20
"""Largest run that is sent as a whole, bytes: ten minutes have 1 MB."""
SENT_AT_ONCE = 4
"""Runs that are received at the same time, of different players."""
BODY_SECONDS = 60
"""Time for a run to arrive."""


class GroupRequests:
    """The plain requests to a group's server; all but the settings need a token in their header."""

    def __init__(self, server: "PlayersServer", invitations: Invitations) -> None:
        self._server = server
        self._invitations = invitations
        self._receiving = asyncio.Semaphore(SENT_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """The routes."""
        return [
            web.get("/session.json", self._settings),
            web.get("/table.json", self._table),
            web.post("/join", self._join),
            web.post("/runs", self._take_run),
            web.options("/{name:session.json|join|runs}", self._preflight),
        ]

    async def _settings(self, request: web.Request) -> web.Response:
        config = self._server.config
        return web.json_response(
            {
                "players": True,
                "file": "the group's file",
                "player": "",
                "license": config.license,
                "trig": config.trig,
                "options": {"countdown": config.countdown, "rewind": config.rewind},
            }
        )

    async def _preflight(self, request: web.Request) -> web.Response:
        self._server.host.check_origin(request)
        return web.Response(status=204)

    def _invited(self, request: web.Request, *, to_play: bool) -> Invitation:
        """The invitation whose token is in the header. Raises HTTPForbidden."""
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        invitation = self._invitations.find(token) if kind == "Bearer" else None
        if invitation is None:
            raise web.HTTPForbidden(body=b"no valid invitation\n")
        if to_play and not invitation.plays:
            raise web.HTTPForbidden(body=b"this link shows the table; it is not for playing\n")
        self._server.host.admit(request)
        return invitation

    async def _table(self, request: web.Request) -> web.Response:
        self._invited(request, to_play=False)
        return web.json_response({"rows": self._server.table.rows(), "playing": self._server.num_playing})

    async def _join(self, request: web.Request) -> web.Response:
        self._server.host.check_origin(request)
        invitation = self._invited(request, to_play=True)
        try:
            said = json.loads(await asyncio.wait_for(request.text(), BODY_SECONDS))
            player, license = said.get("player", ""), said.get("license", "")
            if not isinstance(player, str) or not isinstance(license, str):
                raise ValueError
        except (ValueError, AttributeError, RecursionError, asyncio.TimeoutError):
            raise web.HTTPBadRequest(body=b"expected a name and a license\n") from None
        if player or license:
            try:
                self._invitations.join(invitation, player, license, self._server.config.license)
                await asyncio.to_thread(self._invitations.save)
            except JoinError as error:
                return _problem(str(error), 400)
            except RecorderError as error:
                self._server.tell(str(error))
                return _problem("the recorder could not store this: try again", 503)
        return web.json_response({"player": invitation.player, "joined": self._server.has_agreed(invitation)})

    async def _take_run(self, request: web.Request) -> web.Response:
        """A run that a page sends as a whole, such as one that was played on a static site."""
        server = self._server
        server.host.check_origin(request)
        invitation = self._invited(request, to_play=True)
        if not server.has_agreed(invitation):
            raise web.HTTPForbidden(body=b"the name and the consent are missing\n")
        if server.problem:
            return _problem(server.problem, 503)
        player = server.player(invitation)
        if player.sending or self._receiving.locked():
            return _problem("one run at a time: try again", 429)
        if player.frames_played > server.limits.frames_per_player:
            return _problem("you have recorded all that you may", 403)
        player.sending = True
        try:
            async with self._receiving:
                text = await asyncio.wait_for(request.read(), BODY_SECONDS)
            provenance = {**server.fields["provenance"], **player.provenance}
            run = SentRun(text, invitation.player, invitation.token, provenance, server.limits.frames_per_run)
            filed = await self._filed(run)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout from None
        finally:
            player.sending = False
        if filed.refused:
            return _problem(filed.refused, 422)
        player.frames += filed.frames
        player.attempts += 1
        line = f"{filed.distance:6.1f} m  {filed.time:6.1f} s  sent, replay {filed.verified}"
        server.count(player, filed, line)
        return web.json_response({"line": line, "verified": filed.verified})

    async def _filed(self, run: SentRun) -> Filed:
        future: asyncio.Future[Filed] = asyncio.get_running_loop().create_future()

        def done(filed: Filed) -> None:
            if not future.done():
                future.set_result(filed)

        self._server.filer.put(run, done)
        return await future


def _problem(text: str, status: int) -> web.Response:
    return web.json_response({"problem": text}, status=status)
