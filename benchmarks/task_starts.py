"""Make data/starts_30m.safetensors: how 20 of the bundled demonstrations came to 30 m.

python benchmarks/task_starts.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from qwop_benchmark.packing import packed
from qwop_datasets import DatasetReader

ROOT = Path(__file__).resolve().parents[1]
STARTS, EVERY = 20, 5


def main() -> None:
    """Take every fifth run of demos/demos.h5, up to its first frame at 30 m or more."""
    runs = []
    with DatasetReader(ROOT / "demos" / "demos.h5") as demos:
        for number in range(0, STARTS * EVERY, EVERY):
            episode = demos[number]
            frame = int(np.argmax(episode.raw_observations[:, 0] >= 300.0))
            runs.append(np.array(episode.keys[:frame]))
    keys, lengths = packed(runs)
    out = ROOT / "benchmark" / "qwop_benchmark" / "data" / "starts_30m.safetensors"
    out.write_bytes(save({"keys": keys, "lengths": lengths}))
    print(f"{out}: {len(runs)} starts, {int(lengths.sum())} frames, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
