"""Drive one page in one browser through chromedriver or geckodriver, and clean up afterwards."""

import os
import shutil
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

from qwop_cli import OWN_GROUP
from qwop_game.real.errors import RealGameError
from qwop_game.real.find import find_pair
from qwop_game.real.install import Installed, installed, qwop_gym_game
from qwop_game.simulator import DEFAULT_TRIG, check_trig

TIMEOUT_VARIABLE = "QWOP_BROWSER_TIMEOUT"
WIDTH, HEIGHT = 660, 520  # px, of a visible window
_FIREFOX_BARS = 90  # px, of tabs and address above the page

_HERE = Path(__file__).parent
_PORTS = 3  # attempts to get a port that no other program takes first
_CHROME_FLAGS = (
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
    "--enable-unsafe-swiftshader",  # WebGL in software if there is no graphics card
    "--no-default-browser-check",
    "--no-first-run",
    f"--window-size={WIDTH},{HEIGHT}",
)
_CHROME_HEADLESS_FLAGS = ("--headless=new", "--use-gl=angle", "--use-angle=swiftshader", "--mute-audio")
_FIREFOX_PREFERENCES = {
    "dom.max_script_run_time": 0,
    "dom.min_background_timeout_value": 4,
    "dom.timeout.enable_budget_timer_throttling": False,
    "media.autoplay.default": 0,
    "privacy.reduceTimerPrecision": False,  # time stamps of keys with a resolution of 0.1 ms
    "security.fileuri.strict_origin_policy": False,  # the page and the game's files are in different folders
    "webgl.force-enabled": True,  # in software if there is no graphics card
}
_READY = {"chrome": "started successfully", "firefox": "Listening on"}  # printed by a ready driver


class BrowserLost(Exception):
    """The browser, its driver or the page has ended or does not answer. The message is one line."""


class PageError(Exception):
    """JavaScript in the page failed. The message is one line."""


