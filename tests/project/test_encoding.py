"""Every text file and pipe names its encoding: the system's own is not UTF-8 on Windows."""

import ast
import subprocess
from pathlib import Path

ROOT = next(p for p in Path(__file__).resolve().parents if (p / "pyproject.toml").exists())
TEXT_POSITION = {"read_text": 0, "write_text": 1}  # where `encoding` may stand without its name
MODES = set("rwxabt+")


def sources():
    command = ["git", "-C", str(ROOT), "ls-files", "*.py", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8").stdout.split()
    return [ROOT / name for name in listed] or list(ROOT.glob("*/qwop_*/**/*.py"))


def is_mode(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and set(node.value) <= MODES


def lacks_encoding(call):
    """Whether a call opens text, or reads or writes it, in the system's encoding."""
    keywords = {k.arg: k.value for k in call.keywords}
    if "encoding" in keywords or None in keywords:
        return False
    if any(k in keywords and getattr(keywords[k], "value", None) for k in ("text", "universal_newlines")):
        return True
    name = getattr(call.func, "attr", None) or getattr(call.func, "id", "")
    if name in TEXT_POSITION:
        return len(call.args) <= TEXT_POSITION[name]
    mode = keywords.get("mode")
    if name == "fdopen" or (name == "open" and isinstance(call.func, ast.Name)):
        mode = mode or (call.args[1] if len(call.args) > 1 else ast.Constant("r"))
    elif name == "open" and isinstance(
        call.func, ast.Attribute
    ):  # of a Path, if its first argument is a mode
        mode = mode or (call.args[0] if call.args else None)
    elif name in ("NamedTemporaryFile", "TemporaryFile"):
        mode = mode or (call.args[0] if call.args else ast.Constant("w+b"))
    return is_mode(mode) and "b" not in str(mode.value)


def without_encoding(text):
    return [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and lacks_encoding(n)]


def test_every_text_names_its_encoding():
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{call.lineno}"
        for path in sources()
        for call in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_what_is_found():
    bad = """
open("x")
open("x", "w", newline="")
path.open("a")
path.read_text()
path.write_text("x")
os.fdopen(1)
subprocess.run(["x"], text=True)
"""
    good = """
open("x", "rb")
open("x", encoding="utf-8")
path.open("xb")
archive.open(member)
path.read_text("utf-8")
path.write_text("x", "utf-8")
os.open("file", 0)
subprocess.run(["x"], capture_output=True)
"""
    assert [call.lineno for call in without_encoding(bad)] == [2, 3, 4, 5, 6, 7, 8]
    assert without_encoding(good) == []
