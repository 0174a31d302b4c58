"""The figures that cloning, fine-tuning and evaluation share."""

import json
import math

import numpy as np
import pytest

from qwop_game import RolloutMetrics, Simulator
from qwop_game.gait import knee_near, upright


def test_figures_of_episodes():
    metrics = RolloutMetrics()
    metrics.add_episodes(np.array([100.5, 20.0]), np.array([60.0, 9.0]), np.array([True, False]))
    metrics.add_episodes(np.array([101.5]), np.array([50.0]), np.array([True]))
    assert (metrics.episodes, metrics.finished, metrics.finish_rate) == (3, 2, 2 / 3)
    assert metrics.mean_distance == 222.0 / 3
    assert (metrics.median_time, metrics.best_time) == (55.0, 50.0)


def test_postures_are_counted_one_by_one():
    simulator = Simulator(2)
    rows = []
    for _ in range(40):  # Q and P, and nothing: one runner falls
        simulator.step(np.array([9, 0], np.uint8), 2)
        rows.append(simulator.raw_observation.copy())
    raw = np.concatenate(rows)
    metrics = RolloutMetrics()
    for row in rows:
        metrics.add_steps(row)
    assert metrics.steps == 80
    assert 0 < metrics.upright == upright(raw).sum() < 80
    assert metrics.knee_near == knee_near(raw).sum()
    assert metrics.upright_share == upright(raw).mean()


def test_what_nothing_was_counted_for_is_nan():
    metrics = RolloutMetrics()
    metrics.add_episodes(np.array([1.0]), np.array([5.0]), np.array([False]))
    assert metrics.finish_rate == 0.0
    undefined = metrics.median_time, metrics.best_time, metrics.knee_near_share, metrics.upright_share
    assert all(math.isnan(figure) for figure in (*undefined, RolloutMetrics().mean_distance))


def test_counting_goes_on_from_what_earlier_releases_stored():
    counts = '"steps": 9, "knee_near": 3, "upright": 5, "episodes": 2, "meters": 61.5'
    stored = f'{{{counts}, "finish_times": [58.25]}}'
    metrics = RolloutMetrics(**json.loads(stored))
    assert json.dumps(metrics.state()) == stored
    metrics.add_episodes(np.array([100.0]), np.array([48.25]), np.array([True]))
    assert metrics.mean_distance == pytest.approx(161.5 / 3)
    assert (metrics.finish_rate, metrics.median_time) == (2 / 3, 53.25)
