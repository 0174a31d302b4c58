"""Show recorded runs in the web page, which plays them again, from a server on this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from qwop_cli import CommandError
from qwop_replay.runs import ReplayedRun
from qwop_web import open_page

MAX_START_ROWS = 1 << 16
"""The longest start that the page's engine takes, in rows: `max_start_rows` of web/engine/exports.cpp."""


def runs_file(runs: Sequence[ReplayedRun]) -> bytes:
    """Make the file from which the page takes runs: names, variants of sine and cosine, starts and keys.

    Raises:
        CommandError: a run does not replay exactly, so the page would show another one; its start is too long
            for the page; or there are no runs.
    """
    if not runs:
        raise CommandError("no runs to show")
    for run in runs:
        rows = 0 if run.episode.start is None else len(run.episode.start)
        if rows > MAX_START_ROWS:
            raise CommandError(
                f"{run.name}: its start has {rows:,} rows, --web takes {MAX_START_ROWS:,}: use --html"
            )
        if not run.verification.exact:
            raise CommandError(
                f"{run.name}: {run.verification.text}; --web plays runs again: use --html, which draws the "
                "recorded states"
            )
    return json.dumps(
        [
            {
                "name": run.name,
                "trig": run.episode.trig,
                "start": None if run.episode.start is None else _base64(run.episode.start.astype("<u4")),
                "keys": _base64(run.episode.keys),
            }
            for run in runs
        ]
    ).encode()


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def show_in_page(runs: Sequence[ReplayedRun], port: int = 0, browser: bool = True) -> None:
    """Show runs in the web page until Ctrl-C: the first is watched against the second, all can be raced.

    Args:
        runs: at least one.
        port: port on this machine; 0: a free one.
        browser: open the page in the browser; its address is printed in any case.

    Raises:
        CommandError: see `runs_file`; or the port is taken.
    """
    open_page(port, {"runs.json": runs_file(runs)}, "runs", browser)
