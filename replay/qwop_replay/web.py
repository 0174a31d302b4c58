"""Show recorded runs in the web page, which plays them again, from a server on this machine."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from qwop_cli import CommandError
from qwop_replay.runs import ReplayedRun
from qwop_web import open_page


def runs_file(runs: Sequence[ReplayedRun]) -> bytes:
    """Make the file from which the page takes runs: their names, variants of sine and cosine, and keys.

    Raises:
        CommandError: a run does not replay exactly, so the page would show another one; or there are no runs.
    """
    if not runs:
        raise CommandError("no runs to show")
    for run in runs:
        if run.episode.start is not None:
            raise CommandError(
                f"{run.name}: begins in a page that was played before, which --web can't show: use --html"
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
                "keys": base64.b64encode(run.episode.keys.tobytes()).decode(),
            }
            for run in runs
        ]
    ).encode()


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
