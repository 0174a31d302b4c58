"""Tasks on a Ray cluster."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeVar, cast

from qwop_cli.command import CommandError

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

RETRIES = 5
"""Times that Ray repeats a task whose process or node died, or that ran out of memory."""
CONNECT_SECONDS = 30
"""Time that a cluster has to answer, s. Without this limit, Ray tries for minutes."""
AHEAD = 4
"""Tasks to submit per core of the cluster: enough to keep it busy, few enough for a million tasks."""
POLL_SECONDS = 0.5
AUTH_MODE = "RAY_AUTH_MODE"
"""Ray's variable: token or disabled."""


@contextmanager
def ray_cluster(address: str) -> Generator[Any]:
    """Connect to a Ray cluster, or start one here, for the length of the block.

    Args:
        address: HOST:PORT, ray://HOST:PORT, auto or local.

    Yields:
        The module `ray`, connected. A connection that exists already is used, and stays.

    Raises:
        CommandError: Ray is not installed, or the cluster can't be reached.
    """
    # Ray reports its use to its makers unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # a busy machine needs more than Ray's 30 s
    if importlib.util.find_spec("ray") is None:
        raise CommandError("--ray: Ray is not installed: pip install 'qwop-stride[cluster]'")
    if "ray" in sys.modules and (ray := cast("Any", sys.modules["ray"])).is_initialized():
        yield ray
        return
    own = address == "local"
    before = os.environ.get(AUTH_MODE)
    if not own and not address.startswith("ray://"):
        os.environ[AUTH_MODE] = _auth_mode(address)
    try:
        with _connected(address, own) as ray:
            yield ray
    finally:
        os.environ.pop(AUTH_MODE, None)
        if before is not None:
            os.environ[AUTH_MODE] = before


@contextmanager
def _connected(address: str, own: bool) -> Generator[Any]:
    ray: Any = importlib.import_module("ray")  # which reads the variables above, once
    kept = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            logging_level="ERROR",
            log_to_driver=False,
            **({"include_dashboard": False} if own else {}),
        )
    except Exception as error:
        text = " ".join(str(error).split())
        raise CommandError(f"--ray {address}: can't connect: {text[:200]}") from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, kept)  # Ray's own handler would end the process without saving
    try:
        yield ray
    finally:
        ray.shutdown()


def _auth_mode(address: str) -> str:
    """Find out whether a cluster asks its clients for a token.

    Ray starts a cluster with tokens where its token file exists, which `ray.init` writes. A client has to be
    told: without `RAY_AUTH_MODE` it sends no token to an address, and expects one of "auto".

    Raises:
        CommandError: no cluster answers, or it does not accept this machine's token.
    """
    mode = os.environ.get(AUTH_MODE, "disabled")
    reason = _refusal(address, mode)
    if not reason:
        return mode
    if "AuthenticationError" in reason and AUTH_MODE not in os.environ:
        mode = "token"
        reason = _refusal(address, mode)
        if not reason:
            return mode
    if mode == "token" or "AuthenticationError" in reason:
        raise CommandError(
            f"--ray {address}: the cluster asks for a token, and this machine has none or another one: "
            "copy ~/.ray/auth_token from its head, and omit RAY_AUTH_MODE"
        )
    raise CommandError(
        f"--ray {address}: no Ray cluster: {reason}; start one with: ray start --head --disable-usage-stats"
    )


def _refusal(address: str, mode: str) -> str:
    """Ask a cluster for its status, in a process of its own, because Ray's attempts can't be limited.

    Returns:
        Why it did not answer; empty if it did.
    """
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()"]
    command += ["status", *([] if address == "auto" else ["--address", address])]
    try:
        asked = subprocess.run(
            command,
            env=os.environ | {AUTH_MODE: mode},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=CONNECT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {CONNECT_SECONDS} s"
    if asked.returncode == 0:
        return ""
    lines = (asked.stderr.strip() or asked.stdout.strip()).splitlines()
    return next((line for line in lines if "AuthenticationError" in line), "") or (
        lines[-1] if lines else f"exit code {asked.returncode}"
    )


def run_on_ray(
    address: str,
    function: Callable[[S, T], R],
    shared: S,
    tasks: Sequence[T],
    todo: Sequence[int],
    cpus: int,
    poll: Callable[[], bool] | None,
) -> Iterator[tuple[int, Any, Exception | None]]:
    """Yield (index, result, None) or (index, None, error) as tasks end; see `map_tasks`."""
    with ray_cluster(address) as ray:
        call = ray.remote(_on_node).options(
            num_cpus=cpus, max_retries=RETRIES, retry_exceptions=[MemoryError], scheduling_strategy="SPREAD"
        )
        sent = ray.put((function, shared))
        own = own_version()
        waiting = list(reversed(todo))
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                cores = ray.cluster_resources().get("CPU", 1)
                while waiting and len(running) < max(8, AHEAD * cores):
                    index = waiting.pop()
                    running[call.remote(own, sent, tasks[index])] = index
                ended, _ = ray.wait(list(running), timeout=POLL_SECONDS)
                for job in ended:
                    index = running.pop(job)
                    try:
                        result = ray.get(job)
                    except ray.exceptions.RayTaskError as error:  # the task raised
                        yield index, None, error.cause if isinstance(error.cause, Exception) else error
                    except ray.exceptions.RayError as error:  # its process or node died too often
                        yield index, None, _explained(ray, error)
                    else:
                        yield index, result, None
                if poll is not None and poll():
                    break
        finally:
            for job in running:
                ray.cancel(job, force=True)


def _on_node(own: str, sent: tuple[Callable[[S, T], R], S], task: T) -> R:
    """Do a task on a node."""
    check_same_version(own)
    function, shared = sent
    return function(shared, task)


def own_version() -> str:
    """Return the version of qwop-stride on this machine, for `check_same_version`."""
    return version("qwop-stride")


def check_same_version(own: str) -> None:
    """Check, on a node, that it has the version of the machine that sent the work.

    Raises:
        CommandError: it has another one.
    """
    here = version("qwop-stride")
    if here != own:
        raise CommandError(f"a node has qwop-stride {here}, this machine {own}: install the same version")


def _explained(ray: Any, error: Exception) -> CommandError:
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return CommandError(f"out of memory, {RETRIES + 1} times: use nodes with more memory per core")
    if isinstance(error, ray.exceptions.WorkerCrashedError):
        return CommandError(f"its process died {RETRIES + 1} times, perhaps for lack of memory")
    return CommandError(" ".join(str(error).split())[:300])
