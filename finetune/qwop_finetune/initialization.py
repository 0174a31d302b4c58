"""What a training starts from: clone or stored training, demonstrations, environment, networks."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from qwop_cli import CommandError
from qwop_datasets import DatasetError
from qwop_finetune.config import (
    DQNFinetuneConfig,
    ExpertFinetuneConfig,
    FinetuneConfig,
    PPOFinetuneConfig,
    PQNFinetuneConfig,
)
from qwop_finetune.demonstrations import Demonstrations, load_demonstrations
from qwop_finetune.environment import TrainingEnv, make_environment, training_figures
from qwop_finetune.forgetting import GaitGuard
from qwop_finetune.resume import beside_resumed, check_unchanged, file_sha256, same_file, stored_config
from qwop_game import FEATURE_SIZE, PolicySpec, RolloutMetrics
from qwop_rewards import parse_options
from qwop_rl_core import (
    EVENTS,
    ActorCritic,
    Checkpoint,
    CheckpointError,
    PPOConfig,
    PQNConfig,
    QNetwork,
    Transitions,
    check_kinds,
    dqn,
    expert_iteration,
    explained,
    load_checkpoint,
    load_network,
    ppo,
    pqn,
    ranks,
    set_aside,
)


@dataclass(frozen=True)
class Clone:
    """The network that training starts from."""

    network: ActorCritic | QNetwork
    spec: PolicySpec


@dataclass(frozen=True)
class TrainingSetup:
    """All that a training needs, loaded and checked."""

    config: FinetuneConfig
    """The settings, with the frame skip and the action set that hold."""
    resumed: Checkpoint | None
    clone: Clone | None
    clone_sha256: str
    """SHA-256 of the clone's file; "" without one."""
    demonstrations: Demonstrations | None
    envs: TrainingEnv
    guard: GaitGuard


def initialize(config: FinetuneConfig) -> TrainingSetup:
    """Load and check what a training starts from.

    Raises:
        CheckpointError, DatasetError, CommandError: something is missing, damaged or does not fit; one line.
    """
    resumed = None if config.resume is None else load_checkpoint(config.resume)
    if resumed is not None and config.resume is not None:
        check_unchanged(stored_config(resumed, config.resume), config)
    with explained(str(config.resume)) if resumed else contextlib.nullcontext():
        clone, clone_sha256 = _load_clone(config, resumed)
        spec = clone.spec if clone else PolicySpec()
        config = dataclasses.replace(config, environment=config.environment.with_policy(spec))
        demonstrations = _load_demonstrations(config, resumed)
        envs = _make_environment(config, demonstrations)
        guard = GaitGuard(config.collapse_margin)
        if resumed is not None:
            state = resumed.metadata["finetune"]["guard"]
            check_kinds(state, guard)
            guard = GaitGuard(**state)
    return TrainingSetup(config, resumed, clone, clone_sha256, demonstrations, envs, guard)


def prepare_logs(setup: TrainingSetup) -> int | None:
    """Move logs and checkpoints of another training out of the way.

    Returns:
        Environment steps at which the logs continue; None: they are new.

    Raises:
        CheckpointError: the resumed checkpoint is damaged.
        TrainingError: the files can't be moved.
    """
    config, resumed = setup.config, setup.resumed
    if ranks.rank() > 0:  # the first one has the logs
        return None
    if resumed is None or not _logs_continue(config):
        set_aside(config.log_directory, EVENTS, "[0-9]*.safetensors")
        return None
    with explained(str(config.resume)):
        steps = resumed.metadata["training"]["steps"]
        check_kinds({"steps": steps}, RolloutMetrics())
    return steps


def initial_ppo_state(config: PPOFinetuneConfig, setup: TrainingSetup) -> ppo.PPOState:
    """Return the state from which PPO trains: the stored one, or one with the clone's or a new network."""
    learner, envs = ranks.share_of_rank(config.learner), setup.envs
    if setup.resumed is not None:
        state = ppo.resume(learner, envs, setup.resumed, str(config.resume))
        envs.metrics = _stored_metrics(config, setup.resumed)
        return state
    return ppo.start(learner, envs, _initial_policy(config, setup))


def initial_expert_state(config: ExpertFinetuneConfig, setup: TrainingSetup) -> expert_iteration.ExpertState:
    """Return the state from which expert iteration trains: the stored one, or one as for PPO."""
    learner, envs = config.learner, setup.envs
    if setup.resumed is not None:
        state = expert_iteration.resume(learner, envs, setup.resumed, str(config.resume))
        envs.metrics = _stored_metrics(config, setup.resumed)
        return state
    return expert_iteration.start(learner, envs, _initial_policy(config, setup))


