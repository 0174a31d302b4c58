"""One browser with one page, driven through chromedriver, that leaves nothing behind."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

from .errors import RealGameError
from .find import find_pair
from .install import Installed, installed, qwop_gym_game

TIMEOUT_VARIABLE = "QWOP_BROWSER_TIMEOUT"
WIDTH, HEIGHT = 660, 520  # px, of a visible window

_HERE = Path(__file__).parent
_PORTS = 3  # tries to get a port before somebody else does
_FLAGS = (
    "--allow-file-access-from-files",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-features=Translate",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL in software, where there is no graphics card
    "--no-default-browser-check",
    "--no-first-run",
    f"--window-size={WIDTH},{HEIGHT}",
)
_HEADLESS_FLAGS = ("--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--mute-audio")


class BrowserLost(Exception):
    """The browser, its driver or the page is gone, or does not answer. One line."""


class PageError(Exception):
    """The page itself refused what it was asked to do. One line."""


def timeout_seconds() -> float:
    """How long a browser may take to start, load the page or answer: QWOP_BROWSER_TIMEOUT, or 60 s."""
    text = os.environ.get(TIMEOUT_VARIABLE, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:
        raise RealGameError(f"{TIMEOUT_VARIABLE}={text}: it must be a number of seconds from 1 to 3600")
    return seconds


class Browser:
    """A started browser with the game's page in it.

    headless: without a window.
    browser, driver: where they are; None: see find.py.
    scripts: more scripts of this folder for the page, after bridge.js.

    Driver and browser get a session of their own, so that Ctrl-C reaches this program alone.

    Raises RealGameError where something is missing or the browser does not start.
    """

    def __init__(
        self,
        headless: bool = True,
        browser: str | os.PathLike | None = None,
        driver: str | os.PathLike | None = None,
        scripts: tuple[str, ...] = (),
    ) -> None:
        self.game: Installed = installed()
        self.headless = headless
        self.browser, self.driver = find_pair(browser, driver)
        self.timeout = timeout_seconds()
        if not headless and sys.platform.startswith("linux"):
            if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
                raise RealGameError(
                    "no display for the browser's window (DISPLAY is not set): start it on a desktop"
                )
        self._folder = Path(tempfile.mkdtemp(prefix="qwop-browser-"))
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HERE / "reaper.py"), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._selenium: Any = None
        # Also called when the object is forgotten, and at the interpreter's exit.
        self._finalizer = weakref.finalize(self, _reap, self._reaper)
        try:
            self.url = self._write_page(scripts)
            self._start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End browser and driver, and delete what they wrote. Never fails; takes a moment."""
        self._finalizer()

    def load(self) -> None:
        """Load the page anew and wait until the game in it is there. Raises BrowserLost, PageError."""
        from selenium.common.exceptions import WebDriverException

        try:
            self._call(lambda: self._selenium.get(self.url))
            deadline = time.monotonic() + self.timeout
            while not self.run("return window.bridge ? bridge.ready : false"):
                if time.monotonic() > deadline:
                    problem = self.run("return window.pageProblem || ''")
                    raise BrowserLost(
                        f"the game did not load within {self.timeout:g} s"
                        + (f" ({problem})" if problem else f" (slow machine? raise {TIMEOUT_VARIABLE})")
                    )
                time.sleep(0.01)
        except WebDriverException as error:  # not expected: _call translates them
            raise BrowserLost(_first_line(error)) from None

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page; what it returns. Raises BrowserLost, PageError."""
        return self._call(lambda: self._selenium.execute_script(script, *arguments))

    @property
    def selenium(self) -> Any:
        """selenium's WebDriver, for tests that type."""
        return self._selenium

    # -- inside --------------------------------------------------------------------------------------

    def _write_page(self, scripts: tuple[str, ...]) -> str:
        page = Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
            base=qwop_gym_game().as_uri() + "/",
            game=self.game.path.resolve().as_uri(),
            scripts="\n".join(
                f'<script src="{(_HERE / name).resolve().as_uri()}"></script>' for name in scripts
            ),
            bridge=(_HERE / "bridge.js").resolve().as_uri(),
        )
        path = self._folder / "page.html"
        path.write_text(page, encoding="utf-8")
        # Options of qwop-gym's page: no intro; a seed for Math.random, which the physics never asks.
        return path.as_uri() + "?" + urlencode({"intro": 0, "seed": 1, "stepsize": 1})

    def _start(self) -> None:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver import ChromeOptions, Remote
        from selenium.webdriver.common.proxy import Proxy, ProxyType
        from selenium.webdriver.remote.client_config import ClientConfig
        from urllib3.exceptions import HTTPError

        options = ChromeOptions()
        options.binary_location = str(self.browser.path)
        for flag in (*_FLAGS, *(_HEADLESS_FLAGS if self.headless else ())):
            options.add_argument(flag)
        if not self.headless:
            options.add_argument(f"--app={self.url}")  # a window of its own, without an address bar
        options.add_argument(f"--user-data-dir={self._folder / 'profile'}")
        options.add_experimental_option("excludeSwitches", ["enable-automation"])
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chrome's sandbox refuses to work for root
        url = f"http://127.0.0.1:{self._start_driver()}"
        # No proxy of the environment's for this machine's own address.
        config = ClientConfig(
            url,
            timeout=int(self.timeout),  # type: ignore[arg-type]
            proxy=Proxy({"proxyType": ProxyType.DIRECT}),  # type: ignore[arg-type]
        )
        try:
            self._selenium = Remote(url, options=options, client_config=config)
            self._selenium.set_script_timeout(self.timeout)
            self._selenium.set_page_load_timeout(self.timeout)
        except (WebDriverException, HTTPError, OSError) as error:
            line = _first_line(error)
            if "only supports" in line:
                raise RealGameError(f"browser and driver do not match: {line}") from None
            raise RealGameError(
                f"the browser {self.browser.path} did not start: {line}; run qwop-game doctor"
            ) from None

    def _start_driver(self) -> int:
        """Start chromedriver; returns its port, another one where somebody takes it first."""
        last = ""
        for _ in range(_PORTS):
            port = free_port()
            log = self._folder / "driver.out"
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    # The log's path marks the driver as one of this session's, for the reaper.
                    [self.driver.path, f"--port={port}", f"--log-path={self._folder / 'driver.log'}"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            deadline = time.monotonic() + self.timeout
            while process.poll() is None and time.monotonic() < deadline:
                if "started successfully" in log.read_text(errors="replace"):
                    return port
                time.sleep(0.01)
            last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            if process.poll() is None:
                last = f"no word from it for {self.timeout:g} s (slow machine? raise {TIMEOUT_VARIABLE})"
                break
        raise RealGameError(f"the driver {self.driver.path} did not start: {last}")

    def _call(self, action: Any) -> Any:
        from selenium.common.exceptions import JavascriptException, TimeoutException, WebDriverException
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        if self._selenium is None or not self._finalizer.alive:
            raise BrowserLost("the browser is closed")
        try:
            return action()
        except JavascriptException as error:
            raise PageError(_first_line(error).removeprefix("javascript error: ")) from None
        except (TimeoutException, ReadTimeoutError):
            raise BrowserLost(
                f"the browser gave no answer for {self.timeout:g} s (slow machine? raise {TIMEOUT_VARIABLE})"
            ) from None
        except (WebDriverException, HTTPError, OSError) as error:
            raise BrowserLost(_loss(_first_line(error))) from None


def free_port() -> int:
    """A port of this machine that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _loss(line: str) -> str:
    """What is gone, in words."""
    if "no such window" in line or "target window already closed" in line:
        return "the game's window was closed"
    if any(word in line for word in ("Connection refused", "Remote end closed", "Connection aborted")):
        return "chromedriver is gone"
    if any(word in line for word in ("disconnected", "not reachable", "invalid session", "crashed")):
        return "the browser is gone"
    return f"the browser failed: {line}"


def _first_line(error: Exception) -> str:
    text = getattr(error, "msg", None) or str(error) or type(error).__name__
    return " ".join(str(text).splitlines()[0].split())[:300]


def _reap(reaper: subprocess.Popen) -> None:
    """Let the reaper do its work and wait for it."""
    if reaper.stdin is not None:
        try:
            reaper.stdin.close()
        except OSError:
            pass
    try:
        reaper.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
