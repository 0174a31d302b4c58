"""The command lines of benchmarks/: wrong input is one line and exit code 2, before anything is measured."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from qwop_evaluation import shipped_policy_path
from qwop_finetune.cli import parse as parse_finetuning
from qwop_game import Simulator
from qwop_game.rules import FLAG_FALLEN, FLAG_GAME_ENDED
from qwop_rl_core import Policy


@pytest.fixture
def main(request, load_benchmark):
    """`main` of the script that the test's parameter names."""
    return load_benchmark(request.param).main


@pytest.mark.parametrize(
    ("main", "arguments", "said"),
    [
        ("bench", "--only simulator,nothing", "--only nothing: no such benchmark"),
        ("bench", "--out {file}/out.json", "not a folder"),
        ("cluster", "--slow 11", "--slow 11: expected 12 or more"),
        ("cloning", "nothing", "'demos', 'balance', 'skip', 'methods'"),
        ("cloning", "--seeds 0", "--seeds 0: expected 1 or more"),
        ("cloning", "--folder {file}", "not a folder"),
        ("clone_inputs", "{file} --seeds 0", "--seeds 0: expected 1 or more"),
        ("clone_inputs", "{file} --arms nothing", "--arms nothing: no such arm"),
        ("clone_inputs", "{file} --arms mixture", "--arms mixture: needs --other"),
        ("clone_inputs", "{file} --out {file}/out.json", "not a folder"),
        ("kernels", "--repeats 0", "--repeats 0: expected 1 or more"),
        ("knee_scraping", "--arms", "--arms: expected one or more"),
        ("knee_scraping", "--arms nothing", "--arms nothing: no such arm"),
        ("knee_scraping", "--precision half", "'auto', 'float32', 'bfloat16'"),
        ("knee_scraping", "--folder {file}", "not a folder"),
        ("loader", "--episodes 0", "--episodes 0: expected 1 or more"),
        ("loader", "--frames 2301", "--frames 2301: expected 1 to 2300"),
        ("loader", "--directory {file}", "is not a folder"),
        ("people", "", "--runs is missing"),
        ("people", "--runs {file} --counts 3 0", "--counts 0: expected 1 or more"),
        ("people", "--runs {file} --seeds -1", "--seeds -1: expected 0 or more"),
        ("people", "--runs people.h5 --folder {file}", "not a folder"),
        ("ranks", "--steps 8192", "--steps 8192: expected 24576 or more"),
        ("ranks", "--curves --folder {file}", "not a folder"),
        ("players", "", "the runs have 0 different players: expected two or more"),
        ("players", "nowhere.h5", "nowhere.h5: no such file"),
        ("recorder", "--folder {file}", "is not a folder"),
        ("recorder", "--frames 0", "--frames 0: expected 1 or more"),
        ("simulator", "--repeats 0", "--repeats 0: expected 1 or more"),
        ("simulator", "--seconds nan", "--seconds nan: expected a number above 0"),
        ("time_to_runner", "nowhere", "'nothing', 'demonstrations'"),
        ("time_to_runner", "--steps 0", "--steps 0: expected 1 or more"),
        ("time_to_runner", "--seeds 0", "--seeds 0: expected 1 or more"),
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


@pytest.mark.parametrize(
    "main",
    [
        "bench",
        "clone_inputs",
        "cloning",
        "cluster",
        "kernels",
        "knee_scraping",
        "loader",
        "people",
        "players",
        "ranks",
        "recorder",
        "simulator",
        "time_to_runner",
        "trainer",
    ],
    indirect=True,
)
def test_unknown_flags_are_wrong_input(main, capsys):
    assert main(["--nothing"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_time_to_runner_takes_starts_between_flags(monkeypatch: pytest.MonkeyPatch, load_benchmark) -> None:
    script = load_benchmark("time_to_runner")
    trained = []

    def train(start: str, seed: int, config: object) -> dict:
        trained.append((start, seed))
        return {"start": start, "seed": seed, "seconds": 1.0, "cpu_seconds": None, "curve": []}

    monkeypatch.setattr(script, "train", train)
    assert script.main(["--seeds", "2", "demonstrations", "--json"]) == 0
    assert script.main(["--seeds", "1"]) == 0
    expected = [("demonstrations", 0), ("demonstrations", 1), ("nothing", 0), ("demonstrations", 0)]
    assert trained == expected


@pytest.mark.parametrize("algorithm", ["ppo", "expert-iteration"])
def test_time_to_runner_trains_from_nothing_with_either_learner(
    algorithm: str, tmp_path: Path, load_benchmark
) -> None:
    script = load_benchmark("time_to_runner")
    config = script.TimingConfig(algorithm=algorithm, every=1000)
    (command,) = script.commands("nothing", tmp_path, 3, config)
    settings = parse_finetuning(command[1:])
    learner = settings.learner
    assert (settings.algorithm, settings.hidden) == (algorithm, (128, 128))
    assert (learner.seed, learner.total_steps) == (3, 3_000_000)
    assert getattr(learner, "optimizer", None) == ("muon" if algorithm == "ppo" else "adam")


def test_loader_measures_in_a_fresh_process(load_benchmark) -> None:
    script = load_benchmark("loader")
    figures = script.in_fresh_process("open", Path(__file__).parents[2] / "demos" / "records.h5")
    assert figures["frames"] == 0 and figures["seconds"] > 0


def test_recorder_leaves_out_what_did_not_happen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], load_benchmark
) -> None:
    script = load_benchmark("recorder")
    window = SimpleNamespace(draw=lambda session: None, close=lambda: None)
    monkeypatch.setattr(script, "Window", lambda title: window)
    assert script.main(["--frames", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["what"][:7], row["count"]) for row in rows] == [
        ("frame: ", 5),
        ("frame: ", 5),
        ("picture", 5),
    ]


def test_daggers_clone_decides_as_often_as_its_expert(load_benchmark) -> None:
    script = load_benchmark("cloning")
    metadata = Policy.load(shipped_policy_path()).metadata
    arms = [arm for arm in script.arms("methods", quick=False).values() if "EXPERT" in arm[2]]
    assert [frame_skip for _, frame_skip, _ in arms] == [metadata["frame_skip"]]


def test_the_simulators_runners_run(load_benchmark) -> None:
    """Runners that fell would cost nothing, and the benchmark would flatter the engine."""
    script = load_benchmark("simulator")
    snapshots, keys = script.runners(16)
    games = Simulator(16)
    games.restore(snapshots)
    for held in keys:
        games.step(held)
    assert not (games.flags & (FLAG_FALLEN | FLAG_GAME_ENDED)).any()
    assert games.distance.max() > 95
