"""Replay: the sum tree, n-step windows in the ring, demonstrations, priorities, exact restore."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwop_rl_core.buffers import ReplayBuffer, SumTree, Transitions


def demonstration(length=4, features=1, start=1000.0):
    """One episode whose observation counts up from `start` and whose rewards are 1, 2, 3..., terminated."""
    observation = (start + np.arange(length, dtype=np.float32))[:, None].repeat(features, 1)
    return Transitions(
        observation=observation,
        action=np.arange(length),
        reward=np.arange(1, length + 1, dtype=np.float32),
        next_observation=observation + 1,
        terminated=np.arange(length) == length - 1,
        truncated=np.zeros(length, bool),
    )


def fill(buffer, steps, ends=(), truncations=(), start=0):
    """Environment e shows 100 e + t at step t; reward t; ends/truncations hold (t, e)."""
    n = buffer.num_envs
    for t in range(start, start + steps):
        observation = (100.0 * np.arange(n) + t)[:, None]
        terminated = np.array([(t, e) in ends for e in range(n)])
        truncated = np.array([(t, e) in truncations for e in range(n)])
        # an episode's own final observation is marked by + 0.5, to tell it from the next one's first
        following = observation + 1 - 0.5 * (terminated | truncated)[:, None]
        buffer.add(observation, np.full(n, t), np.full(n, t), following, terminated, truncated)


def test_sum_tree_worked_example():
    tree = SumTree(3)
    tree.set(np.array([0, 1, 2]), np.array([3.0, 1.0, 4.0]))
    assert tree.total == 8.0
    # shares of the total: leaf 0 [0, 3), leaf 1 [3, 4), leaf 2 [4, 8)
    assert tree.find(np.array([0.0, 2.9, 3.0, 3.9, 4.0, 7.9])).tolist() == [0, 0, 1, 1, 2, 2]
    tree.set(np.array([0]), 0.0)
    assert tree.total == 5.0
    assert tree.find(np.array([0.0, 0.9, 1.0, 5.0, 99.0])).tolist() == [1, 1, 2, 2, 2]


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=40).filter(lambda v: sum(v) > 0),
    share=st.floats(0.0, 1.0),
)
def test_sum_tree_finds_only_leaves_with_weight(values, share):
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values))
    leaf = int(tree.find(np.array([share * tree.total]))[0])
    assert values[leaf] > 0
    # a tree set in another order, one leaf at a time, has the same bits
    other = SumTree(len(values))
    for i in reversed(range(len(values))):
        other.set(np.array([i]), values[i])
    assert (other.nodes == tree.nodes).all()


def test_n_step_in_the_ring():
    buffer = ReplayBuffer(capacity=20, num_envs=2, feature_size=1, gamma=0.5, n=3)
    fill(buffer, 10, ends={(4, 0)}, truncations={(4, 1)})
    assert len(buffer) == (10 - 2) * 2  # the newest two rows wait for their followers
    batch = buffer.sample(500, np.random.default_rng(0))
    seen = {float(o): i for i, o in enumerate(batch.observation[:, 0])}
    assert sorted(seen) == [*range(8), *range(100, 108)]

    def entry(observation):
        i = seen[observation]
        return batch.returns[i], batch.discount[i], batch.next_observation[i, 0], batch.action[i]

    # far from an end: 0 + 0.5 * 1 + 0.25 * 2 = 1, bootstrap 0.125 from observation 3
    assert entry(0) == (1.0, 0.125, 3.0, 0)
    # environment 0 terminates at t = 4: from 3: 3 + 0.5 * 4 = 5, no bootstrap
    assert entry(3)[:2] == (5.0, 0.0)
    # environment 1 is truncated at t = 4: bootstrap 0.25 from its own final observation 104.5
    assert entry(103) == (5.0, 0.25, 104.5, 3)
    assert entry(104) == (4.0, 0.5, 104.5, 4)
    # the next episode is not touched: 5 + 0.5 * 6 + 0.25 * 7 = 9.75
    assert entry(5) == (9.75, 0.125, 8.0, 5)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_ring_forgets_the_oldest_and_never_joins_old_to_new(alpha):
    buffer = ReplayBuffer(capacity=12, num_envs=2, feature_size=1, gamma=1.0, n=3, alpha=alpha)  # 6 rows
    fill(buffer, 15)
    assert len(buffer) == 8
    batch = buffer.sample(400, np.random.default_rng(0))
    assert set(batch.action) == {9, 10, 11, 12}  # rows 9 to 14 are stored, 13 and 14 are incomplete
    assert (batch.returns == 3 * batch.action + 3).all()  # t + (t + 1) + (t + 2)
    assert (batch.next_observation == batch.observation + 3).all()


def test_nothing_to_sample():
    buffer = ReplayBuffer(capacity=20, num_envs=2, feature_size=1, gamma=0.5, n=3)
    fill(buffer, 2)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="too small"):
        ReplayBuffer(capacity=6, num_envs=2, feature_size=1, gamma=0.5, n=3)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_demonstrations_stay_for_good(alpha):
    buffer = ReplayBuffer(8, 2, 1, 0.5, n=2, demonstrations=demonstration(), alpha=alpha)
    rng = np.random.default_rng(0)
    alone = buffer.sample(200, rng, 0.25)  # nothing played yet: demonstrations only
    assert alone.is_demonstration.all() and set(alone.observation[:, 0]) == {1000, 1001, 1002, 1003}
    by_observation = {float(o): i for i, o in enumerate(alone.observation[:, 0])}
    i = by_observation[1000]
    assert (alone.returns[i], alone.discount[i], alone.next_observation[i, 0]) == (1 + 0.5 * 2, 0.25, 1002)
    i = by_observation[1003]  # the last one terminates and does not reach into the ring
    assert (alone.returns[i], alone.discount[i]) == (4.0, 0.0)
    fill(buffer, 30)
    batch = buffer.sample(400, rng, 0.25)
    assert set(batch.observation[batch.is_demonstration, 0]) == {1000, 1001, 1002, 1003}
    assert set(batch.action[~batch.is_demonstration]) == {26, 27, 28}
    if alpha == 0:
        assert batch.is_demonstration.sum() == 100


def test_monte_carlo_returns_of_demonstrations():
    shown = vars(demonstration())  # rewards 1, 2, 3, 4
    none = np.zeros(4, bool)
    for terminated in (shown["terminated"], none):
        truncated = none if terminated.any() else shown["terminated"]
        demonstrations = Transitions(**{**shown, "terminated": terminated, "truncated": truncated})
        buffer = ReplayBuffer(8, 1, 1, 0.5, n=2, demonstrations=demonstrations)
        fill(buffer, 5)
        batch = buffer.sample(100, np.random.default_rng(0), 0.5, monte_carlo=True)
        i = list(batch.index).index(1)  # 2 + 0.5 * 3 + 0.25 * 4 = 4.5; three steps to the end
        assert batch.returns[i] == 4.5
        assert batch.discount[i] == (0.0 if terminated.any() else 0.125)
        assert batch.next_observation[i, 0] == shown["next_observation"][3]
        assert set(batch.discount[~batch.is_demonstration]) == {0.25}  # what was played: two steps as ever


def test_priorities_follow_the_errors():
    buffer = ReplayBuffer(8, 1, 1, 1.0, n=1, alpha=0.5, epsilon=0.0)
    fill(buffer, 4)
    buffer.update_priorities(np.arange(4), np.array([-1.0, 4.0, 0.0, 9.0]))
    # |error|^0.5 = 1, 2, 0, 3: probabilities 1/6, 1/3, 0, 1/2
    batch = buffer.sample(6000, np.random.default_rng(0), beta=1.0)
    counts = np.bincount(batch.index, minlength=4)
    assert counts[2] == 0
    np.testing.assert_allclose(counts / 6000, [1 / 6, 1 / 3, 0, 1 / 2], atol=1e-3)  # stratified: nearly exact
    # weights (4 P)^-1 = 1.5, 0.75, 0.5, over their maximum: 1, 0.5, 1/3
    weight = {int(i): float(w) for i, w in zip(batch.index, batch.weight, strict=True)}
    assert weight == pytest.approx({0: 1.0, 1: 0.5, 3: 1 / 3})
    # a new transition enters with the highest priority so far: 9^0.5 = 3
    fill(buffer, 1, start=4)
    assert buffer.tree[np.array([4])].item() == pytest.approx(3.0)


def test_demonstrations_get_their_own_priority_bonus():
    buffer = ReplayBuffer(8, 1, 1, 1.0, alpha=1.0, demonstrations=demonstration(2))
    fill(buffer, 2)
    buffer.update_priorities(np.array([0, 2]), np.array([0.5, 0.5]))
    assert buffer.tree[np.array([0, 2])].tolist() == pytest.approx([1.5, 0.501])


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_restored_buffer_samples_the_same(alpha):
    def make():
        return ReplayBuffer(12, 2, 1, 0.9, n=2, demonstrations=demonstration(), alpha=alpha)

    buffer = make()
    fill(buffer, 9, ends={(6, 0)})
    buffer.update_priorities(np.array([1, 5, 6]), np.array([0.3, 7.0, 0.1]))
    arrays, scalars = buffer.state()
    copy = make()
    copy.restore({name: a.copy() for name, a in arrays.items()}, scalars)
    for each in (buffer, copy):
        fill(each, 2, start=9)
    first, second = (b.sample(64, np.random.default_rng(3), 0.3, 0.5) for b in (buffer, copy))
    for name in vars(first):
        assert (getattr(first, name) == getattr(second, name)).all()
    with pytest.raises(ValueError, match="another size"):
        ReplayBuffer(12, 2, 1, 0.9, n=2, alpha=alpha).restore(arrays, scalars)


def test_transitions_check_themselves():
    good: dict[str, Any] = vars(demonstration())
    with pytest.raises(ValueError, match="differ in length"):
        Transitions(**{**good, "action": np.zeros(3, int)})
    with pytest.raises(ValueError, match="mark it as truncated"):
        Transitions(**{**good, "terminated": np.zeros(4, bool)})
    good["reward"] = np.array([0, 0, np.nan, 0], np.float32)
    with pytest.raises(ValueError, match="NaN"):
        Transitions(**good)
    with pytest.raises(ValueError, match="1 features, the networks 3"):
        ReplayBuffer(8, 1, 3, 1.0, demonstrations=demonstration())
