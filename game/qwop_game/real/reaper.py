"""Ends what a browser session leaves behind, however the program that started it ended. Run as a script.

    python reaper.py FOLDER

Waits until its standard input closes: at the session's end, or when the program that holds the other end
dies, be it of kill -9. Then it kills every process whose command line names FOLDER (the session's own, with
the browser's profile and the driver's log in it) and deletes FOLDER.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def command_lines() -> dict[int, str]:
    """Process id -> command line, of all processes that this user may look at."""
    found: dict[int, str] = {}
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    pass  # it has ended meanwhile, or is somebody else's
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
    """Kill whatever names `folder` in its command line, but this process."""
    for _ in range(50):
        alive = {pid: text for pid, text in command_lines().items() if folder in text and pid != os.getpid()}
        if not alive:
            return
        for pid, text in alive.items():
            # A display that is asked to end takes its lock and socket away.
            polite = "-displayfd" in text
            try:
                os.kill(pid, signal.SIGTERM if polite else getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                pass
        time.sleep(0.1)


def main() -> None:
    """Wait, then clean up."""
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
