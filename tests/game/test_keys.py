import numpy as np
import pytest

from qwop_game import (
    ACTION_SETS,
    action_masks,
    canonical_keys,
    distinct_action,
    hip_modes,
    key_text,
    last_keys,
)
from qwop_game.keys import next_hip_modes


def texts(name: str) -> list[str]:
    return [key_text(mask) for mask in ACTION_SETS[name]]


def test_action_sets_spelled_out():
    assert texts("full") == "- Q W O P QW QO QP WO WP OP QWO QWP QOP WOP QWOP".split()
    assert texts("reduced") == "- Q W O P QW QP WO OP".split()
    assert texts("distinct") == "- O P Q QO QP W WO WP".split()
    assert all(masks.dtype == np.uint8 and not masks.flags.writeable for masks in ACTION_SETS.values())


@pytest.mark.parametrize(("name", "reduced"), [("full", False), ("reduced", True)])
def test_action_order_is_qwop_gyms(name, reduced):
    qwop_env = pytest.importorskip("qwop_gym.envs.v1.qwop_env")
    env = qwop_env.QwopEnv(browser_mock=True, reduced_action_set=reduced)
    # qwop-gym names an action's keys by their character codes: (113, 119) is Q with W
    theirs = [sum(1 << "qwop".index(chr(code)) for code in codes) for codes in env.keycodes_c]
    assert theirs == ACTION_SETS[name].tolist()


def test_unknown_action_set_names_the_known_ones():
    with pytest.raises(ValueError, match="'ful' is unknown: choose one of full, reduced, distinct"):
        action_masks("ful")


def test_canonical_keys_drop_the_keys_that_the_engine_ignores():
    # QW -> Q, OP -> O, QWOP -> QO, WP stays, QOP -> QO
    assert canonical_keys(np.array([3, 12, 15, 10, 13])).tolist() == [1, 4, 5, 10, 5]
    assert set(canonical_keys(np.arange(16)).tolist()) == set(ACTION_SETS["distinct"].tolist())


def test_distinct_action_is_the_index_of_the_canonical_mask():
    masks = np.arange(16)
    assert (ACTION_SETS["distinct"][distinct_action(masks)] == canonical_keys(masks)).all()
    assert distinct_action(9) == 3 * 1 + 2  # Q with P


def test_hip_modes_persist_and_o_beats_p():
    keys = np.array([0, 4, 0, 8, 1, 12, 2], np.uint8)  # -, O, -, P, Q, OP, W
    assert hip_modes(keys).tolist() == [0, 0, 1, 1, 2, 2, 1, 1]
    assert hip_modes(keys[:1], start=2).tolist() == [2, 2]
    assert hip_modes(np.array([], np.uint8)).tolist() == [0]
    assert hip_modes(keys).dtype == np.uint8


def test_next_hip_modes_agrees_with_the_whole_episode():
    keys = np.random.default_rng(1).integers(0, 16, 500).astype(np.uint8)
    modes = [np.zeros(1, np.uint8)]
    for mask in keys:
        modes.append(next_hip_modes(modes[-1], np.array([mask])))
    assert np.concatenate(modes).tolist() == hip_modes(keys).tolist()


def test_last_keys_start_with_none():
    assert last_keys(np.array([3, 0, 9], np.uint8)).tolist() == [0, 3, 0, 9]
    assert last_keys(np.array([3], np.uint8), start=8).tolist() == [8, 3]
