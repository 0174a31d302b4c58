"""benchmarks/people.py, with this project's own runs in place of people's."""

import json

import numpy as np
import pytest

from qwop_datasets import DatasetReader, DatasetWriter
from qwop_rl_core.ppo import PPOConfig


@pytest.fixture(scope="module")
def people(load_benchmark):
    return load_benchmark("people")


@pytest.fixture(scope="module")
def arms(people):
    return people.arms_of((1, 3), 100)


def test_an_arm_comes_after_the_clone_that_it_starts_from(people, arms):
    first, second = people.in_two_stages(arms)
    assert sorted([*first, *second]) == sorted(arms)
    assert second == [name for name, arm in arms.items() if arm.steps and arm.clone] and len(second) == 8
    assert all(arms[name].clone.endswith("-3") and arms[name].clone in first for name in second)


def test_every_arm_is_a_command_that_the_product_takes(people, arms, tmp_path):
    from qwop_finetune.cli import parse

    for name, arm in arms.items():
        if not arm.steps:
            continue
        task = people.task_of(tmp_path, arms, name, 7)
        clone = tmp_path / "clone.safetensors" if arm.clone else None
        run = parse(people.finetuning_command(task, arm.flags, clone, 5)[1:])
        assert (run.learner.seed, run.learner.total_steps, run.init) == (7, 100, clone)
        assert (run.environment.frame_skip or 1) == people.frame_skip(arm)
        assert ("knee_seconds=0.25" in run.environment.reward_option) == (
            "rule" in name and "no-rule" not in name
        )
        if clone:
            assert isinstance(run.learner, PPOConfig)
            assert (run.learner.reference_kl_coef == 0) == ("no-anchors" in name)


def test_larger_draws_contain_the_smaller_ones_and_keep_all_of_a_run(people, tmp_path):
    with DatasetReader(people.DEMOS) as reader:
        runs = [reader[i].replace(game="real") for i in range(5)]
    undetermined = np.arange(len(runs[2].keys)) % 3 == 0
    runs[2] = runs[2].replace(undetermined=undetermined)
    source = tmp_path / "people.h5"
    DatasetWriter(source).append_all(runs)
    drawn = {}
    for count in (1, 3, 5):
        people.draw_runs(source, tmp_path / "drawn" / f"{count}.h5", count, seed=4)
        with DatasetReader(tmp_path / "drawn" / f"{count}.h5") as reader:
            drawn[count] = list(reader)
    order = [run.id for run in drawn[5]]
    assert [run.id for run in drawn[3]] == order[:3] and drawn[1][0].id == order[0]
    assert sorted(order) == sorted(run.id for run in runs) and order != [run.id for run in runs]
    kept = drawn[5][order.index(runs[2].id)]
    assert kept.game == "real" and kept.undetermined is not None
    assert np.array_equal(kept.undetermined, undetermined)


def test_seconds_of_a_fine_tuned_clone_contain_those_of_cloning(people, arms):
    results = {"people-3": {"0": {"cpu_seconds": 30.0}}}
    results["people-anchors-no-rule"] = {"0": {"cpu_seconds": 12.0}}
    arm = arms["people-anchors-no-rule"]
    assert people.seconds_of(results, arm, "people-anchors-no-rule", "0") == 42.0
    assert people.seconds_of(results, arms["people-3"], "people-3", "0") == 30.0


def test_style_is_that_of_finished_runs(people, tmp_path, monkeypatch):
    with DatasetReader(people.DEMOS) as reader:
        DatasetWriter(tmp_path / "people.h5").append_all([reader[i] for i in range(4)])
        played = [reader[5], reader[6].replace(success=False)]
    monkeypatch.setattr(people, "CheckpointPlayer", lambda checkpoint: checkpoint)
    monkeypatch.setattr(people, "play", lambda player, seeds, sample: played)
    ratios = people.style_ratios(tmp_path / "x", tmp_path / "people.h5")
    assert set(ratios) == set(people.STYLE) and all(0.2 < ratio < 5.0 for ratio in ratios.values())
    monkeypatch.setattr(people, "play", lambda player, seeds, sample: played[1:])
    assert set(people.style_ratios(tmp_path / "x", tmp_path / "people.h5").values()) == {None}


@pytest.mark.slow
def test_the_study_runs_from_its_file_to_its_report(people, tmp_path, monkeypatch, capsys):
    document, pictures = tmp_path / "people.md", tmp_path / "people"
    text = "".join(f"<!-- table: {g} -->\n<!-- end -->\n" for g in ("nothing", "clones", "fine-tuned"))
    document.write_text(text, encoding="utf-8")
    few = ("default-rule", "people", "policy", "people-2", "policy-2", "people-no-anchors-knee-rule")
    arms_of = people.arms_of
    cloning_command = people.cloning_command
    changes = {
        "DOCUMENT": document,
        "PICTURES": pictures,
        "FINAL_SEEDS": range(2),
        "CURVE_SEEDS": range(1000, 1002),
        "arms_of": lambda *given: {name: arm for name, arm in arms_of(*given).items() if name in few},
        "cloning_command": lambda *given: [*cloning_command(*given), "--play-episodes", "2"],
    }
    for name, value in changes.items():
        monkeypatch.setattr(people, name, value)
    flags = ["--runs", str(people.DEMOS), "--folder", str(tmp_path / "runs"), "--seeds", "3"]
    flags += ["--counts", "2", "--steps", "16384", "--epochs", "1"]
    assert people.main(flags) == 0
    assert capsys.readouterr().out.count("seed 3, ") == 4

    results = json.loads((pictures / "results.json").read_text(encoding="utf-8"))["arms"]
    assert sorted(results) == sorted(few)
    assert results["people"]["3"]["final"]["finish_rate"] == 1.0  # of its finished runs
    tuned = results["people-no-anchors-knee-rule"]["3"]
    assert tuned["cpu_seconds"] > 0 and tuned["argmax"]["finish_rate"] == 0.0
    assert [steps for steps, _ in tuned["curve"]] == [8192, 16384]
    assert set(tuned["style"].values()) == {None}  # no run finished
    rows = document.read_text(encoding="utf-8").splitlines()
    assert sum("PPO" in row for row in rows) == 1 and sum("clone of 2" in row for row in rows) == 4
    assert (pictures / "counts.png").exists() and (pictures / "people.png").exists()

    assert people.main([*flags, "--no-report"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert len(again) == 6 and all(", 0 s: " in line or "its runs" in line for line in again)
