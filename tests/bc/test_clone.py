"""Cloning: decisions, metrics, the adapter for `imitation`, the training and the command."""

import dataclasses
import inspect
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qwop_bc import clone
from qwop_bc.cli import Options, main
from qwop_bc.cloning import Batches, CloneConfig, Cloning, split_decisions
from qwop_bc.metrics import agreement, key_f1, segment_shares
from qwop_bc.result import agreement_by_episode
from qwop_bc.rollouts import rollout, summarize_demonstrations
from qwop_cli import CommandError, ProgressTimer
from qwop_datasets import DatasetError, DatasetWriter, Episode, replay_keys
from qwop_datasets.decisions import Decisions, decisions_of, load_decisions
from qwop_game import (
    ACTION_SETS,
    DEFAULT_TRIG,
    FEATURE_SIZE,
    FEATURE_VERSION,
    KEY_O,
    KEY_P,
    KEY_Q,
    KEY_W,
    encode,
    hip_modes,
    last_keys,
)
from qwop_rl_core import ActorCritic, Policy, load_checkpoint
from qwop_rl_core.errors import TrainingError
from qwop_rl_core.losses import entropy, log_prob

Q, W, O, P = KEY_Q, KEY_W, KEY_O, KEY_P  # noqa: E741


@pytest.fixture(scope="session")
def scripted(play_keys):
    """Alternating QP and WO for `hold` frames each, now and then something else."""

    def run(seed, frames=160, hold=8, wait=0):
        rng = np.random.default_rng(seed)
        keys = [0] * wait
        while len(keys) < frames:
            keys += [Q | P if (len(keys) // hold) % 2 else W | O] * hold if rng.random() < 0.9 else [0] * hold
        return play_keys(keys[:frames])

    return run


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, scripted):
    path = tmp_path_factory.mktemp("data") / "demos.h5"
    writer = DatasetWriter(path)
    for seed in range(4):
        writer.append(scripted(seed))
    return path


def test_decisions_take_the_keys_held_longest(play_keys):
    # distinct action = 3 * {none, Q, W} + {none, O, P}: Q = 3, QP = 5, WO = 7, P = 2
    #        QP QP QP Q | Q Q WO WO -> tie: Q came first | P WO P WO -> tie: P | Q Q Q Q | QP QP QP QP | WO
    keys = [Q | P] * 3 + [Q] + [Q, Q, W | O, W | O] + [P, W | O, P, W | O] + [Q] * 4 + [Q | P] * 4 + [W | O]
    decisions = decisions_of(play_keys(keys), 4)
    assert decisions.actions.tolist() == [5, 3, 2, 3, 5, 7]
    assert decisions.starts.tolist() == [0, 4, 8, 12, 16, 20]
    assert decisions.kept == pytest.approx((3 + 2 + 2 + 4 + 4 + 1) / 21)
    every_frame = decisions_of(play_keys(keys), 1)
    assert every_frame.actions.tolist() == [5] * 3 + [3] * 3 + [7] * 2 + [2, 7, 2, 7] + [3] * 4 + [5] * 4 + [
        7
    ]
    assert every_frame.kept == 1.0


def test_decisions_find_the_grid_of_a_policy(play_keys):
    """A policy that waited 6 frames and then decided every 4: its own decisions come back."""
    actions = [Q | P, W | O, 0, Q | P, W, O]
    keys = [0] * 6 + [a for a in actions for _ in range(4)]
    decisions = decisions_of(play_keys(keys), 4)
    assert ACTION_SETS["distinct"][decisions.actions].tolist() == actions
    assert decisions.starts[0] == 6 and decisions.kept == 1.0
    # first key in the middle of a decision (frame 8 of a grid at 6): one frame more or less does not matter
    keys[6:8] = [0, 0]
    assert decisions_of(play_keys(keys), 4).starts.tolist() == [10, 14, 18, 22, 26]


def test_decisions_see_what_a_policy_would_see(scripted):
    episode = scripted(1, frames=50, hold=5)
    decisions = decisions_of(episode, 3)
    assert decisions.features.shape == (len(decisions) + 1, FEATURE_SIZE)
    frames = [*decisions.starts, len(episode)]
    modes, held = hip_modes(episode.keys), last_keys(episode.keys)
    for row, frame in zip(decisions.features, frames, strict=True):
        assert (row == encode(episode.raw_observations[frame], modes[frame], held[frame])).all()


def test_keys_that_do_the_same_are_the_same_decision(play_keys):
    keys = [Q | W | P] * 4 + [Q | P] * 4 + [W | O | P] * 4
    decisions = decisions_of(play_keys(keys), 4)
    assert ACTION_SETS["distinct"][decisions.actions].tolist() == [Q | P, Q | P, W | O]
    assert decisions.kept == 1.0


def test_an_action_set_without_the_keys(tmp_path, play_keys):
    writer = DatasetWriter(tmp_path / "a.h5")
    writer.append(play_keys([Q | O] * 8))
    with pytest.raises(DatasetError, match=r"a\.h5: .*'reduced' has no action") as error:
        load_decisions(tmp_path / "a.h5", 4, "reduced")
    assert "\n" not in str(error.value)


def test_equal_runs_count_once(tmp_path, scripted):
    """A copy of a training episode among the held-out ones would make the validation worthless."""
    writer = DatasetWriter(tmp_path / "a.h5")
    for seed in (0, 1, 0):
        writer.append(scripted(seed, frames=60))
    episodes, decisions = load_decisions(tmp_path / "a.h5", 4)
    assert len(episodes) == len(decisions) == 2
    assert (episodes[0].keys[:60] == scripted(0, frames=60).keys).all()


def test_key_f1():
    # Q: chosen 2, demonstrated 1, both 1: 2/3. W: 0 and 1: 0. O: 1, 1, both 0: 0. P: nobody: NaN
    chosen = np.array([Q, Q | O, 0], np.uint8)
    demonstrated = np.array([Q, W, O], np.uint8)
    q, w, o, p = key_f1(chosen, demonstrated)
    assert (q, w, o) == (pytest.approx(2 / 3), 0.0, 0.0) and math.isnan(p)


def test_segment_shares():
    # 1 and 2 | 3 | none of 5 to 8 | 9 and 16 | 17, 40 and 200, of 8
    shares = segment_shares(np.array([1, 2, 3, 9, 16, 17, 40, 200]))
    assert shares == (2 / 8, 1 / 8, 0.0, 2 / 8, 3 / 8)


def test_agreement_by_episode():
    decisions = numbered([6, 4, 9])
    split = split_decisions(decisions, 0.6, seed=0)
    network = ActorCritic(2, 3, (4,))
    network.policy[2].bias.data[1] = 100.0  # always action 1 of 0, 1, 2, 0, 1, ...
    lengths = [len(decisions[i]) for i in split.validation_episodes]
    result = agreement_by_episode(network, split, "distinct")
    assert len(result) == 2
    assert [e.accuracy for e in result] == pytest.approx([{6: 2 / 6, 4: 1 / 4, 9: 3 / 9}[n] for n in lengths])


def test_agreement():
    network = ActorCritic(2, 9, (4,))
    with torch.no_grad():
        network.policy[2].weight.zero_()
        network.policy[2].bias.copy_(torch.tensor([0.1, 0.1, 0.1, 0.4, 0.1, 0.05, 0.05, 0.05, 0.05]).log())
    # always Q (action 3). Demonstrated: Q, Q+P (5), Q: loss -(2 ln 0.4 + ln 0.05) / 3, accuracy 2/3
    result = agreement(network, torch.zeros(3, 2), torch.tensor([3, 5, 3]), "distinct")
    assert result.loss == pytest.approx(-(2 * math.log(0.4) + math.log(0.05)) / 3)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.key_f1[0] == 1.0 and result.key_f1[3] == 0.0 and math.isnan(result.key_f1[1])


def numbered(lengths):
    """Episodes whose features tell episode and decision."""
    return [
        Decisions(
            features=np.stack([np.full(m + 1, e), np.arange(m + 1)], 1).astype(np.float32),
            actions=np.arange(m) % 3,
            starts=np.arange(m),
            kept=1.0,
        )
        for e, m in enumerate(lengths)
    ]


def test_split_holds_out_whole_episodes():
    split = split_decisions(numbered([5, 6, 7, 8, 9]), 0.4, seed=0)
    held_out = set(split.validation_features[:, 0].tolist())
    assert held_out == set(map(float, split.validation_episodes)) and len(held_out) == 2
    assert held_out | set(split.features[:, 0].tolist()) == {0, 1, 2, 3, 4}
    assert not held_out & set(split.features[:, 0].tolist())
    assert len(split.features) + len(split.validation_features) == 35
    again = split_decisions(numbered([5, 6, 7, 8, 9]), 0.4, seed=0)
    assert again.validation_episodes == split.validation_episodes
    # two episodes: one each, whatever the share
    assert len(split_decisions(numbered([5, 6]), 0.99, seed=0).validation_episodes) == 1


def test_split_of_a_single_episode_holds_out_its_end():
    split = split_decisions(numbered([10]), 0.2, seed=0)
    assert split.features[:, 1].tolist() == list(range(8))
    assert split.validation_features[:, 1].tolist() == [8, 9] and split.validation_episodes == ()
    assert split.validation_actions.tolist() == [2, 0]
    with pytest.raises(TrainingError, match="one episode of 1 decisions"):
        split_decisions(numbered([1]), 0.2, seed=0)


def test_batches_cover_the_data_and_balance_it():
    split = split_decisions(numbered([50, 5]), 0.1, seed=0)
    total = len(split.actions)
    batches = list(Batches(split, 4, 0.0, seed=0))
    seen = torch.cat([b["obs"][:, 1] for b in batches]).tolist()
    assert len(batches) == total // 4 and len(set(seen)) == len(seen)
    few = list(Batches(split, 1000, 0.0, seed=0))
    assert len(few) == 1 and len(few[0]["acts"]) == total

    rare = dataclasses.replace(split, actions=torch.tensor([0] * 90 + [1] * 10), features=torch.zeros(100, 2))
    draws = torch.cat([b["acts"] for _ in range(100) for b in Batches(rare, 100, 1.0, seed=_)])
    assert draws.float().mean().item() == pytest.approx(0.5, abs=0.02)
    half = torch.cat([b["acts"] for _ in range(100) for b in Batches(rare, 100, 0.5, seed=_)])
    # weights 90^-0.5 * 90 : 10^-0.5 * 10 = 9.49 : 3.16, so action 1 is a quarter
    assert half.float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_adapter_is_the_network():
    from qwop_bc.adapter import NetworkPolicy

    network = ActorCritic(5, 4, (8,))
    policy = NetworkPolicy(network)
    x, actions = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 0, 1])
    _, log_probs, entropies = policy.evaluate_actions(x, actions)
    logits, expected_values = network(x)
    assert torch.equal(policy.predict_values(x).squeeze(1), expected_values)
    assert torch.equal(log_probs, log_prob(logits, actions)) and torch.equal(entropies, entropy(logits))
    assert {id(p) for p in policy.parameters()} == {id(p) for p in network.parameters()}
    chosen, _ = policy.predict(x.numpy(), deterministic=True)
    assert chosen.tolist() == logits.argmax(-1).tolist()


