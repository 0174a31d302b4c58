"""The reference learners: their commands exist, tuning picks the best setting, the report is arithmetic."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from qwop_bc.cli import Options
from qwop_cli import parse_config
from qwop_finetune import parse

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference(load_benchmark):
    return load_benchmark("reference")


def test_every_command_is_one(reference, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "tier_file", lambda folder, tier: tmp_path / f"{tier}.h5")
    checked = 0
    for name, learner in reference.LEARNERS.items():
        for setting in range(len(learner.settings)):
            training = reference.Training(name, setting, 3, 500_000, False)
            if learner.command in ("sb3", "cleanrl", "d3rlpy"):
                float(learner.settings[setting])
                continue
            for command in reference.commands(learner, training, tmp_path, tmp_path / "out.safetensors"):
                if command[0] == "qwop-bc":
                    options = parse_config("qwop-bc", Options, command[1:])
                    assert options.config.seed == 3
                elif "--init" not in command:  # which needs the clone itself
                    assert parse(command[1:]).learner.total_steps == 500_000
                checked += 1
    assert checked > 40


def result(score, finished=0.0, **more):
    figures = {"score": score, "finished": finished, "median_seconds": 50.0, "cpu_seconds": 10.0}
    return {**figures, "decisions": 500_000, "setting": "--x 1", "scores": [score, score], **more}


def test_a_stopped_reference_continues_with_the_best_setting(reference, tmp_path, monkeypatch, capsys):
    trained = []

    def train(shared, training):
        trained.append(training.name)
        setting = reference.LEARNERS[training.learner].settings[training.setting]
        score = {0: 5.0, 1: 9.0, 2: 7.0}[training.setting] + training.seed
        return result(score, setting=setting, seed=training.seed)

    monkeypatch.setattr(reference, "train", train)
    monkeypatch.setattr(reference, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reference, "PAGE", tmp_path / "page.md")
    words = ["--learners", "ppo", "--tasks", str(tmp_path / "kept")]
    assert reference.main([*words, "--seeds", "1"]) == 0
    assert trained == ["ppo-tune-0", "ppo-tune-1", "ppo-tune-2", "ppo-seed-0"]
    assert reference.main([*words, "--seeds", "2"]) == 0
    assert trained[4:] == ["ppo-seed-1"]
    stored = json.loads((tmp_path / "results" / "reference-100m-v1.json").read_text(encoding="utf-8"))
    assert [t["score"] for t in stored["trainings"]["ppo"]] == [9.0, 10.0]

    anew = ["--learners", "ppo", "--tasks", str(tmp_path / "other")]
    assert reference.main([*anew, "--seeds", "1"]) == 2  # it would overwrite two trainings by one
    assert "has 2 trainings that" in capsys.readouterr().err and len(trained) == 5

    elsewhere = [*anew, "--extend"]
    assert reference.main([*elsewhere, "--seeds", "3"]) == 0
    assert trained[5:] == ["ppo-seed-2"]  # all else comes from the stored results
    assert reference.main([*elsewhere[:-2], str(tmp_path / "third"), "--extend", "--decisions", "7"]) == 2
    assert "budget of 500000 decisions" in capsys.readouterr().err

    assert reference.main([*words, "--decisions", "7"]) == 2
    assert "another job" in capsys.readouterr().err
    assert reference.main(["--learners", "nothing"]) == 2


def test_results_of_before_get_their_scores_on_all_tasks(reference, tmp_path, monkeypatch, capsys):
    tasks = {name: {"score": 4.0, "finished": 0.0, "median_seconds": None} for name in reference.TASKS}
    again = []

    def tested_again(folder, training):
        again.append(training.name)
        return tasks

    def train(shared, training):
        setting = reference.LEARNERS[training.learner].settings[training.setting]
        made = result(5.0 + training.seed, setting=setting, seed=training.seed)
        return made | ({"tasks": tasks} if training.seed == 1 else {})

    monkeypatch.setattr(reference, "train", train)
    monkeypatch.setattr(reference, "tested_again", tested_again)
    monkeypatch.setattr(reference, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(reference, "PAGE", tmp_path / "page.md")
    words = ["--learners", "ppo", "--tasks", str(tmp_path / "kept"), "--seeds", "2"]
    assert reference.main(words) == 0 and not again
    assert reference.main([*words, "--all-tasks"]) == 0
    assert again == ["ppo-seed-0"]
    assert "100m-v1 4.00, stored 5.00" in capsys.readouterr().out
    stored = json.loads((tmp_path / "results" / "reference-100m-v1.json").read_text(encoding="utf-8"))
    assert [t["score"] for t in stored["trainings"]["ppo"]] == [5.0, 6.0]  # unchanged
    assert reference.tasks_table(stored).splitlines()[2] == "| PPO | 2 | 4.0 | 4.0 | 4.0 | 4.0 | 4.0 |"


def test_a_policy_is_tested_on_all_tasks_once(reference, monkeypatch):
    played = []

    def scored(task, player, seeds):
        played.append((task.id, seeds))
        return result(1.0)

    monkeypatch.setattr(reference, "scored", scored)
    figures = reference.tested(None, {"100m-v1": result(7.0)})
    assert [name for name, _ in played] == ["10m-v1", "hurdle-v1", "one-leg-v1", "no-knee-v1"]
    assert all(seeds == range(100, 200) for _, seeds in played)
    assert figures["100m-v1"] == {"score": 7.0, "finished": 0.0, "median_seconds": 50.0}


def test_without_d3rlpy_one_line_says_where_to_look(reference, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    monkeypatch.setattr(reference, "tier_file", lambda folder, tier: tmp_path / f"{tier}.h5")
    monkeypatch.setattr(reference, "RESULTS", tmp_path / "results")
    assert reference.main(["--learners", "d3rlpy-bc", "--tasks", str(tmp_path / "kept")]) == 2
    assert "docs/benchmark/reference.md" in capsys.readouterr().err
    kept = reference.trainable()
    assert [name for name in reference.LEARNERS if not name.startswith("d3rlpy")] == kept
    assert "without its learners" in capsys.readouterr().err


def test_the_table_and_the_profile(reference):
    trainings = {"ppo": [result(s) for s in (10.0, 20.0, 30.0, 40.0)], "bc": [result(90.0, 0.5)] * 4}
    table = reference.results_table({"trainings": trainings}).splitlines()
    assert "BC of `expert`" in table[2] and "| 50 (50 to 50) % |" in table[2]
    assert "| 25.0 (" in table[3] and "| 0.5 M | 4 |" in table[3]
    assert reference.profile(np.array([10.0, 50.0, 90.0, 90.0]), np.array([0.0, 50.0, 90.0])).tolist() == [
        1.0,
        0.5,
        0.0,
    ]
