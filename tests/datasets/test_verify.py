"""Stored runs happen again, bit for bit; a run that does not says where and by how much."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_datasets import DatasetReader, DatasetWriter, Episode
from qwop_datasets.cli import main
from qwop_datasets.exact_replay import replay_keys
from qwop_datasets.journal import Journal, journal_path
from qwop_datasets.recording import Frame, Recording
from qwop_datasets.recovery import recover_dataset
from qwop_datasets.verify import verify_episode, verify_episodes
from qwop_game import raw_from_state

GOLDEN = Path(__file__).parents[1] / "golden"


def episode(keys, *, game="embedded", trig="rounded", **changes):
    """What a replay of the keys gives, as an episode."""
    (played,) = replay_keys([keys], stop_at_end=game == "embedded", trig=trig)
    values: dict[str, Any] = {
        "keys": keys,
        "raw_observations": played.raw_observations,
        "times": played.times,
        "terminated": played.over,
        "truncated": not played.over,
        "success": played.landed,
        "source": "script",
        "game": game,
        "trig": trig,
    }
    return Episode(**(values | changes))


@pytest.fixture(scope="module")
def finished():
    """A whole run of the real game, 100 m and the jump, stored as the real game gave it."""
    with np.load(GOLDEN / "glibc-fma_runs.npz") as data:
        keys, frames, states = data["actions_0"], data["frames_0"], data["states_0"]
    made = episode(keys, game="real", trig="glibc-fma")
    # The simulator's rows, but for those that the real game's are stored of.
    raw = made.raw_observations.copy()
    raw[frames] = raw_from_state(states)
    assert len(frames) > 400
    return made.replace(raw_observations=raw)


def test_a_run_of_the_real_game_verifies(finished):
    assert finished.success and finished.num_frames == 2301 and finished.distance > 100
    result = verify_episode(finished)
    assert result.exact and result.text == "exact"


def test_the_first_difference_is_named(finished):
    raw = finished.raw_observations.copy()
    raw[700, 17] = np.nextafter(raw[700, 17], np.float32(9))  # leftCalf.angle, by one bit
    raw[900, 0] += 1
    result = verify_episode(finished.replace(raw_observations=raw))
    assert (result.exact, result.frame, result.field) == (False, 700, "leftCalf.angle")
    assert result.stored == raw[700, 17]
    assert result.replayed == finished.raw_observations[700, 17]
    assert result.text.startswith("differs: frame 700, leftCalf.angle by ")


def test_another_key_shows_in_the_next_frame(finished):
    keys = finished.keys.copy()
    frame = int(np.flatnonzero((keys & 1) == 1)[50])
    keys[frame] ^= 1
    result = verify_episode(finished.replace(keys=keys))
    assert not result.exact and result.frame == frame + 1


@pytest.mark.parametrize("field", ["terminated", "success", "time"])
def test_the_end_and_the_clock_are_verified_too(finished, field):
    times = finished.times.copy()
    times[2000:] += 0.001
    changes = {
        "terminated": {"terminated": False, "success": False},
        "success": {"success": False},
        "time": {"times": times},
    }
    result = verify_episode(finished.replace(**changes[field]))
    assert (result.exact, result.field) == (False, field)
    assert result.frame == (2000 if field == "time" else 2301)


def test_the_real_clock_may_start_anywhere(finished):
    assert verify_episode(finished.replace(times=finished.times + 0.0489)).exact


def test_beyond_a_fall_the_real_game_slides_on_and_ours_stands_still():
    keys = np.full(120, 4, np.uint8)  # O alone: falls in frame 53
    real, ours = episode(keys, game="real"), episode(keys)
    assert verify_episode(real).exact and verify_episode(ours).exact
    assert not np.array_equal(real.raw_observations[-1], ours.raw_observations[-1])
    assert np.array_equal(ours.raw_observations[53], ours.raw_observations[120])
    assert not verify_episode(real.replace(game="embedded")).exact


def test_many_lanes_give_the_results_of_one_in_order():
    rng = np.random.default_rng(5)
    episodes = []
    for i in range(11):
        made = episode(rng.integers(0, 16, 20 + 10 * i).astype(np.uint8), game=("embedded", "real")[i % 2])
        if i % 3 == 0:
            raw = made.raw_observations.copy()
            raw[i + 1, i] += 1
            made = made.replace(raw_observations=raw)
        episodes.append(made)
    alone = [verify_episode(e) for e in episodes]
    assert list(verify_episodes(iter(episodes), lanes=4)) == alone
    assert [r.frame for r in alone] == [i + 1 if i % 3 == 0 else None for i in range(11)]


def test_the_command_reports_and_stores(tmp_path, capsys):
    path = tmp_path / "runs.h5"
    good = episode(np.full(40, 9, np.uint8))
    raw = good.raw_observations.copy()
    raw[3, 1] += 0.5
    bad = good.replace(raw_observations=raw, id="b" * 32)
    DatasetWriter(path).append_all([good, bad])
    before = path.read_bytes()
    assert main(["verify", str(path)]) == 1
    out = capsys.readouterr().out
    assert "episode 1 (bbbbbbbb): differs: frame 3, torso.y by 0.5" in out and "1 of 2 episodes" in out
    assert path.read_bytes() == before
    assert main(["verify", str(path), "--store"]) == 1
    reader = DatasetReader(path)
    assert reader[0].verified == "exact" and reader[1].verified.startswith("differs: frame 3")
    assert reader.index["verified"].tolist() == [1, -1]
    assert main(["check", str(path)]) == 0
    assert main(["verify", str(path), "--where", "number=0"]) == 0


def test_what_is_recovered_from_a_journal_is_verified(tmp_path):
    path = tmp_path / "runs.h5"
    made = episode(np.full(40, 9, np.uint8))
    with Journal(journal_path(path)) as journal:
        for broken in (0.0, 1.0):
            recording = Recording(made.raw_observations[0], made.times[0], source="human")
            journal.begin(recording)
            for t, keys in enumerate(made.keys):
                journal.write(
                    recording.add(Frame(keys, made.raw_observations[t + 1] + broken, made.times[t + 1]))
                )
    episodes = recover_dataset(path).episodes
    assert [e.verified[:8] for e in episodes] == ["exact", "differs:"]
