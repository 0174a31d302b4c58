"""What several tests share."""

import importlib.util
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import settings

from qwop_game import QWOPVectorEnv
from qwop_game.real import RealGameError, find

# The same examples in every run: a failure is reproducible, and time limits belong to the whole suite.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

MORE_BROWSERS = "QWOP_TEST_BROWSERS"
"""Further browsers to test: "BROWSER,DRIVER;BROWSER,DRIVER", paths."""


_BARE = Path(__file__).parent / "bare_system" / "sitecustomize.py"
_spec = importlib.util.spec_from_file_location("bare_system", _BARE)
_bare = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_bare)
_everywhere = bool(os.environ.get(_bare.VARIABLE))
if _everywhere:  # for all tests of this run
    sys.path.insert(0, str(_BARE.parent))
    os.environ["PYTHONPATH"] = str(_BARE.parent)
    _bare.take_away()


@pytest.fixture
def bare_system(monkeypatch):
    """A system without the calls that Windows lacks (tests/bare_system), also in processes of the test."""
    if sys.platform == "win32":
        return  # it is one
    if not sys.platform.startswith("linux"):
        pytest.skip("the bare system is played on Linux")
    if not _everywhere:
        monkeypatch.syspath_prepend(_BARE.parent)
        monkeypatch.setenv("PYTHONPATH", str(_BARE.parent))
        monkeypatch.setenv(_bare.VARIABLE, "1")
        _bare.take_away(monkeypatch.setattr, monkeypatch.delattr)


@pytest.fixture(params=["native", "bare"])
def each_system(request):
    """This system as it is, and `bare_system`."""
    if request.param == "bare":
        if sys.platform == "win32":
            pytest.skip("the same as native")
        request.getfixturevalue("bare_system")


@pytest.fixture(scope="session", autouse=True)
def signals_arrive():
    """Also where the tests were started in the background or by nohup, which ignore Ctrl-C and SIGHUP."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture
def sync_vector():
    """Gymnasium's vector of environments, reset as ours are: in the step in which an episode ends."""
    mode = {k: v for k, v in QWOPVectorEnv.metadata.items() if k == "autoreset_mode"}  # 0.29 has no other
    return lambda makers: SyncVectorEnv(makers, **mode)


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