CONFIG = CloneConfig(hidden=(32,), epochs=6, batch_size=32, play_every=3, play_episodes=4, device="cpu")


def weights(network):
    return torch.cat([t.double().flatten() for t in network.state_dict().values()])


def test_cloning_learns_and_keeps_the_best_epoch(dataset):
    _, decisions = load_decisions(dataset, 4)
    config = dataclasses.replace(CONFIG, epochs=60, patience=60, play_every=0, learning_rate=3e-3)
    cloning = Cloning(config, decisions)
    first = agreement(cloning.network, cloning.split.features, cloning.split.actions, "distinct")
    assert first.loss == pytest.approx(math.log(9), abs=0.02)  # nearly uniform at the start
    reports = []
    cloning.run(reports.append)
    losses = [r.agreement.loss for r in reports]
    assert min(losses) < 0.6 * first.loss and max(r.agreement.accuracy for r in reports) > 0.6
    assert cloning.best_epoch == 1 + int(np.argmin(losses))
    split = cloning.split
    kept = agreement(cloning.best_network(), split.validation_features, split.validation_actions, "distinct")
    assert kept.loss == pytest.approx(min(losses), abs=1e-6)
    assert cloning.network.normalizer.count == len(split.features)


def test_cloning_stops_when_patience_is_over(dataset):
    _, decisions = load_decisions(dataset, 4)
    config = dataclasses.replace(CONFIG, epochs=500, patience=3, play_every=0, learning_rate=0.03)
    reports = []
    cloning = Cloning(config, decisions)
    cloning.run(reports.append)
    assert len(reports) == cloning.best_epoch + 3 < 500


