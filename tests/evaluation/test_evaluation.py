"""Protocol P, its figures and `qwop-eval`."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qwop_cli.command import json_text
from qwop_datasets import DatasetReader
from qwop_evaluation import Lookahead, cli, evaluate, protocol
from qwop_evaluation.comparison import bootstrap_interval, interquartile_mean
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.protocol import REPEAT_PROBABILITY, Disturbance, choose, play
from qwop_evaluation.summary import split_times, summarize, summary_json, wilson_interval
from qwop_evaluation.table import results_table
from qwop_game import ACTION_SETS, FEATURE_SIZE, FEATURE_VERSION, PARTS, Simulator
from qwop_game.encoder import FEATURE_SLICES
from qwop_replay.html import speed_curve
from qwop_rl_core import ActorCritic, CheckpointError, Policy, QNetwork, save_checkpoint

DISTINCT = ACTION_SETS["distinct"].tolist()
GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"


class Switcher:
    """Holds Q, then W, then Q: from last_keys alone, so that every decision but a repeat switches."""

    name, frame_skip, action_set, samples = "switcher", 3, "distinct", True

    def scores(self, features):
        was_q = features[:, FEATURE_SLICES["last_keys"]][:, 0] > 0
        scores = np.zeros((len(features), 9))
        scores[np.arange(len(features)), np.where(was_q, DISTINCT.index(2), DISTINCT.index(1))] = 50.0
        return scores

    def values(self, features):
        return None


class Dice(Switcher):
    """Scores that depend on every feature; sums by element, so that a batch changes no bit."""

    name, frame_skip = "dice", 4
    weights = np.random.default_rng(3).normal(size=(FEATURE_SIZE, 9))

    def scores(self, features):
        return (features[:, :, None].astype(np.float64) * self.weights).sum(axis=1)


def test_draws_are_the_documented_ones():
    generator = np.random.default_rng(17)
    idle = int(generator.integers(0, 30))
    uniform = generator.random(8)
    drawn = Disturbance.drawn(17, 4)
    assert drawn.idle_frames == idle
    assert drawn.choices.tolist() == uniform[1::2].tolist()
    assert drawn.repeats.tolist() == (uniform[::2] < 0.02).tolist()
    # More decisions extend a seed's draws and change none of them.
    assert Disturbance.drawn(17, 50).choices[:4].tolist() == drawn.choices.tolist()
    undisturbed = Disturbance.drawn(17, 4, perturbed=False)
    assert (undisturbed.idle_frames, undisturbed.repeats.any()) == (0, False)
    assert undisturbed.choices.tolist() == drawn.choices.tolist()


def test_draws_have_the_protocols_distribution():
    drawn = [Disturbance.drawn(seed, 500) for seed in range(300)]
    idle = np.array([d.idle_frames for d in drawn])
    assert (idle.min(), idle.max()) == (0, 29)
    assert idle.mean() == pytest.approx(14.5, abs=4 * 8.66 / math.sqrt(300))
    share = np.mean([d.repeats.mean() for d in drawn])
    assert share == pytest.approx(REPEAT_PROBABILITY, abs=4 * math.sqrt(0.02 * 0.98 / 150_000))


def test_choose_inverts_the_cumulative_distribution():
    scores = np.log([[0.2, 0.5, 0.3]] * 6)
    assert choose(scores, np.array([0.0, 0.19, 0.21, 0.69, 0.71, 0.9999])).tolist() == [0, 0, 1, 1, 2, 2]
    assert choose(scores).tolist() == [1] * 6
    certain = np.array([[-1e4, 1e4, -1e4]] * 2)
    assert choose(certain, np.array([0.0, 0.999])).tolist() == [1, 1]


@pytest.mark.parametrize("seed", [0, 5, 29])
def test_keys_of_an_episode_follow_from_its_seed(seed):
    (episode,) = play(Switcher(), [seed], max_seconds=8.0)
    drawn = Disturbance.drawn(seed, 200)
    expected, held = [0] * drawn.idle_frames, 0
    for repeated in drawn.repeats:
        if not repeated:
            held = 2 if held == 1 else 1
        expected += [held] * 3
    assert episode.keys.tolist() == expected[: len(episode)]
    assert len(episode) > drawn.idle_frames + 30
    assert episode.provenance["seed"] == seed
    assert episode.provenance["idle_frames"] == drawn.idle_frames
    # And the states are the simulator's for these keys.
    simulator = Simulator(1)
    for frame, keys in enumerate(episode.keys):
        assert simulator.raw_observation[0].tobytes() == episode.raw_observations[frame].tobytes()
        assert simulator.time[0] == episode.times[frame]
        simulator.step(np.array([keys], np.uint8))
    assert simulator.raw_observation[0].tobytes() == episode.raw_observations[-1].tobytes()
    assert bool(simulator.flags[0] & 8) == episode.terminated


def test_a_repeat_in_a_seed_that_has_one():
    # Some early decision of seed 0..99 is a repeat; the sequence test above must not pass without any.
    repeats = [seed for seed in range(100) if Disturbance.drawn(seed, 20).repeats[1:].any()]
    assert len(repeats) > 10
    (episode,) = play(Switcher(), [repeats[0]], max_seconds=3.0)
    segments = np.diff(np.flatnonzero(np.diff(episode.keys)))
    assert 6 in segments.tolist()


@pytest.mark.parametrize("sample", [True, False])
def test_an_episode_is_the_same_alone_and_among_others(sample):
    together = play(Dice(), range(12), sample=sample, max_seconds=20.0)
    for seed in (0, 7, 11):
        (alone,) = play(Dice(), [seed], sample=sample, max_seconds=20.0)
        assert alone.keys.tobytes() == together[seed].keys.tobytes()
        assert alone.raw_observations.tobytes() == together[seed].raw_observations.tobytes()
    assert len({episode.keys.tobytes() for episode in together}) > 9
    assert any(episode.terminated for episode in together)


def test_batches_change_nothing(monkeypatch):
    together = play(Dice(), range(7), max_seconds=10.0)
    over = []
    monkeypatch.setattr(protocol, "BATCH", 3)
    batches = play(Dice(), range(7), max_seconds=10.0, on_frame=lambda _, n: over.append(n))
    assert [run.keys.tobytes() for run in batches] == [run.keys.tobytes() for run in together]
    assert over == sorted(over) and over[-1] == 7


def test_unperturbed_argmax_episodes_are_all_the_same():
    runs = play(Dice(), range(3), sample=False, perturbed=False, max_seconds=20.0)
    assert len({run.keys.tobytes() for run in runs}) == 1
    assert runs[0].provenance["idle_frames"] == 0
    assert runs[0].provenance["protocol"] == "unperturbed"


def test_a_time_limit_truncates_and_does_not_terminate():
    class Idler(Switcher):
        def scores(self, features):
            return np.tile(np.eye(9)[0], (len(features), 1))

    seen = []
    (run,) = play(Idler(), [1], sample=False, max_seconds=2.0, on_frame=lambda *a: seen.append(a))
    assert (len(run), run.truncated, run.terminated, run.success) == (60, True, False, False)
    assert seen[-2:] == [(59, 0), (60, 1)]
    with pytest.raises(ValueError, match="max_seconds is 0.5"):
        play(Idler(), [1], max_seconds=0.5)
    with pytest.raises(ValueError, match="seed -1 is negative"):
        play(Idler(), [-1, 0])


def test_wilson_interval_against_published_values():
    # Newcombe 1998, Statistics in Medicine 17, table I (method 3): 81/263, 15/148, 0/20, 1/29.
    for (successes, trials), (low, high) in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    low, high = wilson_interval(20, 20)
    assert high == 1.0 and low == pytest.approx(1 - 0.1611, abs=5e-5)
    with pytest.raises(ValueError):
        wilson_interval(1, 0)


def test_interquartile_mean_and_its_interval():
    assert interquartile_mean(np.array([[0.0, 3.0], [4.0, 5.0], [1.0, 2.0], [9.0, 100.0]])) == 3.5  # 2 3 4 5
    assert interquartile_mean(np.array([1.0, 2.0, 6.0])) == 3.0  # three runs: nothing to leave out
    # Two runs of scores 0 and 1: the mean of a resample is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval(np.array([0.0, 1.0]), confidence=0.95) == (0.0, 1.0)
    assert bootstrap_interval(np.array([0.0, 1.0]), confidence=0.4) == (0.5, 0.5)
    # Tasks are resampled apart: with one run there is no chance, whatever the tasks' scores.
    assert bootstrap_interval(np.array([[0.0, 1.0, 5.0]])) == (2.0, 2.0)
    # Normal scores: the interval of the mean of 100 is about 1.96 / 10 either way.
    low, high = bootstrap_interval(np.random.default_rng(1).normal(size=100), statistic=np.mean)
    assert high - low == pytest.approx(0.392, rel=0.2)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(np.array([1.0, np.nan]))


def test_splits_of_the_golden_run(golden):
    times = split_times(golden.raw_observations, golden.times)
    for at, time in zip((100, 500, 1000), times, strict=True):
        frame = golden.times.tolist().index(time)
        assert golden.raw_observations[frame, 0] >= at > golden.raw_observations[frame - 1, 0]
    assert times[2] < golden.time
    assert math.isnan(split_times(golden.raw_observations[:100], golden.times[:100])[0])


def test_summary_of_three_runs(golden, play_keys, golden_keys):
    short = play_keys(golden_keys[:200], trig="glibc-fma")
    slower = golden.replace(times=golden.times + 1.5)
    summary = summarize([golden, short, slower])
    assert (summary.episodes, summary.finished) == (3, 2)
    assert summary.finish_rate == pytest.approx(2 / 3)
    assert summary.best_time == golden.time
    assert summary.median_time == pytest.approx(golden.time + 0.75)
    assert summary.mean_distance == pytest.approx((2 * golden.distance + short.distance) / 3)
    assert summary.splits[50] == pytest.approx(split_times(golden.raw_observations, golden.times)[1] + 0.75)
    assert summary.gait.knee_near == pytest.approx(2 * 3 / (2 * 2302 + 201))
    figures = summary_json(summarize([short]))
    assert figures["median_time_s"] is None and figures["splits_s"] == {"10": None, "50": None, "100": None}
    json.dumps(figures, allow_nan=False)
    table = results_table({"golden": summarize([golden]), "short": summarize([short])})
    assert table.splitlines()[2].split() == (
        "golden 1 100 21-100 76.77 76.77 101.7 0.1 95.8 2.42 9.50 40.63 75.60".split()
    )
    assert "-" in table.splitlines()[3].split()


def test_a_figure_that_does_not_exist_is_null(golden, play_keys, golden_keys):
    # Both feet land in one frame, after a jump: one step in no time.
    raw = np.tile(golden.raw_observations[0], (40, 1))
    feet = [5 * PARTS.index(foot) + 1 for foot in ("leftFoot", "rightFoot")]
    raw[10:20, feet] -= 1.0  # y points down
    raw[20:, feet] += 1.0
    jump = play_keys(golden_keys[:39], trig="glibc-fma").replace(raw_observations=raw)
    figures = json.loads(json_text(summary_json(summarize([jump]))))
    assert figures["cadence_steps_per_minute"] is None and figures["flight"] > 0
    assert json_text({"a": [math.inf, (math.nan, 1.5)]}) == '{"a": [null, [null, 1.5]]}'


def test_speed_curve_of_a_steady_runner():
    raw = np.zeros((91, 60), np.float32)
    raw[:, 0] = 2.5 + np.arange(91) * 20 / 30  # 2 m/s
    assert speed_curve(raw) == pytest.approx(np.full(91, 2.0), abs=1e-5)
    raw[45:, 0] += 5.0  # half a meter at once lifts the second around it
    assert speed_curve(raw)[45] == pytest.approx(2.5, abs=1e-5)
    assert speed_curve(raw)[20] == pytest.approx(2.0, abs=1e-5)
    assert speed_curve(raw[:1]).tolist() == [0.0]


@pytest.fixture
def checkpoint(tmp_path):
    def save(name="policy.safetensors", network=None, **metadata):
        network = network or ActorCritic(FEATURE_SIZE, 9, (8,), torch.Generator().manual_seed(1))
        tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
        defaults = {
            "action_set": "distinct",
            "frame_skip": 4,
            "observation": "features",
            "feature_version": FEATURE_VERSION,
        }
        save_checkpoint(tmp_path / name, tensors, {**network.architecture, **defaults, **metadata})
        return str(tmp_path / name)

    return save


def test_eval_command(checkpoint, tmp_path, capsys):
    path, saved = checkpoint(), tmp_path / "runs.h5"
    arguments = [path, "--episodes", "3", "--seed", "4", "--max-seconds", "20"]
    assert cli.main([*arguments, "--json", "--save", str(saved)]) == 0
    report = json.loads(capsys.readouterr().out)
    required = "finish_rate median_time_s best_time_s mean_distance_m knee_near upright episodes seed".split()
    assert set(required) <= set(report)
    assert (report["episodes"], report["seed"], report["seeds"]) == (3, 4, [4, 5, 6])
    assert (report["protocol"], report["actions"], report["frame_skip"]) == ("P", "argmax", 4)
    assert report["finish_rate"] == 0.0 and report["median_time_s"] is None
    runs = play(CheckpointPlayer(path), [4, 5, 6], max_seconds=20.0)
    assert [run["distance_m"] for run in report["runs"]] == [run.distance for run in runs]
    assert report["mean_distance_m"] == pytest.approx(np.mean([run.distance for run in runs]))

    stored = DatasetReader(saved)
    assert [episode.keys.tobytes() for episode in stored] == [run.keys.tobytes() for run in runs]
    assert {episode.verified for episode in stored} == {"exact"}
    assert stored[0].provenance["policy_sha256"] == report["policy_sha256"]

    assert cli.main([*arguments, "--sample", "--unperturbed"]) == 0
    text = capsys.readouterr().out
    assert "unperturbed, sampled actions, seeds 4 to 6, frame skip 4" in text


def test_evaluate_is_what_the_command_does(checkpoint, tmp_path, capsys):
    path = checkpoint()
    flags = ["--episodes", "2", "--seed", "4", "--max-seconds", "8"]
    result = evaluate(path, episodes=2, seed=4, max_seconds=8.0)
    assert capsys.readouterr().out == ""
    assert cli.main([path, *flags]) == 0
    assert capsys.readouterr().out == f"{result}\n"
    assert cli.main([path, *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json_text(result.as_json()))

    loaded = evaluate(Policy.load(path), episodes=2, seed=4, max_seconds=8.0)
    assert repr(loaded.summary) == repr(result.summary)
    assert (loaded.player.name, loaded.as_json()["policy_sha256"]) == ("policy", None)
    assert evaluate(result.player, episodes=1, seed=5, max_seconds=8.0).episodes[0].provenance["seed"] == 5
    result.save(tmp_path / "runs.h5")
    loaded.save(tmp_path / "runs.h5")
    result.save(tmp_path / "runs.h5", only_finished=True)
    stored = list(DatasetReader(tmp_path / "runs.h5"))
    assert [episode.verified for episode in stored] == ["exact"] * 4
    hashes = [episode.provenance.get("policy_sha256") for episode in stored]
    assert hashes == [result.as_json()["policy_sha256"]] * 2 + [None] * 2


def test_evaluate_refuses_what_makes_no_sense(checkpoint):
    with pytest.raises(ValueError, match="episodes is 0"):
        evaluate(checkpoint(), episodes=0)
    values = checkpoint(network=QNetwork(FEATURE_SIZE, 9, (8,)))
    refused: list[dict[str, Any]] = [{"sample": True}, {"lookahead": Lookahead()}]
    for options in refused:
        with pytest.raises(ValueError, match="no distribution to draw from; omit it"):
            evaluate(values, **options)


def test_play_computes_on_one_thread(checkpoint, monkeypatch):
    # With two, 64 episodes took 275 s rather than 13 on a busy machine: threads waited at every layer.
    counts = []

    def counted(network, features, logits=ActorCritic.logits):
        counts.append(torch.get_num_threads())
        return logits(network, features)

    monkeypatch.setattr(ActorCritic, "logits", counted)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        evaluate(checkpoint(), episodes=2, max_seconds=2.0)
        Policy.load(checkpoint()).act(np.zeros((2, FEATURE_SIZE)))
        assert set(counts) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_q_networks_play_their_best_action(checkpoint, capsys):
    network = QNetwork(FEATURE_SIZE, 9, (8,), dueling=True, generator=torch.Generator().manual_seed(2))
    path = checkpoint(network=network)
    assert cli.main([path, "--episodes", "2", "--max-seconds", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["actions"] == "argmax"
    assert cli.main([path, "--sample"]) == 2
    assert "no distribution" in capsys.readouterr().err


def test_mistakes_are_one_line_and_exit_code_2(checkpoint, tmp_path, capsys, monkeypatch):
    foreign = tmp_path / "foreign.safetensors"
    foreign.write_bytes(b"no checkpoint at all")
    cases = [
        ([str(tmp_path / "missing.safetensors")], "no such checkpoint"),
        ([str(foreign)], "not a readable checkpoint"),
        (
            [checkpoint("a.safetensors", feature_version=99)],
            "a.safetensors: feature_version is 99, expected 1",
        ),
        ([checkpoint("b.safetensors", action_set="mine")], "action_set is 'mine', expected one of full"),
        ([checkpoint("c.safetensors", action_set="full")], "num_actions is 9, expected 16"),
        ([checkpoint("d.safetensors", frame_skip=0)], "frame_skip is 0"),
        ([checkpoint(), "--episodes", "0"], "--episodes 0"),
        ([checkpoint(), "--seed", "-1"], "seed -1 is negative"),
        ([checkpoint(), "--only-finished"], "--save"),
        ([checkpoint(), "--save", str(foreign)], "foreign.safetensors"),
        ([checkpoint(), "--sample", "--argmax"], "are not allowed together"),
        ([checkpoint(), "--epsodes", "3"], "Unrecognized options: --epsodes, 3"),
    ]
    for arguments, message in cases:
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        error = capsys.readouterr().err
        assert (code, error.count("\n")) == (2, 1), (arguments, error)
        assert message in error
    assert foreign.read_bytes() == b"no checkpoint at all"

    def nowhere():
        raise CheckpointError("the shipped policy is missing (demos/policy.safetensors): name a checkpoint")

    monkeypatch.setattr(cli, "shipped_policy_path", nowhere)
    assert cli.main([]) == 2
    assert "the shipped policy is missing" in capsys.readouterr().err


def test_the_command_compares_the_style_with_a_persons_runs(tmp_path, capsys):
    reference = tmp_path / "reference.h5"
    evaluate(episodes=3, seed=10, max_seconds=8.0).save(reference)
    arguments = ["--episodes", "2", "--max-seconds", "8", "--against", str(reference)]
    assert cli.main([*arguments, "--json"]) == 0
    style = json.loads(capsys.readouterr().out)["style"]
    rows = {row["figure"]: row for row in style["distances"]}
    assert (style["runs"], style["reference_runs"]) == (2, 3)
    assert 0 < rows["key segment, frames"]["distance"] < 2 and rows["stride length, m"]["ratio"] < 5
    assert cli.main([*arguments, "--against-where", "success"]) == 2
    assert "expected at least 1 against at least 2" in capsys.readouterr().err
    assert cli.main(["--against-where", "success"]) == 2
    assert "--against-where needs --against" in capsys.readouterr().err
