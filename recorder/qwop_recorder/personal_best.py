"""The player's farthest run and fastest finish."""

from dataclasses import dataclass
from pathlib import Path

from qwop_datasets import DatasetError, DatasetReader
from qwop_recorder.errors import RecorderError

REWOUND_TAG = "rewound"
"""Tag of runs with a rewind, which do not count."""


@dataclass
class PersonalBest:
    """The farthest run (m), and the fastest over 100 m (s); None until there is one."""

    distance: float | None = None
    time: float | None = None

    def update(self, distance: float, time: float, success: bool) -> bool:
        """Count a run.

        Args:
            distance: Meters.
            time: Seconds.
            success: Whether it was finished.

        Returns:
            Whether it is a new best: faster, or farther while no run was finished.
        """
        farther = self.distance is None or distance > self.distance
        faster = success and (self.time is None or time < self.time)
        if farther:
            self.distance = distance
        if faster:
            self.time = time
        return faster or (farther and self.time is None)


def personal_best(path: Path, player: str) -> PersonalBest:
    """Find the player's best in a dataset. Rewound runs do not count.

    Returns:
        The best, or an empty one if there is no file.

    Raises:
        RecorderError: The file is not a dataset, or is damaged.
    """
    best = PersonalBest()
    if not path.exists():
        return best
    try:
        with DatasetReader(path) as reader:
            index = reader.index
    except DatasetError as error:
        raise RecorderError(str(error)) from None
    for row in index[(index["source"] == b"human") & (index["player"] == player.encode())]:
        if REWOUND_TAG.encode() not in row["tags"].split():
            best.update(float(row["distance"]), float(row["time"]), bool(row["success"]))
    return best
