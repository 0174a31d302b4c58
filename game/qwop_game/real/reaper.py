"""Clean up after a browser session, even if the program that started it was killed. Run as a script.

    python reaper.py FOLDER

It waits until its standard input closes: when the session ends, or when the program that has the other end
dies, even by kill -9. Then it kills every process whose command line contains FOLDER, and deletes FOLDER.
FOLDER belongs to the session: it has the browser's profile and the driver's log.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def command_lines() -> dict[int, str]:
    """Return the command lines of all processes that this user may see, by process id."""
    found: dict[int, str] = {}
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    pass  # it has ended, or belongs to another user
        return found
    if sys.platform == "win32":
        query = 'Get-CimInstance Win32_Process | ForEach-Object { "$($_.ProcessId) $($_.CommandLine)" }'
        command = ["powershell", "-NoProfile", "-Command", query]
    else:
        command = ["ps", "-axww", "-o", "pid=,command="]
    listing = subprocess.run(
        command, capture_output=True, text=True, errors="replace", encoding="utf-8"
    ).stdout
    for line in listing.splitlines():
        number, _, text = line.strip().partition(" ")
        if number.isdigit():
            found[int(number)] = text
    return found


def kill_all(folder: str) -> None:
    """Kill every process except this one whose command line contains `folder`."""
    for _ in range(50):
        alive = {pid: text for pid, text in command_lines().items() if folder in text and pid != os.getpid()}
        if not alive:
            return
        for pid, text in alive.items():
            # A display that ends by SIGTERM removes its lock and socket.
            polite = "-displayfd" in text
            try:
                os.kill(pid, signal.SIGTERM if polite else getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                pass
        time.sleep(0.1)


def main() -> None:
    """Wait for the end of the session, then clean up."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    folder = sys.argv[1]
    while sys.stdin.buffer.read(4096):
        pass
    kill_all(folder)
    for _ in range(50):  # on Windows files of a killed process stay open for a moment
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
