"""Serve a group of players, from the first link to the last run in the file."""

import asyncio
import gc
from collections.abc import Callable, Mapping

from aiohttp import web

from qwop_datasets import DatasetError, SharedJournal
from qwop_recorder.config import RecordConfig
from qwop_recorder.errors import RecorderError
from qwop_recorder.web_http import lan_address, listen, until_interrupted
from qwop_recorder.web_invitations import Invitations
from qwop_recorder.web_players import PlayersServer

try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None


def play_with_players(
    config: RecordConfig, provenance: Mapping[str, str | int | float | bool], tell: Callable[[str], None]
) -> PlayersServer:
    """Serve a group until Ctrl-C, or until enough runs are kept.

    Args:
        config: The session's options.
        provenance: What is stored with each run.
        tell: Takes the players' links, and a line about each run that enters the file.

    Returns:
        The server, after its end.

    Raises:
        RecorderError: The port is taken, or a file can't be used.
    """
    invitations = Invitations(config.file, config.players)
    fields = {"source": "human", "game": "embedded", "trig": config.trig, "provenance": dict(provenance)}
    _allow_open_files(2 * config.limits.connections + 256)
    try:
        with SharedJournal(config.file) as journal:
            return asyncio.run(_serve(config, invitations, journal, fields, tell))
    except DatasetError as error:
        raise RecorderError(str(error)) from None


async def _serve(
    config: RecordConfig,
    invitations: Invitations,
    journal: SharedJournal,
    fields: Mapping[str, object],
    tell: Callable[[str], None],
) -> PlayersServer:
    server = PlayersServer(config, invitations, journal, fields, tell)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1)
    port = await listen(runner, server.host, config.host, config.port)
    server.host.named(config.host, port, config.url)
    _tell_links(config, invitations, port, tell)
    gc.collect()
    gc.freeze()  # what is there now stays: a full collection need not look at it, 70 ms each time
    work = (server.commits.run(), server.filer.run(), server.watch())
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await until_interrupted(server.done)
        await server.finish()
    finally:
        await runner.cleanup()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        server.filer.close()
    return server


def _tell_links(
    config: RecordConfig, invitations: Invitations, port: int, tell: Callable[[str], None]
) -> None:
    host = lan_address() if config.host in ("0.0.0.0", "::") else config.host
    url = config.url or f"http://{host}:{port}"
    for invitation in invitations:
        if invitation.plays:
            name = f" ({invitation.player})" if invitation.player else ""
            tell(f"player {invitation.number}{name}: {url}/#token={invitation.token}")
        else:
            tell(f"table for a screen: {url}/table.html#token={invitation.token}")
    tell(f"the links stay valid: they are in {invitations.path}. Give each player a link of their own")
    if config.url:
        tell(f"the proxy of {url} forwards to http://{host}:{port}")
    if url.startswith("http:") and host not in ("127.0.0.1", "localhost"):
        tell("without TLS, others in this network can read what players send: see docs/guides/browser.md")


def _allow_open_files(wanted: int) -> None:
    """Raise this process's limit of open files, as far as the system lets it."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
