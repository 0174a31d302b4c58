"""Checkpoints: one safetensors file of named tensors, with JSON metadata in its header. Nothing is pickled.

Tensors named `network.*` are the network that plays. All others (`optimizer.*`, `generator`, `environment.*`,
`buffer.*`) are for an exact resume of the training.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qwop_rl_core.networks import ActorCritic, QNetwork, build_network

FORMAT = "qwop-stride checkpoint"
FORMAT_VERSION = 2
_JSON_TUPLE: type[object] = list  # what becomes of a tuple in JSON
_CHECKED_KINDS: tuple[type[object], ...] = (bool, int, float, str, list)
# Version 1 had British spelling in the names of tensors and settings.
_NAMES_OF_VERSION_1 = {"normaliser": "normalizer", "prioritised": "prioritized", "metres": "meters"}


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, foreign or does not fit. The message is one line for the user."""


# Errors that damaged contents can cause.
_DAMAGE = (
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


class _SafeFile(Protocol):
    """What `safe_open` gives, whose types safetensors leaves out."""

    def metadata(self) -> dict[str, str] | None: ...

    def keys(self) -> list[str]: ...

    def get_tensor(self, name: str) -> Tensor: ...


def _open(path: Path, device: str) -> AbstractContextManager[_SafeFile]:
    return cast("AbstractContextManager[_SafeFile]", safe_open(path, framework="pt", device=device))


class Checkpoint(NamedTuple):
    """The contents of a checkpoint file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def save_checkpoint(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON-able metadata to `path` atomically.

    A temporary file is written and renamed, so a reader sees either the old file or the new one, and a crash
    leaves the old one. Raises CheckpointError if the folder cannot be written, TypeError if the metadata is
    not plain data.
    """
    path = Path(path)
    header = {"format": FORMAT, "version": str(FORMAT_VERSION), "metadata": json.dumps(dict(metadata))}
    # safetensors refuses tensors that share memory or are not contiguous, so copy them
    payload = save(
        {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()},
        header,
    )
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            _replace(temporary, path)
        finally:  # a signal can raise at any point, also when the file has its new name already
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"{path}: the checkpoint could not be written: {error.strerror or error}"
        ) from error


def _replace(source: Path, target: Path) -> None:
    """Call os.replace. On Windows, wait up to two seconds while another program reads the file."""
    give_up = time.monotonic() + 2.0
    while True:
        try:
            return os.replace(source, target)
        except OSError as error:
            if getattr(error, "winerror", None) not in (5, 32, 33) or time.monotonic() > give_up:
                raise
        time.sleep(0.01)


def load_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Checkpoint:
    """Read what `save_checkpoint` wrote. Raises CheckpointError: missing, truncated or foreign file.

    It runs no code from the file, reads no other file, and bounds its memory by the file's size.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise CheckpointError(f"{path}: no such checkpoint")
        if not path.is_file():
            raise CheckpointError(f"{path}: not a file; give the path of a .safetensors checkpoint")
        with _open(path, str(device)) as file:
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if version == "1":
                tensors, metadata = _from_1_to_2(tensors), _from_1_to_2(metadata)
    except (SafetensorError, *_DAMAGE) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint (damaged or foreign)") from error
    except OSError as error:
        raise CheckpointError(f"{path}: could not be read: {error.strerror or error}") from error
    return Checkpoint(tensors, metadata)


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


def load_network(
    checkpoint: Checkpoint, where: str | os.PathLike[str] = "checkpoint"
) -> ActorCritic | QNetwork:
    """Make the network of a checkpoint, with its weights, on the CPU.

    where: name of the file, for messages.
    Raises CheckpointError: metadata and weights do not fit each other, or a weight is not finite.
    """
    try:
        _check_size(checkpoint)
        network = build_network(checkpoint.metadata)
    except KeyError as error:
        raise CheckpointError(
            f"{where}: the metadata lacks {error.args[0]!r}; not a policy checkpoint"
        ) from error
    except _DAMAGE as error:
        raise CheckpointError(f"{where}: the metadata describes no network: {_short(error)}") from error
    weights = section(checkpoint.tensors, "network")
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    if expected != found:
        name = min(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        raise CheckpointError(
            f"{where}: network.{name} has shape {found.get(name)}, the metadata says {expected.get(name)}"
        )
    for name, tensor in weights.items():
        if tensor.dtype != (wanted := network.state_dict()[name].dtype):
            raise CheckpointError(f"{where}: network.{name} is {tensor.dtype}, not {wanted}")
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{where}: tensor network.{name} is not finite")
    network.load_state_dict(weights)
    return network


@contextmanager
def explained(where: str | os.PathLike[str]) -> Generator[None]:
    """Turn the errors of damaged contents, while a training is restored, into a CheckpointError."""
    try:
        yield
    except _DAMAGE as error:
        raise CheckpointError(f"{where}: a damaged checkpoint, {_short(error)}") from error


def check_kinds(values: Mapping[str, Any], example: object) -> None:
    """Raise ValueError if a value has another type than that attribute of `example`: number, text, list.

    Attributes that are None in `example` are not checked.
    """
    for name, value in values.items():
        attribute: object = getattr(example, name)
        kind = _JSON_TUPLE if type(attribute) is tuple else type(attribute)
        item: object = value
        found = type(item)
        number = kind is float and found is int and abs(value) < 2**63
        in_range = kind is not int or found is not int or 0 <= value < 2**63
        if kind in _CHECKED_KINDS and not number and (found is not kind or not in_range):
            raise ValueError(f"{name} is {str(value)[:40]!r}, not {kind.__name__}")


def _check_size(checkpoint: Checkpoint) -> None:
    """Raise ValueError if the metadata describes a larger network than the file has weights for."""
    metadata, weights = checkpoint.metadata, section(checkpoint.tensors, "network")
    feature_size, num_actions = metadata["feature_size"], metadata["num_actions"]
    hidden: list[Any] = metadata["hidden"]
    if type(hidden) is not list or not hidden:
        raise ValueError("hidden is not a list of sizes")
    sizes: list[Any] = [feature_size, *hidden, num_actions]
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError("a size is not a whole number of 1 or more")
    wanted = sum(a * b for a, b in itertools.pairwise(sizes))
    if len(hidden) > len(weights) or wanted > sum(tensor.numel() for tensor in weights.values()):
        raise ValueError("it needs more weights than the file has")


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {words}" if isinstance(error, KeyError) or not words else words


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put a prefix before names: {"a": x} -> {"prefix.a": x}."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors under `prefix`, without the prefix: the inverse of `prefixed`."""
    start = f"{prefix}."
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return moments and step counts as {"<parameter index>.<name>": tensor}.

    The learning rate is not among them: it is a function of the steps done, and the loops set it again.
    """
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_tensors` gave into an optimizer of the same parameters.

    Raises ValueError if they belong to other parameters, or are incomplete.
    """
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        number = int(index)
        if not 0 <= number < len(shapes) or (key != "step" and value.shape != shapes[number]):
            raise ValueError(f"optimizer.{name} has shape {tuple(value.shape)}, which no parameter has")
        if key == "step" and (value.shape != () or not value.is_floating_point()):
            raise ValueError(f"optimizer.{name} is {value.dtype} {list(value.shape)}, not one float")
        state.setdefault(number, {})[key] = value.clone()
    if any(entry.keys() != {"step", "exp_avg", "exp_avg_sq"} for entry in state.values()):
        raise ValueError("the optimizer's moments are not complete")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
