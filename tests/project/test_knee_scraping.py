"""benchmarks/knee_scraping.py: its figures, tables and games; the trainings themselves are the product's."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "knee_scraping.py"


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("knee_scraping", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def figures(study, **changes):
    return dict.fromkeys(study.FIGURES, 0.0) | {"median_time_s": None, "best_time_s": None} | changes


def training(study, *finish_rates, steps=100):
    points = [
        [(i + 1) * steps, figures(study, finish_rate=rate, median_time_s=50.0 if rate else None)]
        for i, rate in enumerate(finish_rates)
    ]
    return {"final": points[-1][1], "curve": points}


def test_the_middle_run_orders_falls_before_finishes(study):
    class Run:
        def __init__(self, success, time, distance):
            self.success, self.time, self.distance = success, time, distance

    fast, slow = Run(True, 47.0, 100.0), Run(True, 60.0, 100.0)
    near, far = Run(False, 5.0, 10.0), Run(False, 90.0, 80.0)
    # near, far, slow, fast: index 2 of 4 is the slow finish, index 1 of 3 the far fall
    assert study.middle_run([fast, near, slow, far]) is slow
    assert study.middle_run([slow, near, far]) is far


def test_an_estimate_of_three_trainings_is_their_mean_between_the_extremes(study):
    # a quarter of three, rounded down, is none: nothing is left out
    assert study.estimate(np.array([0.9, 0.6, 0.9]), 100) == "80 (60 to 90)"
    assert study.estimate(np.array([])) == "-"


def test_a_table_has_a_row_for_each_arm_of_its_group_that_was_trained(study):
    results = {
        "stride": {str(seed): training(study, 0.0, rate) for seed, rate in enumerate((0.5, 0.7, 0.0))},
        "clone": {"0": training(study, 0.9, steps=0)},
    }
    lines = study.table(results, study.NOTHING).splitlines()
    assert len(lines) == 3
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:5] == [
        "`stride`, knee rule",
        "3",
        "0.0002 M",
        "40 (0 to 70)",
        "50.0 (50.0 to 50.0), 2 of 3",
    ]
    assert "clone alone" in study.table(results, study.CLONE)
    assert "stride" not in study.table(results, study.CLONE)


def test_tables_go_between_their_marks_and_nothing_else_changes(study):
    results = {"stride": {"0": training(study, 0.5)}}
    text = "a\n<!-- table: nothing -->\nold\n<!-- end -->\nb\n"
    once = study.with_tables(text, results)
    assert once.startswith("a\n<!-- table: nothing -->\n|") and once.endswith("|\n<!-- end -->\nb\n")
    assert "old" not in once and study.with_tables(once, results) == once


def test_a_curve_uses_the_steps_that_all_trainings_have(study):
    seeds = {"0": training(study, 0.0, 0.2, 0.6), "1": training(study, 0.0, 0.4)}
    steps, mean, low, high = study.curve(seeds, "finish_rate")
    assert steps.tolist() == [100, 200]
    assert mean == pytest.approx([0.0, 0.3])
    assert low == pytest.approx([0.0, 0.2]) and high == pytest.approx([0.0, 0.4])


def test_collecting_reads_what_evaluations_left(study, tmp_path):
    done, running = (study.Task("stride", seed, 300, tmp_path / str(seed)) for seed in (0, 1))
    for folder in (done.folder, running.folder):
        folder.mkdir()
        (folder / "0000000200.json").write_text(json.dumps(figures(study, finish_rate=0.1)), encoding="utf-8")
    (done.folder / "final.json").write_text(json.dumps(figures(study, finish_rate=0.2)), encoding="utf-8")
    results = study.collect([done, running])
    assert list(results["stride"]) == ["0"]
    assert [(s, f["finish_rate"]) for s, f in results["stride"]["0"]["curve"]] == [(200, 0.1), (300, 0.2)]


def test_every_arm_is_a_command_that_the_product_takes(study, tmp_path):
    from qwop_finetune.cli import parse

    for name, arm in study.ARMS.items():
        if arm.learner == "sb3" or not arm.steps:
            continue
        task = study.Task(name, 7, arm.steps, tmp_path)
        clone = tmp_path / "clone.safetensors" if arm.from_clone else None
        run = parse(study.training_command(task, clone, "float32")[1:])
        assert (run.learner.seed, run.learner.total_steps, run.init) == (7, arm.steps, clone)
    bare = parse(study.training_command(study.Task("bare", 0, 9, tmp_path), tmp_path / "c", "float32")[1:])
    assert (bare.learner.critic_warmup_steps, bare.learner.reference_kl_coef) == (0, 0)
    assert bare.learner.update_normalizer and bare.on_collapse == "ignore"


def test_stable_baselines_sees_the_end_of_an_episode_apart_from_the_next_start(study):
    games = study.sb3_games("--reward stride --reward-option knee_seconds=none", 0, 8)
    games.reset()
    generator = np.random.default_rng(0)
    for _ in range(400):
        observations, rewards, ended, infos = games.step(generator.integers(0, 9, 8))
        for i in np.flatnonzero(ended):
            assert rewards[i] < -1.5 and infos[i]["TimeLimit.truncated"] is False  # fall_cost is 2
            assert not np.array_equal(infos[i]["terminal_observation"], observations[i])
        if ended.any():
            break
    assert ended.any() and not any(infos[i] for i in np.flatnonzero(~ended))
    games.close()