def _initial_policy(config: PPOFinetuneConfig | ExpertFinetuneConfig, setup: TrainingSetup) -> ActorCritic:
    """Return a copy of the clone's networks, or new ones."""
    seed = config.learner.seed
    generator = torch.Generator().manual_seed(seed)
    policy = ActorCritic(FEATURE_SIZE, len(setup.envs.action_masks), config.hidden, generator)
    if setup.clone is not None:
        assert isinstance(setup.clone.network, ActorCritic)
        policy = copy.deepcopy(setup.clone.network)
        if config.fresh_critic:
            _renew_critic(policy, seed)
            policy.rescale_values(0.0, 1.0)
    return policy


def _renew_critic(policy: ActorCritic, seed: int) -> None:
    """Give a policy a critic with new weights."""
    generator = torch.Generator().manual_seed(seed)
    sizes = policy.feature_size, policy.num_actions, policy.hidden
    policy.value = ActorCritic(*sizes, generator).value


def ppo_demonstrations(config: PPOFinetuneConfig, setup: TrainingSetup) -> ppo.Demonstrations | None:
    """Return the demonstrations for PPO's loss, or None if they have no weight there."""
    if setup.demonstrations is None or config.learner.demo_coef <= 0:
        return None
    features, actions = setup.demonstrations.features, setup.demonstrations.actions
    return ppo.Demonstrations(torch.as_tensor(features), torch.as_tensor(actions))


def initial_dqn_state(config: DQNFinetuneConfig, setup: TrainingSetup) -> dqn.DQNState:
    """Return the state from which DQN trains: the stored one, or one with the clone's or a new network."""
    learner, envs = config.learner, setup.envs
    demonstrations = demonstrated_transitions(setup)
    if setup.resumed is not None:
        state = dqn.resume(learner, envs, setup.resumed, demonstrations, str(config.resume))
        envs.metrics = _stored_metrics(config, setup.resumed)
        return state
    if setup.clone is None:
        generator = torch.Generator().manual_seed(learner.seed)
        size = (FEATURE_SIZE, len(envs.action_masks), config.hidden)
        network = QNetwork(*size, dueling=learner.dueling, generator=generator)
    elif isinstance(setup.clone.network, ActorCritic):
        network = QNetwork.from_policy(setup.clone.network, learner.dueling)
    else:
        network = copy.deepcopy(setup.clone.network)
    return dqn.start(learner, envs, network, demonstrations)


def initial_pqn_state(config: PQNFinetuneConfig, setup: TrainingSetup) -> pqn.PQNState:
    """Return the state from which PQN trains: the stored one, or one with the clone's or a new network."""
    learner, envs = config.learner, setup.envs
    if setup.resumed is not None:
        state = pqn.resume(learner, envs, setup.resumed, str(config.resume))
        envs.metrics = _stored_metrics(config, setup.resumed)
        return state
    generator = torch.Generator().manual_seed(learner.seed)
    if setup.clone is None:
        size = (FEATURE_SIZE, len(envs.action_masks), config.hidden)
        network = QNetwork(*size, generator=generator, layer_norm=True)
    elif isinstance(setup.clone.network, ActorCritic):
        temperature = learner.reference_kl_coef
        network = QNetwork.from_policy(setup.clone.network, temperature=temperature, generator=generator)
    else:
        network = copy.deepcopy(setup.clone.network)
    return pqn.start(learner, envs, network)


def reference_policy(setup: TrainingSetup) -> ActorCritic | None:
    """Return the policy that training starts from, if it is one: its log-probabilities may count."""
    network = setup.clone.network if setup.clone else None
    return network if isinstance(network, ActorCritic) else None


def demonstrated_transitions(setup: TrainingSetup) -> Transitions | None:
    """Return the demonstrations with the rewards of the environment, or None without demonstrations."""
    if setup.demonstrations is None:
        return None
    environment = setup.config.environment
    options = parse_options(environment.reward_option)
    return setup.demonstrations.transitions(environment.reward, options)


def _load_clone(config: FinetuneConfig, resumed: Checkpoint | None) -> tuple[Clone | None, str]:
    """Load `config.init`.

    A resumed training needs the clone only for the KL anchor and the forgetting meter. If its file is gone or
    has changed, that is an error only with the anchor.

    Returns:
        The clone, or None without one, and the SHA-256 of its file.
    """
    path = config.init
    if path is None:
        return None, ""
    if resumed is None:
        return _read_clone(config, path), file_sha256(path)
    stored = resumed.metadata["finetune"]
    known = stored["clone_sha256"]
    if file_sha256(path) != known:
        beside = beside_resumed(config, path)
        path = beside if file_sha256(beside) == known else path
    try:
        clone = _read_clone(config, path)
        if file_sha256(path) != known:
            raise CheckpointError(f"{path}: is not the file any more that the training began with")
    except CheckpointError as error:
        anchored = isinstance(config.learner, PPOConfig | PQNConfig) and config.learner.reference_kl_coef > 0
        if anchored or str(config.init) != stored["config"]["init"]:
            raise CheckpointError(f"{error}; name a file of the same content with --init") from None
        return None, known
    return clone, known