def test_a_single_short_episode_is_enough(tmp_path, scripted):
    writer = DatasetWriter(tmp_path / "one.h5")
    writer.append(scripted(0, frames=24))
    _, decisions = load_decisions(tmp_path / "one.h5", 4)
    cloning = Cloning(dataclasses.replace(CONFIG, batch_size=256), decisions)
    reports = []
    cloning.run(reports.append)
    assert len(reports) == 6 and reports[2].rollouts is not None and reports[1].rollouts is None


def test_resumed_cloning_equals_an_uninterrupted_one(dataset, tmp_path, capsys):
    def run(out, *more):
        flags = ["--hidden", "32", "--batch-size", "32", "--play-every", "3", "--play-episodes", "4"]
        flags += ["--device", "cpu", "--threads", "1", "--logdir", str(tmp_path / "log")]
        assert main([str(dataset), "--out", str(out), *flags, *more]) == 0, capsys.readouterr().err

    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    run(whole, "--epochs", "6")
    run(parts, "--epochs", "2")
    run(parts, "--epochs", "6", "--resume")
    a, b = load_checkpoint(whole), load_checkpoint(parts)
    assert a.tensors.keys() == b.tensors.keys()
    # an uninterrupted run plays at epochs 3 and 6 alone; the interrupted one also when its budget ended at 2
    last = [name for name in a.tensors if not name.startswith("network.")]
    assert all(torch.equal(a.tensors[name], b.tensors[name]) for name in last)
    assert (a.metadata["training"]["epoch"], b.metadata["training"]["epoch"]) == (6, 6)

    output = capsys.readouterr().out
    assert "4 episodes, 160 decisions of 4 frames that keep 100.0% of the frames' keys" in output
    metadata = Policy.load(whole).metadata
    expected = {"kind": "policy", "action_set": "distinct", "frame_skip": 4, "observation": "features"}
    assert {k: metadata[k] for k in expected} == expected and metadata["feature_version"] == FEATURE_VERSION
    json.dumps(metadata)


