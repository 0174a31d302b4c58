"""benchmarks/players.py and benchmarks/clone_inputs.py, with this project's own runs in place of people's."""

import json
from pathlib import Path

import numpy as np
import pytest

from qwop_cli import CommandError
from qwop_datasets import DatasetReader, DatasetWriter, Episode, load_decisions, style_figures

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
Q, W, O, P = 1, 2, 4, 8  # noqa: E741


@pytest.fixture(scope="module")
def players(load_benchmark):
    return load_benchmark("players")


@pytest.fixture(scope="module")
def clone_inputs(load_benchmark):
    return load_benchmark("clone_inputs")


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "runs.h5"
    with DatasetReader(DEMOS) as reader:
        DatasetWriter(path).append_all([reader[0], reader[1]])
    return path


def run_of(keys, player):
    return Episode(
        keys=np.array(keys, np.uint8),
        raw_observations=np.zeros((len(keys) + 1, 60), np.float32),
        times=np.arange(len(keys) + 1) / 30,
        terminated=False,
        truncated=True,
        success=False,
        source="script",
        player=player,
    )


def rhythm(frames):
    return ([Q | P] * frames + [W | O] * frames) * 8


def test_runs_are_nearest_to_those_of_their_own_rhythm(players, tmp_path, capsys):
    # The third run of "slow" is played as "fast" plays.
    runs = [run_of(rhythm(n), "fast") for n in (4, 5, 4)] + [run_of(rhythm(n), "slow") for n in (15, 16, 5)]
    counts = players.confusion([style_figures(run) for run in runs], [run.player for run in runs])
    assert counts == {("fast", "fast"): 3, ("slow", "slow"): 2, ("slow", "fast"): 1}
    DatasetWriter(tmp_path / "runs.h5").append_all(runs)
    assert players.main([str(tmp_path / "runs.h5")]) == 0
    assert "5 of 6 runs are nearest to the other runs of their own player" in capsys.readouterr().out
    assert players.main([str(tmp_path / "runs.h5"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] == 5


def test_a_player_with_one_run_has_no_others(players):
    figures = [style_figures(run_of(rhythm(n), "")) for n in (4, 5, 15)]
    with pytest.raises(CommandError, match="one run of a: expected two or more"):
        players.confusion(figures, ["b", "b", "a"])
    with pytest.raises(CommandError, match="1 different players"):
        players.confusion(figures, ["b", "b", "b"])


def test_the_history_holds_the_keys_before_each_decision(clone_inputs):
    masks = clone_inputs.KEYS_OF_ACTIONS @ [1, 2, 4, 8]
    q, none = (int(np.flatnonzero(masks == mask)[0]) for mask in (1, 0))
    rows = clone_inputs.history_of(np.array([none, q, q, none]))
    frames, ages = rows[:, :-4].reshape(4, clone_inputs.HISTORY_FRAMES, 4), rows[:, -4:]
    assert frames[:, -1].tolist() == [[0] * 4, [0] * 4, [1, 0, 0, 0], [1, 0, 0, 0]]
    assert frames[3, -2].tolist() == [1, 0, 0, 0] and not frames[3, :-2].any()
    assert ages[:, 0].tolist() == pytest.approx([1.0, 1.0, 0.0, 1 / 30])
    assert (ages[:, 1:] == 1.0).all()


def test_answers_of_a_chunk_are_the_next_actions_and_undetermined_ones_are_known(clone_inputs, two_runs):
    _, (first, *_) = load_decisions(two_runs, 1)
    clone = clone_inputs.Clone(clone_inputs.ARMS["chunks"], 0)
    actions, known = (part.numpy() for part in clone.answers(first))
    assert actions.shape == (len(first.actions), 4)
    assert (actions[:-3, 3] == first.actions[3:]).all()
    assert (actions[-1] == first.actions[-1]).all() and known.all()


def test_every_arm_trains_and_plays_once(clone_inputs, two_runs, tmp_path, capsys):
    out = tmp_path / "results.json"
    command = [str(two_runs), "--other", str(two_runs), "--seeds", "1", "--epochs", "1", "--episodes", "2"]
    assert clone_inputs.main([*command, "--out", str(out)]) == 0
    results = json.loads(out.read_text(encoding="utf-8"))
    assert list(results) == [f"{arm}/0" for arm in clone_inputs.ARMS]
    assert all(0 <= figures["upright"] <= 1 for figures in results.values())
    results["plain/0"]["distance"] = 77.7  # stored results are not computed again
    out.write_text(json.dumps(results), encoding="utf-8")
    capsys.readouterr()
    assert clone_inputs.main([*command, "--out", str(out)]) == 0
    assert "77.7" in capsys.readouterr().out
