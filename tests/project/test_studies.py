"""benchmarks/studies.py: estimates, curves and results of studies of arms x seeds."""

import json

import numpy as np
import pytest

from qwop_cli import CommandError
from qwop_cli.cluster import ClusterOptions


def test_the_middle_run_orders_falls_before_finishes(studies):
    class Run:
        def __init__(self, success, time, distance):
            self.success, self.time, self.distance = success, time, distance

    fast, slow = Run(True, 47.0, 100.0), Run(True, 60.0, 100.0)
    near, far = Run(False, 5.0, 10.0), Run(False, 90.0, 80.0)
    # near, far, slow, fast: index 2 of 4 is the slow finish, index 1 of 3 the far fall
    assert studies.middle_run([fast, near, slow, far]) is slow
    assert studies.middle_run([slow, near, far]) is far


def test_an_estimate_of_three_trainings_is_their_mean_between_the_extremes(studies):
    # a quarter of three, rounded down, is none: nothing is left out
    assert studies.estimate(np.array([0.9, 0.6, 0.9]), 100) == "80 (60 to 90)"
    assert studies.estimate(np.array([])) == "-"


def test_a_curve_uses_the_steps_that_all_trainings_have(studies, studied):
    seeds = {"0": studied(0.0, 0.2, 0.6), "1": studied(0.0, 0.4)}
    steps, mean, low, high = studies.curve(seeds, "finish_rate")
    assert steps.tolist() == [100, 200]
    assert mean == pytest.approx([0.0, 0.3])
    assert low == pytest.approx([0.0, 0.2]) and high == pytest.approx([0.0, 0.4])


def test_collecting_reads_what_evaluations_left(studies, studied, tmp_path):
    done, running = (studies.Task("stride", seed, 300, tmp_path / str(seed)) for seed in (0, 1))
    for folder in (done.folder, running.folder):
        folder.mkdir()
        (folder / "0000000200.json").write_text(json.dumps(studied(0.1)["final"]), encoding="utf-8")
    (done.folder / "final.json").write_text(json.dumps(studied(0.2)["final"]), encoding="utf-8")
    results = studies.collect([done, running])
    assert list(results["stride"]) == ["0"]
    assert [(s, f["finish_rate"]) for s, f in results["stride"]["0"]["curve"]] == [(200, 0.1), (300, 0.2)]


def test_a_command_that_succeeded_is_not_repeated_and_its_seconds_count(studies, tmp_path, monkeypatch):
    wastes = "import sys\ndef main():\n    sum(range(10_000_000))\n    return int(sys.argv[1])\n"
    (tmp_path / "wasteful.py").write_text(wastes, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(studies.MODULES, "waste", "wasteful")
    out = tmp_path / "runner.safetensors"
    assert studies.cpu_seconds(out) is None
    with pytest.raises(CommandError, match="exit code 3"):
        studies.run_once(["waste", "3"], out)
    failed = studies.cpu_seconds(out)
    assert not out.with_suffix(".done").exists() and failed > 0
    studies.run_once(["waste", "0"], out)
    both = studies.cpu_seconds(out)
    assert both > failed
    studies.run_once(["waste", "3"], out)
    assert studies.cpu_seconds(out) == both


def test_curves_begin_with_the_clone_that_a_training_started_from(studies, studied):
    curves = studies.after_clone({"0": studied(0.5), "1": studied(0.6)}, {"1": studied(0.2, steps=0)})
    assert list(curves) == ["1"]
    assert [(steps, f["finish_rate"]) for steps, f in curves["1"]["curve"]] == [(0, 0.2), (100, 0.6)]


def test_an_estimated_column_says_how_many_trainings_have_the_figure(studies, studied):
    title, cell = studies.estimated("median, s", "median_time_s", 1, 1)
    assert title == "median, s"
    seeds = {"0": studied(0.5), "1": studied(0.0), "2": studied(0.1)}
    assert cell(studies.Arm("", ()), seeds) == "50.0 (50.0 to 50.0), 2 of 3"
    _, argmax = studies.estimated("", "finish_rate", 100, evaluation="argmax")
    assert argmax(studies.Arm("", ()), {"0": studied(0.5, argmax={"finish_rate": 0.25})}) == "25"


def test_trainings_are_tasks_that_are_kept(studies, tmp_path, capsys):
    done = []

    def train(shared, work):
        done.append((shared, work))
        return f"{work}: 7 m"

    for steps in (5, 5, 6):
        work, job = ["a", "b"], {"steps": steps}
        cluster = ClusterOptions(tasks=tmp_path / str(steps))
        studies.train_all(train, "all", work, ["a-0", "b-0"], cluster, job)
        assert capsys.readouterr().out == "a: 7 m\nb: 7 m\n"
    assert done == [("all", "a"), ("all", "b")] * 2
    with pytest.raises(CommandError, match="another job: steps was 6, now 7"):
        studies.train_all(train, "all", work, ["a-0", "b-0"], cluster, {"steps": 7})


def test_an_arm_that_starts_from_a_clone_is_trained_after_all_others(load_benchmark, tmp_path, monkeypatch):
    cloning, trained = load_benchmark("cloning"), []

    def train(shared, training):
        trained.append((training[0], training[2]))
        return {}

    monkeypatch.setattr(cloning, "train", train)
    monkeypatch.setattr(cloning, "row", lambda name, results: [name, str(len(results))])
    assert cloning.main(["methods", "skip", "--seeds", "2", "--folder", str(tmp_path)]) == 0
    assert trained[-2:] == [("gail from the clone", 0), ("airl from the clone", 0)]
    assert len(trained) == len(set(trained)) == 2 * 5 + 4  # 100 demos is in both tables
