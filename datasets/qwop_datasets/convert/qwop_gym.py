"""qwop-gym's text recordings: `seed=N`, one action index a line, `*` after an episode, `X` after a discarded.

They hold keys only, and play in the real game. Its soft reset between two episodes is not exactly the start
of the page (0.9 % of episodes differ after it), so an episode may fail to end where the recording says; such
ones are left out on the way in.
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
    """Whole runs only: a recording has to end at the last action. To be played with frames_per_step=1."""
    left_out: list[str] = []
    count = 0
    with output_file(path) as aside, open(aside, "w", encoding="utf-8") as file:
        seed = None
        for i in range(len(reader)):
            episode = reader[i]
            if not episode.terminated:
                left_out.append(f"episode {reader.numbers[i]}: cut short, and a recording ends with the run")
                continue
            if seed is None:
                seed = int(episode.provenance.get("seed", 0) or 1)  # qwop-gym makes 0 a random one
                file.write(f"seed={min(max(seed, 1), _LARGEST_SEED)}\n")
            file.writelines(f"{action}\n" for action in actions_of(episode, action_set or "full"))
            file.write("*\n")
            count += 1
        if not count:
            raise DatasetError(f"{reader.path}: no run that ends, so nothing that a recording can hold")
    return count, left_out


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Each `*` episode, replayed; discarded ones are left out."""
    source = options.checked_source(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: not a recording: it is no text") from None
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
                raise DatasetError(f"{path}: line {line}: {content[:20]!r} is no action, * or X")
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
