"""Two nodes in two network namespaces, and a cable between them that is cut."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_or_skip")]


BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        namespaces = importlib.import_module("namespaces")
    if reason := namespaces.why_not():
        pytest.skip(reason)
    # The head gives up a silent node after some 20 s instead of a minute.
    impatient = {f"RAY_health_check_{name}": value for name, value in IMPATIENT.items()}
    with namespaces.TwoNamespaces(
        variables={"PYTHONPATH": str(Path(faults.__file__).parent), **impatient}
    ) as two:
        yield two


IMPATIENT = {"period_ms": "2000", "timeout_ms": "4000", "failure_threshold": "4"}


@pytest.mark.parametrize(
    ("task", "expected"),
    [("slow", {i: i * i for i in range(8)}), ("large", {i: 1_000_000 + i for i in range(8)})],
)
def test_a_cut_cable_costs_only_what_was_behind_it(nodes, tmp_path, task, expected):
    """The second node and its object store answer no more, and no connection ends."""
    process = subprocess.Popen(
        nodes.command([sys.executable, faults.__file__, nodes.address, task, str(tmp_path)]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        done = [int(process.stdout.readline()) for _ in range(2)]
        nodes.cut()
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "marked dead" in err and "(raylet)" not in out  # stdout is the command's own
        assert {int(k): v for k, v in json.loads(out.splitlines()[-1]).items()} == expected
    finally:
        process.kill()
        process.communicate()
        nodes.start_second()
    calls = [len((tmp_path / f"{i}.calls").read_text(encoding="utf-8")) for i in range(8)]
    assert all(calls[i] == 1 for i in done)
    assert sum(calls) <= 8 + 2  # the task behind the cable, and one that was sent to it
