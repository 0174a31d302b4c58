"""What both web recorders serve and check: the page's files, the host's name, the page's origin."""

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from aiohttp import web

from qwop_cli import interrupts
from qwop_recorder.errors import RecorderError
from qwop_web import content_type, page_files

SECURITY = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
STRANGER_SECONDS = 60
"""A connection that shows no token is closed after this time."""
REFUSED, REPLACED = 4003, 4000
"""Close codes of a websocket: the page must not try again; it was opened elsewhere."""


class PageHost:
    """Serves the page's files under certain names of this machine, and nothing under others.

    hosts: Names with port, as browsers send them. origins: Addresses of pages that may record here.
    """

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.origins: set[str] = set()
        self._sites: frozenset[str] = frozenset()
        self._files = page_files()
        self._server: web.Server | None = None
        self._since: dict[Any, float] = {}  # connection that has shown no token -> when it was first seen
        self._admitted: set[Any] = set()

    def application(
        self, routes: Sequence[web.RouteDef], sites: Iterable[str] = (), max_body: int = 1 << 20
    ) -> web.Application:
        """An aiohttp application of these routes and the page's files.

        Args:
            routes: The routes.
            sites: Origins of other sites whose pages may send runs here.
            max_body: Largest body of a request, bytes.
        """
        self._sites = frozenset(sites)
        app = web.Application(middlewares=[self._guard], client_max_size=max_body)
        app.router.add_routes(routes)
        app.router.add_get("/{name:[A-Za-z0-9_.-]*}", self._file)
        return app

    def named(self, host: str, port: int, url: str = "") -> None:
        """Answer to these names.

        Args:
            host: The address that is listened on.
            port: The port.
            url: What players' browsers call this machine, such as a proxy's https://qwop.example.org.
        """
        names = {"127.0.0.1", "localhost", host}
        if host in ("0.0.0.0", "::"):
            names |= {lan_address(), socket.gethostname(), f"{socket.gethostname()}.local"}
        self.hosts = {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names}
        if port == 80:
            self.hosts |= {name.removesuffix(":80") for name in self.hosts}
        self.origins |= {f"http://{name}" for name in self.hosts}
        if url:
            self.hosts.add(url.partition("//")[2])
            self.origins.add(url)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        # Another site's page whose name was pointed at this machine still says its own name here.
        if request.host not in self.hosts:
            raise web.HTTPMisdirectedRequest(body=b"unknown host\n")
        headers = dict(SECURITY)
        if request.headers.get("Origin") in self._sites:
            headers |= {
                "Access-Control-Allow-Origin": request.headers["Origin"],
                "Access-Control-Allow-Headers": "Authorization, Content-Type",
                "Access-Control-Max-Age": "600",
                "Vary": "Origin",
            }
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            refusal.headers.update(headers)
            raise
        if not response.prepared:
            response.headers.update(headers)
        return response

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._files:
            raise web.HTTPNotFound(body=b"no such file\n")
        body = await asyncio.to_thread(self._files[name].read_bytes)
        return web.Response(body=body, content_type=content_type(name))

    def check_origin(self, request: web.Request) -> None:
        """Raises HTTPForbidden for a page of another site."""
        if request.headers.get("Origin") not in self.origins | self._sites:
            raise web.HTTPForbidden(body=b"another site's page\n")

    def serves(self, server: web.Server | None) -> None:
        """Know the server, whose connections are swept."""
        self._server = server

    # -- connections that show no token ------------------------------------------------------------------

    def admit(self, request: web.Request) -> None:
        """Let a connection stay: it has shown a token."""
        self._admitted.add(request.transport)

    def sweep(self, now: float, most: int) -> None:
        """Close connections that have shown no token for too long, and the oldest of them beyond `most`.

        Args:
            now: The time, s.
            most: Connections at once.
        """
        open_now = {c.transport: c for c in self._server.connections} if self._server else {}
        self._admitted &= open_now.keys()
        strangers = [transport for transport in open_now if transport not in self._admitted]
        self._since = {transport: self._since.get(transport, now) for transport in strangers}
        too_many = len(open_now) - most
        for number, transport in enumerate(sorted(strangers, key=lambda t: self._since[t])):
            if number < too_many or now - self._since[transport] > STRANGER_SECONDS:
                open_now[transport].force_close()
                if transport is not None:
                    transport.abort()


Farewell = tuple[int, str]
"""Close code of a websocket, and the reason."""


class Connection:
    """One websocket, which others may ask to leave.

    The close handshake is left to the task that reads: otherwise the other side may not learn the reason.
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self._farewell: Farewell | None = None
        self._task: asyncio.Task[Farewell] | None = None

    async def run(self, talk: Coroutine[Any, Any, Farewell]) -> Farewell:
        """Talk until the end, or until somebody asks to leave."""
        self._task = asyncio.get_running_loop().create_task(talk)
        try:
            return await self._task
        except ConnectionResetError:  # the other side is gone
            return 1000, ""
        except asyncio.CancelledError:
            if self._farewell is None:  # it is the server that ends
                raise
            return self._farewell

    def leave(self, code: int, reason: str) -> None:
        """Stop the talk at once."""
        if self._farewell is None and self._task is not None:
            self._farewell = (code, reason)
            self._task.cancel()


async def listen(runner: web.AppRunner, page: PageHost, host: str, port: int) -> int:
    """Start to listen; returns the port. Raises RecorderError where it is taken."""
    await runner.setup()
    page.serves(runner.server)
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise RecorderError(f"--port {port}: {error}; choose another") from None
    return runner.addresses[0][1]


async def until_interrupted(done: asyncio.Event) -> None:
    """Wait for the event, or for Ctrl-C and its like."""
    loop = asyncio.get_running_loop()

    def end(_number: int, _frame: object) -> None:
        loop.call_soon_threadsafe(done.set)

    with interrupts(end):
        while not done.is_set():  # Windows wakes a waiting loop for no signal
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(done.wait(), 0.5)


def lan_address() -> str:
    """This machine's address in its own network, or 127.0.0.1 where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the network card
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
