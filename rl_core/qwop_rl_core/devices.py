"""Where and how precisely networks compute: device, precision, memory of the C library."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor

from qwop_rl_core.errors import TrainingError

Precision = Literal["auto", "float32", "bfloat16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)


def select_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: "auto" (CUDA if available, else the CPU), "cpu", "cuda", "cuda:1", ...

    Returns:
        A device on which tensors can be made.

    Raises:
        TrainingError: the device does not exist on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"device {name!r} is not available here; use auto or cpu") from error
    return device


def select_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype in which hidden layers compute.

    bfloat16 is fast where the hardware has units for it: AMX in a CPU, tensor cores in a GPU since Ampere.
    Elsewhere, including CPUs with AVX512-BF16 only, it is slower than float32.

    Args:
        name: "float32", "bfloat16", or "auto": bfloat16 where it is fast.
        device: device that computes.

    Returns:
        torch.float32 or torch.bfloat16.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # PyTorch before 2.6 has no such test
        fast = device.type == "cpu" and has_amx is not None and bool(has_amx())
    return torch.bfloat16 if fast else torch.float32


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next tensors, for the whole process.

    By default glibc returns large blocks to the kernel and fetches them again at every operation. Each page
    then costs a fault, and two threads wait for each other's faults. Other C libraries are not changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h  # noqa: N806
    for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
        mallopt(parameter, 1 << 30)  # bytes


@contextmanager
def one_thread() -> Generator[None]:
    """Compute on one CPU thread of PyTorch, and restore the number afterwards.

    For play, where a few hundred rows pass a small network in every frame. Threads wait for each other at
    every layer, and on a busy machine each wait lasts until the scheduler runs the other thread: play then
    takes twenty times as long. On an idle machine a second thread would save up to half of the network's
    time: 0.1 ms a frame with 64 rows, 0.7 ms with 512 (AMD EPYC). It does not change the results.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor, as a view of the tensor's memory where it is on the CPU."""
    return cast("NDArray[Any]", tensor.cpu().numpy())
