"""The page's source: JavaScript with types, colors as in the window."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from qwop_game import scenery

WEB = Path(__file__).parents[2] / "web"


@pytest.mark.slow
def test_the_types_hold_and_the_linter_finds_nothing():
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm here")
    if not (WEB / "node_modules").is_dir():
        pytest.skip("npm ci --prefix web installs TypeScript and Biome")
    result = subprocess.run(
        [npm, "--prefix", str(WEB), "run", "--silent", "check"],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_keys_have_the_windows_colors():
    style = (WEB / "qwop_web" / "page" / "style.css").read_text(encoding="utf-8")
    found = {name: tuple(bytes.fromhex(color)) for name, color in re.findall(r"--(\S+): #(\w{6});", style)}
    assert found["key"] == scenery.KEY_UP and found["key-down"] == scenery.KEY_DOWN
    assert found["key-rim"] == scenery.KEY_RIM and found["key-rim-down"] == scenery.KEY_RIM_DOWN
    assert found["key-ink"] == scenery.LABEL and found["key-ink-down"] == scenery.INK


def test_the_page_loads_all_its_modules_at_once():
    page = WEB / "qwop_web" / "page"
    text = (page / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'<link rel="modulepreload" href="(\S+)">', text))
    needed, waiting = set(), ["main.js"]
    while waiting:
        source = (page / waiting.pop()).read_text(encoding="utf-8")
        found = set(re.findall(r'^import .* from "\./(\S+)";', source, re.MULTILINE)) - needed
        needed |= found
        waiting += found
    assert named == needed
