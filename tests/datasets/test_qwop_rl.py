"""Sampled logs in QWOP-RL's layout, made here from known keys: those keys come back, frame by frame."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_cli.cluster import ClusterOptions
from qwop_datasets import DatasetReader, first_difference, verify_episode
from qwop_datasets.cli import main
from qwop_datasets.convert import Importing, episodes_of_files, qwop_rl
from qwop_datasets.convert.key_recovery import Recovery, SampledEpisode
from qwop_datasets.convert.qwop_rl import _ACTIONS, _columns, read_log
from qwop_game import TRIG_VARIANTS, Operation, Session, Simulator, canonical_keys

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
ACTION_OF = {int(mask): action for action, mask in enumerate(_ACTIONS)}


class Page:
    """A page of the real game with a program that samples its state, played by the embedded game."""

    def __init__(self, trig="fdlibm", every=(3, 4), relative=True, seed=0):
        self.game = Simulator(1, stop_at_end=False, engine="scalar", trig=trig)
        self.rng = np.random.default_rng(seed)
        self.every, self.relative = every, relative
        self.rows, self.labels, self.rewards, self.starts = [], [], [], []
        self.played = []  # the keys of each episode
        self.operate(Session().then(Operation.OPEN).then(Operation.PLAY).then(Operation.RESET))

    def operate(self, session):
        self.game.operate(session.array)

    def sample(self, label, first):
        row = np.zeros(71)
        numbers = self.game.state[0, :72].reshape(12, 6)[:, :5].copy()
        if self.relative:
            numbers[:, 0] -= numbers[0, 0]
        row[_columns()] = numbers.reshape(-1)
        self.rows.append(row)
        self.labels.append(ACTION_OF[int(canonical_keys(label))])
        self.rewards.append(0.0)
        self.starts.append(first)

    def episode(self, keys, restart_at=()):
        """Play keys, with a sample now and then, until they or the run end."""
        due, played = int(self.rng.integers(0, 3)), []
        first = True
        for frame, mask in enumerate(keys):
            if frame in restart_at:
                self.operate(Session().then(Operation.RESET))
                due = frame + 1
            if frame == due:
                self.sample(mask, first)
                first = False
                due += int(self.rng.choice(self.every))
            self.game.step(np.array([mask], np.uint8))
            played.append(int(mask))
            if self.game.flags[0] & 8:
                break
        self.played.append(np.array(played, np.uint8))

    def soft_reset(self, idle=0, resets=1):
        self.operate(Session().then(Operation.PLAY, idle).then(Operation.RESET, resets))

    def save(self, path, **changes):
        arrays: dict[str, Any] = {  # NumPy 2 gives `savez` an option of another type
            "obs": np.array(self.rows),
            "actions": np.array(self.labels)[:, None],
            "rewards": np.array(self.rewards),
            "episode_starts": np.array(self.starts),
            "episode_returns": np.zeros(sum(self.starts)),
        }
        np.savez(path, **(arrays | changes))
        return path


def rhythm(seed, frames):
    """Keys in segments of 2 to 9 frames, as a person holds them."""
    rng = np.random.default_rng(seed)
    masks = np.array([0, 9, 6, 9, 6, 1, 2, 4, 8, 5, 10], np.uint8)
    segments = [np.repeat(rng.choice(masks), rng.integers(2, 10)) for _ in range(frames)]
    return np.concatenate(segments)[:frames].astype(np.uint8)


def strides(frames, number=0):
    """The first frames of a bundled run."""
    return DatasetReader(DEMOS)[number].keys[:frames]


def converted(path, *options):
    out = path.parent / "out" / "log.h5"
    out.unlink(missing_ok=True)
    assert main(["convert", str(path), str(out), "--source", "human", *options]) == 0
    return list(DatasetReader(out))


def assert_recovered(episode, played):
    """The keys of all frames that the record determines; it ends with the last sample or with the run."""
    t = len(episode)
    assert t >= len(played) - 12
    known = ~episode.undetermined[: len(played)]
    recovered, true = canonical_keys(episode.keys), canonical_keys(played[:t])
    assert (recovered[: len(true)] == true)[known[: len(true)]].all()
    assert known.mean() > 0.8
    assert episode.verified == "exact" and verify_episode(episode).exact


@pytest.mark.parametrize("trig", [trig for trig in TRIG_VARIANTS if trig != "llvm"])
def test_a_log_gives_its_keys_in_every_variant(tmp_path, trig):
    page = Page(trig, seed=3)
    page.episode(strides(110))
    episodes = converted(page.save(tmp_path / "log.npz"))
    assert [episode.trig for episode in episodes] == [trig]
    assert_recovered(episodes[0], page.played[0])
    assert episodes[0].provenance["samples"] == episodes[0].provenance["samples_equal"] == len(page.rows)
    assert episodes[0].game == "real" and episodes[0].tags == ()


def test_samples_six_or_seven_frames_apart_with_absolute_positions(tmp_path):
    page = Page(every=(6, 7), relative=False, seed=4)
    page.episode(rhythm(1, 90))
    (episode,) = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert_recovered(episode, page.played[0])


def test_episodes_after_soft_resets_have_their_starts(tmp_path):
    page = Page(seed=5)
    for number, (idle, resets) in enumerate([(0, 1), (7, 2), (31, 1)]):
        page.episode(strides(160, number))
        page.soft_reset(idle, resets)
    page.episode(rhythm(2, 60))
    path = page.save(tmp_path / "log.npz")
    episodes = converted(path, "--trig", "fdlibm", "--player", "Ada")
    assert len(episodes) == 4 and {episode.player for episode in episodes} == {"Ada"}
    for episode, played in zip(episodes, page.played, strict=True):
        assert_recovered(episode, played)
        assert episode.start is not None
        assert Session.of(episode.start).rows[0][0] == Operation.OPEN
    resets = [int((episode.start[:, 0] == Operation.RESET).sum()) for episode in episodes]
    assert resets[0] == 1 and sorted(resets) == resets and len(set(resets)) == 4


def test_frames_before_the_first_click_are_found(tmp_path):
    page = Page(seed=6)
    page.operate(Session().then(Operation.WAIT, 23))
    page.episode(rhythm(3, 120))
    (episode,) = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert episode.start[-1].tolist() == [Operation.WAIT, 0, 23]
    assert_recovered(episode, page.played[0])


def test_a_restart_within_an_episode_makes_two(tmp_path):
    page = Page(seed=7)
    keys = np.concatenate([strides(70), rhythm(4, 60)])
    page.episode(keys, restart_at=(70,))
    first, second = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert first.tags == ("restarted",) and first.truncated
    assert_recovered(first, keys[:70])
    assert_recovered(second, keys[70 : len(page.played[0])])
    assert (second.start[:, 0] == Operation.RESET).sum() == 2


def test_a_restart_right_after_the_start(tmp_path):
    page = Page(seed=7)
    keys = rhythm(6, 60)
    page.episode(keys, restart_at=(6,))
    first, second = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert len(first) < 7 and first.tags == ("restarted",)
    assert_recovered(second, keys[6 : len(page.played[0])])


def test_a_damaged_sample_is_named_and_the_rest_is_exact(tmp_path):
    page = Page(seed=8)
    page.episode(strides(120))
    page.rows[20][17] = np.nan
    page.rows[30][0] += 1e-9
    (episode,) = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert episode.tags == ("approximate",) and episode.provenance["samples_damaged"] == 2
    assert episode.provenance["samples_equal"] == len(page.rows) - 2
    assert_recovered(episode, page.played[0])


def test_what_follows_a_broken_part_is_left_out(tmp_path, capsys):
    page = Page(seed=9)
    page.episode(strides(120))
    for row in page.rows[30:]:
        row += 0.25
    (episode,) = converted(page.save(tmp_path / "log.npz"), "--trig", "fdlibm")
    assert "incomplete" in episode.tags and episode.provenance["samples"] == 30 and episode.truncated
    assert f"samples from 30 of {len(page.rows)} on are not reached" in capsys.readouterr().err


def test_several_logs_become_one_dataset(tmp_path):
    paths = []
    for seed in range(2):
        page = Page(seed=seed)
        page.episode(rhythm(seed, 90))
        paths.append(str(page.save(tmp_path / f"log{seed}.npz")))
    out = tmp_path / "runs.h5"
    assert main(["convert", *paths, str(out), "--source", "human", "--workers", "2"]) == 0
    both = list(DatasetReader(out))
    assert [episode.provenance["log"] for episode in both] == ["log0.npz", "log1.npz"]
    alone = converted(Path(paths[1]))[0]
    assert first_difference(both[1].replace(id=alone.id, created=alone.created), alone) is None


def saved_logs(folder, frames=(90, 90, 90)):
    paths = []
    for seed, count in enumerate(frames):
        page = Page(seed=seed)
        page.episode(rhythm(seed, count))
        paths.append(page.save(folder / f"log{seed}.npz"))
    return paths


@pytest.mark.parametrize("workers", [1, 2])
def test_logs_in_a_folder_of_tasks_are_recovered_once(tmp_path, monkeypatch, workers):
    paths, reports, recovered = saved_logs(tmp_path), [], []
    samples = [sum(len(log.samples) for log in read_log(path)) for path in paths]
    options, cluster = Importing("human"), ClusterOptions(tasks=tmp_path / "tasks")

    def convert():
        reports.clear()
        found = episodes_of_files(
            paths,
            options,
            workers=workers,
            progress=lambda done, total: reports.append((done, total)),
            cluster=cluster,
        )
        return [item.episode for item in found]

    whole = convert()
    assert [episode.provenance["log"] for episode in whole] == ["log0.npz", "log1.npz", "log2.npz"]
    assert reports[-1] == (sum(samples), sum(samples))
    kept = sorted(path.name for path in cluster.tasks.glob("*.npz"))
    assert kept == ["000000.npz", "000001.npz", "000002.npz"]

    # One is lost: only this one is recovered again, in this process, and only its samples are counted.
    (cluster.tasks / kept[1]).unlink()
    recover = qwop_rl._recovered
    monkeypatch.setattr(
        qwop_rl, "_recovered", lambda path, *rest: recovered.append(path.name) or recover(path, *rest)
    )
    again = convert()
    assert recovered == ["log1.npz"] and reports[-1] == (samples[1], samples[1])
    for a, b in zip(whole, again, strict=True):
        assert a is not None and b is not None
        assert first_difference(b.replace(id=a.id, created=a.created), a) is None


def test_an_interrupted_conversion_keeps_the_logs_that_are_done(tmp_path):
    paths, kept, out = saved_logs(tmp_path, (60,)), tmp_path / "tasks", tmp_path / "runs.h5"
    page, run = Page(seed=5, every=(5, 6)), DatasetReader(DEMOS)[0].keys
    for _ in range(5):  # takes many times as long as the first log
        page.episode(run)
        page.operate(Session().then(Operation.RESET))
    paths.append(page.save(tmp_path / "long.npz"))
    command = [sys.executable, "-m", "qwop_datasets.cli", "convert", *map(str, paths), str(out)]
    command += ["--source", "human", "--workers", "2", "--tasks", str(kept)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    while process.poll() is None and not (kept / "000000.npz").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.endswith("qwop-data: interrupted\n"), error
    assert (kept / "000000.npz").exists() and not (kept / "000001.npz").exists() and not out.exists()


def test_who_converts_several_logs_is_told_of_the_folder_of_tasks(tmp_path, capsys):
    paths, hint = list(map(str, saved_logs(tmp_path, (60, 60)))), "--tasks FOLDER keeps each log that is done"
    options = ["--source", "human", "--trig", "fdlibm", "--workers", "1"]
    assert main(["convert", *paths, str(tmp_path / "a.h5"), *options]) == 0
    assert capsys.readouterr().err.count(hint) == 1
    assert main(["convert", *paths[:1], str(tmp_path / "b.h5"), *options]) == 0
    assert main(["convert", *paths, str(tmp_path / "c.h5"), *options, "--tasks", str(tmp_path / "t")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "change, message",
    [
        ({"obs": np.zeros((5, 70))}, "unknown format|not a log|observations"),
        ({"actions": np.full((5, 1), 11)}, "actions: entry 0 is 11, expected a whole number from 0 to 10"),
        ({"episode_starts": np.zeros(5, bool)}, "does not begin with an episode"),
        ({"rewards": np.zeros(4)}, "rewards: has float64 of shape \\[4\\]"),
    ],
)
def test_a_broken_log_is_named_in_one_line(tmp_path, capsys, change, message):
    page = Page()
    for _ in range(5):
        page.sample(0, not page.rows)
    path = page.save(tmp_path / "log.npz", **change)
    assert main(["convert", str(path), str(tmp_path / "out.h5"), "--source", "human"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not (tmp_path / "out.h5").exists()


def test_a_log_without_source_is_asked_for_it(tmp_path, capsys):
    page = Page()
    page.episode(rhythm(0, 30))
    path = page.save(tmp_path / "log.npz")
    assert main(["convert", str(path), str(tmp_path / "out.h5")]) == 2
    assert "add --source human" in capsys.readouterr().err


def test_the_end_of_a_run_follows_from_the_last_reward(tmp_path):
    """QWOP-RL's log has no sample of the state in which the run ends, but its reward."""
    page = Page(seed=10)
    page.episode(np.full(400, 9, np.uint8))  # falls
    log = read_log(page.save(tmp_path / "log.npz"))[0]
    played = page.played[0]
    assert len(played) < 400
    recovery = Recovery("fdlibm")
    (part,) = recovery.recover(SampledEpisode(log.samples, log.relative, log.labels))
    assert part.ended and len(part.keys) == len(played)  # by the label, which is held
    assert part.undetermined[part.sample_frames[-1] :].all()


def test_equal_samples_count_once(tmp_path):
    page = Page(seed=11)
    page.episode(rhythm(5, 60))
    for column in (page.rows, page.labels, page.rewards):
        column.insert(4, column[3])
    page.starts.insert(4, False)
    (log,) = read_log(page.save(tmp_path / "log.npz"))
    assert len(log.samples) == len(page.rows) - 1
