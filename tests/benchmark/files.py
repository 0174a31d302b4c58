"""Submissions and entries as arrays and metadata, to be changed and written again."""

import json
from pathlib import Path

import numpy as np

from qwop_benchmark.arrays import load_arrays, save_arrays

ROOT = Path(__file__).parents[2]
WALKER = "walker:make_walker"


class File:
    """A submission or entry as arrays and metadata, to be changed and written again."""

    def __init__(self, path):
        whole = path.read_bytes()
        size = int.from_bytes(whole[:8], "little")
        self.arrays = {name: np.array(array) for name, array in load_arrays(whole).items()}
        self.about = json.loads(json.loads(whole[8 : 8 + size])["__metadata__"]["qwop_benchmark"])

    def write(self, path):
        path.write_bytes(save_arrays(self.arrays, json.dumps(self.about, sort_keys=True)))
        return path


def change_keys(file, episode, frame, mask):
    """Change the keys of one frame."""
    at = int(file.arrays["lengths"][:episode].sum()) + frame
    byte = file.arrays["keys"][at // 2]
    file.arrays["keys"][at // 2] = byte & 0xF0 | mask if at % 2 == 0 else byte & 0x0F | mask << 4


def key_of(file, frame):
    """Return the keys of one frame, in the first episode."""
    byte = int(file.arrays["keys"][frame // 2])
    return byte & 15 if frame % 2 == 0 else byte >> 4
