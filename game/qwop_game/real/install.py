"""Puts the game's file where the pages here find it. The game is its author's: it is never part of a package.

qwop-gym's patcher takes the check of the web address out of the file and lets a program drive the game. It
knows the file byte for byte as its author ships it. A copy in another layout (spaces, line breaks) gets the
same replacements with white space ignored; a copy that was patched before is taken as it is. In each case
the result has to hold the hooks that the page needs, and the file's hashes are kept for runs' provenance.
"""

import ast
import contextlib
import hashlib
import importlib.util
import inspect
import io
import json
import os
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from types import ModuleType

from qwop_game.real.errors import RealGameError
from qwop_game.unpinned import INSTALL_UNPINNED

GAME_URL = "https://www.foddy.net/QWOP.min.js"
DIRECTORY_VARIABLE = "QWOP_GAME_DIR"
GAME_FILE, RECORD_FILE = "QWOP.min.js", "installed.json"

# What the pages need of a patched file: the game as a function, its parts by name, a word when it has loaded,
# and a loop that can be held.
HOOKS = ("function QWOP()", "QWOP.__i=i", 'dispatchEvent(new Event("doneLoading"))', "this.__manual_mode||")


@dataclass(frozen=True)
class Installed:
    """The game's file as it was installed."""

    path: Path
    """The patched file."""
    source: str
    """Where it came from: a web address, or the name of a file."""
    source_sha256: str
    """Of the file that was given."""
    sha256: str
    """Of the patched file."""
    patched_by: str
    """What was done to it."""
    date: str


def game_directory() -> Path:
    """Where the game's file lies: QWOP_GAME_DIR, or the user's own data folder of the system."""
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "qwop-stride"


