"""Measure the recorder: python benchmarks/recorder.py [--json] [--frames N] [--folder DIR]

It plays the embedded game with random keys as `qwop-record` does, but as fast as possible, and times each
part of a frame: the tick (key sample, game, journal), the tick without a store, and the picture (on SDL's
dummy screen, unless SDL_VIDEODRIVER is set). It also times the storing of a kept run (exact replay, append).
DIR is on the disk to write to. --json prints a list of objects: what, count, median, 99th percentile and
worst in ms, and the share of a frame's 33.3 ms that the 99th percentile takes.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_game import FRAME_SECONDS, Simulator
from qwop_recorder import (
    Command,
    EpisodeStore,
    KeyQueue,
    Phase,
    Session,
    SessionOptions,
    Window,
)

PROGRAM = "recorder"


@dataclass(frozen=True)
class RecorderConfig:
    """Measure the time of each part of a recorded frame, ms."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON list instead of a table."""
    frames: int = 6000
    """Frames to play, with a store and again without."""
    folder: Path | None = None
    """Folder on the disk to write to; without it, that of temporary files."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise CommandError(f"--frames {self.frames}: expected 1 or more")
        if self.folder is not None and not self.folder.is_dir():
            raise CommandError(f"--folder {self.folder}: is not a folder; choose another")


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def play(frames: int, store: EpisodeStore | None, window: Window | None) -> dict[str, list[float]]:
    """Play `frames` frames. Returns the seconds of each tick, picture and stored run."""
    session = Session(Simulator(1), store, SessionOptions(countdown=1 / 30))
    queue = KeyQueue(time.perf_counter)
    queue.set_focus(True)
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {"tick": [], "picture": [], "keep": []}
    down = 0
    while len(seconds["tick"]) < frames:
        if session.phase is Phase.ENDED:
            seconds["keep"].append(timed(lambda: session.command(Command.GO)))
        if random.random() < 0.3:
            key = 1 << int(random.integers(4))
            down ^= key
            queue.put(key, bool(down & key), "window")
        playing = session.phase is Phase.PLAYING

        def tick() -> None:
            events, now = queue.sample()
            session.tick(events, now, 0.0)

        spent = timed(tick)
        if playing:
            seconds["tick"].append(spent)
            if window is not None:
                seconds["picture"].append(timed(lambda: window.draw(session)))
    session.command(Command.CLOSE)
    return seconds


def row(what: str, seconds: list[float]) -> dict[str, float | int | str]:
    """Make one object of the result."""
    ms = 1000 * np.array(seconds)
    p99 = float(np.percentile(ms, 99))
    return {
        "what": what,
        "count": len(ms),
        "median_ms": round(float(np.median(ms)), 4),
        "p99_ms": round(p99, 4),
        "worst_ms": round(float(ms.max()), 4),
        "p99_share_of_frame": round(p99 / (1000 * FRAME_SECONDS), 5),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, RecorderConfig, arguments, description=__doc__))
    )


def benchmark(config: RecorderConfig) -> None:
    window = Window("benchmark")
    with tempfile.TemporaryDirectory(dir=config.folder) as folder:
        store = EpisodeStore(Path(folder) / "runs.h5", "", 0.0, {})
        recorded = play(config.frames, store, window)
        store.close()
    practiced = play(config.frames, None, None)
    window.close()
    measured = {
        "frame: keys, game, journal": recorded["tick"],
        "frame: keys, game (practice)": practiced["tick"],
        "picture": recorded["picture"],
        "keep a run: replay, append, sync": recorded["keep"],
    }
    rows = [
        row(what, seconds) for what, seconds in measured.items() if seconds
    ]  # with few frames, no run ends
    if config.json:
        print(json_text(rows, indent=1))
        return
    for r in rows:
        print(
            f"{r['what']:<34} {r['count']:6d} x  median {r['median_ms']:8.3f}  p99 {r['p99_ms']:8.3f}  "
            f"worst {r['worst_ms']:8.3f} ms  p99 is {r['p99_share_of_frame']:7.2%} of a frame"
        )


if __name__ == "__main__":
    raise SystemExit(main())