def _read_clone(config: FinetuneConfig, path: Path) -> Clone:
    """Read a clone and check that the settings fit it. Raises CheckpointError, one line."""
    checkpoint, environment = load_checkpoint(path), config.environment
    try:
        spec = PolicySpec.from_metadata(checkpoint.metadata)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    required = {"action_set": "omit --action-set"}
    if not config.change_frame_skip:
        required["frame_skip"] = "omit --frame-skip, or add --change-frame-skip"
    for name, remedy in required.items():
        try:
            spec.require(**{name: getattr(environment, name)})
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}; {remedy}") from None
    network = load_network(checkpoint, path)
    if isinstance(config, PPOFinetuneConfig | ExpertFinetuneConfig) and isinstance(network, QNetwork):
        name = "PPO" if isinstance(config, PPOFinetuneConfig) else "expert iteration"
        raise CheckpointError(f"{path}: holds action values; {name} starts from a policy, such as a clone")
    learner = config.learner
    if isinstance(learner, PQNConfig) and learner.reference_kl_coef > 0 and isinstance(network, QNetwork):
        raise CheckpointError(f"{path}: holds action values, no probabilities: add --reference-kl-coef 0")
    if isinstance(network, ActorCritic) and "critic" in checkpoint.metadata:
        # `qwop-policy critic` made it: it knows the distance of recorded runs, not this training's reward.
        _renew_critic(network, learner.seed)
        network.value_mean.zero_()
        network.value_std.fill_(1.0)
    return Clone(network, spec)


def _load_demonstrations(config: FinetuneConfig, resumed: Checkpoint | None) -> Demonstrations | None:
    """Load what `config.demos` names. Raises DatasetError unless they are those of the resumed training."""
    if config.demos is None:
        if config.environment.demo_starts > 0:
            raise CommandError("--demo-starts needs --demos FILE")
        if isinstance(config.learner, PPOConfig) and config.learner.demo_coef > 0:
            raise CommandError("--demo-coef needs --demos FILE")
        return None
    spec = config.environment.policy_spec
    settings = spec.frame_skip, spec.action_set, config.demos_where
    if resumed is None:
        return load_demonstrations(config.demos, *settings)
    known = resumed.metadata["finetune"]["demos_sha256"]
    path, beside = config.demos, beside_resumed(config, config.demos)
    if not path.exists() and beside.exists():
        path = beside
    demonstrations = load_demonstrations(path, *settings)
    if demonstrations.sha256 != known and beside.exists() and not same_file(path, beside):
        demonstrations = load_demonstrations(beside, *settings)
    if demonstrations.sha256 != known:
        raise DatasetError(
            f"{config.demos}: holds other demonstrations than the training began with; "
            "name the original ones with --demos"
        )
    return demonstrations


def _make_environment(config: FinetuneConfig, demonstrations: Demonstrations | None) -> TrainingEnv:
    num_envs = ranks.share_of_rank(config.learner).num_envs
    try:
        return make_environment(
            config.environment, num_envs, demonstrations, simulator_threads(config, num_envs)
        )
    except ValueError as error:
        raise CommandError(str(error)) from None


def simulator_threads(config: FinetuneConfig, num_games: int) -> int:
    """Return how many threads share the games: a thread's work has to be worth its start."""
    return min(config.learner.threads or torch.get_num_threads(), 1 + num_games // 64)


def _stored_metrics(config: FinetuneConfig, resumed: Checkpoint) -> RolloutMetrics:
    if ranks.rank() > 0:  # they are those of all ranks
        return RolloutMetrics()
    with explained(str(config.resume)):
        state = resumed.metadata["finetune"]["tally"]
        check_kinds(state, RolloutMetrics())
        metrics = RolloutMetrics(**state)
        training_figures(metrics)
    return metrics


def _logs_continue(config: FinetuneConfig) -> bool:
    """Whether the logs in the log directory are those of the resumed training, not of one to be replaced."""
    assert config.resume is not None
    kept = config.resume.resolve().parent == config.log_directory.resolve()
    return kept or same_file(config.out, config.resume) or not config.out.exists()
