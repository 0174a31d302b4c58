"""A Ray cluster of two nodes, each in a network namespace of its own, joined by a cable (Linux, root).

The head and its node of one core are in the first namespace, the second node in the other one. What is to be
a third process of the cluster runs in the first namespace, with `TwoNamespaces.command`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PORT = 6379
START_SECONDS, ATTEMPTS = 90.0, 4
"""Time that a node has to start, and how often it is tried: a busy machine exceeds Ray's own limits."""


def why_not() -> str:
    """Say why this system can't have namespaces; empty if it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (package iproute2)"
    name = f"qwop{os.getpid()}t"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, encoding="utf-8")
    if tried.returncode:
        return f"no network namespaces here: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class TwoNamespaces:
    """A cluster of two nodes of a core in two network namespaces, for the length of a `with` block.

    Args:
        cores: cores of the head's node, and of the second node.
        variables: environment variables of both.
    """

    def __init__(self, cores: tuple[int, int] = (1, 1), variables: dict[str, str] | None = None) -> None:
        self._names = f"qwop{os.getpid()}a", f"qwop{os.getpid()}b"
        self._devices = f"qw{os.getpid() % 10**7}a", f"qw{os.getpid() % 10**7}b"
        self._cores = cores
        self._folder = Path(tempfile.mkdtemp(prefix="qwop-"))
        self._variables = {
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "40",
            "RAY_worker_niceness": "0",  # as without Ray, which makes it 15
            **(variables or {}),
        }
        self.address = f"10.211.7.1:{PORT}"

    def __enter__(self) -> TwoNamespaces:
        try:
            for name in self._names:
                _ip("netns", "add", name)
            (first, second), (one, two) = self._names, self._devices
            _ip("link", "add", one, "netns", first, "type", "veth", "peer", "name", two, "netns", second)
            for i, (name, device) in enumerate(zip(self._names, self._devices, strict=True)):
                _ip("-n", name, "addr", "add", f"10.211.7.{i + 1}/24", "dev", device)
                for each in (device, "lo"):
                    _ip("-n", name, "link", "set", each, "up")
            self._start(0, "--head", "--port", str(PORT), "--include-dashboard", "false")
            self.start_second()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for i, name in enumerate(self._names):
            self._kill(i)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_second(self) -> None:
        """Start the second node, after its end too, with the cable in."""
        _ip("-n", self._names[1], "link", "set", self._devices[1], "up")
        self._kill(1)
        self._start(1, "--address", self.address)

    def cut(self) -> None:
        """Cut the cable between the nodes: packets vanish, and no connection is closed."""
        _ip("-n", self._names[1], "link", "set", self._devices[1], "down")

    def kill_second(self) -> None:
        """Kill all processes of the second node, as a power failure does."""
        self._kill(1)

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs `words` in the first namespace."""
        settings = [f"{name}={value}" for name, value in self._variables.items()]
        return ["ip", "netns", "exec", self._names[0], "env", *settings, *words]

    def _start(self, i: int, *words: str) -> None:
        log = self._folder / f"{i}.log"
        ray = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
        ray += ["--node-ip-address", f"10.211.7.{i + 1}", "--num-cpus", str(self._cores[i]), *words]
        # Both nodes share the machine, so without a limit each claims a third of its memory.
        ray += ["--disable-usage-stats", "--object-store-memory", str(200 << 20)]
        for _ in range(ATTEMPTS):
            with log.open("w", encoding="utf-8") as file:
                process: subprocess.Popen[Any] = subprocess.Popen(
                    ["ip", "netns", "exec", self._names[i], *ray],
                    env=os.environ | self._variables,
                    stdout=file,
                    stderr=file,
                )
            end = time.monotonic() + START_SECONDS
            while process.poll() is None and time.monotonic() < end:
                if "Ray runtime started" in log.read_text(encoding="utf-8"):
                    return
                time.sleep(0.2)
            self._kill(i)
            process.wait()
        raise RuntimeError(f"Ray did not start: {log.read_text(encoding='utf-8')[-500:]}")

    def _kill(self, i: int) -> None:
        command = ["ip", "netns", "pids", self._names[i]]
        found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        for pid in found.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
