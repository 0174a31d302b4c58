"""PPO, DQN and PQN learn, repeat themselves, and go on after an interruption as if there had been none.

Budgets and seeds are fixed; CartPole takes some five seconds an algorithm on one core.
"""

import dataclasses
import itertools
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv, VectorEnv
from torch import nn

from qwop_rl_core import ActorCritic, CheckpointError, Policy, QNetwork, dqn, load_checkpoint, ppo, pqn
from qwop_rl_core.buffers import Transitions
from qwop_rl_core.checkpoint import save_checkpoint
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.networks import build_network
from qwop_rl_core.pqn_rollout import Rollout, joined, lambda_targets
from qwop_rl_core.reference import make_reference

pytestmark = pytest.mark.usefixtures("one_thread")


class Identity(VectorEnv):
    """Shows one of `size` symbols; naming it pays 1, anything else 0. Episodes are truncated after 8 steps.

    The symbol is drawn anew every step, so values hardly differ and actions decide at once. Its state can be
    stored and restored, its final observations come as arrays.
    """

    def __init__(self, num_envs=8, size=4):
        box = gymnasium.spaces.Box(0, 1, (size,), np.float32)
        self.num_envs, self.single_observation_space = num_envs, box
        self.single_action_space = gymnasium.spaces.Discrete(size)
        self.size = size

    def reset(self, *, seed=None, options=None):
        self.rng = np.random.default_rng(seed)
        self.age = np.arange(self.num_envs) % 8  # episodes end at different times
        return self._show(), {}

    def step(self, actions):
        reward = (actions == self.symbol).astype(np.float32)
        self.age += 1
        truncated = self.age == 8
        self.age[truncated] = 0
        observation = self._show()
        final = {"observation": np.zeros_like(observation), "right": reward.copy()}
        return observation, reward, np.zeros(self.num_envs, bool), truncated, {"_final": final}

    def _show(self):
        self.symbol = self.rng.integers(0, self.size, self.num_envs)
        return np.eye(self.size, dtype=np.float32)[self.symbol]

    def get_state(self):
        words = [self.rng.bit_generator.state["state"][k] for k in ("state", "inc")]
        rng = np.array([w >> s & (2**63 - 1) for w in words for s in (0, 63, 126)], np.int64)
        return {"symbol": self.symbol, "age": self.age, "rng": rng}

    def set_state(self, state):
        self.symbol, self.age = state["symbol"].copy(), state["age"].copy()
        parts = [int(x) for x in state["rng"]]
        words = [sum(p << s for p, s in zip(parts[i : i + 3], (0, 63, 126), strict=True)) for i in (0, 3)]
        self.rng.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": words[0], "inc": words[1]},
            "has_uint32": 0,
            "uinteger": 0,
        }


class TimeLimit(VectorEnv):
    """One symbol, reward 1 a step, truncated after every second step: with the bootstrap the value is
    1 / (1 - gamma), without it at most 1 + gamma.
    """

    def __init__(self, num_envs=16):
        self.num_envs, self.single_action_space = num_envs, gymnasium.spaces.Discrete(2)
        self.single_observation_space = gymnasium.spaces.Box(0, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.age = 0
        return np.ones((self.num_envs, 1), np.float32), {}

    def step(self, actions):
        self.age += 1
        one = np.ones((self.num_envs, 1), np.float32)
        truncated = np.full(self.num_envs, self.age % 2 == 0)
        return one, one[:, 0], np.zeros(self.num_envs, bool), truncated, {"_final": {"observation": one}}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


PPO_SMALL = ppo.PPOConfig(
    total_steps=4096,
    num_envs=8,
    rollout_length=16,
    minibatch_size=64,
    learning_rate=3e-3,
    gamma=0.5,
    device="cpu",
)
DQN_SMALL = dqn.DQNConfig(
    total_steps=3000,
    num_envs=8,
    learning_rate=3e-3,
    gamma=0.5,
    batch_size=32,
    steps_per_update=4,
    buffer_size=2000,
    learning_starts=200,
    target_interval=200,
    exploration_steps=1500,
    log_interval=500,
    device="cpu",
)


PQN_SMALL = pqn.PQNConfig(
    total_steps=8192,
    num_envs=8,
    rollout_length=16,
    minibatch_size=32,
    learning_rate=5e-3,
    gamma=0.5,
    exploration_steps=3000,
    device="cpu",
)


def train_ppo(config=PPO_SMALL, envs=None, hidden=(32,), **arguments):
    envs = envs or Identity(config.num_envs)
    policy = ActorCritic(
        envs.single_observation_space.shape[0], envs.single_action_space.n, hidden, generator()
    )
    return ppo.train(config, envs, ppo.start(config, envs, policy), **arguments)


def train_dqn(config=DQN_SMALL, envs=None, hidden=(32,), demonstrations=None, **arguments):
    envs = envs or Identity(config.num_envs)
    sizes = envs.single_observation_space.shape[0], envs.single_action_space.n
    network = QNetwork(*sizes, hidden, dueling=config.dueling, generator=generator())
    return dqn.train(config, envs, dqn.start(config, envs, network, demonstrations), **arguments)


def pqn_network(envs, hidden=(32,)):
    sizes = envs.single_observation_space.shape[0], envs.single_action_space.n
    return QNetwork(*sizes, hidden, generator=generator(), layer_norm=True)


def train_pqn(config=PQN_SMALL, envs=None, hidden=(32,), network=None, **arguments):
    envs = envs or Identity(config.num_envs)
    state = pqn.start(config, envs, network or pqn_network(envs, hidden))
    return pqn.train(config, envs, state, **arguments)


def weights(module):
    return torch.cat([t.double().flatten() for t in module.state_dict().values()])


def symbols_named(network):
    """Share of the four symbols that the greedy policy names."""
    actions = Policy(network, {}).act(np.eye(4, dtype=np.float32))
    return float((actions == np.arange(4)).mean())


def cartpole_return(network, episodes=20, seed=10_000):
    """Mean return of the greedy policy."""
    policy = Policy(network, {})
    envs = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * episodes)
    observation, _ = envs.reset(seed=seed)
    total, running = np.zeros(episodes), np.ones(episodes, bool)
    while running.any():
        observation, reward, terminated, truncated, _ = envs.step(policy.act(observation))
        total += reward * running
        running &= ~(terminated | truncated)
    return total.mean()


