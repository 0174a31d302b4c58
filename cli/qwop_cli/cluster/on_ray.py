"""Tasks on a Ray cluster."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
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
JOIN_SECONDS = 120.0
"""Time that a node with the cores of a task has to join a cluster, s."""
POLL_SECONDS = 0.5
NODES_SECONDS = 2.0
"""Time between two questions to the head for dead nodes, s."""
DISTRUST_SECONDS = 30.0
FETCH_SECONDS = 60.0
"""Time for a result to come from this machine's own memory, s."""
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
        with _messages_on_stderr():
            yield ray
    finally:
        ray.shutdown()


@contextmanager
def _messages_on_stderr() -> Generator[None]:
    """Print what Ray says of dead nodes and processes on stderr: a command's stdout may be JSON."""
    module: Any = importlib.import_module("ray._private.worker")
    show = getattr(module, "print_to_stdstream", None)
    if show is None:  # in another version of Ray
        yield
        return

    def show_on_stderr(data: dict[str, Any], ignore_prefix: bool) -> None:
        show({**data, "is_err": True}, ignore_prefix)

    module.print_to_stdstream = show_on_stderr
    try:
        yield
    finally:
        module.print_to_stdstream = show


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


class _Nodes:
    """The nodes of a cluster, and how many of this job's tasks each has.

    Every task is bound to a node. Ray would place it itself, but then it is not known which tasks a dead node
    had, and Ray waits for a node that it can't reach: it notices only after two to seven minutes that a
    connection without an answer is broken, and until then sends no more tasks anywhere. The cluster's head
    knows after about a minute.
    """

    def __init__(self, ray: Any, cpus: int) -> None:
        self._ray, self._cpus = ray, cpus
        self._running: dict[str, int] = {}
        self._slots: dict[str, int] = {}
        self._distrusted: dict[str, float] = {}
        self._asked = -math.inf
        self.ask()

    def ask(self) -> None:
        """Ask the head which nodes are alive, at most once in NODES_SECONDS."""
        now = time.monotonic()
        if now - self._asked < NODES_SECONDS:
            return
        self._slots = {
            node["NodeID"]: int(node["Resources"].get("CPU", 0)) // self._cpus
            for node in self._ray.nodes()
            if node["Alive"]
        }
        self._asked = now

    def alive(self, node: str) -> bool:
        """Return whether a node runs, as far as the head knows."""
        return node in self._slots

    def distrust(self, node: str) -> None:
        """Send no tasks for a while to a node that lost one: the head may not know yet that it is dead."""
        self._distrusted[node] = time.monotonic() + DISTRUST_SECONDS

    def wait_for_one(self, seconds: float) -> bool:
        """Return whether a node has the cores of a task, at the latest after `seconds`.

        The nodes of a cluster that starts join after its head.
        """
        deadline = time.monotonic() + seconds
        while not any(self._slots.values()):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
            self.ask()
        return True

    def take(self) -> str | None:
        """Return a node with free cores, the one with the smallest share of its cores in use; or None."""
        now = time.monotonic()
        free = {
            node: self._running.get(node, 0) / slots
            for node, slots in self._slots.items()
            if self._running.get(node, 0) < slots and self._distrusted.get(node, -math.inf) < now
        }
        if not free:
            return None
        node = min(free, key=lambda node: free[node])
        self._running[node] = self._running.get(node, 0) + 1
        return node

    def give_back(self, node: str) -> None:
        """Note that a task of a node has ended."""
        self._running[node] -= 1


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
        affinity = importlib.import_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        call = ray.remote(num_cpus=cpus, max_retries=RETRIES, retry_exceptions=[MemoryError])(_on_node)
        sent = ray.put((function, shared))
        own = own_version()
        nodes = _Nodes(ray, cpus)
        patience = 0.0 if address == "local" else JOIN_SECONDS
        if not nodes.wait_for_one(patience):
            within = f" within {patience:g} s" if patience else ""
            raise CommandError(f"--ray {address}: no node with the {cpus} cores of a task{within}")
        waiting = list(reversed(todo))
        running: dict[Any, tuple[int, str]] = {}
        losses: Counter[int] = Counter()  # of a task, with the nodes that had it
        try:
            while waiting or running:
                while waiting and (node := nodes.take()) is not None:
                    index = waiting.pop()
                    strategy = affinity(node, soft=False)
                    job = call.options(scheduling_strategy=strategy).remote(own, sent, tasks[index])
                    running[job] = index, node
                ended: list[Any] = []
                if running:  # ended: the result is here, so that no later call waits for a node
                    ended = ray.wait(list(running), timeout=POLL_SECONDS)[0]
                else:
                    time.sleep(POLL_SECONDS)
                nodes.ask()
                for job in [*ended, *(job for job, (_, node) in running.items() if not nodes.alive(node))]:
                    if job not in running:  # ended, and on a dead node
                        continue
                    index, node = running.pop(job)
                    nodes.give_back(node)
                    if job in ended and (outcome := _outcome(ray, job)) is not None:
                        yield index, outcome[0], outcome[1]
                        continue
                    nodes.distrust(node)
                    losses[index] += 1
                    if losses[index] > RETRIES:
                        yield index, None, CommandError(f"its node died {RETRIES + 1} times")
                        continue
                    ray.cancel(job, force=True)
                    waiting.append(index)
                if poll is not None and poll():
                    break
        finally:
            for job in running:
                ray.cancel(job, force=True)


def _outcome(ray: Any, job: Any) -> tuple[Any, Exception | None] | None:
    """Return the result of a task that has ended, or why it has none; None if it was lost with its node."""
    errors = ray.exceptions
    try:
        return ray.get(job, timeout=FETCH_SECONDS), None
    except errors.RayTaskError as error:  # the task raised
        return None, error.cause if isinstance(error.cause, Exception) else error
    except (
        errors.TaskUnschedulableError,
        errors.NodeDiedError,
        errors.ObjectLostError,
        errors.GetTimeoutError,
    ):
        return None
    except errors.RayError as error:  # its process died too often
        return None, _explained(ray, error)


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
