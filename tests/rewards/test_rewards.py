"""Rewards: worked numbers, qwop-gym's own arithmetic, stored runs against live ones, the command."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_cli.table import text_table
from qwop_datasets import DatasetWriter, Episode
from qwop_game import PARTS, UNITS_PER_METER, QWOPVectorEnv, Simulator, raw_from_state
from qwop_game.gait import knee_near
from qwop_rewards import TERMS, RewardVectorEnv, Transition, make_reward, parse_name, run_rewards
from qwop_rewards.cli import main, rank_correlation

GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"
TORSO, LEFT_FOOT, RIGHT_FOOT = (5 * PARTS.index(part) for part in ("torso", "leftFoot", "rightFoot"))


@pytest.fixture(scope="module")
def golden():
    """The first 200 frames of a real run: raw [201, 60], times [201], keys [200]."""
    with np.load(GOLDEN) as traces:
        assert traces["frames_0"][200] == 200
        states = traces["states_0"][:201]
        return raw_from_state(states), states[:, 84], traces["actions_0"][:200]


@pytest.fixture
def start(golden):
    return golden[0][0]


def step(start, forward=0.0, seconds=4 / 30, frames=4, drop=0.0, ended="no", edit=None, keys=0):
    """One game's transition: the start pose moved `forward` units on and `drop` units down."""
    raw, next_raw = start[None].copy(), start[None].copy()
    next_raw[:, 0::5] += forward
    next_raw[:, 1::5] += drop
    if edit is not None:
        edit(raw, next_raw)
    return Transition(
        raw=raw,
        next_raw=next_raw,
        time=np.array([10.0]),
        next_time=np.array([10.0 + seconds]),
        terminated=np.array([ended != "no"]),
        success=np.array([ended == "success"]),
        keys=np.array([keys], np.uint8),
        frames=frames,
    )


def value(name, transition, **options):
    reward, _ = make_reward(name, 1, **options)(transition)
    assert reward.dtype == np.float32
    return float(reward[0])


def test_default_is_qwop_gyms_arithmetic(golden):
    qwop_env = pytest.importorskip("qwop_gym.envs.v1.qwop_env")
    raw, times, keys = golden
    for frame_skip, ended in ((1, "fall"), (4, "success"), (3, "no")):
        theirs = qwop_env.QwopEnv.__new__(qwop_env.QwopEnv)
        theirs.speed_rew_mult, theirs.time_cost_mult = np.float32(0.01), np.float32(10)
        theirs.failure_cost, theirs.success_reward = np.float32(10), np.float32(50)
        theirs.frames_per_step = np.int64(
            frame_skip
        )  # divides in double precision, as in NumPy 1 an int does
        zero = np.float32(0)
        reaction = qwop_env.Reaction(0, zero, zero, None, None)
        rows = list(range(frame_skip, 201, frame_skip))
        expected = []
        for row in rows:
            flags = {"no": 0, "fall": 2, "success": 6}[ended] if row == rows[-1] else 0
            time, distance = np.float32(times[row] / 10), np.float32(float(raw[row, 0]) / 10)
            before, reaction = reaction, qwop_env.Reaction(flags, time, distance, None, None)
            expected.append(theirs._calc_reward(reaction, before))
        run = _run(raw[: rows[-1] + 1], times[: rows[-1] + 1], keys[: rows[-1]], ended)
        (scored,) = run_rewards("default", [run], frame_skip)
        assert scored.rewards.tolist() == [float(np.float32(r)) for r in expected]


def test_default_by_hand(start):
    reward = make_reward("default", 1)
    reward.reset(np.array([True]))
    # First step: from s = 0 m, t = 0, whatever the first observation was: x = 2.5111 + 1 units.
    first = reward(step(start, forward=1.0))[0][0]
    assert first == pytest.approx(0.01 * 0.35111 / 1.0133333 - 10 * 1.0133333 / 4, rel=1e-5)
    # Later: 0.1 m in 0.013333 of the game's ten-second unit: 0.01 * 7.5 - 10 * 0.013333 / 4.
    assert reward(step(start, forward=1.0))[0][0] == pytest.approx(0.075 - 0.0333333, abs=1e-5)
    assert reward(step(start, forward=1.0, ended="fall"))[0][0] == pytest.approx(0.0416667 - 10, abs=1e-5)
    assert reward(step(start, forward=1.0, ended="success"))[0][0] == pytest.approx(50.0416667, abs=1e-5)
    reward.reset(np.array([True]))
    assert reward(step(start, forward=1.0))[0][0] == first