@pytest.mark.learning
@pytest.mark.parametrize(
    ("precision", "optimizer"), [("float32", "adam"), ("bfloat16", "adam"), ("float32", "muon")]
)
def test_ppo_learns_identity(precision, optimizer):
    returns = []
    config = dataclasses.replace(PPO_SMALL, precision=precision, optimizer=optimizer)
    state = train_ppo(config, callback=lambda p: returns.append(p.metrics["episode/return"]))
    assert state.policy.policy.precision == getattr(torch, precision)
    assert symbols_named(state.policy) == 1.0
    # chance: 8 steps at 1/4 = 2 of 8; the rise is no accident: all late returns exceed all early ones
    early, late = returns[:4], returns[-4:]
    assert np.mean(early) < 4.0 < 6.5 < np.mean(late) and max(early) < min(late)


@pytest.mark.learning
@pytest.mark.parametrize(
    "options",
    [
        {"double": False, "n_step": 1},
        {"double": True},
        {"double": True, "dueling": True},
        {"double": True, "prioritized": True},
    ],
    ids=["dqn", "ddqn", "dueling", "prioritized"],
)
def test_dqn_learns_identity(options):
    state = train_dqn(dataclasses.replace(DQN_SMALL, **options))
    assert symbols_named(state.network) == 1.0
    # naming the symbol pays 1 now and, with gamma 0.5, 1 more in all the future: Q = 2; a mistake costs 1
    q = state.network(torch.eye(4)).detach()
    right = q.diagonal()
    wrong = (q.sum() - right.sum()) / 12
    assert right.mean().item() == pytest.approx(2.0, abs=0.35)
    assert (right.mean() - wrong).item() == pytest.approx(1.0, abs=0.35)


@pytest.mark.learning
@pytest.mark.parametrize("q_lambda", [0.0, 0.65])
def test_pqn_learns_identity(q_lambda):
    state = train_pqn(dataclasses.replace(PQN_SMALL, q_lambda=q_lambda))
    assert symbols_named(state.network) == 1.0
    q = state.network(torch.eye(4)).detach()  # 2 and 1, as for DQN above
    right = q.diagonal()
    wrong = (q.sum() - right.sum()) / 12
    assert right.mean().item() == pytest.approx(2.0, abs=0.35)
    assert (right.mean() - wrong).item() == pytest.approx(1.0, abs=0.35)


@pytest.mark.learning
@pytest.mark.parametrize("gamma", [0.5, 0.8])
def test_time_limits_are_not_the_end(gamma):
    """The value of an endless reward of 1 is 1 / (1 - gamma), though every episode is cut after two steps."""
    config = dataclasses.replace(PPO_SMALL, gamma=gamma, total_steps=8 * 16 * 120)
    state = train_ppo(config, TimeLimit(8), hidden=(8,))
    assert state.policy.values(torch.ones(1, 1)).item() == pytest.approx(1 / (1 - gamma), rel=0.05)
    config = dataclasses.replace(DQN_SMALL, gamma=gamma, learning_rate=0.03)
    state = train_dqn(config, TimeLimit(8), hidden=(8,))
    assert state.network(torch.ones(1, 1)).max().item() == pytest.approx(1 / (1 - gamma), rel=0.1)
    config = dataclasses.replace(PQN_SMALL, gamma=gamma, total_steps=8 * 16 * 200)
    state = train_pqn(config, TimeLimit(8), hidden=(8,))
    assert state.network(torch.ones(1, 1)).max().item() == pytest.approx(1 / (1 - gamma), rel=0.05)


