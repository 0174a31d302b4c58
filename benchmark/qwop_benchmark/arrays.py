"""safetensors for NumPy, with types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray

_numpy: Any = safetensors.numpy


def save_arrays(arrays: Mapping[str, NDArray[Any]], text: str | None = None) -> bytes:
    """Return the bytes of a safetensors file: arrays by name, and a text under "qwop_benchmark"."""
    return _numpy.save(dict(arrays), None if text is None else {"qwop_benchmark": text})


def load_arrays(whole: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file. Raises SafetensorError, KeyError or ValueError for another."""
    return _numpy.load(whole)
