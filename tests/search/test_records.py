"""demos/records.h5: the best runs, each replayed here, and what docs/experiments/records.md says of them."""

from pathlib import Path

import pytest

from qwop_datasets import DatasetReader, Episode
from qwop_datasets.verify import verify_episodes
from qwop_game.gait import gait_metrics

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records() -> list[Episode]:
    with DatasetReader(ROOT / "demos" / "records.h5") as reader:
        return [reader[i] for i in range(len(reader))]


def table() -> list[dict[str, str]]:
    """The table "Best runs by method" of docs/experiments/records.md, a row per episode."""
    text = (ROOT / "docs" / "experiments" / "records.md").read_text(encoding="utf-8")
    section = text.split("## Best runs by method")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_every_record_replays_and_is_a_stride(records):
    assert all(verification.exact for verification in verify_episodes(records))
    for episode in records:
        gait = gait_metrics(episode.raw_observations)
        assert episode.success
        assert gait.upright >= 0.95
        assert gait.knee_near <= 0.01
        assert 1.5 <= gait.stride_length <= 6.0  # m: a scraper's feet do not get that far
        assert gait.steps >= 30


def test_the_table_says_what_the_file_holds(records):
    rows = table()
    assert [row["episode"] for row in rows] == [str(i) for i in range(len(records))]
    for row, episode in zip(rows, records, strict=True):
        gait = gait_metrics(episode.raw_observations)
        assert row["time, s"] == f"{episode.time:.2f}"
        assert row["source"] == episode.source
        assert row["upright"] == f"{gait.upright:.1%}".replace("%", " %")
        assert row["knee near"] == f"{gait.knee_near:.1%}".replace("%", " %")
        assert row["seed"] == str(episode.provenance["seed"])
        assert row["policy"] == str(episode.provenance["policy_sha256"])[:8]
        frames = episode.provenance.get("frames_played")
        assert row["frames played"] == (f"{frames / 1e6:.1f} M" if frames else f"{len(episode.keys)}")


def test_the_best_record_is_the_one_that_the_documentation_names(records):
    best = min(episode.time for episode in records)
    text = (ROOT / "docs" / "experiments" / "records.md").read_text(encoding="utf-8")
    assert f"The best run takes **{best:.2f} s**" in " ".join(text.split())
    assert f"**{best:.2f} s** for 100 m" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert best < 42.5