@pytest.mark.learning
def test_ppo_balances_cartpole(sync_vector):
    """60,000 steps, seed 1: mean return of 20 greedy episodes at least 400 of 500."""
    config = ppo.PPOConfig(
        total_steps=60_000,
        num_envs=8,
        rollout_length=128,
        minibatch_size=256,
        learning_rate=1e-3,
        epochs=10,
        gamma=0.99,
        entropy_coef=0.0,
        seed=1,
        device="cpu",
    )
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1")] * 8)
    assert cartpole_return(train_ppo(config, envs, (64, 64)).policy) >= 400


@pytest.mark.learning
@pytest.mark.parametrize("double", [False, True], ids=["dqn", "ddqn"])
def test_dqn_balances_cartpole(double, sync_vector):
    """20,000 steps, seed 1: mean return of 20 greedy episodes at least 200 of 500."""
    config = dqn.DQNConfig(
        total_steps=20_000,
        num_envs=8,
        double=double,
        learning_rate=1e-3,
        gamma=0.99,
        batch_size=128,
        buffer_size=20_000,
        learning_starts=1000,
        target_interval=800,
        exploration_end=0.05,
        exploration_steps=10_000,
        seed=1,
        device="cpu",
    )
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1")] * 8)
    assert cartpole_return(train_dqn(config, envs, (128, 128)).network) >= 200


@pytest.mark.learning
def test_pqn_balances_cartpole(sync_vector):
    """60,000 steps, seed 1: mean return of 20 greedy episodes at least 200 of 500."""
    config = pqn.PQNConfig(
        total_steps=60_000,
        num_envs=16,
        rollout_length=32,
        minibatch_size=64,
        epochs=4,
        learning_rate=2e-3,
        exploration_end=0.05,
        exploration_steps=30_000,
        seed=1,
        device="cpu",
    )
    envs = sync_vector([lambda: gymnasium.make("CartPole-v1")] * 16)
    assert cartpole_return(train_pqn(config, envs, (128, 128)).network) >= 200


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_seed_same_weights(precision):
    config = dataclasses.replace(PPO_SMALL, total_steps=1024, precision=precision)
    assert torch.equal(weights(train_ppo(config).policy), weights(train_ppo(config).policy))
    other = train_ppo(dataclasses.replace(config, seed=1))
    assert not torch.equal(weights(train_ppo(config).policy), weights(other.policy))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_ratio_is_1_before_an_update(precision):
    """The one minibatch of each iteration is worked out as its rollout was, in other batches."""
    config = dataclasses.replace(
        PPO_SMALL, num_envs=64, minibatch_size=1024, epochs=1, clip=1e-6, precision=precision
    )
    shares = []
    train_ppo(config, callback=lambda p: shares.append(p.metrics["ppo/clip_fraction"]))
    assert shares == [0.0] * 4


def test_two_threads_learn_what_one_does():
    """To the last bit, with everything in the loss that draws random numbers."""
    demonstrations = ppo.Demonstrations(torch.eye(4), torch.tensor([1, 2, 3, 0]))
    config = dataclasses.replace(
        PPO_SMALL, total_steps=1024, target_kl=0.05, demo_coef=0.1, demo_batch_size=8
    )
    metrics = []
    one, two = (
        train_ppo(
            dataclasses.replace(config, threads=threads),
            demonstrations=demonstrations,
            callback=lambda p: metrics.append({k: v for k, v in p.metrics.items() if "speed" not in k}),
        )
        for threads in (1, 2)
    )
    assert torch.equal(weights(one.policy), weights(two.policy))
    assert metrics[:8] == metrics[8:] and len(metrics) == 16
    assert torch.get_num_threads() == 1  # as before


def test_dqn_same_seed_same_weights():
    config = dataclasses.replace(DQN_SMALL, total_steps=1000, prioritized=True)
    assert torch.equal(weights(train_dqn(config).network), weights(train_dqn(config).network))


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bfloat16"}, {"average_steps": 512}, {"optimizer": "muon"}],
    ids=["float32", "bfloat16", "average", "muon"],
)
def test_resumed_ppo_equals_an_uninterrupted_one(tmp_path, options):
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(PPO_SMALL, total_steps=2048, target_kl=0.05, **options)

    def stop_half_way(progress):
        if progress.steps == 1024:
            progress.save(path, {"action_set": "symbols"})
            return True

    whole = train_ppo(config)
    train_ppo(config, callback=stop_half_way)
    envs = Identity(8)
    logged = []
    state = ppo.resume(config, envs, load_checkpoint(path))
    assert (state.steps, state.iteration) == (1024, 8)
    ppo.train(config, envs, state, callback=lambda p: logged.append(p.steps))
    assert logged[0] == 1024 + 128 and state.steps == whole.steps
    assert torch.equal(weights(state.policy), weights(whole.policy))
    assert torch.equal(weights(state.playing()), weights(whole.playing()))
    assert torch.equal(state.generator.get_state(), whole.generator.get_state())
    assert (state.statistics.episode_return == whole.statistics.episode_return).all()
    # the same file plays
    assert Policy.load(path).metadata["action_set"] == "symbols"


