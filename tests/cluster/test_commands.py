"""The commands' tasks: the same numbers in one process, from a folder of results, and on a cluster."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_cli.cluster import ClusterOptions
from qwop_datasets import DatasetReader, write_dataset
from qwop_datasets import cli as data_cli
from qwop_evaluation import CheckpointPlayer, shipped_policy_path
from qwop_evaluation import cli as evaluation_cli
from qwop_search import BeamConfig, Best, Found, SearchConfig, loop, search

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
SHORT = ["--episodes", "5", "--max-seconds", "2", "--json"]


@pytest.fixture(params=["tasks", pytest.param("ray", marks=pytest.mark.slow)])
def elsewhere(request, tmp_path):
    """Flags that run a command's tasks elsewhere or keep them."""
    if request.param == "tasks":
        return ["--tasks", str(tmp_path / "tasks")]
    return ["--ray", request.getfixturevalue("two_nodes").address]


def test_an_evaluation_is_the_same(elsewhere, capsys, monkeypatch):
    for module in ("evaluation", "protocol"):  # three tasks
        monkeypatch.setattr(f"qwop_evaluation.{module}.BATCH", 2)
    assert evaluation_cli.main(SHORT) == 0
    here = json.loads(capsys.readouterr().out)
    assert evaluation_cli.main([*SHORT, *elsewhere]) == 0
    assert json.loads(capsys.readouterr().out) == here
    assert len(here["runs"]) == 5
    if elsewhere[0] == "--tasks":  # now from the folder
        assert evaluation_cli.main([*SHORT, *elsewhere]) == 0
        assert json.loads(capsys.readouterr().out) == here
        assert evaluation_cli.main([*SHORT, *elsewhere, "--seed", "1"]) == 2
        assert "holds the tasks of another job: seeds was [0, 5], now [1, 6]" in capsys.readouterr().err


def found(cluster: ClusterOptions | None, stop_at: int = 10**9, **changes: Any) -> Best:
    best = Best()
    values: dict[str, Any] = {"frames": 60_000, "meters": 3.0, "parallel": 2, **changes}
    config = SearchConfig(**values, beam=BeamConfig(width=8, children=8))
    search(
        CheckpointPlayer(shipped_policy_path()),
        config,
        best,
        keep=3,
        cluster=cluster,
        on_segment=lambda progress: best.frames >= stop_at,
    )
    return best


def runs(best: Best) -> list[tuple[float, list[int]]]:
    return [(run.seconds, run.keys.tolist()) for run in best.runs]


def test_a_search_is_the_same(elsewhere, tmp_path):
    here = found(None)
    assert here.passes >= 4
    flag, value = elsewhere
    options = ClusterOptions(tasks=Path(value)) if flag == "--tasks" else ClusterOptions(ray=str(value))
    there = found(options)
    assert runs(there) == runs(here) and (there.frames, there.passes) == (here.frames, here.passes)


def test_a_stopped_search_goes_on_where_it_was(tmp_path):
    whole, options = found(None), ClusterOptions(tasks=tmp_path / "tasks")
    stopped = found(options, stop_at=whole.frames // 2)
    assert stopped.frames < whole.frames
    kept = sorted(path.name for path in options.tasks.glob("*.npz"))
    times = [path.stat().st_mtime_ns for path in sorted(options.tasks.glob("*.npz"))]
    assert 1 <= len(kept) < whole.passes
    assert runs(found(options)) == runs(whole)
    assert [path.stat().st_mtime_ns for path in sorted(options.tasks.glob("*.npz"))][: len(times)] == times


@pytest.mark.parametrize(
    ("parallel", "improved"), [(1, [None, 1, 2, 3, 4, 5]), (2, [None, None, 2, 2, 4, 4])]
)
def test_passes_of_one_round_begin_along_the_same_run(monkeypatch, parallel, improved):
    along = []

    def play(beam: Any, config: Any, task: loop.Pass, watch: Any) -> loop.PassResult:
        along.append(None if task.along is None else int(task.along[0]))
        keys = np.full(60, task.number, np.uint8)
        return loop.PassResult([Found(keys, 1.0 - task.number / 100)], 10_000)  # each is the fastest yet

    monkeypatch.setattr(loop, "_play_pass", play)
    found(None, parallel=parallel, passes=parallel, frames=59_000)
    assert along[:6] == improved


def test_files_are_verified_the_same(elsewhere, tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("a.h5", "b.h5")]
    with DatasetReader(DEMOS) as reader:
        episodes = [reader[i] for i in range(6)]
    changed = episodes[5].raw_observations.copy()
    changed[5, 0] += 1.0
    write_dataset(files[0], episodes[:3])
    write_dataset(files[1], [*episodes[3:5], episodes[5].replace(raw_observations=changed)])
    capsys.readouterr()
    assert data_cli.main(["verify", *files]) == 1
    here = capsys.readouterr().out
    assert f"{files[0]}: 3 of 3" in here and f"{files[1]}: 2 of 3" in here and "differs: frame 5" in here
    for _ in range(2):
        assert data_cli.main(["verify", *files, *elsewhere]) == 1
        assert capsys.readouterr().out == here


def test_files_are_converted_the_same(elsewhere, tmp_path, capsys):
    files = []
    for i in range(3):
        assert (
            data_cli.main(["convert", str(DEMOS), str(tmp_path / f"{i}.csv"), "--where", f"number={i}"]) == 0
        )
        files.append(str(tmp_path / f"{i}.csv"))
    assert data_cli.main(["convert", *files, str(tmp_path / "here.h5"), "--source", "policy"]) == 0
    assert (
        data_cli.main(["convert", *files, str(tmp_path / "there.h5"), "--source", "policy", *elsewhere]) == 0
    )
    here, there = (list(DatasetReader(tmp_path / f"{name}.h5")) for name in ("here", "there"))
    assert [e.keys.tolist() for e in here] == [e.keys.tolist() for e in there]
    for a, b in zip(here, there, strict=True):
        assert np.array_equal(a.raw_observations, b.raw_observations) and np.array_equal(a.times, b.times)
        assert (a.success, a.trig, a.verified, a.player) == (b.success, b.trig, b.verified, b.player)
