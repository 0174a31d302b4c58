"""Measure a dataset of 10,000 episodes: write, append, open, filter, read and verify.

    python benchmarks/loader.py [--json] [--episodes 10000] [--frames 300] [--directory DIR]

Episodes are parts of a recorded 100 m run, so that they compress as real ones do. Verification plays the
whole run. Appends wait for the disk, so they are measured in wall-clock time, all else in CPU time. Opening
and streaming are measured in new processes, with their peak memory without that of the imports.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from qwop_cli import CommandError, json_text, parse_config, run_command
from qwop_datasets import DatasetReader, DatasetWriter, Episode, replay_keys, verify_episodes, write_dataset
from qwop_datasets.verify import LANES

PROGRAM = "loader"
TRIG = "glibc-fma"  # variant of the browser that recorded the run
RUN = Path(__file__).parents[1] / "tests" / "golden" / f"{TRIG}_runs.npz"
FILTER = "source=human success time<60 knee_share<0.02"


@dataclass(frozen=True)
class LoaderConfig:
    """Measure how long it takes to write, append to, open, filter, read and verify a dataset."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print a JSON object instead of a table."""
    episodes: int = 10_000
    """Episodes in the dataset."""
    frames: int = 300
    """Frames of each episode."""
    directory: Path | None = None
    """Folder to write into; without it, a temporary one. The files are deleted at the end."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise CommandError(f"--episodes {self.episodes}: expected 1 or more")
        if self.directory is not None and not self.directory.is_dir():
            raise CommandError(f"--directory {self.directory}: is not a folder; choose another")


def whole_run() -> Episode:
    """Return the 100 m run: 2301 frames."""
    with np.load(RUN) as traces:
        keys = traces["actions_0"]
    (played,) = replay_keys([keys], trig=TRIG)
    return Episode(
        keys=keys,
        raw_observations=played.raw_observations,
        times=played.times,
        terminated=True,
        truncated=False,
        success=True,
        source="policy",
        trig=TRIG,
    )


def stretches(run: Episode, count: int, frames: int) -> Iterator[Episode]:
    """Yield episodes of `frames` frames from the whole run. Most start in its middle: don't verify them."""
    gait = {"knee_near": 0.01, "upright": 0.9, "strides": 5.0}
    for start in np.random.default_rng(0).integers(0, len(run) - frames, count):
        stop = int(start) + frames
        yield Episode(
            keys=run.keys[start:stop],
            raw_observations=run.raw_observations[start : stop + 1],
            times=run.times[start : stop + 1],
            terminated=True,
            truncated=False,
            success=False,
            source="policy",
            trig=TRIG,
            gait=gait,
        )


def peak_memory() -> float:
    """Return the peak memory of this process so far, MB."""
    try:
        # Not ru_maxrss, which on Linux includes the parent's peak.
        status = Path("/proc/self/status").read_text(encoding="utf-8").split("VmHWM:")[1]
        return int(status.split()[0]) * 1024 / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def in_fresh_process(what: str, path: Path) -> dict[str, float]:
    """Run `child` in a new process."""
    code = (
        "import json, pathlib, runpy, sys; _, script, what, path = sys.argv; "
        "print(json.dumps(runpy.run_path(script)['child'](what, pathlib.Path(path))))"
    )
    command = [sys.executable, "-c", code, __file__, what, str(path)]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout
    )


def child(what: str, path: Path) -> dict[str, float]:
    """Measure seconds and megabytes to open a file, or to read it episode by episode."""
    before, start = peak_memory(), time.process_time()
    reader = DatasetReader(path)
    frames = 0
    if what == "stream":
        for episode in reader:
            frames += len(episode)
    seconds = time.process_time() - start
    return {"seconds": seconds, "megabytes": peak_memory() - before, "frames": frames}


def appends(path: Path, run: Episode, frames: int, count: int = 50) -> tuple[list[float], float]:
    """Return the milliseconds of each of `count` durable appends, and their mean CPU time."""
    writer = DatasetWriter(path, gait=False)
    spent = []
    cpu = time.process_time()
    for episode in stretches(run, count, frames):
        start = time.perf_counter()
        writer.append(episode)
        spent.append(1000 * (time.perf_counter() - start))
    return spent, 1000 * (time.process_time() - cpu) / count


def measure(directory: Path, episodes: int, frames: int) -> dict[str, float]:
    run = whole_run()
    if not 1 <= frames < len(run):
        raise CommandError(f"--frames {frames}: expected 1 to {len(run) - 1}")
    path, small = directory / "many.h5", directory / "few.h5"
    figures: dict[str, float] = {"episodes": episodes, "frames_per_episode": frames}

    start = time.process_time()
    write_dataset(path, stretches(run, episodes, frames), gait=False)
    figures["write_episodes_per_second"] = episodes / (time.process_time() - start)
    size = path.stat().st_size
    figures["file_megabytes"] = size / 1e6
    figures["file_bytes_per_frame"] = size / (episodes * frames)

    for name, file in (("empty", small), ("full", path)):
        spent, cpu = appends(file, run, frames)
        figures[f"append_ms_to_{name}_file"] = statistics.median(spent)
        figures[f"append_ms_to_{name}_file_p99"] = float(np.percentile(spent, 99))
        figures[f"append_cpu_ms_to_{name}_file"] = cpu

    opened = [in_fresh_process("open", path) for _ in range(3)]
    figures["open_seconds"] = statistics.median(o["seconds"] for o in opened)
    figures["open_megabytes"] = statistics.median(o["megabytes"] for o in opened)
    reader = DatasetReader(path)
    start = time.process_time()
    reader.select(FILTER)
    figures["filter_ms"] = 1000 * (time.process_time() - start)
    reads = []
    for i in np.random.default_rng(1).integers(0, len(reader), 200):
        start = time.process_time()
        reader[int(i)]
        reads.append(1000 * (time.process_time() - start))
    figures["read_ms_random_episode"] = statistics.median(reads)
    streamed = in_fresh_process("stream", path)
    figures["stream_seconds"] = streamed["seconds"]
    figures["stream_frames_per_second"] = streamed["frames"] / streamed["seconds"]
    figures["stream_megabytes"] = streamed["megabytes"]

    for lanes in (1, LANES):
        rounds = max(1, 64 // lanes)
        start = time.process_time()
        results = list(verify_episodes((run for _ in range(lanes * rounds)), lanes=lanes))
        spent = time.process_time() - start
        assert all(result.exact for result in results)
        figures[f"verify_runs_per_second_{lanes}_at_once"] = len(results) / spent
        figures[f"verify_frames_per_second_{lanes}_at_once"] = len(results) * len(run) / spent
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Returns its exit code."""
    return run_command(
        PROGRAM, lambda: benchmark(parse_config(PROGRAM, LoaderConfig, arguments, description=__doc__))
    )


def benchmark(config: LoaderConfig) -> None:
    with tempfile.TemporaryDirectory(dir=config.directory) as directory:
        figures = measure(Path(directory), config.episodes, config.frames)
    if config.json:
        print(json_text(figures, indent=1))
        return
    for name, value in figures.items():
        number = f"{value:12,.0f}" if value >= 1000 else f"{value:12.4g}"
        print(f"{name.replace('_', ' '):44} {number}")


if __name__ == "__main__":
    raise SystemExit(main())