def test_torso_takes_off_what_is_missing_in_height(start):
    # The start's torso center is at (9.14275 + 1.82286) / 10 = 1.096561 m; 3 units lower at 0.796561 m.
    low, high = step(start, drop=3.0), step(start)
    assert value("torso", high) == value("default", high)
    assert value("torso", low) == pytest.approx(value("default", low) - 0.103439, abs=1e-5)
    assert value("torso", low, torso_threshold=1.0, torso_weight=5) == pytest.approx(
        value("default", low) - 5 * 0.203439, abs=1e-5
    )


def test_stride_recipe(start):
    assert value("stride", step(start, forward=3.0)) == pytest.approx(0.28)
    assert value("stride", step(start, forward=-3.0)) == pytest.approx(-0.32)
    assert value("stride", step(start, ended="fall")) == pytest.approx(-2.02)
    assert value("stride", step(start, ended="success")) == pytest.approx(9.98)


def test_stride_power_weighs_pace_and_not_frame_skip(start):
    # 4 units in 4 frames are 3 m/s, 1.5 times the reference: 0.4 * 1.5^0.6 = 0.51017.
    assert value("stride", step(start, forward=4.0), power=1.6, step_cost=0) == pytest.approx(
        0.51017, abs=1e-5
    )
    # 2 units in 2 frames are the same pace and half the way.
    half = step(start, forward=2.0, seconds=2 / 30, frames=2)
    assert value("stride", half, power=1.6, step_cost=0) == pytest.approx(0.51017 / 2, abs=1e-5)
    # At the reference speed any power gives the plain reward; backward steps stay plain.
    reference = step(start, forward=1.6, seconds=0.08)
    assert value("stride", reference, power=2.5) == pytest.approx(0.14)
    assert value("stride", step(start, forward=-3.0), power=2.5) == pytest.approx(-0.32)


def test_knee_rule_needs_a_whole_second_without_a_break(start):
    assert knee_near(step(start, drop=4.0).next_raw).all()

    def sink(raw, next_raw):
        raw[:, 1::5] += 4.0

    def failures(pattern, **options):
        """pattern: whether a knee is near at each step's end, e.g. "..####"; the frames of steps are 4."""
        reward = make_reward("stride", 1, **options)
        reward.reset(np.array([True]))
        failed, before = [], "."
        for now in pattern:
            transition = step(start, drop=4.0 if now == "#" else 0.0, edit=sink if before == "#" else None)
            reward_now, failed_now = reward(transition)
            assert reward_now[0] == pytest.approx(-2.02 if failed_now[0] else -0.02)  # a failure costs a fall
            failed.append(bool(failed_now[0]))
            before = now
        return failed

    # Near from frame 4 on, a second later is frame 34: the first step that ends there or later ends in 36.
    assert failures("#" * 10).index(True) == 8
    assert not any(failures("####.####.########"))
    assert failures("..#", knee_seconds=0) == [False, False, True]
    assert failures("#" * 10, knee_seconds="0.5").index(True) == 4  # frames 4 to 20: 16 frames
    assert not any(failures("#" * 20, knee_seconds=None))
    assert not any(failures("#" * 20, knee_seconds="none"))


def test_knee_rule_on_contact_alone(start):
    # The start pose's right knee is 0.4307 m up: 4.27 units lower it is at 4 mm, 4 units lower at 3 cm.
    contact = {"knee_seconds": 0, "knee_meters": 0.01}
    assert make_reward("stride", 1, **contact)(step(start, drop=4.27))[1][0]
    assert not make_reward("stride", 1, **contact)(step(start, drop=4.0))[1][0]
    assert make_reward("stride", 1, knee_seconds=0)(step(start, drop=4.0))[1][0]


def test_knee_rule_spares_an_episode_that_ended_by_itself(start):
    for ended in ("fall", "success"):
        _, failed = make_reward("stride", 1, knee_seconds=0)(step(start, drop=4.0, ended=ended))
        assert not failed[0]
    _, failed = make_reward("default", 1)(step(start, drop=4.0))
    assert not failed[0]
    _, failed = make_reward("default", 1, knee_seconds=0)(step(start, drop=4.0))
    assert failed[0]


