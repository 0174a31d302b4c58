"""`python -m qwop_web`: open the page from a server on this machine."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from qwop_cli import CommandError, parse_config, run_command
from qwop_web.server import serve

PROGRAM = "python -m qwop_web"


@dataclass(frozen=True)
class Options:
    """Play the embedded game in your browser. Ctrl-C ends the server."""

    port: int = 8017
    """Port on this machine."""
    no_open: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print the address only."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code."""
    return run_command(PROGRAM, lambda: _serve(parse_config(PROGRAM, Options, arguments)))


def _serve(options: Options) -> None:
    try:
        server = serve(options.port)
    except (OSError, OverflowError) as error:
        raise CommandError(f"--port {options.port}: {error}; choose another") from None
    address = f"http://127.0.0.1:{server.server_port}/"
    print(f"{address} (Ctrl-C ends the server)", flush=True)
    if not options.no_open:
        webbrowser.open(address)
    with server:
        server.serve_forever()


if __name__ == "__main__":
    raise SystemExit(main())
