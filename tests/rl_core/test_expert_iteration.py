"""Expert iteration: its search against games worked out by hand, learning, repetition, exact resume."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv

from qwop_rl_core import ActorCritic, CheckpointError, Policy, TrainingError, load_checkpoint
from qwop_rl_core import expert_iteration as expert
from qwop_rl_core.root_search import Search, improved_policy, search, search_values, spread

pytestmark = pytest.mark.usefixtures("one_thread")


class Corridor(VectorEnv):
    """Nine cells; action 2 goes right, 0 left, 1 stays. The last cell pays 1 and ends the episode.

    Every step costs 0.1. Episodes are truncated after 40 steps. An observation is the cell, one-hot.
    """

    CELLS = 9

    def __init__(self, num_envs=8):
        self.num_envs = num_envs
        self.single_observation_space = gymnasium.spaces.Box(0, 1, (self.CELLS,), np.float32)
        self.single_action_space = gymnasium.spaces.Discrete(3)
        self.start(np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64), np.zeros(num_envs, np.int64))

    def start(self, cell, age, held):
        self.cell, self.age, self.held = cell.copy(), age.copy(), held.copy()

    def show(self):
        return np.eye(self.CELLS, dtype=np.float32)[self.cell]

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.start(self.rng.integers(0, self.CELLS - 1, self.num_envs), *np.zeros((2, self.num_envs), int))
        return self.show(), {}

    def step(self, actions):
        self.held = actions.copy()
        self.cell = np.clip(self.cell + actions - 1, 0, self.CELLS - 1)
        self.age += 1
        terminated = self.cell == self.CELLS - 1
        truncated = (self.age == 40) & ~terminated
        final = {"observation": self.show()}
        self.cell[terminated | truncated] = 0
        self.age[terminated | truncated] = 0
        return self.show(), np.where(terminated, 1.0, -0.1), terminated, truncated, {"_final": final}

    def get_state(self):
        return {"cell": self.cell.copy(), "age": self.age.copy(), "held": self.held.copy()}

    def set_state(self, state):
        self.start(state["cell"], state["age"], state["held"])


class Copies:
    """`SimulatedGames` of a corridor."""

    frame_skip = 4

    def __init__(self, envs, repeat_probability=0.0):
        self.envs, self.repeat_probability = envs, repeat_probability
        self.played = []

    def branch(self, copies):
        self.games = Corridor(self.envs.num_envs * copies)
        self.games.start(*(np.repeat(a, copies) for a in (self.envs.cell, self.envs.age, self.envs.held)))
        self.played.clear()
        return self.games.show(), self.games.held

    def step(self, actions):
        self.played.append(actions.copy())
        return self.games.step(actions)


SMALL = expert.ExpertIterationConfig(
    total_steps=4096,
    num_envs=8,
    rollout_length=16,
    minibatch_size=64,
    learning_rate=3e-3,
    gamma=0.9,
    device="cpu",
)


def new_policy(value=None, logits=None):
    """A policy with new weights, or one that gives the same value, or the same logits, everywhere."""
    policy = ActorCritic(Corridor.CELLS, 3, (32,), torch.Generator().manual_seed(0))
    for network, output in ((policy.value, value), (policy.policy, logits)):
        if output is not None:
            torch.nn.init.zeros_(network[-1].get_parameter("weight"))
            network[-1].get_parameter("bias").data[:] = torch.as_tensor(output)
    return policy


def train(config=SMALL, policy=None, **arguments):
    envs = Corridor(config.num_envs)
    state = expert.start(config, envs, policy or new_policy())
    return expert.train(config, envs, Copies(envs), state, **arguments)


def look(envs, games, policy, actions=3, rollouts=1, horizon=1):
    return search(
        games,
        policy,
        torch.as_tensor(envs.show()),
        actions=actions,
        rollouts=rollouts,
        horizon=horizon,
        gamma=0.5,
        generator=torch.Generator().manual_seed(1),
    )


def weights(module):
    return torch.cat([t.double().flatten() for t in module.state_dict().values()])


# ---- the search ------------------------------------------------------------------------------------------


def test_one_step_of_every_action_by_hand():
    """Cells 7 (beside the end), 3, and 3 at its last step; the critic says 2 everywhere, gamma is 0.5."""
    envs = Corridor(3)
    envs.start(np.array([7, 3, 3]), np.array([0, 0, 39]), np.ones(3, int))
    found = look(envs, Copies(envs), new_policy(2.0))
    going = -0.1 + 0.5 * 2.0  # the time limit is not the end: its state has a value, too
    assert found.tried.all() and found.values.tolist() == [2.0] * 3
    expected = [[going, going, 1.0], [going] * 3, [going] * 3]
    assert found.q.numpy() == pytest.approx(np.array(expected), abs=1e-6)
    assert envs.cell.tolist() == [7, 3, 3]  # the played games stay where they are


def test_what_follows_the_end_does_not_count():
    envs = Corridor(1)
    envs.start(np.array([7]), np.array([0]), np.array([1]))
    found = look(envs, Copies(envs), new_policy(2.0), horizon=6)
    assert found.q[0, 2] == 1.0


def test_returns_of_two_steps_by_hand():
    """The policy goes right: after a step to the left it is back, after one to the right it has arrived."""
    envs, policy = Corridor(1), new_policy(2.0, [-50.0, -50.0, 50.0])
    envs.start(np.array([6]), np.array([0]), np.array([1]))
    found = look(envs, Copies(envs), policy, horizon=2, rollouts=2)
    step = -0.1
    left, stay, right = step + 0.5 * step + 0.25 * 2.0, step + 0.5 * step + 0.25 * 2.0, step + 0.5 * 1.0
    assert found.q[0].tolist() == pytest.approx([left, stay, right])
    assert search_values(found).item() == pytest.approx(right)


def test_it_tries_no_action_twice_and_the_likely_ones_most_often():
    envs, policy = Corridor(2000), new_policy(0.0, np.log([0.2, 0.3, 0.5]))
    found = look(envs, Copies(envs), policy, actions=2)
    assert (found.tried.sum(1) == 2).all() and (found.q[~found.tried] == 0).all()
    # P(a is among two draws without replacement) = p_a + sum_b p_b p_a / (1 - p_b)
    p = np.array([0.2, 0.3, 0.5])
    expected = [p[a] + sum(p[b] * p[a] / (1 - p[b]) for b in range(3) if b != a) for a in range(3)]
    assert found.tried.float().mean(0).numpy() == pytest.approx(expected, abs=0.04)


def test_continuations_of_a_state_share_their_draws():
    """A policy that knows nothing draws the same actions for all of them, and the same repeats."""
    envs, policy = Corridor(50), new_policy(0.0, 0.0)
    games = Copies(envs)
    look(envs, games, policy, horizon=3, rollouts=2)
    first, *later = (actions.reshape(50, 3, 2) for actions in games.played)
    assert (np.sort(first[..., 0], axis=1) == np.arange(3)).all() and (first[..., 0] == first[..., 1]).all()
    for actions in later:
        assert (actions == actions[:, :1]).all()  # all actions of a rollout
        assert 0.1 < (actions[..., 0] != actions[..., 1]).mean() < 0.9  # rollouts differ
    games = Copies(envs, repeat_probability=1.0)
    look(envs, games, policy, horizon=3)
    assert all((actions == games.played[0]).all() for actions in games.played)


def test_the_improved_policy_by_hand():
    """Two of three actions tried; the third one is worth the mean of the critic's value and theirs."""
    p = torch.tensor([[0.25, 0.25, 0.5]])
    found = Search(
        logits=p.log() + 3.0,
        values=torch.tensor([0.3]),
        q=torch.tensor([[0.0, 1.2, 0.0]]),
        tried=torch.tensor([[True, True, False]]),
    )
    assert search_values(found).item() == pytest.approx(0.6)
    assert spread(found).item() == pytest.approx(0.6)
    mixed = (0.3 + 2 * 0.6) / 3
    unscaled = p[0].numpy() * np.exp((np.array([0.0, 1.2, mixed]) - mixed) / 0.5)
    assert improved_policy(found, 0.5)[0].numpy() == pytest.approx(unscaled / unscaled.sum(), abs=1e-6)
    small = improved_policy(found, 1e-6)  # the change is bounded
    assert (small[0, 1] / p[0, 1] / (small[0, 2] / p[0, 2])).item() == pytest.approx(np.exp(4.0), rel=1e-3)