def test_alternation_pays_for_changes_of_the_leading_foot_while_upright(start):
    def feet(before, after):
        def edit(raw, next_raw):
            raw[:, LEFT_FOOT], raw[:, RIGHT_FOOT] = 10 * before, 0.0
            next_raw[:, LEFT_FOOT], next_raw[:, RIGHT_FOOT] = 10 * after, 0.0

        return edit

    reward = make_reward("alternation", 1)
    reward.reset(np.array([True]))
    leads = [0.5, 0.2, -0.2, -0.4, -0.1, 0.31, 0.29, -0.35]
    paid = [float(reward(step(start, edit=feet(a, b)))[0][0]) for a, b in itertools.pairwise(leads)]
    assert paid == [0, 0, 1, 0, 1, 0, 1]
    # Crouching with knees at the track, the same change earns nothing; and a reset forgets the leader.
    assert reward(step(start, drop=4.0, edit=feet(-0.35, 0.5)))[0][0] == 0
    reward.reset(np.array([True]))
    assert reward(step(start, edit=feet(0.0, -0.5)))[0][0] == 0


def test_speed_knee_upright_and_energy_units(start):
    assert value("speed", step(start, forward=4.0)) == pytest.approx(3.0, rel=1e-6)
    assert value("speed", step(start, seconds=0.0)) == 0.0
    assert value("knee", step(start, drop=4.0)) == pytest.approx(-4 / 30)
    assert value("knee", step(start)) == 0.0
    assert value("upright", step(start, drop=4.0)) == pytest.approx(-4 / 30)
    assert value("upright", step(start)) == 0.0

    def kick(raw, next_raw):
        next_raw[:, 3::5], next_raw[:, 4::5] = 20.0, 0.0
        next_raw[:, LEFT_FOOT + 3] += 10.0
        next_raw[:, RIGHT_FOOT + 4] -= 5.0

    # 10 and 5 units per time unit are 1.2 and 0.6 m/s: (1.44 + 0.36) / 12 parts, for 4 / 30 s.
    assert value("energy", step(start, edit=kick)) == pytest.approx(-0.15 * 4 / 30, rel=1e-5)


def test_switches_counts_changes_of_the_keys_that_have_an_effect(start):
    q, w, o = 1, 2, 4
    reward = make_reward("switches", 1)
    reward.reset(np.array([True]))
    paid = [float(reward(step(start, keys=keys))[0][0]) for keys in (q, q, q | w, o, q | o, 0, 0)]
    assert paid == [0, 0, 0, -1, -1, -1, 0]  # W has no effect while Q is held
    reward.reset(np.array([True]))
    assert reward(step(start, keys=w))[0][0] == 0


