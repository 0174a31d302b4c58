"""Finds the browser and its driver, and says whether their versions match.

A driver drives browsers of its own major version only. Each of the two is looked for in this order: what the
caller names, the environment (QWOP_BROWSER, QWOP_DRIVER), PATH, the places where installers put it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import RealGameError

BROWSER_VARIABLE, DRIVER_VARIABLE = "QWOP_BROWSER", "QWOP_DRIVER"

_BROWSER_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "brave-browser",
)
_DRIVER_NAMES = ("chromedriver", "chromium.chromedriver")
_BROWSER_PLACES = {
    "linux": (
        "/usr/lib/chromium/chromium",
        "/usr/lib/chromium-browser/chromium-browser",
        "/opt/google/chrome/chrome",
        "/snap/bin/chromium",
    ),
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Brave Browser.app/Contents/MacOS/Brave Browser",
        "~/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"~\AppData\Local\Google\Chrome\Application\chrome.exe",
    ),
}
_DRIVER_PLACES = {
    "linux": (
        "/usr/lib/chromium-browser/chromedriver",
        "/usr/lib/chromium/chromedriver",
        "/snap/bin/chromium.chromedriver",
    ),
    "darwin": ("/opt/homebrew/bin/chromedriver", "/usr/local/bin/chromedriver"),
    "win32": (r"C:\chromedriver\chromedriver.exe",),
}
_GET_BROWSER = {
    "linux": "install it (Debian: apt install chromium)",
    "darwin": "install it (brew install --cask google-chrome)",
    "win32": "install Google Chrome",
}
_GET_DRIVER = {
    "linux": "install it (Debian: apt install chromium-driver)",
    "darwin": "install it (brew install --cask chromedriver)",
    "win32": "get it from https://googlechromelabs.github.io/chrome-for-testing",
}
_VERSION = re.compile(r"\d+(?:\.\d+){1,3}")


@dataclass(frozen=True)
class Program:
    """A program that was found. version: such as "120.0.6099.71", "" where it does not tell."""

    path: Path
    version: str

    @property
    def major(self) -> str:
        """The part of the version that browser and driver have to share."""
        return self.version.partition(".")[0]


def parse_version(text: str) -> str:
    """The first thing like 120.0.6099.71 in what a program prints of itself; "" where there is none."""
    found = _VERSION.search(text)
    return found.group() if found else ""


def version_of(path: Path) -> str:
    """The version of a browser or driver, asked of itself; "" where it does not tell."""
    if sys.platform == "win32" and path.name.lower() != "chromedriver.exe":
        # Chrome on Windows opens a window when asked; its folder holds one named by the version.
        versions = [entry.name for entry in path.parent.iterdir() if _VERSION.fullmatch(entry.name)]
        return max(versions, key=lambda name: [int(part) for part in name.split(".")], default="")
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return parse_version(done.stdout)


def find_browser(path: str | os.PathLike | None = None) -> Program:
    """The browser. Raises RealGameError where there is none."""
    found = _candidates("browser", path, BROWSER_VARIABLE, _BROWSER_NAMES, _BROWSER_PLACES)
    if not found:
        raise RealGameError(
            f"no Chrome or Chromium was found: {_GET_BROWSER.get(sys.platform, 'install one')}, or say where "
            f"it is with --browser or {BROWSER_VARIABLE}"
        )
    return Program(found[0], version_of(found[0]))


def find_driver(path: str | os.PathLike | None = None) -> Program:
    """The driver. Raises RealGameError where there is none."""
    found = _candidates("driver", path, DRIVER_VARIABLE, _DRIVER_NAMES, _DRIVER_PLACES)
    if not found:
        raise RealGameError(
            f"no chromedriver was found: {_GET_DRIVER.get(sys.platform, 'install it')}, or say where it is "
            f"with --driver or {DRIVER_VARIABLE}"
        )
    return Program(found[0], version_of(found[0]))


def find_pair(
    browser: str | os.PathLike | None = None, driver: str | os.PathLike | None = None
) -> tuple[Program, Program]:
    """A browser and a driver of the same major version; of several installed ones, two that match.

    Raises RealGameError where one is missing, or where no two match.
    """
    first_browser, first_driver = find_browser(browser), find_driver(driver)
    if _match(first_browser, first_driver):
        return first_browser, first_driver
    browsers = _candidates("browser", browser, BROWSER_VARIABLE, _BROWSER_NAMES, _BROWSER_PLACES)
    drivers = _candidates("driver", driver, DRIVER_VARIABLE, _DRIVER_NAMES, _DRIVER_PLACES)
    others = [Program(path, version_of(path)) for path in drivers]
    for path in browsers:
        one = Program(path, version_of(path))
        for other in others:
            if _match(one, other):
                return one, other
    raise RealGameError(mismatch(first_browser, first_driver))


def mismatch(browser: Program, driver: Program) -> str:
    """The line about two versions that don't match."""
    return (
        f"the browser {browser.path} is version {browser.version or 'unknown'}, the driver {driver.path} is "
        f"version {driver.version or 'unknown'}: get chromedriver {browser.major or 'of the same version'} "
        "from https://googlechromelabs.github.io/chrome-for-testing, or from where the browser came from"
    )


def _match(browser: Program, driver: Program) -> bool:
    # A wrapper script may not tell its browser's version; the driver itself checks when it starts one.
    return not browser.major or browser.major == driver.major


def _candidates(
    kind: str,
    path: str | os.PathLike | None,
    variable: str,
    names: Sequence[str],
    places: dict[str, tuple[str, ...]],
) -> list[Path]:
    """All that there are, best first. Raises RealGameError where the one named by the user is none."""
    for given, where in ((path, f"--{kind}"), (os.environ.get(variable), variable)):
        if given:
            found = shutil.which(os.path.expanduser(given))
            if found is None:
                raise RealGameError(f"{where} {given}: there is no such program, or it can't be run")
            return [Path(found)]
    on_path = (shutil.which(name) for name in names)
    usual = (shutil.which(os.path.expanduser(place)) for place in places.get(sys.platform, ()))
    return list(dict.fromkeys(Path(found) for found in (*on_path, *usual) if found))
