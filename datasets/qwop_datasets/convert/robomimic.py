"""robomimic's HDF5: data/demo_N with actions, rewards, dones, states, obs, next_obs; mask/<name>.

robomimic has only continuous actions in [-1, 1], so each of the four keys is an action: +1 held, -1 released.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from qwop_datasets.convert.common import (
    ENVIRONMENT_ID,
    Imported,
    Importing,
    foreign_episode,
    numbered,
    numbers,
    observations_of,
    own_episode,
    rewards_of,
    scalars,
)
from qwop_datasets.episode import OBSERVATION_SIZE
from qwop_datasets.errors import DatasetError
from qwop_datasets.reader import DatasetReader
from qwop_datasets.storage import new_h5, open_h5
from qwop_datasets.untrusted import attribute, dataset, group, member
from qwop_datasets.writer import output_file
from qwop_game import KEY_O, KEY_P, KEY_Q, KEY_W

_KEYS = np.array([KEY_Q, KEY_W, KEY_O, KEY_P], np.uint8)
_GYM_ENVIRONMENT = 2  # robomimic's EnvType.GYM_TYPE
OBSERVATION_KEY = "observation"


def write(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Write one file. The masks of `reader` become filter keys; `states` are the raw observations."""
    if action_set:
        raise DatasetError("robomimic has no discrete actions: omit --action-set")
    total = 0
    with output_file(path) as aside, new_h5(aside) as file:
        data = file.create_group("data")
        for number, episode in enumerate(reader):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = episode.num_frames
            group.attrs["qwop"] = scalars(episode)
            shown = observations_of(episode, observations)
            last = np.arange(1, episode.num_frames + 1) == episode.num_frames
            arrays = {
                "actions": np.where(episode.keys[:, None] & _KEYS, np.float32(1), np.float32(-1)),
                "rewards": rewards_of(episode),
                "dones": (last & episode.terminated).astype(np.int64),
                "states": episode.raw_observations[:-1],
                f"obs/{OBSERVATION_KEY}": shown[:-1],
                f"next_obs/{OBSERVATION_KEY}": shown[1:],
                "times": episode.times,
                "last_state": episode.raw_observations[-1:],
            }
            for name, array in arrays.items():
                group.create_dataset(name, data=array, compression="gzip", shuffle=True, chunks=array.shape)
            total += episode.num_frames
            file.raise_failure()
        data.attrs["total"] = total
        settings = {"frame_skip": 1, "action_set": "full"}
        data.attrs["env_args"] = json.dumps(
            {"env_name": ENVIRONMENT_ID, "type": _GYM_ENVIRONMENT, "env_kwargs": settings}
        )
        for name, mask in reader.masks.items():
            chosen = np.flatnonzero(mask[reader.numbers])
            file.create_dataset(f"mask/{name}", data=[f"demo_{i}".encode() for i in chosen], dtype="S16")
    return len(reader), []


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Read a file: exports of this project exactly, others with four key actions by replay."""
    with open_h5(path, "r", locking=False) as file:
        if "data" not in set(file) or not isinstance(member(file, "data"), h5py.Group):
            raise DatasetError(f"{path}: not a robomimic file: it has no group data")
        data = group(file, "data")
        for name in numbered(data):
            stored = group(data, name)
            actions = dataset(stored, "actions")
            if actions.ndim != 2 or actions.shape[1] != len(_KEYS) or actions.dtype.kind not in "iuf":
                found = f"{actions.dtype} {list(actions.shape)}"
                raise DatasetError(f"{path}: not QWOP: {name} has actions {found}, not numbers [T, 4]")
            keys = ((actions[()] > 0) * _KEYS).sum(axis=1).astype(np.uint8)
            if not len(keys):
                raise DatasetError(f"{path}: an episode has no step")
            if "qwop" in stored.attrs:
                states, last, times, rewards = (
                    dataset(stored, name)[()] for name in ("states", "last_state", "times", "rewards")
                )
                raw = np.concatenate([numbers("states", s, (None, OBSERVATION_SIZE)) for s in (states, last)])
                text = attribute(stored.attrs, "qwop")
                yield Imported(name, own_episode(text, keys, raw, times, rewards))
                continue
            observed = None
            if "obs" in set(stored) and OBSERVATION_KEY in set(group(stored, "obs")):
                observed = dataset(group(stored, "obs"), OBSERVATION_KEY)[()]
            keys = np.repeat(keys, options.frames_per_step)
            yield foreign_episode(path, name, keys, observed, options, "full")
