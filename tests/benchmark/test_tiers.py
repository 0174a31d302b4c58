"""The offline tiers: fixed content, splits, files that open as datasets."""

import numpy as np
import pytest

from qwop_benchmark import TIERS, tier_episodes, tier_keys
from qwop_benchmark.cli import main as qwop_benchmark
from qwop_benchmark.packing import packed, unpacked
from qwop_benchmark.tiers import content_sha256, tier_of
from qwop_datasets import DatasetReader, verify_episodes

SHIPPED = [name for name in TIERS if name != "human"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_keys_are_the_fixed_ones(name):
    tier, keys = tier_of(name), tier_keys(name)
    assert (len(keys), sum(map(len, keys))) == (tier.runs, tier.frames)
    assert content_sha256(keys) == tier.sha256
    parts = tier_keys(name, "train"), tier_keys(name, "validation")
    assert len(parts[0]) == len(keys) - len(parts[1]) and len(parts[1]) == len(keys) // 10
    assert np.array_equal(parts[1][0], keys[9])


def test_changed_keys_are_refused(tmp_path, monkeypatch):
    whole = tier_keys("search")
    keys, lengths = packed(whole)
    assert all(map(np.array_equal, unpacked(keys, lengths), whole))
    monkeypatch.setattr("qwop_benchmark.tiers.unpacked", lambda *_: [run ^ 1 for run in whole])
    with pytest.raises(ValueError, match="not the fixed ones"):
        tier_keys("search")


def test_tiers_are_what_they_say():
    finished = {name: [run.success for run in tier_episodes(name)] for name in ("scrape", "medium", "expert")}
    near = {
        name: np.mean([knee_near(run) for run in tier_episodes(name)[:10]]) for name in ("scrape", "expert")
    }
    assert sum(finished["scrape"]) >= 50 and near["scrape"] > 0.5
    assert 1 <= sum(finished["medium"]) <= 80
    assert sum(finished["expert"]) >= 90 and near["expert"] < 0.05
    assert all(run.success and run.time < 43 for run in tier_episodes("search"))


def knee_near(episode):
    from qwop_game.gait import gait_metrics

    return gait_metrics(episode.raw_observations).knee_near


def test_a_tier_opens_as_a_dataset(tmp_path, capsys):
    out = tmp_path / "search.h5"
    assert qwop_benchmark(["data", "search", "--split", "validation", "--out", str(out)]) == 0
    with DatasetReader(out) as runs:
        episodes = list(runs)
    assert all(check.exact for check in verify_episodes(episodes))
    assert [e.provenance["number"] for e in episodes] == [9, 19]
    assert [e.id for e in episodes] == [e.id for e in tier_episodes("search", "validation")]
    assert qwop_benchmark(["data", "search", "--out", str(out)]) == 2
    assert "search.h5" in capsys.readouterr().err
    assert qwop_benchmark(["data", "search"]) == 0
    assert f"sha256      {tier_of('search').sha256}" in capsys.readouterr().out