def timeout_seconds() -> float:
    """Return how long a browser may take to start, load the page or answer: QWOP_BROWSER_TIMEOUT, or 60 s."""
    text = os.environ.get(TIMEOUT_VARIABLE, "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 3600:
        raise RealGameError(f"{TIMEOUT_VARIABLE}={text}: expected a number of seconds from 1 to 3600")
    return seconds


class Browser:
    """A running browser with the game's page.

    headless: without a window.
    browser, driver: their paths; None: see find.py.
    scripts: more scripts of this folder for the page, after bridge.js.
    trig: the page's sine and cosine, one of TRIG_VARIANTS; None: the browser's own.
    game: load the game's page; otherwise an empty one, which does not need the game's file.

    Driver and browser run in their own session (setsid), so that Ctrl-C only reaches this program.

    Raises RealGameError if something is missing or the browser does not start.
    """

    def __init__(
        self,
        headless: bool = True,
        browser: str | os.PathLike[str] | None = None,
        driver: str | os.PathLike[str] | None = None,
        scripts: tuple[str, ...] = (),
        trig: str | None = DEFAULT_TRIG,
        game: bool = True,
    ) -> None:
        self.game: Installed | None = installed() if game else None
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
            creationflags=OWN_GROUP,
        )
        self._selenium: Any = None
        # Also called when the object is garbage-collected, and when the interpreter exits.
        self._finalizer = weakref.finalize(self, _reap, self._reaper)
        try:
            self.url = "about:blank" if self.game is None else self._write_page(self.game, scripts, trig)
            self._start()
            self.native_trig = self._find_native_trig()
            """Variant of trig.js that equals the browser's own sine and cosine; None: none of them."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End browser and driver, and delete what they wrote. It never fails, and may take a second."""
        self._finalizer()

    def load(self) -> None:
        """Load the page again and wait until the game is ready. Raises BrowserLost, PageError."""
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
        """Run JavaScript in the page and return its result. Raises BrowserLost, PageError."""
        return self._call(lambda: self._selenium.execute_script(script, *arguments))

    @property
    def selenium(self) -> Any:
        """Selenium's WebDriver, for tests that press keys."""
        return self._selenium

    # -- inside --------------------------------------------------------------------------------------

    def _write_page(self, game: Installed, scripts: tuple[str, ...], trig: str | None) -> str:
        page = Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
            base=qwop_gym_game().as_uri() + "/",
            trig=(_HERE / "trig.js").resolve().as_uri(),
            pin="" if trig is None else f'Trig.pin("{check_trig(trig)}");',
            game=game.path.resolve().as_uri(),
            scripts="\n".join(
                f'<script src="{(_HERE / name).resolve().as_uri()}"></script>' for name in scripts
            ),
            bridge=(_HERE / "bridge.js").resolve().as_uri(),
        )
        path = self._folder / "page.html"
        path.write_text(page, encoding="utf-8")
        # Options of qwop-gym's page: no intro; a seed for Math.random, which the physics does not use.
        return path.as_uri() + "?" + urlencode({"intro": 0, "seed": 1, "stepsize": 1})

    def _find_native_trig(self) -> str | None:
        """Compare the browser's sine and cosine with those of each variant, in an empty page."""
        code = (_HERE / "trig.js").read_text(encoding="utf-8")
        try:
            self._call(lambda: self._selenium.get("about:blank"))
            names = self.run(f"{code}\nreturn Trig.natives();")
        except (BrowserLost, PageError) as error:
            raise RealGameError(f"the browser {self.browser.path} did not start: {error}") from None
        return names[0] if len(names) == 1 else None

    def _start(self) -> None:
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver import Remote
        from selenium.webdriver.common.proxy import Proxy, ProxyType
        from selenium.webdriver.remote.client_config import ClientConfig
        from urllib3.exceptions import HTTPError

        options = self._firefox_options() if self.browser.family == "firefox" else self._chrome_options()
        url = f"http://127.0.0.1:{self._start_driver()}"
        # Do not use a proxy from the environment for a local address.
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
        facts = self._selenium.capabilities
        self.version = f"{facts['browserName']} {facts['browserVersion']}"
        """Name and version of the browser, such as "firefox 153.8.0"."""

    def _chrome_options(self) -> Any:
        from selenium.webdriver import ChromeOptions

        options = ChromeOptions()
        options.binary_location = str(self.browser.path)
        for flag in (*_CHROME_FLAGS, *(_CHROME_HEADLESS_FLAGS if self.headless else ())):
            options.add_argument(flag)
        if not self.headless:
            options.add_argument(f"--app={self.url}")  # a separate window without an address bar
        options.add_argument(f"--user-data-dir={self._folder / 'profile'}")
        options.add_experimental_option("excludeSwitches", ["enable-automation"])
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.add_argument("--no-sandbox")  # Chrome's sandbox refuses to work for root
        return options

    def _firefox_options(self) -> Any:
        from selenium.webdriver import FirefoxOptions

        options = FirefoxOptions()
        options.binary_location = str(self.browser.path)
        for name, value in _FIREFOX_PREFERENCES.items():
            options.set_preference(name, value)
        if self.headless:
            options.set_preference("media.volume_scale", "0.0")
            if not sys.platform.startswith("linux"):
                options.add_argument("-headless")
        options.add_argument(f"--width={WIDTH}")
        options.add_argument(f"--height={HEIGHT + _FIREFOX_BARS}")
        return options

    def _start_driver(self) -> int:
        """Start the driver and return its port. If another program takes the port first, try another one."""
        # Both command lines have this session's folder in them, by which the reaper finds the driver.
        if self.browser.family == "firefox":
            # Without this flag every Firefox would use port 9222.
            arguments = ["--profile-root", str(self._folder), f"--websocket-port={free_port()}"]
        else:
            arguments = [f"--log-path={self._folder / 'driver.log'}"]
        environment = self._environment()
        last = ""
        for _ in range(_PORTS):
            port = free_port()
            log = self._folder / "driver.out"
            with open(log, "wb") as output:
                process = subprocess.Popen(
                    [self.driver.path, f"--port={port}", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    creationflags=OWN_GROUP,
                    env=environment,
                )
            if self._wait_for(process, log, _READY[self.browser.family]):
                return port
            last = _last_line(log)
            if process.poll() is None:
                last = f"it printed nothing for {self.timeout:g} s (slow machine? raise {TIMEOUT_VARIABLE})"
                break
        raise RealGameError(f"the driver {self.driver.path} did not start: {last}")

    def _environment(self) -> dict[str, str] | None:
        """Return the driver's environment variables; None: those of this process.

        On Linux without a graphics card, headless Firefox has no WebGL. It gets a virtual display (Xvfb)
        instead.
        """
        if not (self.headless and self.browser.family == "firefox" and sys.platform.startswith("linux")):
            return None
        xvfb = shutil.which("Xvfb")
        if xvfb is None:
            raise RealGameError(
                "Firefox without a window needs Xvfb on Linux: install it (Debian: apt install xvfb)"
            )
        log, number = self._folder / "display.out", self._folder / "display"
        with open(log, "wb") as errors, open(number, "wb") as output:
            process = subprocess.Popen(
                [xvfb, "-displayfd", "1", "-screen", "0", "1024x768x24", "-fbdir", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                creationflags=OWN_GROUP,
            )
        if not self._wait_for(process, number, "\n"):
            last = _last_line(log)
            raise RealGameError(f"the display {xvfb} did not start: {last}")
        display = f":{number.read_text(encoding='utf-8').strip()}"
        environment = {**os.environ, "DISPLAY": display, "GDK_BACKEND": "x11", "MOZ_ENABLE_WAYLAND": "0"}
        environment.pop("WAYLAND_DISPLAY", None)
        return environment

    def _wait_for(self, process: subprocess.Popen[bytes], log: Path, word: str) -> bool:
        """Wait until a process has written `word` to `log`. Returns False if it ends or takes too long."""
        deadline = time.monotonic() + self.timeout
        while process.poll() is None and time.monotonic() < deadline:
            if word in log.read_text(errors="replace", encoding="utf-8"):
                return True
            time.sleep(0.01)
        return False

    def _call(self, action: Any) -> Any:
        from selenium.common.exceptions import JavascriptException, TimeoutException, WebDriverException
        from urllib3.exceptions import HTTPError, ReadTimeoutError

        if self._selenium is None or not self._finalizer.alive:
            raise BrowserLost("the browser is closed")
        try:
            return action()
        except JavascriptException as error:
            line = _first_line(error).removeprefix("javascript error: ").removeprefix("Error: ")
            raise PageError(line) from None
        except (TimeoutException, ReadTimeoutError):
            raise BrowserLost(
                f"the browser gave no answer for {self.timeout:g} s (slow machine? raise {TIMEOUT_VARIABLE})"
            ) from None
        except (WebDriverException, HTTPError, OSError) as error:
            raise BrowserLost(_loss(_first_line(error))) from None


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


_LOSSES = {
    "the game's window was closed": (
        "no such window",
        "target window already closed",
        "Browsing context has been discarded",
    ),
    "the driver is gone": ("Connection refused", "Remote end closed", "Connection aborted"),
    "the browser is gone": (
        "disconnected",
        "not reachable",
        "invalid session",
        "crashed",
        "marionette",
        "without establishing a connection",
    ),
}


def _loss(line: str) -> str:
    """Describe what was lost, from the driver's error."""
    for meaning, words in _LOSSES.items():
        if any(word in line for word in words):
            return meaning
    return f"the browser failed: {line}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _first_line(error: Exception) -> str:
    text = getattr(error, "msg", None) or str(error) or type(error).__name__
    return " ".join(str(text).splitlines()[0].split())[:300]


def _reap(reaper: subprocess.Popen[bytes]) -> None:
    """Let the reaper clean up, and wait for it."""
    if reaper.stdin is not None:
        try:
            reaper.stdin.close()
        except OSError:
            pass
    try:
        reaper.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
