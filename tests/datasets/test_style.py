"""Style: the rhythm of keys and the gait as distributions, and how far two of them are apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from qwop_datasets import DatasetError, DatasetReader, Episode, compare_style, style_figures, wasserstein
from qwop_datasets.cli import main
from qwop_game.gait import gait_metrics

DEMOS = Path(__file__).parents[2] / "demos"
Q, W, O, P = 1, 2, 4, 8  # noqa: E741


def run_of(keys):
    return Episode(
        keys=np.array(keys, np.uint8),
        raw_observations=np.zeros((len(keys) + 1, 60), np.float32),
        times=np.arange(len(keys) + 1) / 30,
        terminated=False,
        truncated=True,
        success=False,
        source="script",
    )


def test_figures_of_keys():
    # Q for 3 frames, with O in the second; 2 without keys; Q and W for 2 (W has no effect); W for 1.
    figures = style_figures(run_of([Q, Q | O, Q, 0, 0, Q | W, Q | W, W]))
    assert figures["key segment, frames"].tolist() == [1, 1, 1, 2, 2, 1]
    assert figures["Q held, frames"].tolist() == [3, 2]
    assert figures["Q press to press, frames"].tolist() == [5]
    assert figures["W held, frames"].tolist() == [1]  # not 3: Q wins
    assert figures["O held, frames"].tolist() == [1]
    assert figures["P held, frames"].tolist() == figures["P press to press, frames"].tolist() == []


def test_figures_of_gait_agree_with_the_gait_metrics():
    (run,) = DatasetReader(DEMOS / "demos.h5", "number=0")
    gait, figures = gait_metrics(run.raw_observations, run.keys), style_figures(run)
    assert figures["stride length, m"].mean() == pytest.approx(gait.stride_length, rel=1e-12)
    assert len(figures["stride length, m"]) == gait.steps - 1  # each step but the last begins one
    assert figures["torso lean, degrees"].mean() == pytest.approx(gait.torso_pitch, rel=1e-12)
    # A stride is two steps, so both count the same steps; the mean over strides weighs short ones alike.
    assert np.median(figures["cadence, steps/min"]) == pytest.approx(gait.cadence, rel=0.1)
    assert figures["stride speed, m/s"].mean() == pytest.approx(run.distance / run.time, rel=0.1)


def test_wasserstein():
    # Half of the weight moves by 1, the other half by 3.
    assert wasserstein(np.array([0.0, 1.0]), np.array([1.0, 4.0])) == 2.0
    assert wasserstein(np.array([5.0]), np.array([5.0, 5.0, 5.0])) == 0.0
    assert np.isnan(wasserstein(np.array([]), np.array([1.0])))
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=30), generator.exponential(size=20).round(1)
    # Repeated to the same size, the k-th smallest numbers are matched.
    expected = np.abs(np.sort(np.repeat(a, 2)) - np.sort(np.repeat(b, 3))).mean()
    assert wasserstein(a, b) == pytest.approx(expected, rel=1e-12)
    assert wasserstein(a, b) == wasserstein(b, a)


def test_a_player_is_near_to_its_own_runs_and_far_from_others():
    with DatasetReader(DEMOS / "demos.h5") as reader:
        policy = [reader[i] for i in range(12)]
    with DatasetReader(DEMOS / "records.h5") as reader:
        record = list(reader)[:2]
    same = {row.figure: row for row in compare_style(policy[:6], policy[6:]).distances}
    other = {row.figure: row for row in compare_style(record, policy[6:]).distances}
    for figure in ("key segment, frames", "Q held, frames", "stride speed, m/s"):
        assert same[figure].ratio < 2.5 < other[figure].ratio, figure
    assert same["Q held, frames"].reference_mean == other["Q held, frames"].reference_mean
    assert 0 < same["torso lean, degrees"].within < 5


def test_keys_that_were_never_pressed_have_no_distance():
    comparison = compare_style([run_of([Q, 0, Q])], [run_of([P, 0]), run_of([P, P, 0])])
    rows = {row["figure"]: row for row in comparison.as_json()["distances"]}
    assert rows["Q held, frames"]["mean"] == 1.0 and rows["Q held, frames"]["distance"] is None
    assert rows["P held, frames"]["within"] == 1.0 and rows["P held, frames"]["mean"] is None
    assert "P held, frames" in str(comparison)
    with pytest.raises(DatasetError, match="1 runs against 1: expected"):
        compare_style([run_of([Q])], [run_of([Q])])


def test_the_command(capsys):
    arguments = [
        "style",
        str(DEMOS / "demos.h5"),
        "--where",
        "number<4",
        "--against",
        str(DEMOS / "demos.h5"),
    ]
    assert main([*arguments, "--against-where", "number<3", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runs"], result["reference_runs"], len(result["distances"])) == (4, 3, 13)
    assert main([*arguments, "--against-where", "number=3"]) == 2
    assert "expected at least 1 against at least 2" in capsys.readouterr().err