def test_a_checkpoint_plays_the_mean_of_the_weights(tmp_path):
    path = tmp_path / "state.safetensors"
    newest, mean, rolled_back = [], None, []

    def callback(progress):
        nonlocal mean
        state = progress.state
        newest.append(weights(state.policy.policy))
        # of the first 512 steps, four iterations, all weigh the same; then each 3/4 of the next one
        mean = newest[-1] if mean is None else mean + max(1 / len(newest), 1 / 4) * (newest[-1] - mean)
        assert torch.allclose(weights(state.playing().policy), mean, atol=1e-6)
        assert len(newest) == 1 or not torch.allclose(newest[-1], mean, atol=1e-4)
        if progress.steps == 512:
            assert torch.allclose(mean, torch.stack(newest).mean(0), atol=1e-6)
            rolled_back.append((state.capture(), weights(state.playing())))
            progress.save(path, {})

    state = train_ppo(dataclasses.replace(PPO_SMALL, total_steps=1024, average_steps=512), callback=callback)
    stored = Policy.load(path).network
    assert torch.equal(weights(stored), rolled_back[0][1]) and not torch.equal(
        weights(stored.policy), newest[3]
    )
    state.roll_back(rolled_back[0][0])
    assert torch.equal(weights(state.playing()), weights(stored))
    # the training takes no notice
    without = train_ppo(dataclasses.replace(PPO_SMALL, total_steps=1024))
    assert torch.equal(weights(without.policy.policy), newest[-1]) and without.playing() is without.policy

    # without averaging it goes on from the newest weights
    config = dataclasses.replace(PPO_SMALL, total_steps=1024)
    resumed = ppo.train(config, envs := Identity(8), ppo.resume(config, envs, load_checkpoint(path)))
    assert torch.equal(weights(resumed.policy), weights(without.policy))
    checkpoint = load_checkpoint(path)
    checkpoint.tensors["newest.0.weight"][0, 0] = math.nan
    with pytest.raises(CheckpointError, match="damaged checkpoint, a weight is not finite"):
        ppo.resume(config, Identity(8), checkpoint)


@pytest.mark.parametrize("steps", [256, 640])
def test_ppo_resumes_moments_of_every_parameter(tmp_path, steps):
    """As checkpoints held them before the optimizers went over whole networks."""
    path, old_path = tmp_path / "state.safetensors", tmp_path / "old.safetensors"
    config = dataclasses.replace(PPO_SMALL, total_steps=1024, critic_warmup_steps=512)
    states = []

    def stop(progress):
        if progress.steps == steps:
            progress.save(path, {})
            states.append(progress.state)
            return True

    train_ppo(config, callback=stop)
    new = load_checkpoint(path)
    tensors = {name: t for name, t in new.tensors.items() if not name.startswith("optimizer")}
    networks = states[0].policy.policy, states[0].policy.value
    for first, name, network in zip((0, 4), ("policy", "value"), networks, strict=True):
        sizes = [p.numel() for p in network.parameters()]
        for moment in ("exp_avg", "exp_avg_sq"):
            flat = new.tensors.get(f"optimizer.{name}.0.{moment}")
            for i, part in enumerate(() if flat is None else flat.split(sizes)):
                shape = list(network.parameters())[i].shape
                tensors[f"optimizer.{first + i}.{moment}"] = part.view(shape).clone()
                tensors[f"optimizer.{first + i}.step"] = new.tensors[f"optimizer.{name}.0.step"].clone()
    assert sum(name.startswith("optimizer") for name in tensors) == (12 if steps == 256 else 24)
    save_checkpoint(old_path, tensors, new.metadata)
    resumed = [
        ppo.train(config, envs, ppo.resume(config, envs, load_checkpoint(p)))
        for p, envs in ((path, Identity(8)), (old_path, Identity(8)))
    ]
    assert torch.equal(*(weights(state.policy) for state in resumed))
    assert torch.equal(weights(resumed[0].policy), weights(train_ppo(config).policy))


@pytest.mark.parametrize("prioritized", [False, True])
def test_resumed_dqn_equals_an_uninterrupted_one(tmp_path, prioritized):
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(DQN_SMALL, total_steps=2000, prioritized=prioritized, pretrain_updates=20)

    def stop_half_way(progress):
        if progress.steps == 1000:
            progress.save(path, {}, replay=True)
            return True

    demonstrations = named_symbols(20)
    whole = train_dqn(config, demonstrations=demonstrations)
    train_dqn(config, demonstrations=demonstrations, callback=stop_half_way)
    envs = Identity(8)
    state = dqn.resume(config, envs, load_checkpoint(path), demonstrations)
    dqn.train(config, envs, state)
    assert state.updates == whole.updates
    assert torch.equal(weights(state.network), weights(whole.network))
    assert torch.equal(weights(state.target), weights(whole.target))
    assert Policy.load(path).network.num_actions == 4