# ---- the loop --------------------------------------------------------------------------------------------


@pytest.mark.learning
@pytest.mark.parametrize("search_lambda", [0.0, 0.95])
def test_it_learns_the_way_out(search_lambda):
    state = train(dataclasses.replace(SMALL, search_lambda=search_lambda))
    cells = np.eye(Corridor.CELLS, dtype=np.float32)[:-1]
    assert Policy(state.policy, {}).act(cells).tolist() == [2] * 8
    # from cell c there are n = 8 - c steps: -0.1 (1 + g + ... + g^(n - 2)) + g^(n - 1)
    steps = 8 - np.arange(8)
    exact = -0.1 * (1 - 0.9 ** (steps - 1)) / 0.1 + 0.9 ** (steps - 1)
    assert state.policy.values(torch.as_tensor(cells)).detach().numpy() == pytest.approx(exact, abs=0.12)


def test_same_seed_same_weights():
    config = dataclasses.replace(SMALL, total_steps=512)
    assert torch.equal(weights(train(config).policy), weights(train(config).policy))
    other = train(dataclasses.replace(config, seed=1))
    assert not torch.equal(weights(train(config).policy), weights(other.policy))


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, optimizer):
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(SMALL, total_steps=1024, critic_warmup_steps=128, optimizer=optimizer)

    def stop_half_way(progress):
        if progress.steps == 512:
            progress.save(path, {})
            return True

    whole = train(config)
    train(config, callback=stop_half_way)
    envs = Corridor(8)
    state = expert.resume(config, envs, load_checkpoint(path))
    assert (state.steps, state.iteration) == (512, 4)
    expert.train(config, envs, Copies(envs), state)
    assert torch.equal(weights(state.policy), weights(whole.policy))
    assert torch.equal(state.generator.get_state(), whole.generator.get_state())
    assert (state.frames, state.steps) == (whole.frames, whole.steps)
    assert Policy.load(path).network.num_actions == 3
    with pytest.raises(CheckpointError, match="not a checkpoint of a training with expert-iteration"):
        expert.resume(config, envs, load_checkpoint(path)._replace(metadata={}))


