"""Sweeps: files that are wrong, a sweep to its end, a killed driver, the ready spaces."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_cli.cluster import ray_cluster
from qwop_datasets import DatasetReader
from qwop_rl_core import load_checkpoint
from qwop_sweep import (
    Choices,
    Range,
    Record,
    Records,
    Sweep,
    next_settings,
    read_sweep,
    rungs,
    score,
    space_text,
)
from qwop_sweep.cli import main
from qwop_sweep.settings import READY, from_plain

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install 'qwop-stride[cluster]'")
ROOT = Path(__file__).parents[2]
DEMOS = ROOT / "demos" / "demos.h5"
TINY = """
command: qwop-finetune
flags: {hidden: [8], num-envs: 8, rollout-length: 16, device: cpu, threads: 1}
space:
  learning-rate: {low: 1e-4, high: 1e-2, log: true}
  gamma: [0.99, 0.995]
  epochs: {low: 1, high: 4}
trials: 4
seeds: 2
budget: 512
rungs: 2
reduction: 2
seed: 3
evaluation: {episodes: 2, max-seconds: 3, test-episodes: 2}
"""


def changed(**entries):
    """TINY with other entries; None removes one."""
    data = yaml.safe_load(TINY) | entries
    return yaml.safe_dump({name: value for name, value in data.items() if value is not None})


def read(text=TINY, extra=(), **changes) -> Sweep:
    return read_sweep("tiny.yaml", text, changes, extra)


# ---- the file ------------------------------------------------------------------------------------------


def test_a_file_is_read_with_the_types_of_the_flags():
    sweep = read(trials=7)
    assert sweep.space == {
        "learning-rate": Range(1e-4, 1e-2, log=True),  # YAML takes 1e-4 for text
        "gamma": Choices((0.99, 0.995)),
        "epochs": Range(1, 4, whole=True),
    }
    assert (sweep.trials, sweep.seeds, sweep.budgets, sweep.mode) == (7, 2, (256, 512), "max")
    config: Any = sweep.parse({"learning-rate": 0.005, "gamma": 0.99, "epochs": 2}, ["--seed", "3"])
    learner = config.learner
    assert (learner.learning_rate, learner.gamma, learner.epochs, learner.seed) == (0.005, 0.99, 2, 3)
    assert (learner.total_steps, config.hidden) == (512, (8,))
    assert from_plain(json.loads(json.dumps(sweep.as_plain()))) == sweep


def test_switches_lists_and_flags_behind_the_file():
    space = {"anneal-learning-rate": [True, False], "hidden": [[8], [16, 16]], "fresh-critic": [True, False]}
    sweep = read(changed(space=space, flags={"reward-option": ["power=1.5"]}), ["--num-envs", "4"])
    on: Any = sweep.parse({"anneal-learning-rate": True, "hidden": [16, 16], "fresh-critic": True})
    off: Any = sweep.parse({"anneal-learning-rate": False, "hidden": [8], "fresh-critic": False})
    assert (on.learner.anneal_learning_rate, on.hidden, on.fresh_critic) == (True, (16, 16), True)
    assert (off.learner.anneal_learning_rate, off.hidden, off.fresh_critic) == (False, (8,), False)
    assert off.environment.reward_option == ("power=1.5",) and off.learner.num_envs == 4

    flags = {"dataset": str(DEMOS), "method": "self-imitation"}
    space = {"self-imitation.rounds": {"low": 1, "high": 5}}
    whole = read(changed(command="qwop-bc", flags=flags, space=space, budget=None, rungs=None))
    assert whole.space == {"self-imitation.rounds": Range(1, 5, whole=True)} and whole.rungs == 1
    options: Any = whole.parse({"self-imitation.rounds": 3})
    assert (options.self_imitation.rounds, options.dataset) == (3, DEMOS)


BC: Any = {"command": "qwop-bc", "flags": {"dataset": str(DEMOS)}}
WRONG = [
    ("space: [", "not YAML: "),
    ("just text", "the file: expected names with values, got str"),
    (changed(comand="x"), "comand: not known here; expected command, flags"),
    (changed(command="qwop-eval"), "command is 'qwop-eval': expected qwop-finetune or qwop-bc"),
    (changed(space={"lerning-rate": [1]}), "space: lerning-rate: Unrecognized options: --lerning-rate"),
    (changed(space={"gamma": [0.9, 1.5]}), "space: gamma: gamma is 1.5"),
    (changed(space={"epochs": [1, "many"]}), "space: epochs: "),
    (changed(space={"epochs": {"low": 1, "high": 2.5}}), "2.5 is not a whole number"),
    (changed(space={"gamma": {"low": 0.9, "high": 0.8}}), "low is 0.9 and high 0.8: low has to be below"),
    (changed(space={"entropy-coef": {"low": 0, "high": 1, "log": True}}), "with log it has to be above 0"),
    (changed(space={"gamma": {"low": 0.9}}), "space: gamma: give low and high, or choices"),
    (changed(space={"gamma": {"low": 0.9, "heigh": 1}}), "heigh: not known here"),
    (changed(space={"gamma": 0.9}), "expected a list of choices, or low and high, got 0.9"),
    (changed(space={"gamma": [0.9, 0.9]}), "space: gamma: a choice is given twice"),
    (changed(space={"gamma": []}), "choices has to be a list with one value or more"),
    (changed(space={"reward": {"low": 1, "high": 2}}), "space: reward: "),
    (changed(space={"total-steps": [1, 2]}), "space: total-steps: the sweep sets it itself; use budget"),
    (changed(space={"seed": [1, 2]}), "space: seed: the sweep sets it itself; use seeds"),
    (changed(flags={"out": "x"}), "flags: out: the sweep sets it itself"),
    (changed(flags={"gamma": 0.9}), "space: gamma: flags gives it too; omit it in one place"),
    (changed(flags={"init": "nothing.st"}), "flags: init nothing.st: no such file"),
    (changed(flags={"num-envs": {}}), "flags: num-envs: {}: expected a number"),
    (changed(space=None), "space: name one flag or more"),
    (changed(metric="loss"), "metric 'loss': choose one of score, finish_rate"),
    (changed(trials=0), "trials is 0, expected 1 or more"),
    (changed(seeds="two"), "seeds is 'two': expected a number"),
    (changed(budget=1), "budget is 1: too small for 2 rungs"),
    (changed(evaluation={"seed": 5}), "evaluation: seed is 5: the test episodes have the seeds below 100"),
    (changed(evaluation={"episods": 5}), "evaluation: episods: not known here"),
    (changed(**BC, space={"gamma": [0.9]}), "space: gamma: Unrecognized options: --gamma"),
    (changed(**{**BC, "flags": {}}, space={"balance": [0.0]}), "flags: "),
    (
        changed(command="qwop-bc", flags={**BC["flags"], "method": "gail"}, space={"balance": [0.1]}),
        "method gail can't pause: omit budget and rungs",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[message[:30] for _, message in WRONG])
def test_a_wrong_file_is_one_line_before_ray_starts(text, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qwop_sweep.cli.tune_trials", None)
    (tmp_path / "wrong.yaml").write_text(text, encoding="utf-8")
    assert main([str(tmp_path / "wrong.yaml"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"qwop-sweep: {tmp_path / 'wrong.yaml'}: ") and message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give SPACE (a file, or ppo, expert-iteration, dqn, ddqn, pqn, bc), or --resume FOLDER"),
        (["nothing.yaml"], "nothing.yaml: No such file or directory; give a YAML file, or one of ppo"),
        (["ppo", "--trials", "0"], "--trials 0: expected 1 or more"),
        (["ppo", "--ray", "ray://head:10001"], "a sweep has to run on a node of its cluster"),
        (["--resume", "nothing"], "--resume nothing: no sweep is there"),
        (["ppo", "--budget", "1e5", "--", "--gama", "1"], "ppo: flags: Unrecognized options: --gama"),
        (["--resume", "nothing", "--seeds", "2"], "--seeds can't change with --resume"),
    ],
)
def test_a_wrong_command_line_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("name", READY)
def test_a_ready_space_holds_the_defaults(name, capsys):
    assert main([name, "--print"]) == 0
    text = capsys.readouterr().out
    sweep = read_sweep(name, text, {})
    assert text == space_text(name)
    first = sweep.defaults()
    assert first is not None and first.keys() == sweep.space.keys()
    assert len(sweep.budgets) == 3 and sweep.judging.seed >= 1000


# ---- what is optimized, and what comes next ------------------------------------------------------------


def test_the_score_of_an_episode():
    with DatasetReader(DEMOS, "success") as reader:
        run = reader[0]
    finished = run.replace(success=True)
    assert score(finished, 1.0) == pytest.approx(50 + 50 * 45.53 / run.time)
    assert score(finished, 0.5) == pytest.approx(25 + 25 * 45.53 / run.time)
    fallen = run.replace(success=False)
    assert score(fallen, 1.0) == pytest.approx(50.0 * min(run.distance, 100.0) / 100.0)


def history(count):
    """Trials whose metric is best at a learning rate of 1e-3; every third one was stopped."""
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'qwop-stride[cluster]'")
    sweep, records = read(trials=40), []
    for number in range(count):
        settings = next_settings(sweep, records)
        value = -abs(math.log10(settings["learning-rate"]) + 3)
        values, state = ([value, value], "done") if number % 3 else ([value], "stopped")
        records.append(Record(number, settings, values, state))
    return sweep, records


def test_suggestions_depend_on_the_trials_alone_and_get_better():
    sweep, records = history(30)
    assert records[0].settings == {"learning-rate": 3e-4, "gamma": 0.995, "epochs": 4}  # PPO's defaults
    assert next_settings(sweep, records[:12]) == records[12].settings
    assert next_settings(read(trials=40), records[:29]) == records[29].settings
    values = [record.values[0] for record in records]
    assert np.mean(values[-10:]) > np.mean(values[:10])
    for record in records:
        assert all(domain.holds(record.settings[flag]) for flag, domain in sweep.space.items())


def test_a_trial_goes_on_from_what_is_done(tmp_path):
    sweep = read(seeds=1)
    settings = {"learning-rate": 0.001, "gamma": 0.99, "epochs": 1}
    whole = list(rungs(sweep, tmp_path / "whole", "s/0", settings))
    first = rungs(sweep, tmp_path / "parts", "s/0", settings)
    assert next(first) == whole[0]
    first.close()
    before = (tmp_path / "parts" / "seed-0.safetensors").read_bytes()
    again = rungs(sweep, tmp_path / "parts", "s/0", settings)
    assert next(again) == whole[0]
    assert (tmp_path / "parts" / "seed-0.safetensors").read_bytes() == before  # not trained again
    assert list(again) == whole[1:]
    for name in ("seed-0.json", "seed-0.safetensors"):
        here, there = ((tmp_path / f / name) for f in ("whole", "parts"))
        if name.endswith("json"):
            assert here.read_bytes() == there.read_bytes()
        else:
            a, b = (load_checkpoint(p) for p in (here, there))
            assert a.metadata["training"]["steps"] == b.metadata["training"]["steps"] == 512
            assert all((a.tensors[n] == b.tensors[n]).all() for n in a.tensors if n.startswith("network."))


def test_every_training_is_one_run_of_weights_and_biases(tmp_path, monkeypatch):
    """The module reads its variables once, until `teardown`."""
    begun, known = [], {}

    class FakeModule:
        def begin(self):
            known.update({} if known else {n: os.environ[n] for n in ("WANDB_RUN_ID", "WANDB_RUN_GROUP")})
            begun.append((known["WANDB_RUN_ID"], known["WANDB_RUN_GROUP"], os.environ["WANDB_RESUME"]))

        def teardown(self):
            known.clear()

    fake = FakeModule()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("qwop_sweep.trial._train", lambda *_: fake.begin())
    monkeypatch.setattr("qwop_sweep.trial.judge", lambda *_: {"score": 1.0})
    assert len(list(rungs(read(), tmp_path, "ppo-ab12/7", {}))) == 2
    group = ("ppo-ab12", "allow")
    assert begun == [("ppo-ab12-7-0", *group), ("ppo-ab12-7-1", *group)] * 2
    assert "WANDB_RUN_ID" not in os.environ


# ---- on a cluster --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(two_nodes):
    """The cluster's address, and a connection to it that all commands of this process use."""
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'qwop-stride[cluster]'")
    with ray_cluster(two_nodes.address):
        yield two_nodes.address


