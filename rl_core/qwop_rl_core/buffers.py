"""Replay buffer: a ring of transitions and permanent demonstrations, drawn uniformly or by priority."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwop_rl_core.returns import monte_carlo_returns, n_step


@dataclass(frozen=True)
class Transitions:
    """Consecutive transitions of one or more whole episodes, one after another.

    observation, next_observation: float32 [M, D]; action: int64 [M]; reward: float32 [M]
    terminated, truncated: bool [M]; the last transition of every episode has one of them set
    """

    observation: NDArray[np.float32]
    action: NDArray[np.int64]
    reward: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in self.__dataclass_fields__}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays differ in length: {lengths}")
        if len(self) and not (self.terminated[-1] or self.truncated[-1]):
            raise ValueError(
                "the last transition neither terminates nor truncates its episode: mark it as truncated"
            )
        if not (np.isfinite(self.observation).all() and np.isfinite(self.reward).all()):
            raise ValueError("observations or rewards contain NaN or infinity")

    def __len__(self) -> int:
        return len(self.action)


@dataclass(frozen=True)
class Batch:
    """A batch from `ReplayBuffer.sample`: K transitions of up to n steps each.

    observation, next_observation: float32 [K, D]; action: int64 [K]
    returns: float32 [K], discounted sum of up to n rewards
    discount: float32 [K], what the bootstrap value is multiplied by; 0 after a termination
    weight: float32 [K], importance-sampling weights (ones when uniform)
    is_demonstration: bool [K]; index: int64 [K], for `update_priorities`
    """

    observation: NDArray[np.float32]
    action: NDArray[np.int64]
    returns: NDArray[np.float32]
    discount: NDArray[np.float32]
    next_observation: NDArray[np.float32]
    weight: NDArray[np.float32]
    is_demonstration: NDArray[np.bool_]
    index: NDArray[np.int64]


class SumTree:
    """Binary tree whose inner nodes are the sum of their children, for draws proportional to the leaves.

    See Schaul et al. 2016, appendix B.2.1. Leaves are float64. Node i has the children 2i and 2i + 1; the
    root is node 1; leaf k is node `leaves + k`. Setting and drawing handle whole arrays, level by level.
    """

    def __init__(self, size: int):
        self.leaves = 1 << max(size - 1, 1).bit_length()
        self.nodes = np.zeros(2 * self.leaves)

    @property
    def total(self) -> float:
        return float(self.nodes[1])

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.nodes[self.leaves + index]

    def set(self, index: NDArray[np.int64], value: NDArray[np.float64] | float) -> None:
        """Set the leaves `index`, int64 [K], and update every sum above them."""
        node = index + self.leaves
        self.nodes[node] = value
        # A parent is always computed as the sum of its children, never adjusted by a difference: sums cannot
        # drift, and a tree rebuilt from its leaves has the same bits.
        while node[0] > 1:
            node = np.unique(node >> 1)
            self.nodes[node] = self.nodes[2 * node] + self.nodes[2 * node + 1]

    def find(self, prefix: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the leaf int64 [K] whose share of the total covers each prefix sum [K] in [0, total)."""
        node = np.ones(len(prefix), np.int64)
        rest = prefix.astype(np.float64)
        for _ in range(self.leaves.bit_length() - 1):
            left = 2 * node
            left_sum = self.nodes[left]
            # Rounding may move a prefix past the last leaf: never enter an empty subtree.
            right = (rest >= left_sum) & (self.nodes[left + 1] > 0)
            rest -= np.where(right, left_sum, 0.0)
            node = left + right
        return node - self.leaves


