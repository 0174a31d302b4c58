"""Read and check a checkpoint's file. Needs no PyTorch: `numpy_policy` plays what is read here."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

FORMAT = "qwop-stride checkpoint"
FORMAT_VERSION = 2
# Version 1 had British spelling in the names of tensors and settings.
_NAMES_OF_VERSION_1 = {"normaliser": "normalizer", "prioritised": "prioritized", "metres": "meters"}

Value = TypeVar("Value")
Kind: TypeAlias = tuple[tuple[int, ...], str]
"""Shape and dtype of an array."""


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, foreign or does not fit. The message is one line for the user."""


DAMAGE = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)
"""Errors that damaged contents can cause."""


class _Slice(Protocol):
    """One tensor of a file, not read yet."""

    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...


class _SafeFile(Protocol):
    """What `safe_open` gives, whose types safetensors leaves out."""

    def metadata(self) -> dict[str, str] | None: ...

    def keys(self) -> list[str]: ...

    def get_tensor(self, name: str) -> Any: ...

    def get_slice(self, name: str) -> _Slice: ...


def _open(path: Path, framework: str, device: str) -> AbstractContextManager[_SafeFile]:
    return cast("AbstractContextManager[_SafeFile]", safe_open(path, framework=framework, device=device))


class CheckpointArrays(NamedTuple):
    """The network of a checkpoint file as NumPy arrays, and the metadata."""

    arrays: dict[str, NDArray[Any]]
    """Tensors under `network`, without this prefix."""
    metadata: dict[str, Any]


class CheckpointHeader(NamedTuple):
    """What a checkpoint file says of itself; no tensor is read."""

    tensors: dict[str, Kind]
    """Shape and dtype (F32, F64, U8, ...) of each tensor."""
    metadata: dict[str, Any]


def load_arrays(path: str | os.PathLike[str]) -> CheckpointArrays:
    """Read the network of a checkpoint without PyTorch.

    Args:
        path: file that `save_checkpoint` wrote.

    Raises:
        CheckpointError: missing, truncated or foreign file.
    """
    tensors, metadata = read_checkpoint(path, "np", wanted="network")
    return CheckpointArrays(section(tensors, "network"), metadata)


def load_header(path: str | os.PathLike[str]) -> CheckpointHeader:
    """Read a checkpoint's metadata, and the shapes of its tensors, without PyTorch.

    Args:
        path: file that `save_checkpoint` wrote.

    Raises:
        CheckpointError: missing, truncated or foreign file.
    """
    return CheckpointHeader(*read_checkpoint(path, "np", read=_kind))


def _kind(file: _SafeFile, name: str) -> Kind:
    part = file.get_slice(name)
    return tuple(part.get_shape()), part.get_dtype()


def _tensor(file: _SafeFile, name: str) -> Any:
    return file.get_tensor(name)


def read_checkpoint(
    path: str | os.PathLike[str],
    framework: Literal["pt", "np"],
    device: str = "cpu",
    wanted: str | None = None,
    read: Callable[[_SafeFile, str], Any] = _tensor,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    It runs no code from the file, reads no other file, and bounds its memory by the file's size.

    Args:
        path: the file.
        framework: "pt" for torch's tensors, "np" for arrays.
        device: device of torch's tensors.
        wanted: read only tensors under this prefix; None: all.
        read: what to read of each tensor.

    Returns:
        Tensors by name, and the metadata.

    Raises:
        CheckpointError: missing, truncated or foreign file.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise CheckpointError(f"{path}: no such checkpoint")
        if not path.is_file():
            raise CheckpointError(f"{path}: not a file; give the path of a .safetensors checkpoint")
        with _open(path, framework, device) as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path}: a safetensors file, but not a {FORMAT}")
            version = header.get("version")
            if version not in ("1", str(FORMAT_VERSION)):
                raise CheckpointError(
                    f"{path}: format {version}, this release reads 1 to {FORMAT_VERSION}; "
                    "use the release that wrote it"
                )
            metadata: dict[str, Any] = json.loads(header["metadata"])
            if type(metadata) is not dict:
                raise CheckpointError(f"{path}: not a readable checkpoint (damaged or foreign)")
            names = [n for n in file.keys() if wanted is None or n.startswith(f"{wanted}.")]  # noqa: SIM118
            tensors = {name: read(file, name) for name in names}
            if version == "1":
                tensors, metadata = _from_1_to_2(tensors), _from_1_to_2(metadata)
    except (SafetensorError, *DAMAGE) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint (damaged or foreign)") from error
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read: {error.strerror or error}") from error
    return tensors, metadata


def _from_1_to_2(value: Any) -> Any:
    """Rename the keys of version 1 at any depth, and in reward options, such as "knee_metres=0.2"."""

    def renamed(name: str) -> str:
        for old, new in _NAMES_OF_VERSION_1.items():
            name = name.replace(old, new)
        return name

    if not isinstance(value, dict):
        return value
    found = {renamed(name): _from_1_to_2(v) for name, v in cast("dict[str, Any]", value).items()}
    options = found.get("reward_option")
    if isinstance(options, list):
        found["reward_option"] = [renamed(o) if isinstance(o, str) else o for o in cast("list[Any]", options)]
    return found


