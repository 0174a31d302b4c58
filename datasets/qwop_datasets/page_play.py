"""Convert the web page's account of who played a run, and how fast, to fields of an Episode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

_POLICIES = {"policy", "lookahead"}


def page_play_fields(players: Sequence[Any], paces: Sequence[Any]) -> dict[str, Any]:
    """Turn the page's account of a run into `source`, `tags` and `provenance`.

    Args:
        players: who chose the keys, [[frame, "person", "policy" or "lookahead"], ...] where it changes.
        paces: speed of the wall clock, [[frame, pace], ...] where it changes; 1 is real time.

    Raises:
        ValueError, TypeError: the lists are malformed or empty.
    """
    names = {str(player) for _, player in players}
    if not names:
        raise ValueError("players are empty")
    slowest = min(float(pace) for _, pace in paces)
    tags = {"slow-motion": slowest < 1, "taken-over": "person" in names and len(names) > 1}
    provenance: dict[str, Any] = {"slowest_pace": slowest}
    if names & _POLICIES:
        provenance["played_by"] = json.dumps(players)
    return {
        "source": "policy" if names <= _POLICIES else "human",
        "tags": tuple(tag for tag, holds in tags.items() if holds),
        "provenance": provenance,
    }
