"""The beam search and `qwop-search`."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwop_datasets import DatasetReader, segment_lengths, write_dataset
from qwop_datasets.exact_replay import replay_keys
from qwop_evaluation.player import CheckpointPlayer
from qwop_evaluation.shipped import shipped_policy_path
from qwop_game import FEATURE_SIZE, FEATURE_VERSION, Simulator, canonical_keys
from qwop_rl_core import ActorCritic, QNetwork, save_checkpoint
from qwop_search import BeamConfig, BeamSearch, Best, SearchConfig, States, cli, search

SMALL = BeamConfig(width=8, children=8)
NO_KEYS = np.zeros(0, np.uint8)


@pytest.fixture(scope="module")
def player():
    return CheckpointPlayer(shipped_policy_path())


def found(player, threads=1, meters=5.0, keep=1, **changes):
    best = Best()
    values: dict[str, Any] = {"frames": 40_000, "meters": meters, "beam": SMALL, **changes}
    search(
        player,
        SearchConfig(**values),
        best,
        threads,
        keep,
    )
    return best


def test_a_beam_is_faster_than_its_policy_and_its_keys_are_the_run(player):
    best = found(player, keep=3)
    assert best.policys_run is not None
    # 5 m take the policy 4.43 s, a small beam 4.30 s.
    assert best.runs[0].seconds < best.policys_run.seconds - 0.05
    assert [run.seconds for run in best.runs] == sorted(run.seconds for run in best.runs)
    for run in best.runs:
        played = replay_keys([run.keys])[0]
        assert played.times[-1] == run.seconds
        assert played.raw_observations[-1, 0] >= 50 > played.raw_observations[-1 - player.frame_skip, 0]


def test_seed_and_budget_decide_the_run_and_threads_do_not(player):
    # 1024 continuations: two blocks, so that two threads have work.
    wide: dict[str, Any] = {"beam": BeamConfig(width=64, children=16), "meters": 2.0, "frames": 100_000}
    one, two = found(player, **wide), found(player, threads=2, **wide)
    assert [run.keys.tolist() for run in one.runs] == [run.keys.tolist() for run in two.runs]
    assert (one.frames, one.passes) == (two.frames, two.passes)
    assert found(player).runs[0].keys.tolist() == found(player).runs[0].keys.tolist()
    beside = [found(player, threads=n, parallel=3, passes=3, keep=9) for n in (1, 3)]
    first, second = ([run.keys.tolist() for run in best.runs] for best in beside)
    assert first == second and (beside[0].frames, beside[0].passes) == (beside[1].frames, beside[1].passes)
    other = found(player, seed=1)
    assert other.runs[0].keys.tolist() != found(player).runs[0].keys.tolist()


def test_never_slower_than_the_policys_own_run(player):
    # One continuation of one run, drawn far from the policy's best actions, is no match for it.
    wild = BeamConfig(width=1, children=1, temperature=5.0)
    best = found(player, beam=wild, frames=2_000)
    assert best.policys_run is not None
    assert best.runs == [best.policys_run]


def test_a_pass_can_start_along_a_known_run(player):
    beam = BeamSearch(player, SMALL, meters=10.0)
    policys_run, _ = beam.policys_run(60.0)
    assert policys_run is not None
    known = policys_run.keys[:80]
    runs = beam.run([7], known)
    beam.close()
    assert runs and runs[0].seconds < policys_run.seconds
    for run in runs:
        assert run.keys[:80].tolist() == known.tolist()
        assert replay_keys([run.keys])[0].times[-1] == run.seconds


@pytest.mark.parametrize("parallel", [1, 2])
def test_one_run_of_each_pass_from_the_start(player, parallel):
    wanted: dict[str, Any] = {"passes": 3, "passes_along": 0, "frames": 10**9, "meters": 2.0}
    best = found(player, keep=9, one_per_pass=True, parallel=parallel, **wanted)
    assert best.passes == 3 and best.frames < 10**6
    # The policy's own run, and of each pass the fastest.
    alone = [found(player, keep=9, **{**wanted, "passes": n}).runs for n in (1, 2, 3)]
    assert len(alone[0]) > 2
    assert len(best.runs) == 4
    assert best.policys_run is not None
    assert best.policys_run.keys.tolist() in [run.keys.tolist() for run in best.runs]
    assert best.runs[0].keys.tolist() == alone[2][0].keys.tolist()
    assert alone[0][0].keys.tolist() in [run.keys.tolist() for run in best.runs]


def test_keys_are_held_as_long_as_asked(player):
    beam = replace(SMALL, hold=3)
    runs = found(player, beam=beam, keep=3).runs + found(player, beam=beam, passes=1, meters=10.0).runs
    for run in runs:
        assert segment_lengths(canonical_keys(run.keys))[:-1].min() >= 3
    assert segment_lengths(canonical_keys(found(player).runs[0].keys))[:-1].min() < 3
    keys = np.array([0, 0, 1, 1, 1, 4], np.uint8)
    assert [int(States.after(keys[:n]).held_for[0]) for n in range(1, 7)] == [1, 2, 1, 2, 3, 1]


def test_states_after_keys_are_those_of_the_game():
    keys = np.random.default_rng(1).integers(0, 16, 40).astype(np.uint8)
    keys[-3:] = 0  # the hip mode that O or P set stays, no key is held
    states = States.after(keys)
    simulator = Simulator(1)
    for mask in keys:
        simulator.step(np.array([mask], np.uint8))
    assert states.snapshots.tobytes() == simulator.snapshot().tobytes()
    o_or_p = [mask for mask in keys if mask & 12]
    assert states.hip_mode[0] == (1 if o_or_p[-1] & 4 else 2)
    assert states.last_keys[0] == 0


def test_the_best_go_on_but_no_family_takes_all(player):
    beam = BeamSearch(player, BeamConfig(width=4, children=4, per_parent=2))
    parents = np.repeat(np.arange(3), 4)
    score = np.array([9.0, 8, 7, 6, 5, 5, 4, -np.inf, 3, 2, 1, 0])
    distance = np.arange(12.0)
    distance[5] = distance[4]  # twins: one of them is enough
    assert beam._choose(parents, score, distance, 3).tolist() == [0, 1, 4, 6]
    # Alone, a parent fills the beam.
    assert beam._choose(np.zeros(12, int), score, distance, 1).tolist() == [0, 1, 2, 3]
    assert beam._choose(parents, np.full(12, -np.inf), distance, 3).tolist() == []
    beam.close()


def test_command_appends_a_verified_run_that_says_how_it_came_about(tmp_path, capsys):
    out = tmp_path / "records.h5"
    command = ["--out", str(out), "--meters", "4", "--width", "8", "--children", "4", "--frames", "1e5"]
    assert cli.main([*command, "--seed", "3"]) == 0
    assert "verified run" in capsys.readouterr().out
    assert cli.main([*command, "--seed", "3", "--threads", "1"]) == 0
    with DatasetReader(out, "source=search") as runs:
        first, second = runs[0], runs[1]
    assert first.keys.tolist() == second.keys.tolist()
    assert (first.verified, first.truncated, first.success) == ("exact", True, False)
    assert first.distance >= 4
    provenance = first.provenance
    assert provenance["seed"] == 3
    assert (
        provenance["command"]
        == f"qwop-search --out {out} --meters 4 --width 8 --children 4 --frames 1e5 --seed 3"
    )
    assert provenance["policy_sha256"] == CheckpointPlayer(shipped_policy_path()).sha256
    assert int(provenance["frames_played"]) >= 100_000


def test_it_goes_on_from_the_fastest_stored_run(tmp_path):
    records = Path(__file__).parents[2] / "demos" / "records.h5"
    with DatasetReader(records) as runs:
        fastest = min(runs, key=lambda run: run.time)
    out = tmp_path / "more.h5"
    command = ["--continue", str(records), "--trig", fastest.trig, "--width", "4", "--children", "4"]
    assert cli.main([*command, "--frames", "2e4", "--out", str(out)]) == 0
    with DatasetReader(out) as runs:
        assert runs[0].time <= fastest.time and runs[0].trig == fastest.trig
        assert runs[0].verified == "exact" and int(runs[0].provenance["passes"]) >= 1


def test_it_does_not_go_on_from_a_run_whose_keys_change_too_fast(tmp_path, capsys):
    fast = tmp_path / "fast.h5"
    with DatasetReader(Path(__file__).parents[2] / "demos" / "records.h5", "number<4") as runs:
        write_dataset(fast, runs)
    arguments = ["--out", str(tmp_path / "x.h5"), "--continue", str(fast), "--hold", "3"]
    assert cli.main(arguments) == 2
    expected = "has no finished run of the variant rounded whose keys are held for 3 frames"
    assert expected in capsys.readouterr().err


def test_interrupted_it_keeps_the_best_run_so_far(tmp_path, capsys, monkeypatch):
    def interrupted(player, config, best, threads, keep, on_segment, *_):
        def impatient(progress):
            on_segment(progress)
            if best.passes == 2:
                raise KeyboardInterrupt
            return False

        search(player, config, best, threads, keep, impatient)

    monkeypatch.setattr(cli, "search", interrupted)
    out = tmp_path / "records.h5"
    command = ["--out", str(out), "--meters", "4", "--width", "8", "--children", "4", "--frames", "1e9"]
    assert cli.main(command) == 130
    assert capsys.readouterr().err == f"qwop-search: interrupted; {out} has the fastest so far\n"
    with DatasetReader(out) as runs:
        assert len(runs) == 1
        assert (runs[0].source, runs[0].verified, runs[0].provenance["passes"]) == ("search", "exact", 2)


def test_interrupted_it_stops_the_passes_of_all_threads(player):
    best, calls = Best(), []

    def interrupt(progress):
        calls.append(best.passes)
        raise KeyboardInterrupt

    config = SearchConfig(frames=10**9, parallel=2, beam=BeamConfig(width=64, children=16))
    with pytest.raises(KeyboardInterrupt):
        search(player, config, best, threads=2, on_segment=interrupt)
    assert calls == [2] and best.runs == [best.policys_run]
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(10)
            assert not thread.is_alive()


def write_policy(path: str, network: ActorCritic | QNetwork) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    metadata = {"action_set": "distinct", "frame_skip": 4, "observation": "features"}
    save_checkpoint(path, tensors, {**network.architecture, **metadata, "feature_version": FEATURE_VERSION})


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.safetensors"], "missing.safetensors: no such checkpoint"),
        (["text"], "text: not a readable checkpoint"),
        (["q.safetensors"], "has no distribution to draw from"),
        (["--frames", "0"], "frames is 0"),
        (["--passes-along", "-1"], "passes_along is -1: it can't be negative"),
        (["--frames", "many"], "--frames: many is not a whole number"),
        (["--seed", "-1"], "seed is -1"),
        (["--minutes", "0"], "--minutes 0: expected more than 0"),
        (["--width", "0"], "width is 0"),
        (["--temperature", "nan"], "temperature is nan"),
        (["--value-weight", "nan"], "value_weight is nan"),
        (["--meters", "101"], "meters is 101"),
        (["--threads", "0"], "--threads 0"),
        (["--keep", "0"], "--keep 0"),
        (["--faster"], "Unrecognized options: --faster"),
        (["--out", "text"], "text"),
        (["--continue", "text"], "text"),
        (["--continue", "missing.h5"], "missing.h5: no such file"),
        (["--continue", "text", "--meters", "20"], "omit --meters 20"),
        # A policy's run that falls short, and a budget that ends within the first pass.
        (
            ["--frames", "1", "--width", "1", "--children", "1", "untrained.safetensors"],
            "no run arrived at 100 m",
        ),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("not a file of ours", encoding="utf-8")
    write_policy("q.safetensors", QNetwork(FEATURE_SIZE, 9, (8,)))
    write_policy("untrained.safetensors", ActorCritic(FEATURE_SIZE, 9, (8,)))
    try:
        code = cli.main(["--out", "out.h5", *arguments])
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("qwop-search: ") and error.count("\n") == 1
    assert says in error
    assert not Path("out.h5").exists()
