"""Properties of filters, decisions and damaged journals that must hold for any input."""

import operator
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwop_datasets import DatasetError, Episode, replay_keys
from qwop_datasets.decisions import decisions_of
from qwop_datasets.filters import matching
from qwop_datasets.format import INDEX_DTYPE
from qwop_datasets.journal import Journal, journal_path, read_journal
from qwop_datasets.recording import End, Frame, Recording
from qwop_game import ACTION_SETS, canonical_keys

NUMBERS = ("frames", "time", "distance", "knee_share", "upright_share")
COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def indexes(draw):
    """INDEX_DTYPE [N] with figures that may be unknown."""
    index = np.zeros(draw(st.integers(0, 6)), INDEX_DTYPE)
    for row in index:
        for name in ("time", "distance", "knee_share", "upright_share"):
            row[name] = draw(st.sampled_from([np.nan, 0.0, 0.25, 1.0, 45.9]))
        row["frames"] = draw(st.integers(1, 4))
        for name in ("success", "terminated", "truncated", "verified"):
            row[name] = draw(st.booleans())
        row["source"] = draw(st.sampled_from([b"human", b"policy"]))
        row["tags"] = b" ".join(draw(st.lists(st.sampled_from([b"warm", b"late"]), unique=True)))
    return index


conditions = st.one_of(
    st.tuples(
        st.sampled_from(NUMBERS), st.sampled_from(list(COMPARE)), st.sampled_from(["0", "0.25", "1", "3"])
    ),
    st.tuples(st.sampled_from(["success", "terminated", "truncated", "verified"]), st.just(""), st.just("")),
    st.tuples(st.just("source"), st.sampled_from(["=", "!="]), st.sampled_from(["human", "policy"])),
    st.tuples(st.just("tag"), st.sampled_from(["=", "!="]), st.sampled_from(["warm", "late"])),
)


def holds(row, name, compare, value):
    """The same rule for one row, as a person reads it."""
    if compare == "":
        return row[name] == 1
    if name == "tag":
        return (value in row["tags"].decode().split()) == (compare == "=")
    if name == "source":
        return COMPARE[compare](row["source"].decode(), value)
    return not np.isnan(row[name]) and bool(COMPARE[compare](row[name], float(value)))


@given(indexes(), st.lists(conditions, max_size=4))
def test_a_filter_keeps_the_rows_for_which_every_condition_holds(index, wanted):
    where = " ".join("".join(condition) for condition in wanted)
    expected = [all(holds(row, *condition) for condition in wanted) for row in index]
    assert matching(index, where).tolist() == expected


@given(indexes(), st.text(string.ascii_lowercase + " =!<>'\"0123456789.", max_size=20))
def test_any_text_is_a_filter_or_one_clear_line(index, where):
    try:
        assert matching(index, where).shape == index.shape
    except DatasetError as error:
        assert "filter" in str(error) and "\n" not in str(error)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 4))
def test_the_decisions_of_a_policy_are_found_as_they_were(actions, frame_skip, idle):
    masks = ACTION_SETS["distinct"][actions]
    if not masks[0]:  # waiting at the start is no decision
        masks[0] = 1
    keys = np.concatenate([np.zeros(idle, np.uint8), np.repeat(masks, frame_skip)])
    (played,) = replay_keys([keys])
    episode = Episode(
        keys=keys,
        raw_observations=played.raw_observations,
        times=played.times,
        terminated=False,
        truncated=True,
        success=False,
        source="script",
    )
    decisions = decisions_of(episode, frame_skip)
    assert decisions.kept == 1
    assert decisions.features.shape[0] == len(decisions) + 1 == len(decisions.starts) + 1
    held = canonical_keys(np.repeat(ACTION_SETS["distinct"][decisions.actions], frame_skip))
    first = decisions.starts[0]
    assert (held[: len(keys) - first] == canonical_keys(keys[first:])).all()
    assert not keys[:first].any()


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Bytes of a journal of two runs, and the number of frames of each."""
    path = tmp_path_factory.mktemp("journal") / "x.h5"
    rng = np.random.default_rng(3)
    with Journal(journal_path(path)) as journal:
        for run, frames in enumerate((3, 4)):
            recording = Recording(
                rng.normal(size=60).astype(np.float32), 0.0, id=f"{run:032x}", source="human"
            )
            journal.begin(recording)
            for frame in range(frames):
                journal.write(
                    recording.add(Frame(frame, rng.normal(size=60).astype(np.float32), (frame + 1) / 30))
                )
            journal.write(recording.add(End(terminated=True)))
        journal.flush()
        return journal_path(path).read_bytes(), (3, 4)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_journal_gives_whole_prefixes_or_one_clear_line(journal, tmp_path_factory, data):
    content, frames = journal
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.h5.journal"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(content)))])
    try:
        episodes, _ = read_journal(path)
    except DatasetError as error:
        assert "\n" not in str(error)
        return
    for episode in episodes:
        run = int(episode.id, 16)
        assert episode.keys.tolist() == list(range(episode.num_frames))
        assert episode.num_frames <= frames[run]
