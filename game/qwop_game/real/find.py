"""Find the browser and its driver, and check that they match.

A chromedriver can drive only Chrome and Chromium of its own major version, a geckodriver any newer Firefox.
Each of the two is searched in this order: the caller's path, the environment (QWOP_BROWSER, QWOP_DRIVER),
PATH, the folders where installers put it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qwop_game.real.errors import RealGameError

BROWSER_VARIABLE, DRIVER_VARIABLE = "QWOP_BROWSER", "QWOP_DRIVER"

_BROWSER_NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "brave-browser",
    "firefox",
    "firefox-esr",
)
_DRIVER_NAMES = ("chromedriver", "chromium.chromedriver", "geckodriver")
_BROWSER_PLACES = {
    "linux": (
        "/usr/lib/chromium/chromium",
        "/usr/lib/chromium-browser/chromium-browser",
        "/opt/google/chrome/chrome",
        "/snap/bin/chromium",
        "/usr/lib/firefox-esr/firefox-esr",
    ),
    "darwin": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        "/Applications/Brave Browser.app/Contents/MacOS/Brave Browser",
        "~/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Firefox.app/Contents/MacOS/firefox",
    ),
    "win32": (
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"~\AppData\Local\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files\Mozilla Firefox\firefox.exe",
    ),
}
_DRIVER_PLACES = {
    "linux": (
        "/usr/lib/chromium-browser/chromedriver",
        "/usr/lib/chromium/chromedriver",
        "/snap/bin/chromium.chromedriver",
    ),
    "darwin": (
        "/opt/homebrew/bin/chromedriver",
        "/usr/local/bin/chromedriver",
        "/opt/homebrew/bin/geckodriver",
        "/usr/local/bin/geckodriver",
    ),
    "win32": (r"C:\chromedriver\chromedriver.exe", r"C:\geckodriver\geckodriver.exe"),
}
_GET_BROWSER = {
    "linux": "install it (Debian: apt install chromium)",
    "darwin": "install it (brew install --cask google-chrome)",
    "win32": "install Google Chrome",
}
_GET_DRIVER = {
    ("chrome", "linux"): "install it (Debian: apt install chromium-driver)",
    ("chrome", "darwin"): "install it (brew install --cask chromedriver)",
    ("chrome", "win32"): "get it from https://googlechromelabs.github.io/chrome-for-testing",
    ("firefox", "darwin"): "install it (brew install geckodriver)",
}
_GET_GECKODRIVER = "get it from https://github.com/mozilla/geckodriver/releases"
_DRIVER_OF = {"chrome": "chromedriver", "firefox": "geckodriver"}
_VERSION = re.compile(r"\d+(?:\.\d+){1,3}")


@dataclass(frozen=True)
class Program:
    """A program that was found. version: such as "120.0.6099.71"; "" if unknown."""

    path: Path
    version: str
    family: str = "chrome"
    """Family of the browser or driver: "chrome" (also Chromium and browsers based on it) or "firefox"."""

    @property
    def major(self) -> str:
        """The part of the version that must be equal in browser and driver."""
        return self.version.partition(".")[0]


def parse_version(text: str) -> str:
    """Find the version, such as 120.0.6099.71, in what a program prints; "" if there is none."""
    found = _VERSION.search(text)
    return found.group() if found else ""


def look_at(path: Path) -> Program:
    """Run a browser or driver to get its version. If it prints no name, the name of its file counts."""
    if sys.platform == "win32" and "driver" not in path.name.lower():
        # On Windows, Chrome would open a window. Its folder has a subfolder with the version as its name.
        versions = [entry.name for entry in path.parent.iterdir() if _VERSION.fullmatch(entry.name)]
        text = max(versions, key=lambda name: [int(part) for part in name.split(".")], default="")
    else:
        try:
            done = subprocess.run(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                encoding="utf-8",
                errors="replace",
            )
            text = done.stdout
        except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
            text = ""
    is_firefox = re.search("firefox|gecko", f"{text} {path.name}", re.IGNORECASE)
    return Program(path, parse_version(text), "firefox" if is_firefox else "chrome")


def find_browser(path: str | os.PathLike[str] | None = None) -> Program:
    """Find the browser. Raises RealGameError if there is none."""
    return look_at(_browsers(path)[0])


def find_driver(path: str | os.PathLike[str] | None = None, family: str = "chrome") -> Program:
    """Find the driver for a family of browsers, or the one that the user names. Raises RealGameError."""
    drivers = [look_at(one) for one in _drivers(path)]
    named = path or os.environ.get(DRIVER_VARIABLE)
    found = next((driver for driver in drivers if named or driver.family == family), None)
    if found is None:
        get = _GET_DRIVER.get((family, sys.platform), _GET_GECKODRIVER)
        raise RealGameError(
            f"no {_DRIVER_OF[family]} was found: {get}, or say where it is with --driver or {DRIVER_VARIABLE}"
        )
    return found


def find_pair(
    browser: str | os.PathLike[str] | None = None, driver: str | os.PathLike[str] | None = None
) -> tuple[Program, Program]:
    """Find a browser and a driver that match: of several installed ones, the first pair that does.

    Raises RealGameError if one is missing, or if no pair matches.
    """
    browsers = _browsers(browser)
    drivers = [look_at(one) for one in _drivers(driver)]
    for one in map(look_at, browsers):
        for other in drivers:
            if _match(one, other):
                return one, other
    first = look_at(browsers[0])
    raise RealGameError(mismatch(first, find_driver(driver, first.family)))


def mismatch(browser: Program, driver: Program) -> str:
    """Return the message about a browser and a driver that do not match."""
    if browser.family != driver.family:
        return f"the browser {browser.path} needs a {_DRIVER_OF[browser.family]}; {driver.path} is not one"
    return (
        f"the browser {browser.path} is version {browser.version or 'unknown'}, the driver {driver.path} is "
        f"version {driver.version or 'unknown'}: get chromedriver {browser.major or 'of the same version'} "
        "from https://googlechromelabs.github.io/chrome-for-testing, or from where the browser came from"
    )


def _match(browser: Program, driver: Program) -> bool:
    if browser.family != driver.family:
        return False
    # A wrapper script may not print its browser's version. The driver checks it when it starts the browser.
    return browser.family == "firefox" or not browser.major or browser.major == driver.major


def _browsers(path: str | os.PathLike[str] | None) -> list[Path]:
    found = _candidates("browser", path, BROWSER_VARIABLE, _BROWSER_NAMES, _BROWSER_PLACES)
    if not found:
        raise RealGameError(
            "no Chrome, Chromium or Firefox was found: "
            f"{_GET_BROWSER.get(sys.platform, 'install one')}, or say where it is with --browser or "
            f"{BROWSER_VARIABLE}"
        )
    return found


def _drivers(path: str | os.PathLike[str] | None) -> list[Path]:
    return _candidates("driver", path, DRIVER_VARIABLE, _DRIVER_NAMES, _DRIVER_PLACES)


def _candidates(
    kind: str,
    path: str | os.PathLike[str] | None,
    variable: str,
    names: Sequence[str],
    places: dict[str, tuple[str, ...]],
) -> list[Path]:
    """Return all programs found, best first. Raises RealGameError if the user's path is not a program."""
    for given, where in ((path, f"--{kind}"), (os.environ.get(variable), variable)):
        if given:
            found = shutil.which(os.path.expanduser(given))
            if found is None:
                raise RealGameError(f"{where} {given}: no such program, or it is not executable")
            return [Path(found)]
    on_path = (shutil.which(name) for name in names)
    usual = (shutil.which(os.path.expanduser(place)) for place in places.get(sys.platform, ()))
    return list(dict.fromkeys(Path(found) for found in (*on_path, *usual) if found))
