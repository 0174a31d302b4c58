"""qwop-gym's text recordings: `seed=N`, an action per line, `*` (kept) or `X` (discarded) after an episode.

They have only keys, and were played in the real game. Its soft reset between episodes is not exactly the
start of the page: 0.9 % of episodes differ after it. So the replay of an episode may not end where the
recording says. The import omits such episodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_datasets.convert.common import Imported, Importing, actions_of, episode_of_replay, keys_from_actions
from qwop_datasets.errors import DatasetError
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.reader import DatasetReader
from qwop_datasets.writer import output_file
from qwop_game import DEFAULT_TRIG

_LARGEST_SEED = 2**31 - 1


def write(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Write whole runs, because a recording has to end with its run. Play them with frames_per_step=1."""
    left_out: list[str] = []
    count = 0
    with output_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        seed = None
        for i in range(len(reader)):
            episode = reader[i]
            if not episode.terminated:
                left_out.append(f"episode {reader.numbers[i]}: cut short; a recording must end with the run")
                continue
            if episode.start is not None:
                left_out.append(
                    f"episode {reader.numbers[i]}: does not begin at the canonical start, as a recording does"
                )
                continue
            if seed is None:
                seed = int(episode.provenance.get("seed", 0) or 1)  # qwop-gym replaces 0 by a random seed
                file.write(f"seed={min(max(seed, 1), _LARGEST_SEED)}\n")
            file.writelines(f"{action}\n" for action in actions_of(episode, action_set or "full"))
            file.write("*\n")
            count += 1
        if not count:
            raise DatasetError(
                f"{reader.path}: all runs were cut short or begin elsewhere than a recording; "
                "a recording needs runs that end"
            )
    return count, left_out


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Replay each `*` episode; omit discarded ones."""
    source = options.checked_source(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a recording: it is not text") from None
    header = re.fullmatch(r"seed=([0-9]{1,18})", lines[0]) if lines else None
    if not header:
        raise DatasetError(f"{path}: not a recording: its first line is not seed=NUMBER")
    fields = {
        "source": source,
        "player": options.player,
        "game": "real",
        "action_set": options.action_set or "full",
        "trig": options.trig or DEFAULT_TRIG,
        "provenance": {"seed": int(header[1]), "recorded_with": "qwop-gym"},
    }
    actions: list[int] = []
    number = 0
    for line, content in enumerate(lines[1:], 2):
        content = content.rstrip()
        if content not in ("*", "X"):
            if not re.fullmatch("[0-9]{1,9}", content):
                raise DatasetError(f"{path}: line {line}: {content[:20]!r} is not an action, * or X")
            actions.append(int(content))
            continue
        name = f"episode {number}"
        if content == "X":
            yield Imported(name, reason="discarded when it was recorded")
        else:
            keys = keys_from_actions(np.array(actions), options, path)
            yield _replayed(name, keys, fields, options.frames_per_step)
        actions, number = [], number + 1
    if actions:
        yield Imported(f"episode {number}", reason="unfinished: no * after its last action")


def _replayed(name: str, keys: NDArray[np.uint8], fields: dict[str, Any], frames_per_step: int) -> Imported:
    (played,) = replay_keys([keys], trig=fields["trig"])
    frames = played.frames_until_end
    if not played.over:
        return Imported(name, reason="its replay does not end (are --frames-per-step and --trig right?)")
    if frames <= len(keys) - frames_per_step:
        return Imported(name, reason=f"its replay ends at frame {frames} of {len(keys)}")
    return Imported(name, episode_of_replay(keys, played, fields))
