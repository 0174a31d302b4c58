"""Minari datasets, written and read without the package: DIRECTORY/data/{main_data.hdf5, metadata.json}.

The directory's name is the name of the dataset: `minari.load_dataset("qwop/human-v0")` finds it at
$MINARI_DATASETS_PATH/qwop/human-v0. Data without a field in Minari is in `infos` and in the attribute `qwop`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium.envs.registration import EnvSpec

from qwop_cli import json_text
from qwop_datasets.convert.common import (
    ENVIRONMENT_ID,
    Imported,
    Importing,
    actions_of,
    foreign_episode,
    json_object,
    keys_from_actions,
    numbered,
    observations_of,
    output_directory,
    own_episode,
    rewards_of,
    scalars,
)
from qwop_datasets.episode import Episode
from qwop_datasets.errors import DatasetError
from qwop_datasets.reader import DatasetReader
from qwop_datasets.storage import H5, new_h5, open_h5
from qwop_datasets.untrusted import attribute, dataset, group, member
from qwop_game import action_masks

MINARI_VERSION = "0.5.0"  # version of the layout, which later ones read, too
CODE = "https://github.com/qwop-stride/qwop-stride"
# Mean returns of 100 episodes of random keys and of the 100 bundled demonstrations, by qwop-gym's reward at
# one frame a step. Minari normalizes scores with them.
RANDOM_SCORE, DEMONSTRATIONS_SCORE, SCORED_EPISODES = -22.6, 306.6, 100
_NAME = re.compile(r"^[-_\w]+-v\d+$")


def write(
    reader: DatasetReader, path: Path, *, observations: str, action_set: str | None
) -> tuple[int, list[str]]:
    """Write a dataset directory, such as datasets/qwop/human-v0. Its last two parts become its id."""
    if not _NAME.match(path.name):
        raise DatasetError(f"{path}: a Minari dataset is a directory NAME-v0; choose such a name")
    action_set = action_set or "distinct"
    steps = 0
    stored_reward = False  # another reward than the reference scores'
    with output_directory(path) as aside:
        (aside / "data").mkdir()
        main = aside / "data" / "main_data.hdf5"
        with new_h5(main, track_order=True) as file:
            for number, episode in enumerate(reader):
                group = file.create_group(f"episode_{number}")
                group.attrs["id"] = number
                group.attrs["total_steps"] = episode.num_frames
                group.attrs["qwop"] = scalars(episode)
                _write_episode(group, episode, observations, action_set)
                steps += episode.num_frames
                stored_reward |= "default" in episode.rewards
                file.raise_failure()
        metadata = _metadata(path, observations, action_set, reader, steps)
        if not stored_reward:
            metadata |= {
                "ref_min_score": RANDOM_SCORE,
                "ref_max_score": DEMONSTRATIONS_SCORE,
                "num_episodes_average_score": SCORED_EPISODES,
            }
        metadata["dataset_size"] = round(main.stat().st_size / 1e6, 1)
        (aside / "data" / "metadata.json").write_text(json_text(metadata), encoding="utf-8")
    return len(reader), []


def _write_episode(group: H5, episode: Episode, observations: str, action_set: str) -> None:
    last = np.arange(1, episode.num_frames + 1) == episode.num_frames
    arrays = {
        "observations": observations_of(episode, observations),
        "actions": actions_of(episode, action_set),
        "rewards": rewards_of(episode).astype(np.float64),
        "terminations": last & episode.terminated,
        "truncations": last & (not episode.terminated),
        # infos also have a row for the reset
        "infos/keys": np.concatenate([[0], episode.keys]).astype(np.uint8),
        "infos/time": episode.times,
        "infos/raw_observations": episode.raw_observations,
    }
    for name, array in arrays.items():
        group.create_dataset(name, data=array, compression="gzip", shuffle=True, chunks=array.shape)


def _metadata(
    path: Path, observations: str, action_set: str, reader: DatasetReader, steps: int
) -> dict[str, Any]:
    index = reader.index
    sources = sorted({source.decode() for source in index["source"]})
    players = sorted({player.decode() for player in index["player"]} - {""})
    normal = observations == "normalized"
    bound = 1.0 if normal else np.inf
    low, high = [[sign * bound] * 60 for sign in (-1, 1)]
    count = len(action_masks(action_set))
    namespace = path.absolute().parent.name
    metadata = {
        "dataset_id": f"{namespace}/{path.name}" if re.fullmatch(r"[-_\w]{2,}", namespace) else path.name,
        "total_episodes": len(reader),
        "total_steps": steps,
        "data_format": "hdf5",
        "observation_space": json.dumps(
            {"type": "Box", "dtype": "float32", "shape": [60], "low": low, "high": high}
        ),
        "action_space": json.dumps({"type": "Discrete", "dtype": "int64", "start": 0, "n": count}),
        "minari_version": MINARI_VERSION,
        "description": (
            f"Runs of QWOP, one frame (1/30 s) a step: {len(reader)} episodes by {', '.join(sources)}, "
            f"{int(index['success'].sum())} of which finish the 100 m. Observations are qwop-gym's 60 "
            f"numbers, {observations}; actions are those of the set {action_set!r}. infos have the key masks "
            "(Q = 1, W = 2, O = 4, P = 8), which replay each episode bit for bit."
        ),
        "author": players or ["qwop-stride"],
        "author_email": [],
        "algorithm_name": ", ".join(sources),
        "code_permalink": CODE,
        "requirements": ["qwop-stride"],
    }
    if normal:
        spec = EnvSpec(
            id=ENVIRONMENT_ID,
            entry_point="qwop_game:QWOPEnv",
            kwargs={"frame_skip": 1, "action_set": action_set},
        )
        metadata["env_spec"] = metadata["eval_env_spec"] = spec.to_json()
    return metadata


def read(path: Path, options: Importing) -> Iterator[Imported]:
    """Read a dataset: exports of this project exactly, others by replaying their actions."""
    main, described = path / "data" / "main_data.hdf5", path / "data" / "metadata.json"
    if not main.is_file():
        raise DatasetError(f"{path}: not a Minari dataset: it has no {main.relative_to(path)}")
    if not described.is_file():
        raise DatasetError(
            f"{path}: has no {described.relative_to(path)}, so it was written by a Minari older than 0.5: "
            "save it again with 0.5 or later"
        )
    metadata = json_object(described.read_bytes(), described.name)
    space = metadata.get("action_space", "{}")
    space = json_object(space, "the action space")
    with open_h5(main, "r", locking=False) as file:
        for name in numbered(file):
            stored = group(file, name)
            if "qwop" in stored.attrs:
                yield Imported(name, _own(stored))
                continue
            count = space.get("n")
            discrete = space.get("type") == "Discrete" and isinstance(count, int)
            if not discrete or isinstance(member(stored, "observations"), h5py.Group):
                raise DatasetError(f"{path}: not QWOP: its spaces are not Box and Discrete")
            keys = keys_from_actions(dataset(stored, "actions")[()], options, path, count)
            observed = dataset(stored, "observations")[()]
            yield foreign_episode(path, name, keys, observed, options, options.action_set or "full")


def _own(stored: H5) -> Episode:
    infos = group(stored, "infos")
    raw, times, keys = (dataset(infos, name)[()] for name in ("raw_observations", "time", "keys"))
    rewards = dataset(stored, "rewards")[()]
    return own_episode(attribute(stored.attrs, "qwop"), keys[1:], raw, times, rewards)