def test_cloning_says_that_a_dataset_mixes_variants(tmp_path, capsys, scripted):
    """States are taken as they are stored, so runs of several browsers are cloned together."""
    flags = ["--epochs", "1", "--play-episodes", "2", "--device", "cpu", "--hidden", "8"]
    runs = [scripted(seed, frames=60) for seed in (0, 1)]
    for name, trig, said in (
        ("pure", DEFAULT_TRIG, ""),
        ("mixed", "fdlibm", "mixes the variants fdlibm, rounded; cloning uses the states as stored"),
    ):
        path = tmp_path / f"{name}.h5"
        with DatasetWriter(path) as writer:
            writer.append(runs[0])
            writer.append(runs[1].replace(trig=trig))
        assert main([str(path), "--out", str(tmp_path / f"{name}.safetensors"), *flags]) == 0
        line = capsys.readouterr().out.splitlines()[0]
        assert line == f"{path}: {said}" if said else "mixes" not in line


def test_a_rollout_and_a_demonstration_of_the_same_keys_agree(play_keys):
    """A policy that always holds the same keys comes as far as an episode of those keys."""
    network = ActorCritic(FEATURE_SIZE, 9, (4,))
    with torch.no_grad():
        network.policy[2].bias[5] = 100.0  # Q and P
    played = rollout(network, 3, frame_skip=4, action_set="distinct", seed=0, sample=False)
    assert played == rollout(network, 3, frame_skip=4, action_set="distinct", seed=0, sample=False)
    demonstrated = summarize_demonstrations([play_keys([Q | P] * 4500)])
    assert played.metrics.finish_rate == demonstrated.metrics.finish_rate == 0.0
    assert math.isnan(played.metrics.median_time)
    assert played.metrics.mean_distance == pytest.approx(demonstrated.metrics.mean_distance, abs=1.5)
    assert played.segment_frames >= 4


