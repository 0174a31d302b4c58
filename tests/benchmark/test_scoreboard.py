"""Every stored entry is verified, and the page has the table of these entries."""

import re

import pytest
from files import ROOT

from qwop_benchmark import TASKS, TIERS, tier_of, verify_entry
from qwop_benchmark.cli import main as qwop_benchmark

SCOREBOARD = ROOT / "benchmark" / "scoreboard"
PAGES = ROOT / "docs" / "benchmark"


@pytest.mark.parametrize("path", sorted(SCOREBOARD.iterdir()), ids=lambda path: path.name)
def test_every_stored_entry_is_verified(path):
    assert path.name.endswith(".entry.safetensors")
    assert verify_entry(path).score > 0


def test_the_page_has_the_table_of_the_entries():
    page = str(PAGES / "submit.md")
    assert qwop_benchmark(["table", str(SCOREBOARD), "--page", page, "--check"]) == 0


def test_the_page_has_the_table_of_the_tasks():
    rows = re.findall(
        r"^\| `([\w-]+-v\d+)` \|.* \| ([\d.]+) s.*? \| ([\d.]+) m \|$", text("use.md"), re.MULTILINE
    )
    assert {name: (float(at_100), float(at_0)) for name, at_100, at_0 in rows} == {
        task.id: (round(task.seconds(task.record_frames), 2), task.random_meters) for task in TASKS.values()
    }


def test_the_page_has_the_table_of_the_tiers():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| ([\d,]+) \|", text("data.md"), re.MULTILINE)
    assert [name for name, *_ in rows] == list(TIERS)
    for name, runs, frames in rows:
        assert (tier_of(name).runs, tier_of(name).frames) == (int(runs), int(frames.replace(",", "")))


def text(name):
    return (PAGES / name).read_text(encoding="utf-8")
