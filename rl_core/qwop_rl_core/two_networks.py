"""Run the work of two networks on two CPU threads."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

import torch

from qwop_rl_core.ranks import num_ranks

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def two_network_executor(threads: int, device: torch.device) -> Generator[Executor | None]:
    """Yield a one-worker executor for the second network, or None on a GPU or with one thread.

    The caller and the worker get half of the threads each, so one and two threads give the same bits. For
    networks this small that is faster than all threads on one network at a time, where threads wait for each
    other at every layer. PyTorch's number of threads is restored at the end.

    Args:
        threads: CPU threads to use; 0: PyTorch's current number.
        device: device on which the networks compute.
    """
    threads_before = torch.get_num_threads()
    threads = threads or threads_before
    parallel = threads > 1 and device.type == "cpu" and num_ranks() == 1  # ranks reduce in one order
    torch.set_num_threads(threads // 2 if parallel else threads)
    try:
        if parallel:
            with ThreadPoolExecutor(1) as executor:
                yield executor
        else:
            yield None
    finally:
        torch.set_num_threads(threads_before)


def start_call(
    executor: Executor | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> Callable[[], T]:
    """Start a call on the executor, or make it now if there is none.

    Args:
        executor: what `two_network_executor` yields.
        function: function to call.
        *args: its arguments.
        **kwargs: its keyword arguments.

    Returns:
        A function without arguments that waits for the result, or raises what the call raised.
    """
    if executor is None:
        result = function(*args, **kwargs)
        return lambda: result
    return executor.submit(function, *args, **kwargs).result