def test_clone_is_what_the_command_does(dataset, tmp_path, capsys):
    config = dataclasses.replace(CONFIG, epochs=2, play_every=2, threads=1)
    reports = []
    result = clone(dataset, out=tmp_path / "a.st", config=config, on_epoch=reports.append)
    assert capsys.readouterr().out == ""
    flags = "--hidden 32 --epochs 2 --batch-size 32 --play-every 2 --play-episodes 4 --device cpu --threads 1"
    assert main([str(dataset), "--out", str(tmp_path / "b.st"), *flags.split()]) == 0
    assert capsys.readouterr().out.replace("b.st", "a.st") == f"{result}\n"
    ours, theirs = load_checkpoint(tmp_path / "a.st"), load_checkpoint(tmp_path / "b.st")
    assert all(torch.equal(ours.tensors[name], theirs.tensors[name]) for name in theirs.tensors)
    assert ours.metadata == theirs.metadata

    assert [report.epoch for report in reports] == [1, 2]
    assert (result.path, result.epochs, result.best_epoch) == (tmp_path / "a.st", 2, 2)
    assert result.demonstrations.metrics.episodes == 4 and result.sampled.metrics.episodes == 4
    # Plays have the same seed: the result's is that of the best epoch.
    assert reports[1].rollouts == result.sampled and repr(reports[1].agreement) == repr(result.agreement)
    stored = Policy.load(result.path)
    assert result.policy.metadata == stored.metadata
    assert torch.equal(weights(result.policy.network), weights(stored.network))


