"""`PolicySpec`: how a checkpoint says that its policy plays, and which checkpoints this release can play."""

import pytest

from qwop_game import ACTION_SETS, FEATURE_SIZE, FEATURE_VERSION, PolicySpec


def test_metadata_and_back():
    spec = PolicySpec("full", 2)
    metadata = spec.metadata()
    assert metadata == {
        "action_set": "full",
        "frame_skip": 2,
        "observation": "features",
        "feature_version": FEATURE_VERSION,
        "feature_size": FEATURE_SIZE,
        "num_actions": 16,
    }
    assert PolicySpec.from_metadata({**metadata, "kind": "policy"}) == spec
    assert spec.action_masks is ACTION_SETS["full"]
    assert (PolicySpec().action_set, PolicySpec().frame_skip) == ("distinct", 4)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"action_set": "mine"}, "action_set is 'mine', expected one of full, reduced, distinct"),
        ({"action_set": ["full"]}, r"action_set is \['full'\], expected one of"),
        ({"action_set": None}, "action_set is None"),
        ({"frame_skip": 0}, "frame_skip is 0, expected a whole number of 1 or more"),
        ({"frame_skip": True}, "frame_skip is True"),
        ({"frame_skip": 2.0}, "frame_skip is 2.0"),
        ({"frame_skip": None}, "frame_skip is None"),
        ({"observation": "raw"}, "observation is 'raw', expected 'features'"),
        ({"feature_version": 0}, "feature_version is 0, expected 1: .* train it again"),
        ({"feature_size": 60}, f"feature_size is 60, expected {FEATURE_SIZE}"),
        ({"num_actions": 16}, "num_actions is 16, expected 9"),
        ({"num_actions": None}, "num_actions is None, expected 9"),
    ],
)
def test_metadata_that_can_not_be_played(entry, message):
    with pytest.raises(ValueError, match=message):
        PolicySpec.from_metadata({**PolicySpec().metadata(), **entry})


def test_a_caller_may_ask_for_an_action_set_and_a_frame_skip():
    spec = PolicySpec("distinct", 2)
    spec.require()
    spec.require(action_set="distinct", frame_skip=2)
    with pytest.raises(ValueError, match="^frame_skip is 2, expected 4$"):
        spec.require(action_set="distinct", frame_skip=4)
    with pytest.raises(ValueError, match="^action_set is 'distinct', expected 'full'$"):
        spec.require(action_set="full")
