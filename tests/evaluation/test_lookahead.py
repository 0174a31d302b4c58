"""A policy that looks ahead: plans from the episode's own draws, and what they are worth."""

import numpy as np
import pytest

from qwop_datasets.verify import verify_episodes
from qwop_evaluation import cli
from qwop_evaluation.lookahead import Lookahead, Planner
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.protocol import play
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game import ACTION_SETS, FEATURE_SIZE, FEATURE_VERSION, Simulator, encode
from qwop_rl_core import ActorCritic, QNetwork, save_checkpoint


class Dice:
    """Scores that depend on every feature; sums by element, so that a batch changes no bit."""

    name, frame_skip, action_set, samples = "dice", 4, "distinct", True
    weights = np.random.default_rng(3).normal(size=(FEATURE_SIZE, 9))

    def scores(self, features):
        return (features[:, :, None].astype(np.float64) * self.weights).sum(axis=1)

    def values(self, features):
        return None


def keys_of(episodes):
    return [episode.keys.tolist() for episode in episodes]


@pytest.mark.parametrize("segment", [4, 9, 40])
def test_one_candidate_is_the_policys_best_actions(segment):
    # 9 frames are three decisions of four; repeats fall into the middle of plans, which are made anew.
    lookahead = Lookahead(candidates=1, segment=segment)
    planned = play(Dice(), range(6), max_seconds=4, lookahead=lookahead)
    assert keys_of(planned) == keys_of(play(Dice(), range(6), max_seconds=4))


def test_an_episode_is_the_same_alone_and_among_others():
    lookahead = Lookahead(candidates=3, horizon=12)
    together = play(Dice(), range(5), max_seconds=3, lookahead=lookahead)
    alone = [play(Dice(), [seed], max_seconds=3, lookahead=lookahead)[0] for seed in range(5)]
    assert keys_of(together) == keys_of(alone)
    assert keys_of(together) != keys_of(play(Dice(), range(5), max_seconds=3))


def test_the_continuation_that_gets_furthest_is_followed():
    # The same draws by hand: one decision of each of the eight continuations, judged by distance.
    config = Lookahead(candidates=8, segment=4, horizon=4, value_weight=0)
    world = Simulator(1)
    planner = Planner(Dice(), config, [5])
    action = planner.actions(np.array([0]), world, np.zeros(1, np.uint8), np.zeros(1, np.uint8))

    masks = ACTION_SETS["distinct"]
    scores = Dice().scores(encode(world.raw_observation, np.zeros(1, np.uint8), np.zeros(1, np.uint8)))
    noise = np.log(np.random.default_rng([5, 1]).standard_exponential((9, 7, 1)))[..., 0].T
    tried = np.concatenate([scores.argmax(1), (scores - noise).argmax(1)])
    games = Simulator(8)
    games.step(masks[tried], 4)
    assert len(set(tried.tolist())) > 1
    assert action[0] == tried[games.distance.argmax()]


def test_the_shipped_policy_does_not_fall_where_it_can_look_ahead():
    player = CheckpointPlayer(shipped_policy_path())
    falls = 215  # at 59 m, without
    (without,) = play(player, [falls])
    (episode,) = play(player, [falls], lookahead=Lookahead(candidates=4))
    assert (without.success, episode.success) == (False, True)
    assert episode.source == "search"
    assert episode.provenance["lookahead_candidates"] == 4
    # a plan of 40 frames for every 8, and for each of some 25 repeats
    assert 20 * len(episode.keys) < int(episode.provenance["frames_played"]) < 24 * len(episode.keys)
    assert [v.exact for v in verify_episodes([episode])] == [True]


def policy_file(path, network):
    metadata = {"frame_skip": 4, "action_set": "distinct", "observation": "features"}
    save_checkpoint(
        path,
        {f"network.{name}": tensor for name, tensor in network.state_dict().items()},
        {**network.architecture, **metadata, "feature_version": FEATURE_VERSION},
    )
    return path


def test_an_untrained_critic_is_not_used(tmp_path):
    network = ActorCritic(FEATURE_SIZE, 9, (8,))
    features = np.zeros((2, FEATURE_SIZE), np.float32)
    assert CheckpointPlayer(policy_file(tmp_path / "clone", network)).values(features) is None
    network.value_mean.fill_(3.0)
    network.value_std.fill_(2.0)
    values = CheckpointPlayer(policy_file(tmp_path / "trained", network)).values(features)
    assert values is not None
    assert values.tolist() == pytest.approx([3.0, 3.0], abs=4)
    q_network = policy_file(tmp_path / "q", QNetwork(FEATURE_SIZE, 9, (8,)))
    assert CheckpointPlayer(q_network).values(features) is None


def test_eval_command(tmp_path, capsys):
    path = policy_file(tmp_path / "p.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    short = ["--episodes", "2", "--max-seconds", "2"]
    assert cli.main([str(path), "--lookahead", "--candidates", "3", *short]) == 0
    assert "protocol P, lookahead 3 actions, seeds 0 to 1" in capsys.readouterr().out
    assert cli.main(["--lookahead", str(path), *short, "--json"]) == 0
    assert '"actions": "lookahead 32"' in capsys.readouterr().out


def test_mistakes_are_one_line(tmp_path, capsys):
    path = policy_file(tmp_path / "q.safetensors", QNetwork(FEATURE_SIZE, 9, (8,)))
    for arguments, says in (
        ([str(path), "--lookahead"], "a Q-network has no distribution"),
        (["--lookahead", "--candidates", "0"], "candidates is 0: it must be 1 or more"),
        (["--candidates", "4"], "--candidates needs --lookahead"),
        (["--lookahead", "--value-weight", "nan"], "value_weight is nan: it must be 0 or more"),
        (["--value-weight", "1"], "--value-weight needs --lookahead"),
    ):
        assert cli.main(arguments) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