def test_sums(start):
    transition = step(start, forward=3.0)
    assert value("stride+0.5*speed", transition) == pytest.approx(0.28 + 0.5 * 2.25)
    assert value("2*speed + .25*knee", step(start, forward=3.0, drop=4.0)) == pytest.approx(4.5 - 1 / 30)
    assert parse_name("stride+0.5*alternation") == {"stride": 1.0, "alternation": 0.5}
    assert value("speed+stride", transition, power=1.6) == pytest.approx(
        2.25 - 0.02 + 0.3 * 1.125**0.6, rel=1e-6
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("strid", {}, "unknown reward 'strid': choose from default, torso, stride"),
        ("stride+", {}, "unknown reward"),
        ("stride+-1*knee", {}, "unknown reward"),
        ("stride+stride", {}, "names stride twice"),
        (
            "stride",
            {"pwer": 2},
            "has no option 'pwer': choose from fall_cost, finish_bonus, knee_meters",
        ),
        ("default", {"power": 2}, "has no option 'power': choose from knee_meters, knee_seconds"),
        ("stride", {"power": 0.5}, "power is 0.5: it must be 1 or more"),
        ("stride", {"power": "fast"}, "power is 'fast': it must be a number"),
        ("stride", {"knee_seconds": -1}, "knee_seconds is -1.0"),
        ("stride", {"knee_seconds": "nan"}, "must be finite"),
        ("stride", {"knee_meters": 0}, "knee_meters is 0.0"),
        ("alternation", {"lead": -0.1}, "lead is -0.1"),
        ("stride", {"reference_speed": 0}, "reference_speed is 0.0"),
    ],
)
def test_mistakes_are_one_line(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        make_reward(name, 2, **options)
    assert "\n" not in str(error.value)


def _run(raw, times, keys, ended="no"):
    return Episode(
        keys=keys,
        raw_observations=raw,
        times=times,
        terminated=ended in ("fall", "success"),
        truncated=ended == "no",
        success=ended == "success",
        source="script",
    )


def test_stored_runs_of_different_length_score_as_each_alone(golden):
    raw, times, keys = golden
    runs = [
        _run(raw, times, keys),
        _run(raw[:8], times[:8], keys[:7], "fall"),
        _run(raw[:91], times[:91], keys[:90], "success"),
    ]
    for name in (*TERMS, "stride+0.5*alternation"):
        together = run_rewards(name, runs, frame_skip=4)
        assert [len(run.rewards) for run in together] == [50, 2, 23]
        for run, side_by_side in zip(runs, together, strict=True):
            (alone,) = run_rewards(name, [run], frame_skip=4)
            assert alone.rewards.tolist() == side_by_side.rewards.tolist()
            assert alone.failed_frame == side_by_side.failed_frame
    # The return of `stride`: 0.1 a unit, -0.02 for each of 50 decisions.
    progress = float(raw[200, TORSO]) - float(raw[0, TORSO])
    assert run_rewards("stride", runs)[0].total == pytest.approx(0.1 * progress - 1.0, abs=1e-4)
    assert run_rewards("stride", runs)[1].rewards[-1] < -1.5


def test_a_stored_run_ends_where_the_knee_rule_fails_it(golden):
    raw, times, keys = golden
    scraping = raw.copy()
    scraping[40:, 1::5] += 4.5
    assert knee_near(scraping[40:]).all()
    assert not knee_near(scraping[:40]).any()
    (run,) = run_rewards("stride", [_run(scraping, times, keys, "success")], frame_skip=4)
    assert run.failed_frame == 72  # near from frame 40; the first step's end that is a second later
    assert len(run.rewards) == 18
    (run,) = run_rewards("stride", [_run(scraping, times, keys, "success")], frame_skip=4, knee_seconds=None)
    assert run.failed_frame is None
    assert len(run.rewards) == 50


def play_live(name, steps, frame_skip, options, seed=0, num_envs=6):
    """Random actions, each held for a few steps: per game, the first episode's keys, rewards and failure."""
    envs = RewardVectorEnv(QWOPVectorEnv(num_envs, frame_skip=frame_skip, max_frames=240), name, **options)
    envs.reset()
    generator = np.random.default_rng(seed)
    logs: list[dict[str, Any]] = [
        {"keys": [], "rewards": [], "failed": False, "over": False, "facts": None} for _ in range(num_envs)
    ]
    for step_index in range(steps):
        if step_index % 3 == 0:
            actions = generator.integers(0, 9, num_envs)
        _, rewards, terminated, truncated, infos = envs.step(actions)
        final = infos["_final"]
        for i, log in enumerate(logs):
            if log["over"]:
                continue
            log["keys"] += [final["keys"][i]] * frame_skip
            log["rewards"].append(rewards[i])
            if terminated[i] or truncated[i]:
                last = infos["final_info"]  # Gymnasium 1: a dict of arrays; 0.29: an array of dicts
                last = last["distance"][i] if isinstance(last, dict) else last[i]["distance"]
                assert last == final["distance"][i]
                assert infos["frame"][i] == 0  # the next episode stands at its start
                assert infos["time"][i] < final["time"][i]
                log |= {
                    "over": True,
                    "failed": bool(final["failed"][i]),
                    "terminated": bool(terminated[i]),
                    "truncated": bool(truncated[i]),
                    "frames": int(final["frame"][i]),
                }
    return logs


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("stride", {"knee_seconds": 0, "power": 1.6}),
        ("default+2*alternation+knee+energy+speed+0.1*switches", {"knee_seconds": 0.2}),
        ("torso", {"torso_threshold": 1.05}),
    ],
)
@pytest.mark.parametrize("frame_skip", [1, 4])
def test_live_rewards_are_the_stored_ones_bit_for_bit(name, options, frame_skip):
    logs = play_live(name, 260 // frame_skip, frame_skip, options)
    assert all(log["over"] for log in logs)
    if "knee_seconds" in options:
        assert any(log["failed"] for log in logs)
    for log in logs:
        simulator = Simulator(1)
        raw, times = [simulator.raw_observation[0].copy()], [simulator.time[0]]
        for keys in log["keys"][: log["frames"]]:
            simulator.step(np.array([keys], np.uint8))
            raw.append(simulator.raw_observation[0].copy())
            times.append(simulator.time[0])
        ended = bool(simulator.flags[0] & 8)
        assert log["terminated"] == (ended or log["failed"])
        run = _run(np.array(raw), np.array(times), log["keys"][: log["frames"]], "fall" if ended else "no")
        (stored,) = run_rewards(name, [run], frame_skip, **options)
        assert stored.rewards.tolist() == log["rewards"]
        assert (stored.failed_frame is not None) == log["failed"]


def test_a_resumed_reward_environment_goes_on_bit_for_bit():
    def make():
        return RewardVectorEnv(QWOPVectorEnv(4, frame_skip=4), "stride+alternation+default", knee_seconds=0.4)

    def play_on(envs, steps, seed):
        generator = np.random.default_rng(seed)
        return [envs.step(np.repeat(generator.integers(0, 9, 2), 2))[:4] for _ in range(steps)]

    envs = make()
    envs.reset()
    play_on(envs, 11, seed=5)
    state = {name: array.copy() for name, array in envs.get_state().items()}
    expected = play_on(envs, 40, seed=6)
    other = make()
    other.reset()
    play_on(other, 3, seed=9)
    other.set_state(state)
    for theirs, ours in zip(play_on(other, 40, seed=6), expected, strict=True):
        for a, b in zip(theirs, ours, strict=True):
            assert a.tobytes() == b.tobytes()
    assert any(step[2].any() for step in expected)
    with pytest.raises(ValueError, match="this reward remembers"):
        RewardVectorEnv(QWOPVectorEnv(4), "speed").set_state(state)
    for name in ("before.raw", "before.time"):
        with pytest.raises(ValueError, match=name):
            make().set_state({**state, name: state[name][:2]})


def test_reward_environment_keeps_the_environments_face():
    inner = QWOPVectorEnv(3, frame_skip=2, observation="features")
    envs = RewardVectorEnv(inner, "stride")
    assert (envs.num_envs, envs.frame_skip, len(envs.action_masks)) == (3, 2, 9)
    assert envs.single_action_space == inner.single_action_space
    assert envs.single_observation_space == inner.single_observation_space
    calls = []
    envs.start_states = lambda mask: calls.append(mask.tolist())
    observations, _ = envs.reset()
    assert observations.shape == (3, inner.single_observation_space.shape[0])
    assert calls == [[True] * 3]
    assert envs.step(np.zeros(3, int))[1].dtype == np.float32


def test_rank_correlation():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 5]) == pytest.approx(-0.2)  # 1 - 6 * 12 / (4 * 15)
    assert rank_correlation([1, 1, 2], [3, 3, 9]) == pytest.approx(1.0)
    assert np.isnan(rank_correlation([1, 1], [1, 2]))