@contextmanager
def network_errors(where: str | os.PathLike[str]) -> Generator[None]:
    """Turn the errors of wrong metadata, while a network is made from it, into a CheckpointError."""
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{where}: the metadata lacks {error.args[0]!r}; not a policy checkpoint"
        ) from error
    except DAMAGE as error:
        message = f"{where}: the metadata describes no network: {short_message(error)}"
        raise CheckpointError(message) from error


def check_size(metadata: Mapping[str, Any], weights: Sequence[int]) -> None:
    """Check that the metadata describes no larger network than the file has weights for.

    Args:
        metadata: metadata of the checkpoint.
        weights: number of elements of each of the network's tensors.

    Raises:
        KeyError: a size is missing.
        ValueError: the network needs more weights, or a size is none.
    """
    feature_size, num_actions = metadata["feature_size"], metadata["num_actions"]
    hidden: list[Any] = metadata["hidden"]
    if type(hidden) is not list or not hidden:
        raise ValueError("hidden is not a list of sizes")
    sizes: list[Any] = [feature_size, *hidden, num_actions]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError("a size is not a whole number of 1 or more")
    wanted = sum(a * b for a, b in itertools.pairwise(sizes))
    if len(hidden) > len(weights) or wanted > sum(weights):
        raise ValueError("it needs more weights than the file has")


def check_arrays(
    where: str | os.PathLike[str], expected: Mapping[str, Kind], found: Mapping[str, Kind]
) -> None:
    """Check the shapes and dtypes of a network's tensors against those that the metadata says.

    Raises:
        CheckpointError: one differs, or is missing or left over.
    """

    def shape(kinds: Mapping[str, Kind], name: str) -> tuple[int, ...] | None:
        return kinds[name][0] if name in kinds else None

    for name in sorted(expected.keys() | found.keys()):
        if shape(expected, name) != shape(found, name):
            raise CheckpointError(
                f"{where}: network.{name} has shape {shape(found, name)}, "
                f"the metadata says {shape(expected, name)}"
            )
    for name in found:
        if found[name][1] != expected[name][1]:
            raise CheckpointError(f"{where}: network.{name} is {found[name][1]}, not {expected[name][1]}")


def wrong_features(expected: int, shape: Sequence[int]) -> CheckpointError:
    """Return the error of a network that gets features of another shape than [N, expected]."""
    return CheckpointError(
        f"the policy takes [N, {expected}] features, not {list(shape)}: "
        "it was made for another encoding of the observation"
    )


def short_message(error: Exception) -> str:
    """Return the message of an error in at most 200 characters."""
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if isinstance(error, KeyError) or not words else words


def prefixed(prefix: str, tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Put a prefix before names: {"a": x} -> {"prefix.a": x}."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def section(tensors: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """Return the tensors under `prefix`, without the prefix: the inverse of `prefixed`."""
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def without_training(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a checkpoint without the state and the settings of its training."""
    return {name: value for name, value in metadata.items() if name not in ("training", "finetune")}


def expected_arrays(architecture: Mapping[str, Any]) -> dict[str, Kind]:
    """Return the arrays that a network of this architecture consists of.

    Args:
        architecture: a network's `architecture`; other keys are ignored.

    Returns:
        Shape and NumPy's name of the dtype by name, as in the state_dict of `build_network`.

    Raises:
        KeyError: a size is missing.
        ValueError: unknown kind of network, or unknown activation.
    """
    feature_size, num_actions = architecture["feature_size"], architecture["num_actions"]
    hidden: list[int] = architecture["hidden"]
    kind = architecture["kind"]
    normalizer: dict[str, Kind] = {"count": ((), "float64")}
    normalizer |= dict.fromkeys(("mean", "var"), ((feature_size,), "float64"))
    arrays = prefixed("normalizer", normalizer)
    if kind == "policy":
        arrays |= _linear_layers("policy", [feature_size, *hidden, num_actions])
        arrays |= _linear_layers("value", [feature_size, *hidden, 1])
        return arrays | dict.fromkeys(("value_mean", "value_std"), ((), "float32"))
    if kind == "q_network":
        if architecture["activation"] not in ("tanh", "relu"):
            raise ValueError(f"activation is {architecture['activation']!r}: choose one of tanh, relu")
        norms = len(hidden) if architecture.get("layer_norm", False) else 0
        arrays |= _linear_layers("trunk", [feature_size, *hidden], norms)
        arrays |= _linear_layers("advantage", [hidden[-1], num_actions])
        if architecture.get("temperature", 0.0) > 0.0:
            return arrays | _linear_layers("value", [feature_size, *hidden, 1], len(hidden))
        return arrays | (_linear_layers("value", [hidden[-1], 1]) if architecture["dueling"] else {})
    raise ValueError(f"kind is {kind!r}, not 'policy' or 'q_network'")


def _linear_layers(name: str, sizes: Sequence[int], norms: int = 0) -> dict[str, Kind]:
    """Return the arrays of linear layers, the first `norms` of which a LayerNorm follows."""
    arrays: dict[str, Kind] = {}
    number = 0
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        arrays[f"{name}.{number}.weight"] = (fan_out, fan_in), "float32"
        arrays[f"{name}.{number}.bias"] = (fan_out,), "float32"
        if i < norms:
            number += 1
            arrays |= dict.fromkeys(
                (f"{name}.{number}.weight", f"{name}.{number}.bias"), ((fan_out,), "float32")
            )
        number += 2  # an activation between two layers has a number, too
    return arrays


def check_finite(where: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise CheckpointError if an element of a network's arrays is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{where}: tensor network.{name} is not finite")
