"""A policy is watched and judged in an environment without PyTorch: the episodes of PyTorch's player."""

import json

import numpy as np
import pytest

from qwop_cli import json_text
from qwop_evaluation import CheckpointPlayer, Lookahead, evaluate, play, shipped_policy_path
from qwop_rl_core import Policy

pytestmark = pytest.mark.slow


def test_whole_episodes_are_those_of_torch():
    """All actions of 40 disturbed episodes; scores differ in their last bits."""
    path = shipped_policy_path()
    ours, theirs = CheckpointPlayer(path, numpy=True), CheckpointPlayer(path)
    for first, second in zip(play(ours, range(40)), play(theirs, range(40)), strict=True):
        assert np.array_equal(first.keys, second.keys)
        assert np.array_equal(first.raw_observations, second.raw_observations)
    features = np.random.default_rng(0).normal(size=(500, Policy.load(path).network.feature_size))
    features = features.astype(np.float32)
    for name in ("scores", "values"):
        a, b = getattr(ours, name)(features), getattr(theirs, name)(features)
        assert a.dtype == b.dtype == np.float64
        assert 0 < np.abs(a - b).max() < 1e-4


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        ([], {}),
        (["--sample"], {"sample": True}),
        (["--lookahead", "--candidates", "4"], {"lookahead": Lookahead(4)}),
    ],
)
def test_qwop_eval_without_torch(flags, settings, without_torch):
    shared = "--numpy --episodes 3 --seed 7 --max-seconds 15 --json".split()
    result = without_torch("qwop_evaluation.cli", *shared, *flags)
    assert result.returncode == 0 and "qwop-eval" not in result.stderr
    printed = json.loads(result.stdout)
    expected = evaluate(episodes=3, seed=7, max_seconds=15, **settings).as_json()
    assert printed == json.loads(json_text(expected)) and printed["runs"][0]["distance_m"] > 20


def test_qwop_eval_says_what_to_do_without_torch(without_torch):
    result = without_torch("qwop_evaluation.cli")
    assert result.returncode == 2
    assert result.stderr.startswith("qwop-eval: PyTorch is not installed; play with NumPy: qwop-eval --numpy")
    assert result.stderr.count("\n") == 1


def test_qwop_replay_shows_a_policy_without_torch(without_torch, tmp_path):
    page, film = tmp_path / "run.html", tmp_path / "run.gif"
    result = without_torch(
        "qwop_replay.cli", shipped_policy_path(), "--episode", 3, "--html", page, "--video", film,
        "--size", "160x100", "--speed", 8, "--ghost", ":4",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    episodes = play(CheckpointPlayer(shipped_policy_path()), [3, 4])
    for line, episode, seed in zip(lines, episodes, (3, 4), strict=True):
        assert line.startswith(
            f"policy {seed}: finish at {episode.distance:.1f} m after {episode.time:.2f} s"
        )
        assert line.endswith("policy policy; replays bit for bit")
    assert "<html" in page.read_text(encoding="utf-8")[:200] and film.read_bytes()[:4] == b"GIF8"