@pytest.mark.parametrize("from_policy", [False, True])
def test_resumed_pqn_equals_an_uninterrupted_one(tmp_path, from_policy):
    """With demonstrations, pretraining, the reference policy and a moving normalizer."""
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(PQN_SMALL, total_steps=2048, pretrain_updates=5, reference_kl_coef=0.1)
    policy = ActorCritic(4, 4, (32,), generator(1))
    data = {"demonstrations": named_symbols(60), "reference": policy}

    def network():
        if from_policy:
            return QNetwork.from_policy(policy, temperature=0.1, generator=generator())
        return pqn_network(Identity())

    def stop_half_way(progress):
        if progress.steps == 1024:
            progress.save(path, {})
            return True

    whole = train_pqn(config, network=network(), **data)
    train_pqn(config, network=network(), callback=stop_half_way, **data)
    envs = Identity(8)
    state = pqn.resume(config, envs, load_checkpoint(path))
    assert (state.steps, state.iteration) == (1024, 8)
    pqn.train(config, envs, state, **data)
    assert (state.updates, state.steps) == (whole.updates, whole.steps)
    assert torch.equal(weights(state.network), weights(whole.network))
    assert state.rng.bit_generator.state == whole.rng.bit_generator.state
    assert Policy.load(path).network.num_actions == 4
    with pytest.raises(CheckpointError, match="not a checkpoint of a training with pqn"):
        pqn.resume(config, envs, load_checkpoint(path)._replace(metadata={}))


def test_dqn_resumes_without_a_replay_buffer(tmp_path):
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(DQN_SMALL, total_steps=2000)

    def stop_half_way(progress):
        if progress.steps == 1000:
            progress.save(path, {})
            return True

    updates = train_dqn(config, callback=stop_half_way).updates
    envs = Identity(8)
    state = dqn.train(config, envs, dqn.resume(config, envs, load_checkpoint(path)))
    # 1000 more steps, of which 200 fill the buffer (the step that completes them learns already)
    assert state.steps == 2000 and state.updates == updates + (1000 - 200) // 4 + 2


def test_what_cannot_be_resumed_says_so(tmp_path):
    path = tmp_path / "state.safetensors"
    config = dataclasses.replace(PPO_SMALL, total_steps=128)
    train_ppo(config, callback=lambda p: p.save(path, {}))
    checkpoint = load_checkpoint(path)
    with pytest.raises(CheckpointError, match="not a checkpoint of a training with dqn"):
        dqn.resume(DQN_SMALL, Identity(), checkpoint)
    with pytest.raises(CheckpointError, match="with 8 environments, not 4"):
        ppo.resume(dataclasses.replace(config, num_envs=4), Identity(4), checkpoint)
    with pytest.raises(TrainingError, match="gives 5 features, the network takes 4"):
        ppo.resume(config, Identity(8, size=5), checkpoint)


def test_critic_warmup_moves_only_the_critic():
    config = dataclasses.replace(PPO_SMALL, total_steps=1024, critic_warmup_steps=512)
    seen = []

    def record(progress):
        policy = progress.state.policy
        seen.append(
            (progress.steps, weights(policy.policy), weights(policy.value), policy.normalizer.count.item())
        )

    train_ppo(config, callback=record)
    for (_, policy, value, _), (steps, next_policy, next_value, count) in itertools.pairwise(seen):
        assert torch.equal(policy, next_policy) == (steps <= 512)
        assert not torch.equal(value, next_value)
        assert (count == 0) == (steps <= 512)


def test_target_kl_bounds_the_step():
    def largest_kl(target_kl):
        kls = []
        config = dataclasses.replace(PPO_SMALL, total_steps=1024, learning_rate=0.05, target_kl=target_kl)
        state = train_ppo(
            config, callback=lambda p: kls.append((p.metrics["ppo/updates"], p.metrics["ppo/approx_kl"]))
        )
        assert state.steps == 1024
        return kls

    free, bounded = largest_kl(0.0), largest_kl(0.01)
    assert all(updates == 8 for updates, _ in free) and max(kl for _, kl in free) > 0.015
    assert any(updates < 8 for updates, _ in bounded) and max(kl for _, kl in bounded) <= 0.015


