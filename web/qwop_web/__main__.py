"""`python -m qwop_web`: open the page from a server on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from qwop_cli import parse_config, run_command
from qwop_web.server import open_page

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
    return run_command(PROGRAM, lambda: _open(parse_config(PROGRAM, Options, arguments)))


def _open(options: Options) -> None:
    open_page(options.port, browser=not options.no_open)


if __name__ == "__main__":
    raise SystemExit(main())