def test_without_a_terminal_progress_is_a_line_now_and_then(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ProgressTimer, "due", lambda self: True)
    flags = "--hidden 8 --epochs 2 --play-every 2 --play-episodes 2 --device cpu --threads 1".split()
    assert main([str(dataset), "--out", str(tmp_path / "a.st"), *flags]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("epoch 1 of 2: loss ") and "meters" not in first
    assert second.startswith("epoch 2 of 2: loss ") and "finish 0%" in second


def test_the_commands_options_are_the_arguments_of_clone():
    arguments = inspect.signature(clone).parameters
    options = {f.name: f for f in dataclasses.fields(Options)}
    assert list(arguments) == [*options, "on_epoch"]
    for name in options.keys() - {"dataset", "out", "config", "dagger", "adversarial", "self_imitation"}:
        assert arguments[name].default == options[name].default, name
    assert Path(arguments["out"].default) == options["out"].default


def test_an_interrupted_clone_says_what_the_file_holds(dataset, tmp_path):
    def stop(report):
        if report.epoch == 2:
            raise KeyboardInterrupt

    out = tmp_path / "a.st"
    with pytest.raises(KeyboardInterrupt, match=r"a\.st has the clone after epoch 2; continue with --resume"):
        clone(dataset, out=out, config=CONFIG, on_epoch=stop)
    assert load_checkpoint(out).metadata["training"]["epoch"] == 2
    with pytest.raises(CommandError, match="a.st exists"):
        clone(dataset, out=out)
    assert clone(dataset, out=out, config=CONFIG, resume=True).epochs == 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["missing.h5"], "missing.h5"),
        (["DATASET", "--frame-skip", "0"], "frame_skip is 0"),
        (["DATASET", "--action-set", "some"], "action_set is 'some'; choose one of"),
        (["DATASET", "--action-sets", "some"], "Unrecognized options"),
        (["DATASET", "--where", "time<0"], "no episodes that match 'time<0'"),
        (["DATASET", "--resume"], "no such checkpoint"),
        (["DATASET", "--out", "existing"], "existing exists: --force replaces it"),
        (["DATASET", "--out", "existing", "--resume"], "existing: not a readable checkpoint"),
        (["DATASET", "--device", "abacus"], "device 'abacus' is not available"),
        ([], "Missing from qwop-bc"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "existing").write_text("precious", encoding="utf-8")
    assert main([str(dataset) if a == "DATASET" else a for a in arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.startswith("qwop-bc: ") and error.count("\n") == 1
    assert (tmp_path / "existing").read_text(encoding="utf-8") == "precious"


def test_without_imitation_the_command_says_how_to_install_it(dataset, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imitation", None)
    assert main([str(dataset), "--out", str(tmp_path / "clone.safetensors")]) == 2
    assert capsys.readouterr().err == (
        "qwop-bc: imitation is not installed: pip install --no-deps imitation==1.0.1 qwop-gym==1.0.1\n"
    )
    assert not list(tmp_path.iterdir())


def test_resuming_with_other_settings_says_which(dataset, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    flags = [str(dataset), "--out", str(out), "--epochs", "1", "--play-episodes", "2", "--device", "cpu"]
    assert main([*flags, "--hidden", "8"]) == 0
    before = out.read_bytes()
    capsys.readouterr()
    assert main([*flags, "--hidden", "8", "--resume", "--learning-rate", "0.1"]) == 2
    assert "made with learning_rate 0.0005, not 0.1" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_cloning_goes_on_with_the_same_data_wherever_it_lies(dataset, tmp_path, capsys, scripted):
    out, moved = tmp_path / "clone.st", tmp_path / "moved.h5"
    flags = [
        "--out",
        str(out),
        "--hidden",
        "8",
        "--play-every",
        "0",
        "--play-episodes",
        "2",
        "--device",
        "cpu",
    ]
    assert main([str(dataset), *flags, "--epochs", "2"]) == 0
    moved.write_bytes(dataset.read_bytes())
    assert main([str(moved), *flags, "--epochs", "3", "--resume"]) == 0
    assert load_checkpoint(out).metadata["training"]["epoch"] == 3
    other = tmp_path / "other.h5"
    writer = DatasetWriter(other)
    writer.append(scripted(9))
    capsys.readouterr()
    assert main([str(other), *flags, "--epochs", "4", "--resume"]) == 2
    said = capsys.readouterr().err
    assert "was not made with the data of" in said and said.count("\n") == 1
    assert load_checkpoint(out).metadata["training"]["epoch"] == 3


def test_undetermined_decisions_are_dropped_from_training_alone():
    whole = numbered([6, 6])
    marked = [dataclasses.replace(d, determined=np.arange(6) % 3 != 1) for d in whole]
    kept = split_decisions(marked, 0.5, seed=0, drop_undetermined=True)
    assert len(kept.actions) == 4 and len(kept.validation_actions) == 6
    everything = split_decisions(marked, 0.5, seed=0)
    assert kept.features.tolist() == everything.features[np.arange(6) % 3 != 1].tolist()


def test_a_decision_with_an_undetermined_frame_is_undetermined():
    keys = np.repeat(np.array([9, 6, 9], np.uint8), 4)
    (run,) = replay_keys([keys])
    marks = np.zeros(12, bool)
    marks[5] = True
    episode = Episode(
        keys=keys,
        raw_observations=run.raw_observations,
        times=run.times,
        terminated=False,
        truncated=True,
        success=False,
        source="human",
        undetermined=marks,
    )
    assert decisions_of(episode, 4).determined.tolist() == [True, False, True]
    assert decisions_of(episode.replace(undetermined=None), 4).determined is None
