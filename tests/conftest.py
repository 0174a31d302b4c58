"""What several tests share."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from hypothesis import settings

from qwop_datasets import Episode
from qwop_datasets.convert.common import episode_of_replay
from qwop_datasets.exact_replay import replay_keys
from qwop_game import DEFAULT_TRIG, QWOPVectorEnv
from qwop_game.real import RealGameError, find

# The same examples in every run: a failure is reproducible, and time limits belong to the whole suite.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")

MORE_BROWSERS = "QWOP_TEST_BROWSERS"
"""Further browsers to test: "BROWSER,DRIVER;BROWSER,DRIVER", paths."""


_BARE = Path(__file__).parent / "bare_system" / "sitecustomize.py"
_spec = importlib.util.spec_from_file_location("bare_system", _BARE)
assert _spec is not None and _spec.loader is not None
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
def hub(monkeypatch, tmp_path_factory):
    """A stand-in of the Hugging Face Hub (tests/stand_in_hub.py), which huggingface_hub uses in this test.

    A token that may write is set. No test reaches the Hub itself.
    """
    constants = pytest.importorskip("huggingface_hub.constants")
    spec = importlib.util.spec_from_file_location("stand_in_hub", Path(__file__).with_name("stand_in_hub.py"))
    assert spec is not None and spec.loader is not None
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    home = tmp_path_factory.mktemp("hf_home")
    with stand_in.Hub() as server:
        # The constants are for this process, the variables for those that it starts.
        there = {
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored"),
            "HF_HUB_DISABLE_XET": True,  # large files go another way, which the stand-in knows
        }
        for name, value in there.items():
            monkeypatch.setattr(constants, name, value)
        name = "HUGGINGFACE_CO_URL_TEMPLATE"  # of which huggingface_hub below 1 has a copy
        monkeypatch.setattr(f"huggingface_hub.file_download.{name}", there[name], raising=False)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HOME", str(home))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", stand_in.TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        server.read_token = stand_in.READ_TOKEN
        yield server


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


# -- an environment without PyTorch ----------------------------------------------------------------------

_WITHOUT_TORCH = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture
def without_torch(no_display):
    """Run a command of this project where PyTorch can't be imported."""

    def run(module, *arguments):
        words = [str(argument) for argument in arguments]
        code = f"{_WITHOUT_TORCH}\nfrom {module} import main\nraise SystemExit(main({words!r}))"
        environment = {n: v for n, v in no_display.items() if not n.endswith("_NUM_THREADS")}
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,  # no limit of threads: NumPy's BLAS would have as many as there are cores
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
        )

    return run


# -- a screen of our own, and a person who types ----------------------------------------------------------


@pytest.fixture
def no_display() -> dict[str, str]:
    """The environment without a display."""
    return _environment(None)


def _environment(display: str | None) -> dict[str, str]:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "SDL_VIDEODRIVER")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return env | ({"DISPLAY": display} if display else {})


class Screen:
    """An X server without a screen, and keys typed into its windows by xdotool."""

    TAPS = "keydown q sleep 0.005 keyup q sleep 0.15 " * 3 + "keydown p sleep 0.005 keyup p sleep 0.15"
    ROLLOVER = (
        "keydown q sleep 0.06 keydown w sleep 0.06 keydown o sleep 0.06 keydown p sleep 0.06 "
        "keyup q sleep 0.06 keyup w sleep 0.06 keyup o sleep 0.06 keyup p sleep 0.1"
    )
    REPEAT = "keydown o sleep 0.6 keyup o sleep 0.1"  # the server sends about 25 presses

    def __init__(self, name: str) -> None:
        self.name = name
        self.environment = _environment(name)

    def type(self, script: str) -> None:
        """Xdotool commands, such as "keydown q sleep 0.005 keyup q"."""
        subprocess.run(["xdotool", *script.split()], env=self.environment, check=True)

    def focused(self) -> str:
        """The id of the window that has the keyboard."""
        command = ["xdotool", "getwindowfocus"]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, encoding="utf-8"
        ).stdout.strip()

    @contextmanager
    def another_window(self) -> Iterator[int]:
        """The id of a window of another program that can take the focus."""
        xlib = pytest.importorskip("Xlib.display", reason="python-xlib is pynput's on Linux only")
        connection = xlib.Display(self.name)
        window = connection.screen().root.create_window(970, 0, 40, 40, 0, 0)
        window.map()
        connection.sync()
        yield window.id
        connection.close()

    @staticmethod
    def sent(script: str) -> list[tuple[int, bool]]:
        """(key, pressed) of each keydown and keyup in an xdotool script."""
        bits, words = {"q": 1, "w": 2, "o": 4, "p": 8}, script.split()
        return [
            (bits[key], verb == "keydown") for verb, key in pairwise(words) if verb in ("keydown", "keyup")
        ]


@pytest.fixture
def screen(x_server: Screen) -> Iterator[Screen]:
    """The screen, with no key held: the server drops the press of a key that the test before left held."""
    x_server.type("keyup q keyup w keyup o keyup p")
    yield x_server


@pytest.fixture(scope="session")
def x_server() -> Iterator[Screen]:
    """A screen whose keyboard repeats a held key after 100 ms, every 20 ms."""
    missing = [program for program in ("Xvfb", "xdotool") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    reader, writer = os.pipe()
    options = [
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        "1024x768x24",
        "-ardelay",
        "100",
        "-arinterval",
        "20",
    ]
    process = subprocess.Popen(
        ["Xvfb", *options, "-noreset", "-nolisten", "tcp"],
        pass_fds=[writer],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        number = pipe.readline().strip()
    assert number, "Xvfb did not start"
    yield Screen(f":{number}")
    process.terminate()
    process.wait()


@pytest.fixture(scope="session")
def play_keys() -> Callable[..., Episode]:
    """`play_keys(keys, trig=...)`: an episode of what keys do in the embedded game, as far as it goes."""

    def play(keys, trig: str = DEFAULT_TRIG) -> Episode:
        masks = np.asarray(keys, np.uint8)
        (played,) = replay_keys([masks], trig=trig)
        return episode_of_replay(masks, played, {"source": "script", "trig": trig})

    return play


@pytest.fixture(scope="session")
def golden_keys():
    """Key masks of a run to the end, uint8 [2301], that finishes with the sine and cosine glibc-fma."""
    with np.load(Path(__file__).parent / "golden" / "glibc-fma_runs.npz") as traces:
        return traces["actions_0"]


@pytest.fixture(scope="session")
def golden(play_keys, golden_keys) -> Episode:
    """The run of `golden_keys`."""
    return play_keys(golden_keys, trig="glibc-fma")
