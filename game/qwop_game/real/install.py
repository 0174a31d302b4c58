"""Install the game's file for the pages here. The game belongs to its author, so no package contains it.

qwop-gym's patcher removes the check of the web address and lets a program drive the game. It expects exactly
the author's file. A copy in another layout (spaces, line breaks) gets the same replacements, with white space
ignored. A copy that is patched already stays as it is. In each case the result must have the hooks that the
page needs. The hashes of the file are stored for the provenance of runs.
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

# Code that a patched file must have: the game as a function, its parts by name, a call when it has loaded,
# and a loop that can be stopped.
HOOKS = ("function QWOP()", "QWOP.__i=i", 'dispatchEvent(new Event("doneLoading"))', "this.__manual_mode||")


@dataclass(frozen=True)
class Installed:
    """The game's file as it was installed."""

    path: Path
    """The patched file."""
    source: str
    """Where it came from: a web address, or the name of a file."""
    source_sha256: str
    """SHA-256 of the original file."""
    sha256: str
    """SHA-256 of the patched file."""
    patched_by: str
    """The patcher, such as "qwop-gym 1.0.1, white space ignored"."""
    date: str


def game_directory() -> Path:
    """Return the folder of the game's file: QWOP_GAME_DIR, or the system's folder for the user's data."""
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
    """Return the installed game. Raises RealGameError if there is none, or if the file has changed since."""
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
    """Patch a copy of the game's file (None: download it from its author's site) into `game_directory()`.

    Raises RealGameError if it can't be read or downloaded, is not the game, or can't be written.
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
    """Return the patched code and the patcher's name. Raises RealGameError if it is not the game."""
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
                f"{name}: not the game, or another edition of it ({absent[0]!r}, which qwop-gym's patcher "
                f"replaces, is not in it): get it from {GAME_URL}"
            )
    if missing := missing_hooks(patched):
        raise RealGameError(
            f"{name}: {missing[0]!r} is missing after qwop-gym {version} patched it: get it from {GAME_URL}"
        )
    return patched, patched_by


def missing_hooks(text: str) -> list[str]:
    """Return the HOOKS that the code lacks, in any layout."""
    return [hook for hook in HOOKS if not loose_pattern(hook).search(text)]


def replace_loosely(text: str, replacements: Iterable[tuple[str, str]]) -> tuple[str, list[str]]:
    """Replace patterns with white space ignored. Returns the text and the patterns that are missing.

    A pattern whose replacement is empty may be missing: somebody may have removed it before.
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
    """Return a pattern that finds JavaScript in any layout: white space may be between any two tokens."""
    tokens = re.findall(r"\w+|\S", code)
    return re.compile(r"\s*".join(re.escape(token) for token in tokens))


def sha256(data: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def qwop_gym_game() -> Path:
    """Return the folder of qwop-gym's page. Raises RealGameError if qwop-gym is missing."""
    spec = importlib.util.find_spec("qwop_gym")
    if spec is None or not spec.submodule_search_locations:
        raise RealGameError(f"qwop-gym is not installed: {INSTALL_UNPINNED}")
    folder = Path(spec.submodule_search_locations[0]) / "envs" / "v1" / "game"
    if not (folder / "extensions.js").is_file():
        raise RealGameError(f"{folder}: not qwop-gym 1.0: {INSTALL_UNPINNED}")
    return folder


_RECORDED = ("source", "source_sha256", "sha256", "patched_by", "date")


def _patcher() -> ModuleType:
    """Load qwop-gym's patcher as a separate module, because it writes its result next to its __file__."""
    path = qwop_gym_game().parents[2] / "tools" / "patch.py"
    spec = importlib.util.spec_from_file_location("qwop_gym_patcher", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RealGameError(f"{path} is missing: {INSTALL_UNPINNED}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run_patcher(module: ModuleType, text: str) -> str | None:
    """Run the patcher on the code. Returns None if it does not find what it replaces."""
    with tempfile.TemporaryDirectory(prefix="qwop-patch-") as name:
        root = Path(name)
        source, result = root / "source.js", root / "envs" / "v1" / "game" / GAME_FILE
        result.parent.mkdir(parents=True)
        original, module.__file__ = module.__file__, str(root / "tools" / "patch.py")
        try:
            source.write_text(text, encoding="locale")  # the patcher reads and writes with this encoding
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
    """Return the patcher's replacements, read from its source, where they are a local variable."""
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
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