class ReplayBuffer:
    """Ring of `capacity` transitions of `num_envs` environments, and demonstrations that are never replaced.

    Flat layout: demonstrations at [0, M), then rows of one transition per environment. The n-step return is
    computed when sampling, from the following transitions of the same environment, and never crosses the end
    of an episode. The newest n - 1 rows cannot be drawn until their successors exist.

    Memory: 8 D + 18 bytes a transition of D features; 10^6 transitions of 125 features take 1 GB.
    """

    def __init__(
        self,
        capacity: int,
        num_envs: int,
        feature_size: int,
        gamma: float,
        n: int = 1,
        demonstrations: Transitions | None = None,
        alpha: float = 0.0,
        epsilon: float = 1e-3,
        epsilon_demonstration: float = 1.0,
    ):
        """Make an empty buffer.

        Args:
            capacity: transitions kept, rounded down to whole rows of `num_envs`.
            num_envs: number of environments N.
            feature_size: number of features D.
            gamma: discount per step.
            n: steps of the return.
            demonstrations: transitions that are never replaced.
            alpha: exponent of prioritized replay, P(i) = p_i^alpha / sum_k p_k^alpha with
                p_i = |TD error| + epsilon (Schaul et al. 2016, equation 1, proportional variant); 0: uniform.
            epsilon: see alpha.
            epsilon_demonstration: epsilon of demonstrations (Hester et al. 2018).

        Raises:
            ValueError: the capacity is below n + 1 rows, or demonstrations have another feature size.
        """
        self.rows = capacity // num_envs
        if self.rows < n + 1:
            raise ValueError(
                f"a replay capacity of {capacity} is too small for {num_envs} environments x {n} steps"
            )
        self.num_envs = num_envs
        self.gamma = gamma
        self.n = n
        self.alpha = alpha
        self.demonstrations = 0 if demonstrations is None else len(demonstrations)
        self.row = 0  # row written next
        self.filled = 0  # rows that hold transitions

        total = self.demonstrations + self.rows * num_envs
        self.observation = np.zeros((total, feature_size), np.float32)
        self.next_observation = np.zeros((total, feature_size), np.float32)
        self.action = np.zeros(total, np.int64)
        self.reward = np.zeros(total, np.float32)
        self.terminated = np.zeros(total, bool)
        self.truncated = np.zeros(total, bool)
        if demonstrations is not None:
            if demonstrations.observation.shape[1] != feature_size:
                raise ValueError(
                    f"demonstrations have {demonstrations.observation.shape[1]} features, "
                    f"the networks {feature_size}"
                )
            self._write(slice(0, self.demonstrations), *vars(demonstrations).values())

        self.tree = SumTree(total) if alpha > 0 else None
        self.max_priority = 1.0
        self.epsilon = np.full(total, epsilon, np.float32)
        self.epsilon[: self.demonstrations] = epsilon_demonstration
        if self.tree is not None and self.demonstrations:
            self.tree.set(np.arange(self.demonstrations), (1.0 + epsilon_demonstration) ** alpha)

    def __len__(self) -> int:
        """Transitions that can be sampled now."""
        return self.demonstrations + max(self.filled - self.n + 1, 0) * self.num_envs

    def add(
        self,
        observation: NDArray[np.float32],
        action: NDArray[np.int64],
        reward: NDArray[np.float32],
        next_observation: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        """Append one transition per environment.

        Args:
            observation: float32 [N, D].
            action: int64 [N].
            reward: float32 [N].
            next_observation: float32 [N, D]; at the end of an episode the episode's own final observation.
            terminated: bool [N].
            truncated: bool [N].
        """
        here = self._row_indices(self.row)
        self._write(
            slice(here[0], here[-1] + 1), observation, action, reward, next_observation, terminated, truncated
        )
        if self.tree is not None:
            self.tree.set(here, 0.0)  # cannot be drawn before its n-step window is complete
            if self.filled + 1 >= self.n:
                # New transitions get the highest priority so far, so that they are seen once (Schaul 2016).
                complete = self._row_indices((self.row - self.n + 1) % self.rows)
                self.tree.set(complete, self.max_priority**self.alpha)
        self.row = (self.row + 1) % self.rows
        self.filled = min(self.filled + 1, self.rows)

    def sample(
        self,
        batch_size: int,
        rng: np.random.Generator,
        demonstration_fraction: float = 0.0,
        beta: float = 1.0,
        monte_carlo: bool = False,
    ) -> Batch:
        """Draw a batch with replacement.

        Args:
            batch_size: number of transitions K.
            rng: source of the draws.
            demonstration_fraction: share drawn from the demonstrations; with prioritized replay the
                priorities decide instead (Hester et al. 2018).
            beta: exponent of the importance-sampling weights w = (K P(i))^-beta / max w (Schaul et al. 2016,
                section 3.4).
            monte_carlo: returns of demonstrations reach to the end of the episode, not over n steps.

        Returns:
            The batch.

        Raises:
            ValueError: nothing can be drawn yet.
        """
        if len(self) == 0:
            raise ValueError("the replay buffer is empty")
        if self.tree is None:
            index = self._uniform(batch_size, rng, demonstration_fraction)
            weight = np.ones(batch_size, np.float32)
        else:
            # one draw in each of batch_size equal ranges of the total (Schaul et al. 2016, appendix B.2.1)
            prefix = (np.arange(batch_size) + rng.random(batch_size)) * (self.tree.total / batch_size)
            index = self.tree.find(prefix)
            probability = self.tree[index] / self.tree.total
            weight = (len(self) * probability) ** -beta
            weight = (weight / weight.max()).astype(np.float32)

        window = self._window(index)
        returns, discount, last = n_step(
            self.reward[window], self.terminated[window], self.truncated[window], self.gamma
        )
        successor = window[last, np.arange(batch_size)]
        demonstrated = index < self.demonstrations
        if monte_carlo:
            to_end, end_discount, end = self._monte_carlo
            chosen = index[demonstrated]
            returns[demonstrated], discount[demonstrated] = to_end[chosen], end_discount[chosen]
            successor[demonstrated] = end[chosen]
        return Batch(
            observation=self.observation[index],
            action=self.action[index],
            returns=returns,
            discount=discount,
            next_observation=self.next_observation[successor],
            weight=weight,
            is_demonstration=demonstrated,
            index=index,
        )

    def update_priorities(self, index: NDArray[np.int64], td_error: NDArray[np.floating[Any]]) -> None:
        """Set the priorities of a batch's transitions, index int64 [K], from their new errors, float [K]."""
        if self.tree is None:
            return
        priority = np.abs(td_error).astype(np.float64) + self.epsilon[index]
        self.max_priority = max(self.max_priority, float(priority.max()))
        self.tree.set(index, priority**self.alpha)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the arrays and plain data from which `restore` makes an identical buffer."""
        used = self.demonstrations + self.filled * self.num_envs
        names = ("observation", "next_observation", "action", "reward", "terminated", "truncated")
        arrays = {name: getattr(self, name)[:used] for name in names}
        if self.tree is not None:
            arrays["priority"] = self.tree[np.arange(used)]
        return arrays, {"row": self.row, "filled": self.filled, "max_priority": self.max_priority}

    def restore(self, arrays: dict[str, NDArray[Any]], scalars: dict[str, Any]) -> None:
        """Load what `state` returned into a buffer made with the same arguments.

        Args:
            arrays: the arrays of `state`.
            scalars: the plain data of `state`.

        Raises:
            ValueError: the buffer has another size, or other demonstrations.
        """
        row, filled = int(scalars["row"]), int(scalars["filled"])
        max_priority = float(scalars["max_priority"])
        used = self.demonstrations + filled * self.num_envs
        if not (0 <= filled <= self.rows and 0 <= row < self.rows and 0.0 < max_priority < np.inf):
            raise ValueError("the stored replay buffer has another size")
        for name in ("observation", "next_observation", "action", "reward", "terminated", "truncated"):
            part = getattr(self, name)[:used]
            if arrays[name].shape != part.shape or arrays[name].dtype != part.dtype:
                raise ValueError("the stored replay buffer has another size, or other demonstrations")
            part[:] = arrays[name]
        if self.tree is not None:
            priority = arrays["priority"]
            if priority.shape != (used,) or not (np.isfinite(priority) & (priority >= 0)).all():
                raise ValueError(
                    "the stored priorities are not numbers of 0 or more, one for each transition"
                )
            self.tree.set(np.arange(used), priority)
        self.row, self.filled, self.max_priority = row, filled, max_priority

    def _write(
        self,
        where: slice,
        observation: NDArray[np.float32],
        action: NDArray[np.int64],
        reward: NDArray[np.float32],
        next_observation: NDArray[np.float32],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
    ) -> None:
        self.observation[where] = observation
        self.action[where] = action
        self.reward[where] = reward
        self.next_observation[where] = next_observation
        self.terminated[where] = terminated
        self.truncated[where] = truncated

    @cached_property
    def _monte_carlo(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        part = slice(0, self.demonstrations)
        ended = self.terminated[part], self.truncated[part]
        return monte_carlo_returns(self.reward[part], *ended, self.gamma)

    def _row_indices(self, row: int) -> NDArray[np.int64]:
        start = self.demonstrations + row * self.num_envs
        return np.arange(start, start + self.num_envs)

    def _uniform(
        self, batch_size: int, rng: np.random.Generator, demonstration_fraction: float
    ) -> NDArray[np.int64]:
        played = len(self) - self.demonstrations
        demonstrated = round(batch_size * demonstration_fraction) if self.demonstrations else 0
        if played == 0:  # pretraining on demonstrations
            demonstrated = batch_size
        index = np.empty(batch_size, np.int64)
        index[:demonstrated] = rng.integers(0, max(self.demonstrations, 1), demonstrated)
        if demonstrated < batch_size:
            draw = rng.integers(0, played, batch_size - demonstrated)
            age = self.n - 1 + draw // self.num_envs  # 0 is the newest row; the newest n - 1 are incomplete
            row = (self.row - 1 - age) % self.rows
            index[demonstrated:] = self.demonstrations + row * self.num_envs + draw % self.num_envs
        return index

    def _window(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64 [n, K]: each transition and the n - 1 after it, meaningless past an episode's end."""
        ring = self.rows * self.num_envs
        k = np.arange(self.n)[:, None]
        demonstrated = np.minimum(index + k, max(self.demonstrations - 1, 0))
        played = self.demonstrations + (index - self.demonstrations + k * self.num_envs) % ring
        return np.where(index < self.demonstrations, demonstrated, played)