def installed() -> Installed:
    """The installed game. Raises RealGameError where there is none, or where the file has changed since."""
    directory = game_directory()
    game, record = directory / GAME_FILE, directory / RECORD_FILE
    try:
        data = game.read_bytes()
        facts = json.loads(record.read_text(encoding="utf-8"))
        found = Installed(game, **{name: str(facts[name]) for name in _RECORDED})
    except FileNotFoundError:
        raise RealGameError(
            f"the game's file is not installed ({directory} has none): run qwop-game install"
        ) from None
    except OSError as error:
        raise RealGameError(f"{error.filename}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise RealGameError(f"{record}: damaged; run qwop-game install again") from None
    if sha256(data) != found.sha256:
        raise RealGameError(f"{game}: has changed since it was installed; run qwop-game install again")
    return found


def install(file: str | os.PathLike[str] | None = None) -> Installed:
    """Patch a copy of the game's file (None: fetch it from its author's site) into `game_directory()`.

    Raises RealGameError where it can't be had, is another file, or can't be written.
    """
    if file is None:
        data, source = _fetch(GAME_URL), GAME_URL
    else:
        source = Path(file).name
        try:
            data = Path(file).read_bytes()
        except OSError as error:
            raise RealGameError(f"{file}: {error.strerror}") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise RealGameError(f"{source}: not a JavaScript file in UTF-8") from None
    patched, patched_by = patch(text, source)

    directory = game_directory()
    result = patched.encode("utf-8")
    found = Installed(
        directory / GAME_FILE,
        source,
        sha256(data),
        sha256(result),
        patched_by,
        datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    )
    facts = {name: value for name, value in asdict(found).items() if name in _RECORDED}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write(directory / GAME_FILE, result)
        _write(directory / RECORD_FILE, json.dumps(facts, indent=2).encode())
    except OSError as error:
        raise RealGameError(f"{error.filename}: {error.strerror}") from None
    return found


def patch(text: str, name: str) -> tuple[str, str]:
    """The game's code, patched, and what did it. Raises RealGameError where `text` is not the game."""
    if not missing_hooks(text):
        return text, "patched already"
    module = _patcher()
    version = metadata.version("qwop-gym")
    patched = _run_patcher(module, text)
    patched_by = f"qwop-gym {version}"
    if patched is None:
        patched, absent = replace_loosely(text, _replacements(module))
        patched_by += ", white space ignored"
        if absent:
            raise RealGameError(
                f"{name}: not the game, or another edition of it (qwop-gym's patcher does not find "
                f"{absent[0]!r}): get it from {GAME_URL}"
            )
    if missing := missing_hooks(patched):
        raise RealGameError(
            f"{name}: qwop-gym {version} patched it, but {missing[0]!r} is not in it: it can't be driven"
        )
    return patched, patched_by


def missing_hooks(text: str) -> list[str]:
    """Those of HOOKS that the code lacks, whatever its layout."""
    return [hook for hook in HOOKS if not loose_pattern(hook).search(text)]


def replace_loosely(text: str, replacements: Iterable[tuple[str, str]]) -> tuple[str, list[str]]:
    """Do replacements with white space ignored; returns the text and those patterns that should be there.

    A pattern that is only taken out need not be there: somebody may have taken it out before.
    """
    absent: list[str] = []
    for old, new in replacements:
        pattern = loose_pattern(old)
        if pattern.search(text):
            text = pattern.sub(lambda _, new=new: new, text)
        elif new:
            absent.append(old)
    return text, absent


def loose_pattern(code: str) -> re.Pattern[str]:
    """A pattern that finds JavaScript in any layout: white space may come between any two tokens."""
    tokens = re.findall(r"\w+|\S", code)
    return re.compile(r"\s*".join(re.escape(token) for token in tokens))


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def qwop_gym_game() -> Path:
    """The folder of qwop-gym's page: scripts and pictures. Raises RealGameError without qwop-gym."""
    spec = importlib.util.find_spec("qwop_gym")
    if spec is None or not spec.submodule_search_locations:
        raise RealGameError(f"qwop-gym is not installed: {INSTALL_UNPINNED}")
    folder = Path(spec.submodule_search_locations[0]) / "envs" / "v1" / "game"
    if not (folder / "extensions.js").is_file():
        raise RealGameError(f"{folder}: this is not qwop-gym 1.0: {INSTALL_UNPINNED}")
    return folder


_RECORDED = ("source", "source_sha256", "sha256", "patched_by", "date")


def _patcher() -> ModuleType:
    """qwop-gym's patcher, as a module of our own: it writes its result beside its __file__."""
    path = qwop_gym_game().parents[2] / "tools" / "patch.py"
    spec = importlib.util.spec_from_file_location("qwop_gym_patcher", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RealGameError(f"{path} is missing: {INSTALL_UNPINNED}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_patcher(module: ModuleType, text: str) -> str | None:
    """What the patcher makes of the code; None where it does not find what it looks for."""
    with tempfile.TemporaryDirectory(prefix="qwop-patch-") as name:
        root = Path(name)
        source, result = root / "source.js", root / "envs" / "v1" / "game" / GAME_FILE
        result.parent.mkdir(parents=True)
        original, module.__file__ = module.__file__, str(root / "tools" / "patch.py")
        try:
            source.write_text(text, encoding="locale")  # so does the patcher read and write
            with contextlib.redirect_stdout(io.StringIO()):
                module.patch(str(source))
            return result.read_text(encoding="locale")
        except UnicodeError:
            return None  # a locale without the game's characters
        except Exception as error:
            if "Could not find substring" not in str(error):
                raise
            return None
        finally:
            module.__file__ = original


def _replacements(module: ModuleType) -> list[tuple[str, str]]:
    """The patcher's replacements, read from its source: they are a local variable there."""
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "replacements":
            return ast.literal_eval(node.value)
    raise RealGameError(f"qwop-gym's patcher is not that of 1.0.1: {INSTALL_UNPINNED}")


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise RealGameError(
            f"{url}: {reason}; save it with your browser and run qwop-game install FILE"
        ) from None


def _write(path: Path, data: bytes) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_bytes(data)
    os.replace(aside, path)