def test_text_table():
    assert text_table(["a", "bb"], [["xxx", "1"], ["y", "22"]]) == "a    bb\n---  --\nxxx   1\ny    22"
    with pytest.raises(ValueError, match="2 cells"):
        text_table(["a", "b"], [["x"]])


@pytest.fixture
def dataset(golden, tmp_path):
    raw, times, keys = golden
    scraping = raw.copy()
    scraping[:, 1::5] += 4.5
    path = tmp_path / "runs.h5"
    with DatasetWriter(path) as writer:
        writer.append(_run(raw, times, keys))
        writer.append(_run(scraping, times, keys))
        writer.append(_run(raw[:101], times[:101], keys[:100], "fall"))
    return path


def test_compare_command(dataset, golden, capsys):
    assert main(["compare", str(dataset), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    upright_run, scraping, fallen = report["episodes"]
    assert set(upright_run["returns"]) == set(TERMS)
    assert upright_run["outcome"] == "cut short" and fallen["outcome"] == "fall"
    assert scraping["knee_near"] == 1.0 and upright_run["knee_near"] == 0.0
    # `speed` can't tell the gaits apart; `stride` and `knee` can.
    assert scraping["returns"]["speed"] == upright_run["returns"]["speed"]
    assert scraping["returns"]["knee"] == pytest.approx(-200 / 30)
    assert scraping["failed_frames"] == {"stride": 32}
    assert upright_run["distance_m"] == pytest.approx(golden[0][200, 0] / UNITS_PER_METER)

    assert main(["compare", str(dataset), "--reward", "stride:knee_seconds=none", "--reward", "speed"]) == 0
    text = capsys.readouterr().out
    assert "the knee rule" not in text
    assert main(["compare", str(dataset), "--frame-skip", "2"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].split()[-len(TERMS) :] == list(TERMS)
    assert "the knee rule ended the run there" in text
    assert "Rank correlation" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "{dataset}", "--reward", "sped"], "unknown reward 'sped'"),
        (["compare", "{dataset}", "--reward", "speed", "--reward", "speed"], "given twice"),
        (["compare", "{dataset}", "--reward", "stride:power"], "is not NAME=VALUE"),
        (["compare", "{dataset}", "--frame-skip", "0"], "frame_skip is 0"),
        (["compare", "{dataset}", "--where", "success"], "no episode matches 'success'"),
        (["compare", "nothing.h5"], "nothing.h5"),
        (["compare"], "DATASET"),
    ],
)
def test_compare_command_mistakes(dataset, capsys, arguments, message):
    try:
        code = main([a.format(dataset=dataset) for a in arguments])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