def contrary_reference():
    """A policy that names, mostly, the next symbol instead of the shown one."""
    reference = ActorCritic(4, 4, (32,), generator(5))
    optimizer = torch.optim.Adam(reference.parameters(), lr=0.01)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(
            reference.logits(torch.eye(4)), torch.tensor([1, 2, 3, 0]), label_smoothing=0.3
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return reference


def test_reference_kl_holds_the_policy_until_it_decays():
    reference = contrary_reference()
    before = weights(reference)

    def final(coef, half_life):
        config = dataclasses.replace(PPO_SMALL, reference_kl_coef=coef, reference_kl_half_life=half_life)
        metrics = []
        envs = Identity(8)
        policy = ActorCritic(4, 4, (32,))
        policy.load_state_dict(reference.state_dict())
        state = ppo.start(config, envs, policy)
        ppo.train(config, envs, state, reference=reference, callback=lambda p: metrics.append(p.metrics))
        assert torch.equal(weights(reference), before)
        return symbols_named(state.policy), metrics

    named, metrics = final(10.0, 0)
    assert named == 0.0 and all(m["ppo/reference_kl"] < 0.2 for m in metrics)
    named, metrics = final(10.0, 100)  # 4096 steps are 41 half-lives
    assert named == 1.0 and metrics[-1]["ppo/reference_kl"] > 1.0
    assert metrics[2]["ppo/reference_kl_coef"] == pytest.approx(10.0 * 0.5 ** (256 / 100))


def test_demonstrations_in_the_policy_loss():
    """Where naming pays nothing to learn from, only the demonstrations can teach it."""
    features, actions = torch.eye(4).repeat(10, 1), torch.arange(4).repeat(10)
    demonstrations = ppo.Demonstrations(features, actions)

    class Worthless(Identity):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            return observation, np.zeros_like(reward), *rest

    config = dataclasses.replace(PPO_SMALL, total_steps=1024, demo_coef=0.1, demo_batch_size=16)
    metrics = []
    state = train_ppo(
        config, Worthless(8), demonstrations=demonstrations, callback=lambda p: metrics.append(p.metrics)
    )
    assert symbols_named(state.policy) == 1.0 and metrics[-1]["ppo/demo_agreement"] == 1.0
    # without weight they are only measured
    config = dataclasses.replace(config, demo_coef=0.0)
    metrics.clear()
    train_ppo(
        config, Worthless(8), demonstrations=demonstrations, callback=lambda p: metrics.append(p.metrics)
    )
    assert metrics[-1]["ppo/demo_agreement"] < 0.9


def named_symbols(length):
    """Demonstrations that name every symbol right; the last step is truncated."""
    symbols = np.random.default_rng(0).integers(0, 4, length + 1)
    shown = np.eye(4, dtype=np.float32)[symbols]
    return Transitions(
        observation=shown[:-1],
        action=symbols[:-1],
        reward=np.ones(length, np.float32),
        next_observation=shown[1:],
        terminated=np.zeros(length, bool),
        truncated=np.arange(length) == length - 1,
    )


def test_dqn_imitates_demonstrations_before_the_first_step():
    """DQfD's pretraining: the margin loss names the symbols before anything was played; without it the
    values of actions never demonstrated are left to chance.
    """
    config = dataclasses.replace(DQN_SMALL, total_steps=8, pretrain_updates=150, learning_starts=100)
    state = train_dqn(config, demonstrations=named_symbols(40))
    assert state.updates == 150 and symbols_named(state.network) == 1.0
    q = state.network(torch.eye(4)).detach()
    others = q.masked_fill(torch.eye(4, dtype=torch.bool), -np.inf).amax(-1)
    assert (q.diagonal() - others).min() > 0.6  # the margin asked for is 0.8
    with pytest.raises(TrainingError, match="no demonstrations"):
        train_dqn(config)


@pytest.mark.learning
@pytest.mark.parametrize("dueling", [False, True])
def test_a_clones_values_start_at_the_mean_of_the_returns(dueling):
    """Gamma 0.5, reward 1, 40 steps: k steps before the end G = 1 + 0.5 + ... = 2 - 2 * 0.5^k; the mean is
    2 - 2 * (0.5 + 0.25 + ...) / 40 = 1.95. No action changes its rank.
    """
    policy = ActorCritic(4, 4, (8,), generator())
    network = QNetwork.from_policy(policy, dueling)
    before = network(torch.eye(4)).detach()
    config = dataclasses.replace(DQN_SMALL, batch_size=512, pretrain_updates=1)
    demonstrations = named_symbols(40)
    state = dqn.start(config, Identity(8), network, demonstrations)
    network.normalizer.load_state_dict(policy.normalizer.state_dict())  # rows of torch.eye go in as they are
    dqn.shift_values_to_returns(state)
    after = network(torch.eye(4)).detach()
    torch.testing.assert_close(after - before, torch.full((4, 4), float((after - before).mean())))
    q = network(torch.from_numpy(demonstrations.observation)).gather(
        -1, torch.from_numpy(demonstrations.action)[:, None]
    )
    assert q.mean().item() == pytest.approx(1.95, abs=0.01)
    assert torch.equal(state.target(torch.eye(4)), network(torch.eye(4)))


def test_dqn_learning_rate_falls_to_zero():
    config = dqn.DQNConfig(total_steps=1000, learning_rate=0.4)
    # before the first step, after a quarter, at the end, and past it (whole vector steps)
    assert [dqn.learning_rate_at(config, s) for s in (0, 250, 1000, 1010)] == pytest.approx([0.4, 0.3, 0, 0])
    constant = dataclasses.replace(config, anneal_learning_rate=False)
    assert dqn.learning_rate_at(constant, 999) == 0.4
    state = train_dqn(dataclasses.replace(DQN_SMALL, total_steps=1000, learning_rate=0.4))
    # gradient steps come after the vector step that reaches the end
    assert state.optimizer.param_groups[0]["lr"] == 0.0


def test_callback_stops_and_rolls_back():
    kept, after = [], []

    def callback(progress):
        if progress.steps == 256:
            kept.append((progress.state.capture(), weights(progress.state.policy)))
        if progress.steps == 512:
            assert not torch.equal(weights(progress.state.policy), kept[0][1])
            progress.state.roll_back(kept[0][0])
            after.append(weights(progress.state.policy))
        return progress.steps == 640

    state = train_ppo(callback=callback)
    assert state.steps == 640
    assert torch.equal(after[0], kept[0][1]) and not torch.equal(weights(state.policy), kept[0][1])


def test_rewards_that_are_not_numbers_stop_the_training():
    class Broken(Identity):
        def step(self, actions):
            observation, reward, *rest = super().step(actions)
            reward[3] = np.nan
            return observation, reward, *rest

    with pytest.raises(TrainingError, match="reward is NaN"):
        train_ppo(envs=Broken(8))
    with pytest.raises(TrainingError, match="diverged"):
        train_dqn(envs=Broken(8))


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (ppo.PPOConfig, {"total_steps": 0}, "total_steps is 0"),
        (ppo.PPOConfig, {"gamma": 1.5}, "gamma is 1.5"),
        (ppo.PPOConfig, {"average_steps": -1.0}, "average_steps is -1"),
        (ppo.PPOConfig, {"reference_kl_coef": float("nan")}, "reference_kl_coef is nan"),
        (ppo.PPOConfig, {"optimizer": "sgd"}, "optimizer is 'sgd'; choose one of adam, muon"),
        (ppo.PPOConfig, {"precision": "half"}, "precision is 'half'"),
        (ppo.PPOConfig, {"learning_rate": float("nan")}, "learning_rate is nan"),
        (dqn.DQNConfig, {"batch_size": -1}, "batch_size is -1"),
        (dqn.DQNConfig, {"demo_fraction": 2.0}, "demo_fraction is 2.0"),
        (pqn.PQNConfig, {"demo_fraction": 1.0}, "demo_fraction is 1.0"),
        (pqn.PQNConfig, {"q_lambda": 1.5}, "q_lambda is 1.5"),
    ],
)
def test_settings_out_of_range(config, options, message):
    with pytest.raises(TrainingError, match=message):
        config(**options)


