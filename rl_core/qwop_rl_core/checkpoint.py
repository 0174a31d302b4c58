"""Checkpoints: one safetensors file of named tensors, with JSON metadata in its header. Nothing is pickled.

Tensors named `network.*` are the network that plays. All others (`optimizer.*`, `newest.*`, `generator`,
`environment.*`, `buffer.*`) are for an exact resume of the training. `checkpoint_file` reads the file without
PyTorch.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from qwop_rl_core.checkpoint_file import (
    DAMAGE,
    FORMAT,
    FORMAT_VERSION,
    CheckpointError,
    check_arrays,
    check_size,
    network_errors,
    prefixed,
    read_checkpoint,
    section,
    short_message,
)
from qwop_rl_core.networks import ActorCritic, QNetwork, build_network
from qwop_rl_core.optimizer import Muon

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "check_kinds",
    "explained",
    "load_checkpoint",
    "load_network",
    "optimizer_tensors",
    "prefixed",
    "restore_optimizer",
    "save_checkpoint",
    "section",
]

_JSON_TUPLE: type[object] = list  # what becomes of a tuple in JSON
_CHECKED_KINDS: tuple[type[object], ...] = (bool, int, float, str, list)


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
    return Checkpoint(*read_checkpoint(path, "pt", str(device)))


def load_network(
    checkpoint: Checkpoint, where: str | os.PathLike[str] = "checkpoint"
) -> ActorCritic | QNetwork:
    """Make the network of a checkpoint, with its weights, on the CPU.

    where: name of the file, for messages.
    Raises CheckpointError: metadata and weights do not fit each other, or a weight is not finite.
    """
    weights = section(checkpoint.tensors, "network")
    with network_errors(where):
        check_size(checkpoint.metadata, [tensor.numel() for tensor in weights.values()])
        network = build_network(checkpoint.metadata)
    expected = {name: (tuple(t.shape), str(t.dtype)) for name, t in network.state_dict().items()}
    check_arrays(where, expected, {name: (tuple(t.shape), str(t.dtype)) for name, t in weights.items()})
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{where}: tensor network.{name} is not finite")
    network.load_state_dict(weights)
    return network


@contextmanager
def explained(where: str | os.PathLike[str]) -> Generator[None]:
    """Turn the errors of damaged contents, while a training is restored, into a CheckpointError."""
    try:
        yield
    except DAMAGE as error:
        raise CheckpointError(f"{where}: a damaged checkpoint, {short_message(error)}") from error


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
    names = {"step", "exp_avg", "exp_avg_sq", *(("momentum",) if isinstance(optimizer, Muon) else ())}
    if any(entry.keys() != names for entry in state.values()):
        raise ValueError("the optimizer's moments are not complete")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