def test_frames_of_the_search_count():
    """A step of a game is 4 frames; its search plays 3 actions over 2 steps."""
    state = train(dataclasses.replace(SMALL, total_steps=128))
    assert state.frames == 128 * (1 + 3 * 2) * 4
    state = train(dataclasses.replace(SMALL, total_frames=10_000))
    assert state.steps == 384  # 3 iterations of 128 steps


def test_while_the_critic_warms_up_the_policy_stands_still():
    policy = new_policy()
    before = weights(policy.policy), weights(policy.normalizer), weights(policy.value)
    train(dataclasses.replace(SMALL, total_steps=256, critic_warmup_steps=256), policy)
    same = [
        torch.equal(a, weights(part))
        for a, part in zip(before, (policy.policy, policy.normalizer, policy.value), strict=True)
    ]
    assert same == [True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search_actions": 0}, "search_actions is 0"),
        ({"search_temperature": 0.0}, "search_temperature is 0"),
        ({"search_lambda": 1.5}, "search_lambda is 1.5"),
        ({"total_frames": -1}, "total_frames is -1"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(TrainingError, match=message):
        expert.ExpertIterationConfig(**options)


def test_a_reward_that_is_not_a_number_is_one_line():
    class Broken(Corridor):
        def step(self, actions):
            observation, reward, terminated, truncated, infos = super().step(actions)
            return observation, reward * np.nan, terminated, truncated, infos

    envs = Broken(8)
    state = expert.start(SMALL, envs, new_policy())
    with pytest.raises(TrainingError, match="a reward is NaN"):
        expert.train(SMALL, envs, Copies(envs), state)
