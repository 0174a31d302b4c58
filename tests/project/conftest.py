"""The scripts of benchmarks/ and demos/ as modules."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def load_benchmark() -> Iterator[Callable[[str], ModuleType]]:
    """The function that imports a script of benchmarks/ by name. Scripts import each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDL_VIDEODRIVER", "dummy")  # which recorder.py sets, too
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module
    for path in BENCHMARKS.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def load_demo(monkeypatch) -> Callable[[str], ModuleType]:
    """The function that imports a script of demos/ by name, each time anew."""

    demos = BENCHMARKS.parent / "demos"
    monkeypatch.syspath_prepend(demos)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, demos / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def studies(load_benchmark) -> ModuleType:
    """What the studies of arms x seeds share."""
    return load_benchmark("studies")


@pytest.fixture(scope="module")
def studied(studies) -> Callable[..., dict]:
    """A function that makes a training's results: a curve of finish rates, `steps` apart."""

    def training(*finish_rates: float, steps: int = 100, **more: object) -> dict:
        nothing = dict.fromkeys(studies.FIGURES, 0.0) | {"best_time_s": None}
        points = [
            [(i + 1) * steps, nothing | {"finish_rate": rate, "median_time_s": 50.0 if rate else None}]
            for i, rate in enumerate(finish_rates)
        ]
        return {"final": points[-1][1], "curve": points} | more

    return training
