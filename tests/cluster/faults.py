"""Tasks that fail in every way, and a driver that runs them: python faults.py ADDRESS TASK FOLDER [KEEP]."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from qwop_cli.cluster import ClusterOptions, KeptResults, map_tasks


def note(folder: str, task: int) -> int:
    """Count the calls of a task in a file of its own; returns how many there were before."""
    calls = Path(folder) / f"{task}.calls"
    before = len(calls.read_text(encoding="utf-8")) if calls.exists() else 0
    with calls.open("a", encoding="utf-8") as file:
        file.write("x")
    return before


def square(folder: str, task: int) -> int:
    note(folder, task)
    return task * task


def slow(folder: str, task: int) -> int:
    note(folder, task)
    time.sleep(1.0)
    return task * task


def large(folder: str, task: int) -> bytes:
    """Take a second, and return what Ray keeps in the object store of the node that made it."""
    slow(folder, task)
    return bytes(1_000_000 + task)


def killed_once(folder: str, task: int) -> int:
    if note(folder, task) == 0 and task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def killed_always(folder: str, task: int) -> int:
    note(folder, task)
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task * task


def too_large(folder: str, task: int) -> int:
    """Run out of memory: the process may have only 2 GB more."""
    import resource  # Windows has none

    first = note(folder, task) == 0
    if task == 2 or (task == 4 and first):
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, before[1]))
        try:
            return len(bytearray(2**32))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    return task * task


def wrong(folder: str, task: int) -> int:
    note(folder, task)
    if task == 2:
        raise ValueError("no such frame")
    return task * task


def write(path: Path, result: int) -> None:
    path.write_text(str(result), encoding="utf-8")


def kept(folder: Path, name: str) -> KeptResults[int]:
    return KeptResults(
        folder,
        {"name": name},
        write,
        lambda path: int(path.read_text(encoding="utf-8")),
    )


def results(address: str, name: str, folder: Path, keep: Path | None, count: int = 8) -> Any:
    return map_tasks(
        globals()[name],
        str(folder),
        list(range(count)),
        options=ClusterOptions(address),
        kept=None if keep is None else kept(keep, name),
        show=False,
    )


def main() -> None:
    address, name, folder = sys.argv[1:4]
    keep = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    found = {}
    for index, result in results(address, name, Path(folder), keep):
        found[index] = result
        print(index, flush=True)
    shown = {str(k): len(found[k]) if isinstance(found[k], bytes) else found[k] for k in sorted(found)}
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