@pytest.fixture(scope="module")
def tiny(address, tmp_path_factory):
    """A file, and the command line with which it runs, one trial after the other."""
    file = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    file.write_text(TINY, encoding="utf-8")
    return [str(file), "--ray", address, "--parallel", "1"]


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """The folder of the tiny sweep, run in one go."""
    out = tmp_path_factory.mktemp("whole") / "sweep"
    assert main([*tiny, "--out", str(out)]) == 0
    return out


def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_sweep_to_its_end(whole, tiny, capsys):
    found = results(whole)
    trials = found["trials"]
    in_order = sorted(trials, key=lambda t: t["number"])
    assert [t["number"] for t in in_order] == [0, 1, 2, 3]
    for number, trial in enumerate(in_order):  # ASHA: one below the better half of those before it stops
        before = [t["values"][0] for t in in_order[:number]]
        stops = bool(before) and trial["values"][0] < np.percentile(before, 50)
        assert (trial["state"], len(trial["values"])) == (("stopped", 1) if stops else ("done", 2))
    done = [t for t in trials if t["state"] == "done"]
    assert trials[: len(done)] == sorted(done, key=lambda t: -t["values"][-1])
    for trial in trials:
        assert len(trial["figures_by_seed"]) == 2
        mean = np.mean([figures["score"] for figures in trial["figures_by_seed"]])
        assert trial["values"][-1] == pytest.approx(mean)
        logs = [*(whole / "trials" / f"{trial['number']:04d}").glob("seed-*/events.out.tfevents.*")]
        assert len({path.parent.name for path in logs}) == 2

    best = load_checkpoint(whole / "best.safetensors").metadata["sweep"]
    assert (best["trial"], best["seed"]) == (found["best"]["trial"], found["best"]["seed"])
    assert best["settings"] == trials[0]["settings"] and best["value_of_trial"] == trials[0]["values"][-1]
    assert best["value"] == max(f["score"] for f in trials[0]["figures_by_seed"])
    assert found["best"]["test"]["episodes"] == 2
    assert {"budget.png", "settings.png", "parallel.png", "importance.png"} <= {
        path.name for path in whole.iterdir()
    }
    assert not (whole / "ray").exists()
    capsys.readouterr()

    # Once more there is nothing to train; another sweep may not use the folder.
    before = results(whole)
    assert main([*tiny, "--out", str(whole)]) == 0
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[:6] == ["trial", "state", "budget", "score", "lowest", "highest"]
    assert results(whole) == before
    assert main([*tiny, "--out", str(whole), "--seeds", "3"]) == 2
    assert "holds another sweep: its seeds differ" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_that_is_done(whole, tiny, tmp_path, capsys):
    out = tmp_path / "sweep"
    command = [sys.executable, "-m", "qwop_sweep.cli", *tiny, "--out", str(out)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 120
        while not (out / "trials" / "0001" / "seed-0.json").exists():
            assert driver.poll() is None and time.monotonic() < give_up
            time.sleep(0.02)
    finally:
        driver.kill()
        driver.wait()
    done = (out / "trials" / "0000" / "trial.json").read_bytes()
    assert json.loads(done)["state"] == "done" and not (out / "results.json").exists()
    stamp = (out / "trials" / "0000" / "seed-0.safetensors").stat().st_mtime_ns
    assert main(["--resume", str(out), "--ray", tiny[2], "--parallel", "1"]) == 0
    assert (out / "trials" / "0000" / "seed-0.safetensors").stat().st_mtime_ns == stamp
    assert results(out)["trials"] == results(whole)["trials"]
    assert results(out)["best"] == results(whole)["best"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_trial_goes_on_from_its_checkpoint(whole, tiny, tmp_path, monkeypatch):
    out, killed = tmp_path / "sweep", []
    report = Records.report

    def killing(self: Records, number: int, value: float, state: Any) -> None:
        report(self, number, value, state)
        if state == "running" and not killed:  # its process waits for the next call
            logs = self.trial_folder(number) / "seed-1"
            (events,) = logs.glob("events.out.tfevents.*")
            killed.append(int(events.name.split(".")[-2]))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(Records, "report", killing)
    assert main([*tiny, "--out", str(out)]) == 0
    assert killed and results(out)["trials"] == results(whole)["trials"]


@pytest.mark.slow
def test_a_sweep_is_extended_and_failures_are_shown(whole, tiny, tmp_path, capsys):
    out = tmp_path / "sweep"
    shutil.copytree(whole, out)
    stored = json.loads((out / "sweep.json").read_text(encoding="utf-8"))
    capsys.readouterr()
    # A file that is gone when the next trial begins.
    stored["sweep"]["words"] += ["--demos", str(tmp_path / "demos.h5")]
    shutil.copy(DEMOS, tmp_path / "demos.h5")
    (out / "sweep.json").write_text(json.dumps(stored), encoding="utf-8")
    (tmp_path / "demos.h5").write_bytes(b"not HDF5")
    assert main(["--resume", str(out), "--trials", "5", "--ray", tiny[2]]) == 0
    printed = capsys.readouterr().out
    assert "trial 4 failed: " in printed and str(tmp_path / "demos.h5") in printed
    trials = results(out)["trials"]
    assert [t["state"] for t in trials].count("failed") == 1 and trials[-1]["number"] == 4
    assert trials[:4] == results(whole)["trials"]
    assert main(["--resume", str(out), "--trials", "2"]) == 2
    assert "--trials 2: 5 have begun already" in capsys.readouterr().err


SMALL = {
    "ppo": "--num-envs 8 --hidden 8",
    "dqn": "--num-envs 8 --hidden 8 --learning-starts 64 --log-interval 64 --pretrain-updates 2 "
    "--demos-where number<3",
    "bc": "--where number<3 --play-every 0 --play-episodes 2 --threads 1",
}
SMALL["ddqn"] = SMALL["dqn"]
SMALL["expert-iteration"] = SMALL["ppo"]
SMALL["pqn"] = f"{SMALL['ppo']} --pretrain-updates 2 --demos-where number<3"


@pytest.mark.slow
@pytest.mark.parametrize("name", READY)
def test_a_ready_space_runs_to_its_end(name, address, tmp_path):
    data = yaml.safe_load(space_text(name))
    data["evaluation"] = {"episodes": 2, "max-seconds": 3, "test-episodes": 2}
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    budget = "9" if name == "bc" else "576"
    out = tmp_path / "out"
    words = [str(file), "--out", str(out), "--trials", "1", "--seeds", "1", "--budget", budget]
    words += ["--ray", address, "--", *SMALL[name].split()]
    assert main(words) == 0
    found = results(out)
    assert found["budgets"] == ([1, 3, 9] if name == "bc" else [64, 192, 576])
    assert len(found["trials"][0]["values"]) == 3
    tensors, metadata = load_checkpoint(out / "best.safetensors")
    assert metadata["sweep"]["trial"] == 0
    assert not any(key.startswith("buffer.") for key in tensors)
    kept = load_checkpoint(out / "trials" / "0000" / "seed-0.safetensors")
    assert not any(key.startswith("buffer.") for key in kept.tensors)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
def test_an_interrupt_says_how_to_continue(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "qwop_sweep.tuning.next_settings", lambda *_: os.kill(os.getpid(), signal.SIGTERM) or {}
    )
    assert main([*tiny, "--out", str(tmp_path / "sweep")]) == 128 + signal.SIGTERM
    assert f"continue with: qwop-sweep --resume {tmp_path / 'sweep'}" in capsys.readouterr().err
