"""The command lines of benchmarks/: wrong input is one line and exit code 2, before anything is measured."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def main(request, monkeypatch):
    """`main` of the script that the test's parameter names."""
    spec = importlib.util.spec_from_file_location(request.param, BENCHMARKS / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize(
    ("main", "arguments", "said"),
    [
        ("bench", "--only simulator,nothing", "--only nothing: no such benchmark"),
        ("bench", "--out {file}/out.json", "not a folder"),
        ("cloning", "nothing", "'demos', 'balance', 'skip', 'methods'"),
        ("cloning", "--seeds 0", "--seeds 0: expected 1 or more"),
        ("cloning", "--folder {file}", "not a folder"),
        ("kernels", "--repeats 0", "--repeats 0: expected 1 or more"),
        ("knee_scraping", "--arms", "--arms: expected one or more"),
        ("knee_scraping", "--arms nothing", "--arms nothing: no such arm"),
        ("knee_scraping", "--precision half", "'auto', 'float32', 'bfloat16'"),
        ("knee_scraping", "--folder {file}", "not a folder"),
        ("trainer", "--steps 16383", "--steps 16383: expected 16384 or more"),
        ("trainer", "--child nothing", "--child nothing: no such trainer"),
        ("trainer", "--plot {file}/out.png", "not a folder"),
    ],
    indirect=["main"],
)
def test_wrong_input_is_one_line(main, arguments, said, tmp_path, capsys):
    file = tmp_path / "file"
    file.touch()
    assert main(arguments.format(file=file).split()) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out, err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("main", ["bench", "cloning", "kernels", "knee_scraping", "trainer"], indirect=True)
def test_unknown_flags_are_wrong_input(main, capsys):
    assert main(["--nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
