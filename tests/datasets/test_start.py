"""Episodes that begin elsewhere than at the canonical start: stored, verified, exported, recorded."""

import json

import numpy as np
import pytest

from qwop_datasets import (
    DatasetReader,
    DatasetWriter,
    Episode,
    first_difference,
    read_journal,
    replay_keys,
    verify_episode,
)
from qwop_datasets.cli import main
from qwop_datasets.compact import write_compact_dataset
from qwop_datasets.journal import Journal
from qwop_datasets.recording import End, Frame, Recording
from qwop_game import CANONICAL_START, Operation, Session, Simulator

STRIDES = np.tile(np.repeat(np.array([9, 6], np.uint8), 11), 6)


def session(idle=3, resets=2):
    """A run of 132 frames, then idle frames and resets."""
    opened = Session().then(Operation.OPEN).then(Operation.PLAY).then(Operation.RESET)
    return opened.play(STRIDES).then(Operation.PLAY, idle).then(Operation.RESET, resets)


def episode(start=None, trig="fdlibm", keys=STRIDES[:60], **fields):
    rows = (start or session()).array
    (run,) = replay_keys([keys], starts=[rows], trig=trig)
    n = run.frames_until_end
    marks = np.arange(n) % 7 == 3
    return Episode(
        keys=keys[:n],
        raw_observations=run.raw_observations[: n + 1],
        times=run.times[: n + 1],
        terminated=run.over,
        truncated=not run.over,
        success=False,
        source="human",
        trig=trig,
        start=rows,
        undetermined=marks,
        **fields,
    )


def test_the_canonical_start_is_a_session():
    for trig in ("rounded", "fdlibm"):
        played, reset = Simulator(1, trig=trig), Simulator(1, trig=trig)
        played.operate(CANONICAL_START.array)
        assert np.array_equal(played.state, reset.state)
        for mask in STRIDES:
            for simulator in (played, reset):
                simulator.step(np.array([mask], np.uint8))
        assert np.array_equal(played.state, reset.state)


def test_waiting_before_the_first_click_turns_the_head():
    opened = Session().then(Operation.OPEN).then(Operation.PLAY).then(Operation.RESET)
    simulator = Simulator(1)
    heads = []
    for waits in (0, 1, 50):
        simulator.operate(opened.then(Operation.WAIT, waits).array)
        assert simulator.time[0] == 0
        simulator.step(np.zeros(1, np.uint8), 2)
        heads.append(float(simulator.state[0, 8]))
    assert heads[0] > heads[1] > heads[2]


def test_an_episode_keeps_its_start_through_every_file(tmp_path):
    first = episode()
    path = tmp_path / "runs.h5"
    with DatasetWriter(path) as writer:
        writer.append_all([first, episode(session(7, 1))])
    back = DatasetReader(path)[0]
    assert first_difference(back.replace(gait={}), first) is None
    assert main(["verify", str(path)]) == 0 and main(["check", str(path)]) == 0
    compact = tmp_path / "compact.h5"
    write_compact_dataset(compact, list(DatasetReader(path)))
    assert np.array_equal(DatasetReader(compact)[1].raw_observations, DatasetReader(path)[1].raw_observations)
    merged = tmp_path / "merged.h5"
    assert main(["merge", str(merged), str(path)]) == 0
    assert np.array_equal(start_of(DatasetReader(merged)[1]), session(7, 1).array)


def start_of(stored):
    """The start of an episode that has one."""
    assert stored.start is not None
    return stored.start


def test_a_replay_needs_the_start():
    begun = episode(Session().then(Operation.OPEN).then(Operation.WAIT, 9))
    assert verify_episode(begun).exact
    elsewhere = verify_episode(begun.replace(start=None))
    assert not elsewhere.exact and elsewhere.frame == 0


@pytest.mark.parametrize("kind", ["npz", "csv", "minari", "robomimic", "imitation"])
def test_exports_keep_the_start(tmp_path, kind):
    if kind == "imitation":
        pytest.importorskip("imitation")
    path, out = tmp_path / "runs.h5", tmp_path / ("out-v0" if kind == "minari" else f"out.{kind}")
    with DatasetWriter(path) as writer:
        writer.append(episode())
    assert main(["convert", str(path), str(out), "--to", kind]) == 0
    assert main(["convert", str(out), str(tmp_path / "back.h5"), "--from", kind, "--source", "human"]) == 0
    stored, back = DatasetReader(path)[0], DatasetReader(tmp_path / "back.h5")[0]
    assert np.array_equal(start_of(back), start_of(stored))
    assert back.undetermined is not None and stored.undetermined is not None
    assert np.array_equal(back.undetermined, stored.undetermined)
    assert back.verified == "exact"


def test_a_recording_of_keys_alone_leaves_such_an_episode_out(tmp_path, capsys):
    path = tmp_path / "runs.h5"
    falls = np.full(400, 9, np.uint8)
    with DatasetWriter(path) as writer:
        writer.append(episode(keys=falls))
    assert main(["convert", str(path), str(tmp_path / "out.rec")]) == 2
    assert "begin elsewhere than a recording" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rows, problem",
    [
        ([(2, 0, 5)], "does not begin with the load of the page"),
        ([(0, 0, 1), (4, 0, 1)], r"has a row \(4, 0, 1\), which is no operation"),
        ([(0, 0, 1), (1, 3, 1)], "holds keys where no frame is played"),
        ([(0, 0, 1), (1, 0, 1), (2, 9, 2)], "holds keys after the last reset"),
        ([(0, 0, 1), (2, 0, 2_000_000)], "is longer than ten hours"),
    ],
)
def test_a_start_that_is_none_is_refused(rows, problem):
    with pytest.raises(ValueError, match=f"its start {problem}"):
        episode().replace(start=np.array(rows, np.uint32))


def test_a_journal_keeps_the_start(tmp_path):
    whole = episode()
    recording = Recording(
        whole.raw_observations[0], whole.times[0], source="human", trig="fdlibm", start=whole.start
    )
    path = tmp_path / "runs.h5.journal"
    with Journal(path) as journal:
        journal.begin(recording)
        for keys, row, time in zip(whole.keys, whole.raw_observations[1:], whole.times[1:], strict=True):
            journal.write(recording.add(Frame(int(keys), row, float(time), 1.0, 0.0)))
        journal.write(recording.add(End(whole.terminated, whole.truncated, whole.success)))
    ((back,), damaged) = read_journal(path)
    assert damaged == 0 and np.array_equal(start_of(back), start_of(whole)) and verify_episode(back).exact
    assert json.loads(json.dumps(back.start.tolist())) == whole.start.tolist()