def test_anchors_need_their_data():
    with pytest.raises(TrainingError, match="no reference policy"):
        train_ppo(dataclasses.replace(PPO_SMALL, reference_kl_coef=1.0))
    with pytest.raises(TrainingError, match="no demonstrations"):
        train_ppo(dataclasses.replace(PPO_SMALL, demo_coef=1.0))


def test_lambda_targets_by_hand():
    """Two games and one demonstration of two steps, gamma 0.5, lambda 0.5; v = max_a Q = the observation."""

    def rollout(observation, reward, truncated, final, demonstrated):
        def steps(rows, dtype=torch.float32):
            return torch.tensor(rows, dtype=dtype)

        return Rollout(
            observation=steps(observation).unsqueeze(-1),
            action=torch.zeros_like(steps(reward), dtype=torch.int64),
            reward=steps(reward),
            terminated=torch.zeros_like(steps(reward), dtype=torch.bool),
            truncated=steps(truncated, torch.bool),
            final_observation=steps(final).view(-1, 1),
            is_demonstration=torch.full_like(steps(reward), demonstrated, dtype=torch.bool),
        )

    # the first game is truncated after its first step, at an observation of 8, the demonstration after its
    # second one, at an observation of 16
    played = rollout([[2, 4], [6, 10], [12, 14]], [[1, 1], [1, 1]], [[1, 0], [0, 0]], [8], False)
    demonstrated = rollout([[20], [30], [99]], [[2], [2]], [[0], [1]], [16], True)
    both = joined(played, demonstrated)
    targets = lambda_targets(both, lambda x: torch.cat((x, x - 1), -1), None, 0.5, 0.5)
    # second step: r + gamma v: 1 + 12 / 2, 1 + 14 / 2, 2 + 16 / 2
    # first step: 1 + 8 / 2; 1 + 0.5 (0.5 * 10 + 0.5 * 8); 2 + 0.5 (0.5 * 30 + 0.5 * 10)
    assert targets.values.tolist() == [[5.0, 5.5, 12.0], [7.0, 8.0, 10.0]]
    assert both.is_demonstration.tolist() == [[False, False, True]] * 2


