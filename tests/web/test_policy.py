"""The shipped policy in the page, alone and looking ahead: the keys of Python in the same states."""

import json

import numpy as np
import pytest

from qwop_datasets import replay_keys
from qwop_evaluation import CheckpointPlayer, Lookahead, shipped_policy_path
from qwop_evaluation.lookahead import Planner
from qwop_game import ACTION_SETS, Simulator, encode, hip_modes, last_keys, next_hip_modes

pytestmark = pytest.mark.real_game

LOAD = """
    const { Policy } = await import("./policy.js"), { Planner } = await import("./planner.js");
    const policy = new Policy(await (await fetch("policy.safetensors")).arrayBuffer());
"""


@pytest.fixture(scope="module")
def player():
    return CheckpointPlayer(shipped_policy_path())


@pytest.mark.parametrize(("runs", "frames"), [(2, 700), pytest.param(30, 3000, marks=pytest.mark.slow)])
def test_the_policy_in_the_page_plays_as_in_python(page, player, runs, frames):
    """Runs that start differently: after the first frames, Python must choose what the page chose."""
    keys = page.run(
        LOAD
        + """
        const [runs, frames] = arguments, all = [];
        for (let run = 0; run < runs; run++) {
          const game = page.engine.game(), player = policy.player(), keys = [];
          for (let i = 0; i < frames && !game.over; i++) {
            keys.push(i < 3 * run ? (i * 7 + run) % 11 : player(game));
            game.step(keys.at(-1));
          }
          game.close();
          all.push(keys);
        }
        return all;
        """,
        runs,
        frames,
    )
    assert player.frame_skip == 1
    decisions = 0
    for run, played in enumerate(keys):
        masks = np.array(played, np.uint8)
        (replayed,) = replay_keys([masks])
        assert len(masks) == frames or replayed.frames_until_end == len(masks)
        features = encode(replayed.raw_observations, hip_modes(masks), last_keys(masks))
        chosen = ACTION_SETS[player.action_set][player.scores(features[:-1]).argmax(axis=1)]
        assert (chosen[3 * run :] == masks[3 * run :]).all()
        decisions += len(masks) - 3 * run
    assert decisions > 400 * runs


def test_looking_ahead_in_the_page_chooses_as_in_python(page, player):
    """Both get the same states and the same draws, along a run that Python plays."""
    config, plans = Lookahead(), 25
    planner = Planner(player, config, [7])
    draws_of = np.random.default_rng([7, 1])
    shape = len(ACTION_SETS[player.action_set]), config.candidates - 1, config.segment
    world = Simulator(1)
    hip_mode, keys = np.zeros(1, np.uint8), np.zeros(1, np.uint8)
    played, draws = [], []
    for _ in range(plans):
        draws.append(draws_of.standard_exponential(shape).ravel().tolist())
        for _ in range(config.segment):
            action = planner.actions(np.arange(1), world, hip_mode, keys)
            keys = ACTION_SETS[player.action_set][action]
            world.step(keys)
            hip_mode = next_hip_modes(hip_mode, keys)
            played.append(int(keys[0]))
    chosen = page.run(
        LOAD
        + """
        const [played, text] = arguments, draws = JSON.parse(text);
        const planner = new Planner(page.engine, policy, "rounded");
        const game = page.engine.game(), chosen = [];
        for (const [i, draw] of draws.entries()) {
          chosen.push(...planner.plan(game, draw));
          for (const mask of played.slice(planner.frames * i, planner.frames * (i + 1))) game.step(mask);
        }
        for (const each of [game, ...planner.games]) each.close();
        return chosen;
        """,
        played,
        json.dumps(draws),  # as text: Firefox's driver rounds doubles
    )
    assert chosen == played
    argmax = page.run(LOAD + "return policy.player()(page.engine.game())")
    assert argmax in ACTION_SETS[player.action_set]


def test_the_policy_looks_ahead_in_a_worker_and_gives_the_keys_back(page):
    """Where no plan was late, the run is what the worker planned."""
    page.execute_script("document.getElementById('lookahead').click(); page.session.options.countdown = 3")
    page.execute_script("document.getElementById('policy').click()")
    page.wait("return page.session.run.frames > 90")
    # A person takes over, and gives back.
    page.execute_script("document.getElementById('policy').click()")
    frame = page.wait("return page.session.run.frames")
    page.wait(f"return page.session.run.frames > {frame + 3}")
    page.execute_script("document.getElementById('policy').click()")
    page.wait("return page.session.run.players.filter((name) => name === 'lookahead').length > 150")
    page.execute_script("page.session.phase = 'ended'; page.command('keep')")
    record = page.wait("return page.records[0]")
    names = [name for _, name in record["players"]]
    assert names == ["lookahead", "person", "lookahead"]
    late, replanned, planned = page.execute_script(
        "const { late, replanned, planned } = page.autopilot.lookahead; return [late, replanned, planned]"
    )
    keys = page.execute_script("return page.session.run.keys")
    if not late:
        assert planned[: len(keys)] == keys
    assert replanned <= late
