"""`qwop-finetune`: what it trains in, what it is shown, exact resumption, a lost gait that comes back."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import get_type_hints

import h5py
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qwop_cli import CommandError
from qwop_datasets import DatasetWriter, Episode, write_dataset
from qwop_datasets.exact_replay import replay_keys
from qwop_evaluation.player import CheckpointPlayer
from qwop_finetune import cli, finetune, resume_config
from qwop_finetune.config import (
    DQNFinetuneConfig,
    EnvironmentConfig,
    ExpertFinetuneConfig,
    PPOFinetuneConfig,
    PQNFinetuneConfig,
    from_plain,
    to_plain,
)
from qwop_finetune.demonstrations import DemonstratedStarts, load_demonstrations
from qwop_finetune.drills import KEPT, WEIGHTS, Drills
from qwop_finetune.environment import TrainingEnv, make_environment, training_figures
from qwop_finetune.forgetting import ForgettingMeter, GaitGuard
from qwop_finetune.initialization import initial_ppo_state, initialize
from qwop_finetune.resume import check_unchanged
from qwop_game import (
    ACTION_SETS,
    DEFAULT_TRIG,
    FEATURE_SIZE,
    PolicySpec,
    QWOPVectorEnv,
    RolloutMetrics,
    Simulator,
    action_masks,
)
from qwop_game.gait import knee_near, upright
from qwop_rl_core import (
    ActorCritic,
    Policy,
    PPOConfig,
    QNetwork,
    check_kinds,
    load_checkpoint,
    save_checkpoint,
)
from qwop_rl_core.checkpoint import prefixed
from qwop_rl_core.dqn import DQNConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"
SMALL = "--num-envs 8 --threads 1 --device cpu".split()
PPO = [*SMALL, *"--rollout-length 16 --epochs 2 --minibatch-size 64 --learning-rate 1e-3".split()]


def episode(keys: np.ndarray, trig: str = DEFAULT_TRIG) -> Episode:
    (run,) = replay_keys([keys], trig=trig)
    frames = run.frames_until_end
    return Episode(
        keys=keys[:frames],
        raw_observations=run.raw_observations[: frames + 1],
        times=run.times[: frames + 1],
        terminated=run.over,
        truncated=not run.over,
        success=run.landed,
        source="script",
        trig=trig,
    )


@pytest.fixture(scope="module")
def run_keys() -> np.ndarray:
    """Keys of a run of 2301 frames of the real game."""
    with np.load(GOLDEN) as traces:
        return traces["actions_0"]


@pytest.fixture(scope="module")
def demos(run_keys, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("demos") / "demos.h5"
    write_dataset(path, [episode(run_keys[:600]), episode(run_keys[:333])])
    return path


def clone(path: Path, network=None, **metadata) -> Path:
    network = network or ActorCritic(FEATURE_SIZE, 9, (16,), torch.Generator().manual_seed(1))
    entries = {
        **PolicySpec("distinct", 2).metadata(),
        **network.architecture,
        **metadata,
    }
    save_checkpoint(path, prefixed("network", network.state_dict()), entries)
    return path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).tensors


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], prefix: str = "") -> bool:
    a, b = ({k: v for k, v in t.items() if k.startswith(prefix)} for t in (a, b))
    return bool(a) and a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# ---- the environment -----------------------------------------------------------------------------------


def test_training_counts_postures_and_episodes_that_started_at_the_start():
    envs = make_environment(EnvironmentConfig(reward_option=("knee_seconds=0",), max_seconds=4.0), 6)
    envs.reset(seed=1)
    expected = RolloutMetrics()
    rng = np.random.default_rng(0)
    for _ in range(60):
        _, _, terminated, truncated, infos = envs.step(rng.integers(0, 9, 6))
        raw = infos["_final"]["raw_observation"]
        expected.steps += 6
        expected.knee_near += int(knee_near(raw).sum())
        expected.upright += int(upright(raw).sum())
        for i in np.flatnonzero(terminated | truncated):
            expected.episodes += 1
            expected.meters += infos["_final"]["distance"][i]
    assert envs.metrics.episodes >= 6 and 0 < envs.metrics.upright < 360
    assert envs.metrics.meters == pytest.approx(expected.meters)
    assert dataclasses.replace(envs.metrics, meters=0.0) == dataclasses.replace(expected, meters=0.0)
    assert RolloutMetrics(**envs.metrics.state()) == envs.metrics


def test_figures_of_a_report():
    metrics = RolloutMetrics(
        200, knee_near=3, upright=150, episodes=4, meters=320.0, finish_times=[60.0, 50.0, 71.0]
    )
    assert training_figures(metrics) == {
        "gait/knee_near": 0.015,
        "gait/upright": 0.75,
        "finish/rate": 0.75,
        "finish/distance": 80.0,
        "finish/median_seconds": 60.0,
        "finish/best_seconds": 50.0,
    }
    assert training_figures(RolloutMetrics()) == {}


# ---- demonstrations ------------------------------------------------------------------------------------


def test_transitions_are_what_the_same_decisions_give_live(tmp_path):
    """Observations, rewards and ends for the replay buffer, against the environment of the learner."""
    actions = np.random.default_rng(7).integers(1, 9, 40).repeat(3)
    path = tmp_path / "played.h5"
    write_dataset(path, [episode(ACTION_SETS["distinct"][actions].repeat(4))])
    options = {"power": 1.6, "knee_seconds": 1.0}
    reward_option = ("power=1.6", "knee_seconds=1.0")
    shown = load_demonstrations(path, 4, "distinct").transitions("stride", options)

    envs = make_environment(EnvironmentConfig(reward_option=reward_option, disturb=False), 1)
    observation, _ = envs.reset()
    for step in range(len(shown)):
        assert (shown.observation[step] == observation[0]).all() and shown.action[step] == actions[step]
        observation, reward, terminated, _, infos = envs.step(actions[step : step + 1])
        assert shown.reward[step] == reward[0]
        assert (shown.next_observation[step] == infos["_final"]["observation"][0]).all()
        assert shown.terminated[step] == terminated[0]
    assert terminated[0] and len(shown) > 10 and not shown.truncated.any()


def test_a_demonstration_that_the_reward_calls_failed_ends_there(demos):
    loaded = load_demonstrations(demos, 2, "distinct")
    lenient = loaded.transitions("stride", {"knee_seconds": None})
    strict = loaded.transitions("stride", {"knee_seconds": 0.0, "knee_meters": 0.5})
    assert len(lenient) == len(loaded.actions) and lenient.truncated.sum() == 2
    assert len(strict) < len(lenient) and strict.terminated.sum() == 2
    assert strict.reward[strict.terminated].max() < -1.5  # what a fall costs


def test_demonstrated_starts_are_states_of_the_demonstrations(demos, run_keys):
    loaded = load_demonstrations(demos, 2, "distinct")
    starts = DemonstratedStarts(loaded.episodes, 0.3, 500, np.random.default_rng(0))
    mask = np.arange(500) < 400
    start = starts(mask)
    assert not start.mask[400:].any()
    assert start.mask.sum() / 400 == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 400))
    simulator = Simulator(500)
    simulator.restore(start.snapshots, start.mask)
    rows = loaded.episodes[0].raw_observations
    for i in np.flatnonzero(start.mask):
        (frame,) = np.flatnonzero((rows == simulator.raw_observation[i]).all(axis=1))
        assert 60 <= frame < 570
        assert start.last_keys[i] == run_keys[frame - 1]


def test_starts_from_mixed_demonstrations(run_keys, tmp_path):
    """Each state is the episode's in its own variant of sine and cosine; from there on it is the games'."""
    keys = run_keys[:600]
    episodes = [episode(keys, trig) for trig in ("glibc-fma", "msun")]
    write_dataset(tmp_path / "mixed.h5", episodes)
    loaded = load_demonstrations(tmp_path / "mixed.h5", 4, "distinct").episodes
    starts = DemonstratedStarts(loaded, 1.0, 200, np.random.default_rng(0))
    given = []
    envs = make_environment(EnvironmentConfig(disturb=False, trig="fdlibm"), 200)
    envs.start_states = lambda mask: given.append(starts(mask)) or given[-1]
    _, infos = envs.reset(seed=0)
    began = [
        [(e.raw_observations == row).all(axis=1).any() for e in loaded] for row in infos["raw_observation"]
    ]
    assert np.any(began, axis=1).all()
    only_one = np.array(began)[np.sum(began, axis=1) == 1]
    assert only_one.any(axis=0).all()  # states that only one of the variants reaches, of both

    own = {trig: Simulator(200, trig=trig) for trig in ("fdlibm", "msun")}
    for simulator in own.values():
        simulator.restore(given[0].snapshots, convert=True)
    action, held = 1, np.full(200, action_masks("distinct")[1])
    differ, alive = False, np.ones(200, bool)
    for _ in range(15):
        _, _, terminated, truncated, infos = envs.step(np.full(200, action))
        for simulator in own.values():
            for _ in range(4):
                simulator.step(held)
        alive &= ~(terminated | truncated)
        rows = infos["raw_observation"][alive]
        assert (rows == own["fdlibm"].raw_observation[alive]).all()
        differ |= (rows != own["msun"].raw_observation[alive]).any()
    assert differ and alive.sum() > 30


def test_episodes_from_demonstrated_states_count_for_the_gait_only(demos):
    demonstrations = load_demonstrations(demos, 4, "distinct")
    envs = make_environment(EnvironmentConfig(demo_starts=1.0, max_seconds=1.0), 20, demonstrations)
    envs.reset(seed=0)
    for _ in range(10):
        envs.step(np.zeros(20, np.int64))
    assert envs.metrics.steps == 200 and envs.metrics.episodes == 0


# ---- drills --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped() -> Policy:
    """A policy that runs, every frame a decision or every second one."""
    return Policy.load(Path(__file__).parents[2] / "demos" / "policy.safetensors")


def drilled(num_envs: int, share: float, meters: float, frame_skip: int, falls: float = 0.0) -> Drills:
    envs = QWOPVectorEnv(num_envs, frame_skip=frame_skip, observation="features")
    return Drills(envs, share, meters, falls)


def test_drills_start_where_the_runner_was_and_end_some_meters_on(shipped):
    frame_skip = shipped.metadata["frame_skip"]
    envs = drilled(24, 1.0, 8.0, frame_skip)
    observations, infos = envs.reset(seed=0)
    passed: dict[bytes, tuple[int, int]] = {}
    elsewhere, over = [], 0
    began = infos["distance"].copy()
    for _ in range(1200 // frame_skip):
        observations, _, terminated, truncated, infos = envs.step(shipped.act(observations))
        final = infos["_final"]
        assert final["drill"].all()
        ends_at = np.where(began < 5.0, 8.0, began + 8.0)
        assert (truncated == (final["distance"] > ends_at) & ~terminated).all()
        over += int(truncated.sum())
        for i in np.flatnonzero(terminated | truncated):
            began[i] = infos["distance"][i]
            raw = infos["raw_observation"][i].tobytes()
            if began[i] >= 5.0:
                elsewhere.append(int(began[i] // 5))
                assert passed[raw] == (infos["hip_mode"][i], infos["keys"][i])
            assert infos["frame"][i] == 0
        for i in range(24):
            passed[final["raw_observation"][i].tobytes()] = (final["hip_mode"][i], final["keys"][i])
    # Drills go on where drills ended: places are reached that are farther than a drill is long.
    assert over > 60 and len(elsewhere) > 20 and max(elsewhere) >= 3
    assert len(WEIGHTS) == 20


def test_drills_before_falls_start_where_the_runner_was_two_seconds_before(shipped):
    frame_skip = shipped.metadata["frame_skip"]
    envs = drilled(24, 1.0, 8.0, frame_skip, falls=1.0)
    observations, _ = envs.reset(seed=0)
    rng = np.random.default_rng(1)
    history: list[np.ndarray] = []
    before_falls: set[bytes] = set()
    starts = 0
    for step in range(900 // frame_skip):
        actions = shipped.act(observations)
        if step % (150 // frame_skip) > 110 // frame_skip:
            actions = rng.integers(0, 9, 24)  # runners trip now and then
        observations, _, terminated, truncated, infos = envs.step(actions)
        final = infos["_final"]
        for i in np.flatnonzero(terminated & (final["frame"] > 80)):
            frames_ago = range(40 // frame_skip, 80 // frame_skip + 1)
            before_falls |= {history[-k][i].tobytes() for k in frames_ago if k <= len(history)}
        history.append(infos["raw_observation"].copy())
        for i in np.flatnonzero(terminated | truncated):
            if before_falls and infos["raw_observation"][i].tobytes() in before_falls:
                starts += 1
    assert envs.get_state()["drills.count"][20] > 5 and starts > 10


def test_drills_go_on_exactly(shipped):
    frame_skip = shipped.metadata["frame_skip"]
    envs, again = (drilled(16, 0.8, 7.0, frame_skip, falls=0.5) for _ in range(2))
    observations, _ = envs.reset(seed=3)
    for _ in range(600 // frame_skip):
        observations, *_ = envs.step(shipped.act(observations))
    state = envs.get_state()
    assert state["drills.count"].max() > KEPT  # the oldest have been replaced
    assert state["drills.count"][0] == 0
    again.reset(seed=4)
    again.set_state(state)
    other, placed = observations, 0
    for _ in range(600 // frame_skip):
        observations, _, terminated, truncated, infos = envs.step(shipped.act(observations))
        other, _, terminated_again, truncated_again, infos_again = again.step(shipped.act(other))
        assert (observations == other).all() and (truncated == truncated_again).all()
        assert (terminated == terminated_again).all()
        assert (infos["_final"]["drill"] == infos_again["_final"]["drill"]).all()
        placed += int((infos["distance"][terminated | truncated] > 5.0).sum())
    assert placed > 3
    with pytest.raises(ValueError, match="without drills"):
        again.set_state({k: v for k, v in state.items() if not k.startswith("drills.")})


def test_rewards_and_metrics_across_the_ends_of_drills(shipped):
    frame_skip = shipped.metadata["frame_skip"]
    config = EnvironmentConfig(frame_skip=frame_skip, max_seconds=60.0, drills=0.5, drill_meters=3.0)
    envs = make_environment(config, 24)
    observations, infos = envs.reset(seed=0)
    before, whole, drills = infos["raw_observation"][:, 0], 0, 0
    rng = np.random.default_rng(0)
    for _ in range(800 // frame_skip):
        actions = shipped.act(observations)
        actions[12:] = rng.integers(0, 9, 12)  # half of the games fall soon
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        final = infos["_final"]
        progress = final["raw_observation"][:, 0].astype(np.float64) - before
        expected = 0.1 * progress - 0.02 - 2.0 * (terminated & ~final["is_success"])
        np.testing.assert_allclose(rewards, expected, rtol=1e-4, atol=1e-6)
        ended = terminated | truncated
        whole += int((ended & ~final["drill"]).sum())
        drills += int((ended & final["drill"]).sum())
        before = infos["raw_observation"][:, 0]
    assert drills > 20 and envs.metrics.episodes == whole > 20


# ---- forgetting ----------------------------------------------------------------------------------------


def test_forgetting_meter(demos):
    loaded = load_demonstrations(demos, 2, "distinct")
    network = ActorCritic(FEATURE_SIZE, 9, (8,), torch.Generator().manual_seed(0))
    head = network.policy[-1]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([2.0, 1.0] + [0.0] * 7))
    meter = ForgettingMeter(network, loaded)
    changed = ActorCritic(FEATURE_SIZE, 9, (8,), torch.Generator().manual_seed(0))
    changed.load_state_dict(network.state_dict())
    seen = np.zeros((5, FEATURE_SIZE), np.float32)
    share = float((loaded.actions == 0).mean())
    assert meter.measure(changed, seen) == {
        "forgetting/demo_agreement": pytest.approx(share),
        "forgetting/clone_agreement": 1.0,
        "forgetting/clone_kl": pytest.approx(0.0, abs=1e-7),
    }
    with torch.no_grad():  # swap the two best actions: KL = (p0 - p1) * (2 - 1)
        changed.policy[-1].bias.copy_(torch.tensor([1.0, 2.0] + [0.0] * 7))
    z = np.exp(2) + np.exp(1) + 7
    assert meter.measure(changed, seen) == {
        "forgetting/demo_agreement": pytest.approx(float((loaded.actions == 1).mean())),
        "forgetting/clone_agreement": 0.0,
        "forgetting/clone_kl": pytest.approx((np.exp(2) - np.exp(1)) / z, rel=1e-5),
    }
    ranked = QNetwork.from_policy(network)
    assert meter.measure(ranked, seen)["forgetting/clone_agreement"] == 1.0
    assert ForgettingMeter(None, None).measure(network, seen) == {}


def test_gait_guard():
    guard = GaitGuard(margin=0.2)

    def verdict(upright, knee_near):
        return guard.check({"gait/upright": upright, "gait/knee_near": knee_near})

    assert [verdict(0.8, 0.05), verdict(0.9, 0.02), verdict(0.71, 0.2)] == ["healthy"] * 3
    assert verdict(0.69, 0.0) == "collapsed"  # 0.9 - 0.2
    assert verdict(0.9, 0.23) == "collapsed"  # 0.02 + 0.2: a collapsed report sets no new best
    assert guard.collapses == 2 and GaitGuard(**guard.state()) == guard


# ---- the command ---------------------------------------------------------------------------------------


def test_settings_survive_the_checkpoint():
    for arguments, kind in (
        (["--init", "c.st"], PPOFinetuneConfig),
        (["--algorithm", "ddqn", "--demos", "d.h5"], DQNFinetuneConfig),
        (["--algorithm", "pqn", "--init", "c.st", "--demos", "d.h5"], PQNFinetuneConfig),
        (["--algorithm", "expert-iteration", "--init", "c.st"], ExpertFinetuneConfig),
    ):
        run = cli.parse([*arguments, "--reward-option", "power=2", "--hidden", "64", "32"])
        assert isinstance(run, kind) and from_plain(to_plain(run)) == run
    assert run.hidden == (64, 32) and run.environment.reward_option == ("power=2",)


@pytest.mark.parametrize("algorithm", ["dqn", "ddqn"])
def test_dqn_takes_more_and_smaller_steps_from_a_clone(algorithm):
    words = ["--algorithm", algorithm, "--demos", "d.h5"]
    new, clone = cli.parse(words).learner, cli.parse([*words, "--init", "c.st"]).learner
    assert isinstance(new, DQNConfig) and isinstance(clone, DQNConfig)
    assert clone.total_steps / clone.steps_per_update > 10 * new.total_steps / new.steps_per_update
    assert clone.learning_rate < new.learning_rate and clone.batch_size > new.batch_size
    assert clone.exploration_start == new.exploration_start == 0.01
    assert cli.parse(["--algorithm", algorithm]).learner.exploration_start == 1.0


def flat(plain: dict) -> dict:
    """Settings as releases stored them that had no settings of the environment."""
    return {**plain.pop("environment"), **plain}


@pytest.mark.parametrize(
    "config", [PPOFinetuneConfig(), ExpertFinetuneConfig(), DQNFinetuneConfig(), PQNFinetuneConfig()]
)
def test_a_number_with_a_decimal_point_survives_the_checkpoint(config):
    """A field of type float whose default is an int would accept no other number from a checkpoint."""
    for part in (config, config.environment, config.learner):
        hints = get_type_hints(type(part))
        numbers = [f.name for f in dataclasses.fields(part) if hints[f.name] is float]
        assert numbers
        halves = {name: abs(getattr(part, name)) / 2 + 0.25 for name in numbers}
        kinds = {name: type(getattr(part, name)) for name in numbers}
        assert set(kinds.values()) == {float}, kinds
        check_kinds(halves, part)


def test_settings_of_earlier_releases_are_read():
    learner = {"num_envs": 8, "total_steps": 64}
    stored = {
        "algorithm": "ppo",
        "out": "out.st",
        "init": None,
        "reward": "speed",
        "reward_option": ["knee_seconds=1"],
        "demo_starts": 0.0,
        "drills": 0.5,
        "drill_meters": 3.0,
        "frame_skip": 2,
        "action_set": "full",
        "hidden": [8],
        "disturb": False,
        "trig": "msun",
        "max_seconds": 9,
        "learner": learner,
    }
    config = from_plain(stored)
    assert isinstance(config, PPOFinetuneConfig)
    assert config.environment == EnvironmentConfig(
        reward="speed",
        reward_option=("knee_seconds=1",),
        drills=0.5,
        drill_meters=3.0,
        frame_skip=2,
        action_set="full",
        disturb=False,
        trig="msun",
        max_seconds=9.0,
    )
    assert (config.out, config.init, config.hidden) == (Path("out.st"), None, (8,))
    assert (config.learner.num_envs, config.learner.total_steps) == (8, 64)
    for wrong in ({"reward": 7}, {"drills": "x"}, {"unknown": 1}, {"learner": []}, {"environment": []}):
        with pytest.raises((TypeError, ValueError, AttributeError)):
            from_plain({**stored, **wrong})


def test_a_training_of_an_earlier_release_goes_on_with_the_same_bits(tmp_path, demos):
    now, before = tmp_path / "now.st", tmp_path / "before.st"
    flags = ["--demos", str(demos), "--demo-starts", "0.5", "--no-disturb", *PPO, "--hidden", "8"]
    assert cli.main([*flags, "--total-steps", "128", "--out", str(now)]) == 0
    stored, metadata = load_checkpoint(now)
    metadata["finetune"]["config"] = flat(metadata["finetune"]["config"])
    assert metadata["finetune"]["config"]["demo_starts"] == 0.5
    save_checkpoint(before, stored, metadata)
    for path in (now, before):
        assert cli.main(["--resume", str(path), "--total-steps", "256"]) == 0
    assert equal(tensors(now), tensors(before), "network")
    assert load_checkpoint(before).metadata["finetune"]["config"]["environment"]["disturb"] is False


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--algorithm", "dqn"], "algorithm"),
        (["--reward", "default"], "reward"),
        (["--reward-option", "power=2"], "reward-option"),
        (["--demos", "d.h5"], "demos"),
        (["--demos-where", "success"], "demos-where"),
        (["--demo-starts", "0.1"], "demo-starts"),
        (["--demo-starts", "0.1", "--demo-order", "backward"], "demo-starts"),
        (["--drills", "0.1"], "drills"),
        (["--drill-meters", "3"], "drill-meters"),
        (["--drill-falls", "0.1"], "drill-falls"),
        (["--frame-skip", "3"], "frame-skip"),
        (["--action-set", "full"], "action-set"),
        (["--hidden", "9"], "hidden"),
        (["--no-disturb"], "disturb"),
        (["--max-seconds", "9"], "max-seconds"),
        (["--num-envs", "4"], "num-envs"),
        (["--seed", "4"], "seed"),
        (["--optimizer", "muon"], "optimizer"),
        (["--init", "c.st"], "init"),
    ],
)
def test_what_makes_a_training_this_one_can_not_change(flags, name):
    before = cli.parse([])
    now = cli.parse_config("test", PPOFinetuneConfig, flags, before)
    with pytest.raises(CommandError, match=f"--{name} can't change on --resume"):
        check_unchanged(before, now)


def test_what_may_change_on_resume():
    before = cli.parse(["--init", "c.st", "--demos", "d.h5"])
    flags = "--init e.st --demos f.h5 --total-steps 7 --learning-rate 1e-5 --trig msun --logdir logs".split()
    check_unchanged(before, cli.parse_config("test", PPOFinetuneConfig, flags, before))


def test_a_training_may_go_on_in_a_new_file(tmp_path):
    first, second = tmp_path / "first.st", tmp_path / "second.st"
    assert cli.main(["--out", str(first), *PPO, "--hidden", "8", "--total-steps", "128"]) == 0
    content = first.read_bytes()
    assert cli.main(["--resume", str(first), "--out", str(second), "--total-steps", "256"]) == 0
    assert first.read_bytes() == content
    assert load_checkpoint(second).metadata["training"]["steps"] == 256


def test_from_python(tmp_path):
    learner = PPOConfig(num_envs=8, rollout_length=16, total_steps=128, threads=1, device="cpu")
    config = PPOFinetuneConfig(out=tmp_path / "a.st", hidden=(8,), learner=learner)
    result = finetune(config)
    assert (result.checkpoint, result.steps, result.reason) == (config.out, 128, "done")
    assert "gait/upright" in result.figures
    more = resume_config(config.out)
    assert (more.resume, more.learner) == (config.out, learner)
    more = dataclasses.replace(more, learner=dataclasses.replace(learner, total_steps=256))
    assert finetune(more).steps == 256
    other = dataclasses.replace(more, environment=EnvironmentConfig(reward="speed"))
    with pytest.raises(CommandError, match="--reward can't change"):
        finetune(other)


def test_defaults_depend_on_what_it_starts_from():
    assert cli.parse([]).learner.reference_kl_coef == 0
    from_clone = cli.parse(["--init", "c.st"]).learner
    assert from_clone.reference_kl_coef > 0 and not from_clone.update_normalizer
    assert cli.parse(["--algorithm", "pqn"]).learner.reference_kl_coef == 0
    assert cli.parse(["--algorithm", "pqn", "--init", "c.st"]).learner.reference_kl_coef > 0


@pytest.mark.parametrize("algorithm", ["dqn", "pqn"])
def test_defaults_of_action_values_depend_on_what_it_starts_from(algorithm):
    few = ["--algorithm", algorithm]
    assert cli.parse(few).learner.exploration_start == 1.0
    for arguments, pretrained in (
        ([*few, "--init=c.st"], False),  # without demonstrations there is nothing to pretrain on
        ([*few, "--init=c.st", "--demos", "d.h5"], True),
        ([*few, "--demos=d.h5"], True),
    ):
        learner = cli.parse(arguments).learner
        assert learner.exploration_start < 0.1 and (learner.pretrain_updates > 0) == pretrained
        assert learner.update_normalizer == ("--init=c.st" not in arguments)


def test_from_nothing_to_a_checkpoint_that_plays(tmp_path, capsys):
    out = tmp_path / "runner.safetensors"
    arguments = ["--out", str(out), *PPO, "--total-steps", "300", "--hidden", "16", "--frame-skip", "3"]
    assert cli.main(arguments) == 0
    assert f"{out}: done" in capsys.readouterr().out
    player = CheckpointPlayer(out)
    assert (player.frame_skip, player.action_set) == (3, "distinct")
    assert player.scores(np.zeros((2, FEATURE_SIZE), np.float32)).shape == (2, 9)
    metadata = load_checkpoint(out).metadata
    assert metadata["training"]["steps"] == 384  # whole rollouts of 8 x 16
    events = EventAccumulator(str(tmp_path / "runner")).Reload()
    assert events.Scalars("gait/upright")[-1].step == 384
    assert cli.main(arguments) == 2
    assert "already exists" in capsys.readouterr().err


def test_the_clones_policy_stands_still_while_the_critic_warms_up(tmp_path, demos):
    init, out = clone(tmp_path / "clone.st"), tmp_path / "out.st"
    arguments = ["--init", str(init), "--demos", str(demos), "--out", str(out), *PPO]
    assert cli.main([*arguments, "--total-steps", "384", "--critic-warmup-steps", "384"]) == 0
    before, after = tensors(init), tensors(out)
    assert equal(before, after, "network.policy") and not equal(before, after, "network.value")
    assert load_checkpoint(out).metadata["finetune"]["figures"]["forgetting/clone_kl"] == 0.0


def interrupt_after(monkeypatch, steps: int) -> None:
    """Ctrl-C, once, in the middle of the training: after so many steps of the environment."""
    step, count = TrainingEnv.step, [0]

    def interrupting(self, actions):
        count[0] += 1
        if count[0] == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, actions)

    monkeypatch.setattr(TrainingEnv, "step", interrupting)


@pytest.mark.parametrize("algorithm", ["ppo", "expert-iteration", "dqn"])
def test_a_paused_training_goes_on_exactly(algorithm, tmp_path):
    arguments = ["--algorithm", algorithm, *SMALL, "--hidden", "8", "--total-steps", "512"]
    if algorithm != "dqn":
        arguments += PPO
    else:
        arguments += "--learning-starts 64 --log-interval 64 --batch-size 32 --save-replay".split()
    whole, parts = tmp_path / "whole.st", tmp_path / "parts.st"
    assert finetune(cli.parse([*arguments, "--out", str(whole)])).reason == "done"
    first = finetune(cli.parse([*arguments, "--out", str(parts)]), pause_at=200)
    assert (first.reason, first.steps) == ("paused", 256)
    again = finetune(resume_config(parts), pause_at=256)  # that has been reached
    assert again.steps == 256 and not equal(tensors(parts), tensors(whole), "network")
    last = finetune(resume_config(parts))
    assert (last.reason, last.steps) == ("done", 512)
    resumed, uninterrupted = (
        {name: tensor for name, tensor in tensors(path).items() if name != "environment.snapshot"}
        for path in (parts, whole)
    )
    assert equal(resumed, uninterrupted)


@pytest.mark.parametrize(
    ("algorithm", "starts"),
    [
        ("ppo", "--demo-starts 0.5"),
        ("ppo", "--demo-starts 0.5 --demo-order backward"),
        ("ppo", "--drills 0.5"),
        ("expert-iteration", "--drills 0.5"),
        ("ddqn", "--demo-starts 0.5"),
        ("pqn", "--demo-starts 0.5"),
    ],
)
def test_an_interrupted_training_goes_on_exactly(algorithm, starts, tmp_path, demos, monkeypatch, capsys):
    init = clone(tmp_path / "clone.st")
    arguments = ["--init", str(init), "--demos", str(demos), *starts.split(), "--report-every", "200"]
    arguments += ["--drill-meters", "0.5", "--drill-falls", "0.5"]
    arguments += ["--checkpoint-every", "500", "--algorithm", algorithm, "--total-steps", "1024"]
    arguments += ["--on-collapse", "ignore"]  # so short a training has no gait
    if algorithm == "ppo":
        arguments += [*PPO, "--critic-warmup-steps", "128", "--reference-kl-coef", "0.5"]
        arguments += ["--demo-coef", "0.1", "--demo-batch-size", "16", "--update-normalizer"]
    elif algorithm == "expert-iteration":
        arguments += [*PPO, "--critic-warmup-steps", "128", "--update-normalizer"]
    elif algorithm == "pqn":
        arguments += [*PPO, "--pretrain-updates", "5", "--reference-kl-coef", "0.1", "--update-normalizer"]
    else:
        arguments += [*SMALL, "--buffer-size", "800", "--learning-starts", "64", "--save-replay"]
        arguments += "--log-interval 128 --batch-size 32 --pretrain-updates 5 --prioritized".split()
    whole, parts = tmp_path / "whole.st", tmp_path / "parts.st"
    assert cli.main([*arguments, "--out", str(whole)]) == 0

    with monkeypatch.context() as patch:
        interrupt_after(patch, 60)
        assert cli.main([*arguments, "--out", str(parts)]) == 130
    printed = capsys.readouterr()
    assert f"--resume {parts}" in printed.err
    assert ("starts 4 s before the end" in printed.out) is ("backward" in starts)
    stopped = load_checkpoint(parts)
    assert stopped.metadata["training"]["steps"] == 512
    assert not equal(stopped.tensors, tensors(whole), "network")
    assert cli.main(["--resume", str(parts)]) == 0
    # A snapshot also holds bytes that are stale; what the games' states are is in the other tensors.
    stale = {"environment.snapshot"}
    if algorithm == "expert-iteration":  # its searches leave others
        stale.add("environment.drills.past1.snapshot")
    resumed, uninterrupted = (
        {name: tensor for name, tensor in tensors(path).items() if name not in stale}
        for path in (parts, whole)
    )
    assert equal(resumed, uninterrupted)
    again, once = (load_checkpoint(path).metadata for path in (parts, whole))
    assert again["finetune"]["figures"] == once["finetune"]["figures"]
    # The names under which every release has stored what it counted.
    names = {"steps", "knee_near", "upright", "episodes", "meters", "finish_times"}
    assert set(again["finetune"]["tally"]) == names
    assert again["training"]["steps"] == 1024


def collapsing(monkeypatch, uprights: list[float]) -> None:
    """Reports say these shares of upright postures, one after the other, whatever happened."""
    shares = iter(uprights)
    monkeypatch.setattr(RolloutMetrics, "upright_share", property(lambda _: next(shares)))
    monkeypatch.setattr(RolloutMetrics, "knee_near_share", property(lambda _: 0.0))


def test_a_collapsed_gait_goes_back_to_the_last_checkpoint_with_half_the_learning_rate(
    tmp_path, monkeypatch, capsys
):
    init, out = clone(tmp_path / "clone.st"), tmp_path / "out.st"
    arguments = ["--init", str(init), "--out", str(out), *PPO, "--no-anneal-learning-rate"]
    arguments += ["--critic-warmup-steps", "0", "--report-every", "128", "--checkpoint-every", "256"]
    arguments += ["--keep-checkpoints", "--total-steps", "512"]
    collapsing(monkeypatch, [0.9, 0.9, 0.6, 0.9])
    assert cli.main(arguments) == 0
    said = capsys.readouterr().out
    assert "upright 60 %, knee near 0.0 %" in said and "the gait collapsed: back" in said
    events = EventAccumulator(str(tmp_path / "out")).Reload()
    rates = [(e.step, e.value) for e in events.Scalars("ppo/learning_rate")]
    assert rates == [(128, pytest.approx(1e-3)), (256, pytest.approx(1e-3)), (384, pytest.approx(1e-3)),
                     (512, pytest.approx(5e-4))]  # fmt: skip
    assert load_checkpoint(out).metadata["finetune"]["guard"]["collapses"] == 1
    assert sorted(p.name for p in (tmp_path / "out").glob("*.safetensors")) == [
        "0000000256.safetensors",
        "0000000512.safetensors",
    ]


@pytest.mark.parametrize("what", ["stop", "rollback"])
def test_a_gait_that_stays_collapsed_leaves_the_last_healthy_policy(what, tmp_path, monkeypatch, capsys):
    init, out = clone(tmp_path / "clone.st"), tmp_path / "out.st"
    arguments = ["--init", str(init), "--out", str(out), *PPO, "--critic-warmup-steps", "0"]
    arguments += ["--report-every", "128", "--total-steps", "4096", "--on-collapse", what]
    collapsing(monkeypatch, [0.9] + [0.1] * 20)
    assert cli.main(arguments) == 0
    assert "the gait collapsed; " in capsys.readouterr().out
    assert equal(tensors(out), tensors(init), "network.policy")  # no checkpoint came between
    collapses = {"stop": 1, "rollback": 4}[what]
    assert load_checkpoint(out).metadata["training"]["steps"] == 128 * (1 + collapses)


def test_time_may_run_out_before_the_steps_do(tmp_path, capsys):
    out = tmp_path / "out.st"
    assert cli.main(["--out", str(out), *PPO, "--total-steps", "100000", "--minutes", "1e-9"]) == 0
    assert "time is up; " in capsys.readouterr().out
    assert load_checkpoint(out).metadata["training"]["steps"] == 128


def complaint(capsys, arguments: list[str]) -> str:
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("qwop-finetune: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gama", "1"], "--gama"),
        (["--gamma", "x"], "--gamma"),
        (["--gamma", "2"], "gamma is 2.0"),
        (["--num-envs", "0"], "num_envs is 0"),
        (["--algorithm", "sarsa"], "sarsa"),
        (["--reward", "strid"], "unknown reward 'strid'"),
        (["--reward-option", "powr=2"], "no option 'powr'"),
        (["--reward-option", "power"], "not NAME=VALUE"),
        (["--action-set", "all"], "action_set is 'all', expected one of full"),
        (["--frame-skip", "-1"], "frame_skip is -1, expected a whole number of 1 or more"),
        (["--frame-skip", "0"], "frame_skip is 0"),
        (["--max-seconds", "0"], "max_seconds is 0.0, expected a number above 0"),
        (["--init", "missing.st"], "no such checkpoint"),
        (["--resume", "missing.st"], "no such checkpoint"),
        (["--init", "{demos}"], "not a readable checkpoint"),
        (["--demos", "missing.h5"], "missing.h5"),
        (["--demos", "{clone}"], "{clone}"),
        (["--demos", "{empty}"], "no episodes"),
        (["--demos", "{demos}", "--demos-where", "success"], "no episodes that match 'success'"),
        (["--demos", "{nan}"], "NaN"),
        (["--demo-starts", "0.5"], "needs --demos"),
        (["--demo-coef", "0.5"], "needs --demos"),
        (["--demos", "{demos}", "--demo-starts", "2"], "demo_starts is 2.0, expected a share"),
        (["--drills", "1.5"], "expected a share between 0 and 1"),
        (["--drills", "0.5", "--drill-meters", "0"], "drill_meters is 0.0, expected a number above 0"),
        (["--drills", "0.5", "--drill-falls", "-1"], "drill_falls is -1.0, expected a share"),
        (["--drills", "0.5", "--demos", "{demos}", "--demo-starts", "0.5"], "use one of them"),
        (["--resume", "{clone}"], "use it as --init"),
        (
            ["--init", "{clone}", "--frame-skip", "4"],
            "frame_skip is 2, expected 4; omit --frame-skip, or add --change",
        ),
        (["--init", "{clone}", "--action-set", "full"], "action_set is 'distinct', expected 'full'; omit"),
        (["--init", "{q_network}"], "PPO starts from a policy"),
        (["--init", "{q_network}", "--algorithm", "pqn"], "no probabilities: add --reference-kl-coef 0"),
        (["--init", "{other_features}"], "feature_version is 0"),
        (["--init", "{other_actions}"], "num_actions is 9, expected 16"),
        (["--init", "{no_frame_skip}"], "frame_skip is None"),
        (["--reference-kl-coef", "1"], "no reference policy"),
    ],
)
def test_mistakes_are_one_line(arguments, said, tmp_path, demos, capsys):
    files = {"demos": demos, "clone": clone(tmp_path / "clone.st"), "empty": tmp_path / "empty.h5"}
    DatasetWriter(files["empty"])
    files["nan"] = tmp_path / "nan.h5"
    files["nan"].write_bytes(demos.read_bytes())
    with h5py.File(files["nan"], "r+") as file:
        file["episodes/000001/raw_observations"][7, 3] = np.nan
    files["q_network"] = clone(tmp_path / "q.st", QNetwork(FEATURE_SIZE, 9, (8,)))
    files["other_features"] = clone(tmp_path / "features.st", feature_version=0)
    files["other_actions"] = clone(tmp_path / "actions.st", action_set="full")
    files["no_frame_skip"] = clone(tmp_path / "skip.st", frame_skip=None)
    out = tmp_path / "out.st"
    line = complaint(
        capsys, [a.format(**files) for a in [*arguments, "--out", str(out), "--total-steps", "64"]]
    )
    assert said.format(**files) in line
    assert not out.exists()


def test_a_folder_that_can_not_be_written_is_known_at_once(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert f"{file}: not a folder" in complaint(capsys, ["--out", str(file / "out.st"), *PPO])
    arguments = ["--out", str(tmp_path / "out.st"), "--logdir", str(file / "logs"), *PPO]
    assert f"{file}: not a folder" in complaint(capsys, arguments)


def test_a_resumed_training_keeps_its_fixed_settings(tmp_path, demos, capsys):
    out = tmp_path / "out.st"
    arguments = ["--init", str(clone(tmp_path / "clone.st")), "--demos", str(demos), "--out", str(out), *PPO]
    assert cli.main([*arguments, "--reference-kl-coef", "1", "--total-steps", "128"]) == 0
    capsys.readouterr()
    line = complaint(capsys, ["--resume", str(out), "--reward", "default"])
    assert "--reward can't change on --resume" in line
    assert "--num-envs can't change" in complaint(capsys, ["--resume", str(out), "--num-envs", "4"])
    assert cli.main(["--resume", str(out), "--total-steps", "256"]) == 0
    assert load_checkpoint(out).metadata["training"]["steps"] == 256
    capsys.readouterr()

    clone(tmp_path / "clone.st", ActorCritic(FEATURE_SIZE, 9, (16,), torch.Generator().manual_seed(2)))
    line = complaint(capsys, ["--resume", str(out), "--total-steps", "384"])
    assert "is not the file any more that the training began with" in line


def test_another_frame_skip_if_asked_for(tmp_path):
    out = tmp_path / "out.st"
    arguments = ["--init", str(clone(tmp_path / "clone.st")), "--out", str(out), *PPO, "--total-steps", "128"]
    assert cli.main([*arguments, "--frame-skip", "1", "--change-frame-skip", "--fresh-critic"]) == 0
    assert load_checkpoint(out).metadata["frame_skip"] == 1


def test_training_begins_with_a_new_critic_where_the_stored_one_judges_recorded_runs(tmp_path):
    network = ActorCritic(FEATURE_SIZE, 9, (16,), torch.Generator().manual_seed(1))
    network.value_mean.fill_(3.0)
    network.value_std.fill_(2.0)
    path = clone(tmp_path / "planner.st", network, critic={"gamma": 0.98})
    config = cli.parse(["--init", str(path), "--out", str(tmp_path / "out.st"), *PPO])
    assert isinstance(config, PPOFinetuneConfig)
    setup = initialize(config)
    begun = initial_ppo_state(dataclasses.replace(config, environment=setup.config.environment), setup).policy
    setup.envs.close()
    assert float(begun.value_std) == 1.0 and float(begun.value_mean) == 0.0
    weights = {name: torch.equal(w, network.state_dict()[name]) for name, w in begun.state_dict().items()}
    assert not weights["value.0.weight"]
    assert all(same for name, same in weights.items() if name.startswith(("policy", "normalizer")))


def test_a_training_goes_on_elsewhere(tmp_path, demos, capsys, monkeypatch):
    """Another folder, or machine: clone and demonstrations count by what they hold, logs stay with it."""
    here, there, other = tmp_path / "here", tmp_path / "there", tmp_path / "other"
    here.mkdir()
    other.mkdir()
    (here / "demos.h5").write_bytes(demos.read_bytes())
    clone(here / "clone.st")
    monkeypatch.chdir(here)
    flags = ["--init", "clone.st", "--demos", "demos.h5", "--logdir", "logs", "--out", "out.st", *PPO]
    assert cli.main([*flags, "--reference-kl-coef", "1", "--total-steps", "128"]) == 0
    here.rename(there)
    monkeypatch.chdir(other)
    out = str(there / "out.st")
    assert cli.main(["--resume", out, "--total-steps", "256"]) == 0  # found beside the checkpoint
    assert os.listdir(other) == [] and len(os.listdir(there / "logs")) == 2

    for name in ("clone.st", "demos.h5"):
        (there / name).rename(other / f"my-{name}")
    capsys.readouterr()
    assert "clone.st: " in complaint(capsys, ["--resume", out, "--total-steps", "384"])
    named = ["--init", "my-clone.st", "--demos", "my-demos.h5"]
    assert cli.main(["--resume", out, "--total-steps", "384", *named]) == 0
    assert cli.main(["--resume", out, "--total-steps", "512"]) == 0  # the new names are remembered
    assert load_checkpoint(there / "out.st").metadata["training"]["steps"] == 512

    capsys.readouterr()
    clone(other / "another.st", ActorCritic(FEATURE_SIZE, 9, (16,), torch.Generator().manual_seed(2)))
    more = ["--resume", out, "--total-steps", "640"]
    assert "name a file of the same content with --init" in complaint(capsys, [*more, "--init", "another.st"])
    write_dataset(other / "other.h5", [episode(np.zeros(99, np.uint8))])
    assert "holds other demonstrations" in complaint(capsys, [*more, "--demos", "other.h5"])
    assert "--init can't change" in complaint(capsys, [*more, "--init", "None"])


def test_logs_of_a_resumed_and_of_a_replaced_training(tmp_path):
    out, logs = tmp_path / "out.st", tmp_path / "out"
    flags = ["--out", str(out), *PPO, "--hidden", "8", "--keep-checkpoints", "--checkpoint-every", "128"]

    def steps() -> list[int]:
        events = EventAccumulator(str(logs))
        events.Reload()
        return [event.step for event in events.Scalars("ppo/updates")]

    assert cli.main([*flags, "--total-steps", "384"]) == 0
    assert cli.main(["--resume", str(out), "--total-steps", "512"]) == 0
    assert steps() == [128, 256, 384, 512]
    kept = logs / f"{256:010d}.safetensors"  # from an earlier checkpoint
    assert cli.main(["--resume", str(kept), "--out", str(out), "--force", "--total-steps", "512"]) == 0
    assert steps() == [128, 256, 384, 512]
    assert cli.main([*flags, "--total-steps", "128", "--force"]) == 0
    assert steps() == [128]
    assert [p.name for p in logs.glob("*.safetensors")] == [f"{128:010d}.safetensors"]
    assert (logs / "old-1" / kept.name).exists()


def test_a_full_disk_for_logs_and_kept_checkpoints_does_not_end_a_training(tmp_path, capsys, monkeypatch):
    from qwop_finetune import training as module
    from qwop_rl_core import CheckpointError, ppo

    save, logs, fails = ppo.Progress.save, tmp_path / "logs", []

    def full(progress, path, metadata):
        if path.parent == logs or not fails:
            fails.append(path)
            raise CheckpointError(f"{path}: No space left on device")
        save(progress, path, metadata)

    class FullLogger(module.Logger):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            monkeypatch.setattr(self._writer, "add_scalar", self._full)

        def _full(self, *_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(ppo.Progress, "save", full)
    monkeypatch.setattr(module, "Logger", FullLogger)
    out = tmp_path / "out.st"
    flags = ["--out", str(out), "--logdir", str(logs), *PPO, "--hidden", "8", "--keep-checkpoints"]
    assert cli.main([*flags, "--checkpoint-every", "128", "--total-steps", "256"]) == 0
    said = capsys.readouterr().err
    assert said.count("logging has stopped, training continues: No space left") == 1
    assert [path.parent for path in fails] == [tmp_path, logs, logs]
    assert load_checkpoint(out).metadata["training"]["steps"] == 256
