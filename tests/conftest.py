"""What several tests share."""

import os
import shutil
import signal

import pytest
from hypothesis import settings

from qwop_game.real import RealGameError, find

# The same examples in every run: a failure is reproducible, and time limits belong to the whole suite.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

MORE_BROWSERS = "QWOP_TEST_BROWSERS"
"""Further browsers to test: "BROWSER,DRIVER;BROWSER,DRIVER", paths."""


@pytest.fixture(scope="session", autouse=True)
def signals_arrive():
    """Also where the tests were started in the background or by nohup, which ignore Ctrl-C and SIGHUP."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def _browsers() -> list[tuple[find.Program, find.Program]]:
    """Browsers with their drivers: Chromium or Chrome, Firefox, and those that MORE_BROWSERS names."""
    named = [entry.split(",") for entry in os.environ.get(MORE_BROWSERS, "").split(";") if entry]
    first = [(path, None) for path in map(shutil.which, ("chromium", "google-chrome", "firefox")) if path]
    found = []
    for browser, driver in (*first, *named):
        try:
            found.append(find.find_pair(browser, driver))
        except RealGameError:
            pass
    return found


@pytest.fixture(scope="session", params=_browsers() or [None], ids=lambda p: p[0].path.name if p else "none")
def browser_pair(request) -> tuple[find.Program, find.Program]:
    """A browser and its driver, each of those on this machine in turn."""
    if request.param is None:
        pytest.skip("no browser with a driver that matches was found")
    return request.param
