"""The command lines of `benchmarks/` and `web/build.py`: help, and one line about wrong input."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    "benchmarks/loader.py": {"--json", "--episodes", "--frames", "--directory"},
    "benchmarks/recorder.py": {"--json", "--frames", "--folder"},
    "benchmarks/simulator.py": {"--json", "--repeats", "--seconds"},
    "benchmarks/time_to_runner.py": {"--seeds", "--threads", "--episodes", "--every", "--json"},
    "web/build.py": {"--check"},
}


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")  # which benchmarks/recorder.py sets
    spec = importlib.util.spec_from_file_location(f"script_{Path(name).stem}", ROOT / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_names_every_flag_but_hidden_ones(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        load(name, monkeypatch).main(["--help"])
    assert not stop.value.code
    assert set(re.findall(r"--[a-z]\w*", capsys.readouterr().out)) == SCRIPTS[name] | {"--help"}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("benchmarks/loader.py", ["--episodes", "0"], "--episodes 0: expected 1 or more"),
        ("benchmarks/loader.py", ["--frames", "2301"], "--frames 2301: expected 1 to 2300"),
        ("benchmarks/loader.py", ["--directory", "missing"], "--directory missing: is not a folder"),
        ("benchmarks/recorder.py", ["--folder", "missing"], "--folder missing: is not a folder"),
        ("benchmarks/recorder.py", ["--frames", "0"], "--frames 0: expected 1 or more"),
        ("benchmarks/simulator.py", ["--repeats", "0"], "--repeats 0: expected 1 or more"),
        ("benchmarks/simulator.py", ["--seconds", "nan"], "--seconds nan: expected a number above 0"),
        ("benchmarks/time_to_runner.py", ["nowhere"], "nowhere"),
        ("benchmarks/time_to_runner.py", ["--seeds", "0"], "--seeds 0: expected 1 or more"),
        ("web/build.py", ["--chek"], "--chek; perhaps --check"),
    ],
)
def test_wrong_input_gets_one_line(
    name: str,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert load(name, monkeypatch).main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_time_to_runner_takes_starts_between_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("benchmarks/time_to_runner.py", monkeypatch)
    trained = []

    def train(start: str, seed: int, config: object) -> dict:
        trained.append((start, seed))
        return {"start": start, "seed": seed, "seconds": 1.0, "curve": []}

    monkeypatch.setattr(script, "train", train)
    assert script.main(["--seeds", "2", "demonstrations", "--json"]) == 0
    assert script.main(["--seeds", "1"]) == 0
    expected = [("demonstrations", 0), ("demonstrations", 1), ("nothing", 0), ("demonstrations", 0)]
    assert trained == expected


def test_loader_measures_in_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("benchmarks/loader.py", monkeypatch)
    figures = script.in_fresh_process("open", ROOT / "demos" / "records.h5")
    assert figures["frames"] == 0 and figures["seconds"] > 0


def test_recorder_leaves_out_what_did_not_happen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load("benchmarks/recorder.py", monkeypatch)
    window = SimpleNamespace(draw=lambda session: None, close=lambda: None)
    monkeypatch.setattr(script, "Window", lambda title: window)
    assert script.main(["--frames", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["what"][:7], row["count"]) for row in rows] == [
        ("frame: ", 5),
        ("frame: ", 5),
        ("picture", 5),
    ]