def test_lambda_targets_near_a_reference_policy():
    """A step gets c ln p(a | s); the trace pays c (ln pi - ln p) of the actions after it."""
    policy = ActorCritic(1, 2, (8,), generator())
    with torch.no_grad():
        for parameter in policy.policy.parameters():
            parameter.zero_()
        policy.policy[-1].bias.copy_(torch.tensor([0.0, np.log(3.0)]))  # p = 1/4, 3/4
    reference = make_reference(policy, 2.0, torch.device("cpu"))
    values = torch.tensor([[2.0 * np.log(1.0), 2.0 * np.log(1.0)]] * 3)  # pi = 1/2, 1/2; V = 2 ln 2
    rollout = Rollout(
        observation=torch.zeros(3, 1, 1),
        action=torch.tensor([[1], [0]]),
        reward=torch.tensor([[1.0], [5.0]]),
        terminated=torch.tensor([[False], [True]]),
        truncated=torch.zeros(2, 1, dtype=torch.bool),
        final_observation=torch.zeros(0, 1),
        is_demonstration=torch.zeros(2, 1, dtype=torch.bool),
    )
    targets = lambda_targets(rollout, lambda x: values.unsqueeze(1), reference, 0.5, 1.0)
    first, last = 2.0 * np.log(0.75), 2.0 * np.log(0.25)  # c ln p of the two actions
    # the second state is worth 5 - c (ln 1/2 - ln 1/4), as the action taken there is
    worth = 5.0 + last - 2.0 * np.log(0.5)
    assert targets.values[:, 0].tolist() == pytest.approx([1.0 + first + 0.5 * worth, 5.0 + last], abs=1e-5)
    assert targets.log_ratio[:, 0].tolist() == pytest.approx([np.log(0.5 / 0.75), np.log(2.0)], abs=1e-5)
    assert make_reference(policy, 0.0, torch.device("cpu")) is None


@pytest.mark.learning
def test_pqn_imitates_demonstrations_before_the_first_step():
    config = dataclasses.replace(PQN_SMALL, total_steps=1, pretrain_updates=150, epochs=1)
    state = train_pqn(config, demonstrations=named_symbols(40))
    assert state.updates == 150 + 8 and symbols_named(state.network) == 1.0  # 2 * 8 * 16 / 32 updates
    with pytest.raises(TrainingError, match="no demonstrations"):
        train_pqn(config)
    with pytest.raises(TrainingError, match="no reference policy"):
        train_pqn(dataclasses.replace(PQN_SMALL, reference_kl_coef=1.0))


def test_pretraining_keeps_the_ranking_of_a_clone():
    """The values of all actions move together, and the separate value network takes the error."""
    policy = ActorCritic(4, 4, (32,), generator(3))
    network = QNetwork.from_policy(policy, temperature=0.1, generator=generator())
    demonstrations = named_symbols(40)
    before = network(torch.eye(4)).detach()
    config = dataclasses.replace(PQN_SMALL, pretrain_updates=100, reference_kl_coef=0.1)
    reference = make_reference(policy, 0.1, torch.device("cpu"))
    pqn.pretrain(config, pqn.start(config, Identity(8), network), demonstrations, reference, False)
    after = network(torch.eye(4)).detach()
    spread = (after - before) - (after - before).mean(-1, keepdim=True)
    assert spread.abs().max() < 1e-3 < 1.0 < (after - before).mean()
    # a right name pays 1 at gamma 0.5: 2 in the long run, less 0.1 nats' worth of the clone's surprise
    assert after.mean().item() == pytest.approx(2.0, abs=0.4)


def test_a_network_with_a_temperature_has_the_soft_value_and_the_policy():
    """V = t ln sum exp(Q / t) and softmax(Q / t) are those of its two parts."""
    policy = ActorCritic(4, 3, (8,), generator())
    network = QNetwork.from_policy(policy, temperature=0.5, generator=generator())
    assert network.value is not None
    nn.init.ones_(network.value[-1].weight)
    q, rows = network(torch.eye(4)).detach(), network.normalizer(torch.eye(4))
    torch.testing.assert_close(0.5 * torch.logsumexp(q / 0.5, -1), network.value(rows).squeeze(-1).detach())
    torch.testing.assert_close((q / 0.5).softmax(-1), policy.logits(torch.eye(4)).softmax(-1).detach())
    again = build_network(network.architecture)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(torch.eye(4)), q)
    for wrong in (
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1.0, "dueling": True},
    ):
        with pytest.raises(ValueError, match="temperature"):
            QNetwork(4, 4, (8,), **wrong)
