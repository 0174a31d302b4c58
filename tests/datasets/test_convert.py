"""Other projects' formats, there and back, judged by what the other side reads."""

import json
import os
import subprocess
import textwrap
import venv
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest
import torch

from qwop_datasets import DatasetError, DatasetReader, Episode, convert, first_difference, write_dataset
from qwop_datasets.cli import main
from qwop_datasets.convert.common import rewards_of
from qwop_datasets.exact_replay import replay_keys
from qwop_game import ACTION_SETS, QWOPVectorEnv, canonical_keys, normalize

# jsonpickle announces a change of its defaults once per frame that imitation stores
pytestmark = pytest.mark.filterwarnings("ignore:keys will default to True:DeprecationWarning")

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
EXACT_FORMATS = {
    "minari": "qwop/test-v0",
    "robomimic": "x.hdf5",
    "lerobot": "folder",
    "imitation": "trajectories",
    "npz": "x.npz",
    "csv": "x.csv",
}


def episodes():
    """Three real runs: one that falls, one cut short, one that wins."""
    with np.load(GOLDEN / "rounded_runs.npz") as data:
        winning = data["actions_0"]
    rng = np.random.default_rng(0)
    walking = np.repeat(rng.integers(0, 16, 10), 3).astype(np.uint8)
    made = []
    for i, played in enumerate(replay_keys([np.full(90, 12, np.uint8), walking, winning])):
        n = played.frames_until_end
        made.append(
            Episode(
                keys=[np.full(90, 12), walking, winning][i][:n],
                raw_observations=played.raw_observations[: n + 1],
                times=played.times[: n + 1],
                terminated=played.over,
                truncated=not played.over,
                success=played.landed,
                source="policy",
                player="Zoë",
                tags=("a", "b"),
                action_set=("full", "distinct", "distinct")[i],
                provenance={"seed": 5, "engine": "scalar"},
                rewards={"default": np.arange(n, dtype=np.float32)} if i == 1 else {},
            )
        )
    assert [(e.terminated, e.success) for e in made] == [(True, False), (False, False), (True, True)]
    return made


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "runs.h5"
    write_dataset(path, episodes(), gait=False)
    assert main(["split", str(path), "--fraction", "0.34"]) == 0
    return path


def converted(path, to, out, **options):
    with DatasetReader(path) as reader:
        out.parent.mkdir(parents=True, exist_ok=True)
        return convert.export(reader, out, to, **options)


def back(out, **options):
    return list(convert.episodes_of(out, convert.Importing(**options)))


@pytest.mark.parametrize("observations", ["normalized", "raw"])
@pytest.mark.parametrize("to", EXACT_FORMATS)
def test_there_and_back_is_exact(path, tmp_path, to, observations):
    out = tmp_path / EXACT_FORMATS[to]
    assert converted(path, to, out, observations=observations) == (3, [])
    got = [item.episode for item in back(out)]
    assert len(got) == 3
    for episode, stored in zip(got, DatasetReader(path), strict=True):
        if to == "csv":  # has no columns for these
            stored = stored.replace(
                tags=(), provenance={}, rewards={}, action_set="distinct", created=episode.created
            )
        assert episode is not None and first_difference(episode, stored) is None
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_qwop_gym_loads_our_recording_and_we_load_it_back(path, tmp_path):
    out = tmp_path / "runs.rec"
    count, left_out = converted(path, "qwop-gym", out)
    assert count == 2 and left_out == ["episode 1: cut short; a recording must end with the run"]
    load_recordings = pytest.importorskip("qwop_gym.tools.common").load_recordings
    (recording,) = load_recordings([str(out)])
    stored = list(DatasetReader(path))
    assert recording["seed"] == 5
    assert [e["skip"] for e in recording["episodes"]] == [False, False]
    masks = ACTION_SETS["full"]
    for theirs, ours in zip(recording["episodes"], [stored[0], stored[2]], strict=True):
        assert np.array_equal(masks[theirs["actions"]], ours.keys)
    got = [item.episode for item in back(out, source="policy")]
    for episode, ours in zip(got, [stored[0], stored[2]], strict=True):
        assert np.array_equal(episode.keys, ours.keys)
        assert np.array_equal(episode.raw_observations, ours.raw_observations)
        assert (episode.terminated, episode.success) == (True, ours.success)
        assert episode.provenance["seed"] == 5 and episode.game == "real"


def test_a_recording_of_qwop_gym(tmp_path):
    """Four frames a step, the reduced action set, a discarded episode, two that do not end as they say."""
    out = tmp_path / "x.rec"
    lines = ["seed=123", *["3"] * 14, "*", *["3"] * 14, "X", *["3"] * 9, "*", *["3"] * 20, "*", "1", "2"]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    items = back(out, source="human", action_set="reduced", frames_per_step=4, player="Ann")
    # O alone falls in frame 53: in the 14th step of 4 frames.
    assert items[0].episode.num_frames == 53 and items[0].episode.terminated
    assert (items[0].episode.keys == 4).all() and items[0].episode.player == "Ann"
    assert [i.reason for i in items[1:]] == [
        "discarded when it was recorded",
        "its replay does not end (are --frames-per-step and --trig right?)",
        "its replay ends at frame 53 of 80",
        "unfinished: no * after its last action",
    ]
    with pytest.raises(DatasetError, match="--source"):
        back(out)
    for content, message in [
        ("", "first line is not seed"),
        ("seed=x\n", "first line is not seed"),
        ("seed=1\nQ\n*\n", "line 2: 'Q' is not an action"),
        ("seed=1\n16\n*\n", "the set full: entry 0 is 16"),
        ("seed=1\n*\n", "has no step"),
    ]:
        out.write_text(content, encoding="utf-8")
        with pytest.raises(DatasetError, match=message):
            list(convert.qwop_gym.read(out, convert.Importing(source="human")))


def test_imitation_reads_its_trajectories(path, tmp_path):
    serialize = pytest.importorskip("imitation.data.serialize")
    out = tmp_path / "trajectories"
    converted(path, "imitation", out, action_set="distinct")
    trajectories = serialize.load_with_rewards(out)
    for trajectory, ours in zip(trajectories, DatasetReader(path), strict=True):
        assert np.array_equal(trajectory.obs, normalize(ours.raw_observations))
        assert np.array_equal(ACTION_SETS["distinct"][trajectory.acts], canonical_keys(ours.keys))
        assert trajectory.terminal == ours.terminated
        assert np.array_equal(trajectory.rews, rewards_of(ours))
    rollout = pytest.importorskip("imitation.data.rollout")
    assert len(rollout.flatten_trajectories(list(trajectories))) == sum(map(len, DatasetReader(path)))


def test_another_tools_trajectories_are_replayed(tmp_path):
    """No infos, normalized observations, four frames a step: the frames between come from the simulator."""
    serialize = pytest.importorskip("imitation.data.serialize")
    types = pytest.importorskip("imitation.data.types")
    actions = np.random.default_rng(3).integers(0, 9, 12)
    (played,) = replay_keys([np.repeat(ACTION_SETS["distinct"][actions], 4)])
    obs = normalize(played.raw_observations[::4])
    wrong = obs.copy()
    wrong[5, 2] += 1e-3
    made = [types.Trajectory(o, actions, None, terminal=False) for o in (obs, wrong)]
    serialize.save(tmp_path / "t", made)
    good, bad = back(tmp_path / "t", source="policy", action_set="distinct", frames_per_step=4)
    assert np.array_equal(good.episode.raw_observations, played.raw_observations)
    assert bad.episode is None
    variants = "every variant of sine and cosine"
    assert bad.reason == f"its replay differs from its observations at step 5 (with {variants})"


def test_gymnasium_style_arrays_of_others(tmp_path):
    rng = np.random.default_rng(1)
    keys = [rng.integers(0, 16, n).astype(np.uint8) for n in (15, 25)]
    rows = [p.raw_observations for p in replay_keys(keys)]
    table = {int(mask): i for i, mask in enumerate(ACTION_SETS["full"])}
    timeouts = np.zeros(40, bool)
    timeouts[[14, 39]] = True
    np.savez(
        tmp_path / "x.npz",
        observations=normalize(np.concatenate([r[:-1] for r in rows])),
        actions=[table[int(k)] for k in np.concatenate(keys)],
        terminals=np.zeros(40, bool),
        timeouts=timeouts,
    )
    got = [i.episode for i in back(tmp_path / "x.npz", source="policy")]
    assert [e.keys.tolist() for e in got] == [k.tolist() for k in keys]
    assert all(np.array_equal(e.raw_observations, r) for e, r in zip(got, rows, strict=True))


def test_npz_holds_every_step_once(path, tmp_path):
    out = tmp_path / "x.npz"
    converted(path, "npz", out)
    stored = list(DatasetReader(path))
    with np.load(out, allow_pickle=False) as data:
        assert data["observations"].shape == data["next_observations"].shape == (sum(map(len, stored)), 60)
        assert data["terminations"].sum() == 2 and data["truncations"].sum() == 1
        ends = np.cumsum([len(e) for e in stored]) - 1
        assert data["terminations"][ends].tolist() == [True, False, True]
        last = data["next_observations"][ends[2]]
        assert np.array_equal(last, normalize(stored[2].raw_observations[-1]))


def test_the_default_reward_is_the_environments():
    """Against QWOPEnv at one frame a step, which is qwop-gym's arithmetic."""
    falling = episodes()[0]
    env = gymnasium.make("qwop_game/QWOP-v0", frame_skip=1, action_set="full", disable_env_checker=True)
    env.reset(seed=0)
    rewards = [float(env.step(int(a))[1]) for a in falling.actions]
    assert rewards[-1] < -9
    np.testing.assert_allclose(rewards_of(falling), rewards, rtol=0, atol=2e-7)


def test_the_reference_scores_of_minari():
    """Of the bundled demonstrations and of random keys, by the environment's reward at one frame a step."""
    with DatasetReader(ROOT / "demos" / "demos.h5") as reader:
        scores = [rewards_of(run).astype(np.float64).sum() for run in reader]
    assert len(scores) == convert.minari.SCORED_EPISODES
    assert np.mean(scores) == pytest.approx(convert.minari.DEMONSTRATIONS_SCORE, abs=0.05)
    games, rng = QWOPVectorEnv(100, frame_skip=1), np.random.default_rng(0)
    games.reset()
    total, playing = np.zeros(100), np.ones(100, bool)
    while playing.any():
        _, reward, terminated, _, _ = games.step(rng.integers(0, 9, 100))
        total += reward * playing
        playing &= ~terminated
    assert total.mean() == pytest.approx(convert.minari.RANDOM_SCORE, abs=0.05)


def test_robomimic_layout(path, tmp_path):
    out = tmp_path / "x.hdf5"
    converted(path, "robomimic", out)
    with h5py.File(out) as file, DatasetReader(path) as reader:
        assert json.loads(file["data"].attrs["env_args"])["env_name"] == "qwop_game/QWOP-v0"
        assert file["data"].attrs["total"] == sum(map(len, reader))
        demo, ours = file["data/demo_2"], reader[2]
        held = ours.keys[:, None] & np.array([1, 2, 4, 8]) > 0
        assert np.array_equal(demo["actions"][()], np.where(held, 1, -1))
        assert demo["dones"][()].sum() == 1 and demo["dones"][-1] == 1
        assert np.array_equal(demo["next_obs/observation"][:-1], demo["obs/observation"][1:])
        names = {f"demo_{n}".encode() for n in reader.select("mask=train").numbers}
        assert set(file["mask/train"][()].tolist()) == names


def test_what_can_not_be_converted_says_so(path, tmp_path, capsys):
    cases = [
        ([path, tmp_path / "x.bin"], "--to"),
        ([path, path.parent / "runs.h5", "--to", "csv"], "already exists"),
        ([path, tmp_path / "plain", "--to", "minari"], "NAME-v0"),
        ([path, tmp_path / "x.hdf5", "--action-set", "full"], "no discrete actions"),
        ([path, tmp_path / "x.csv", "--where", "time>1000"], "no episode to convert"),
        ([path, path / "x.csv"], "is a file, not a folder"),
        ([path, tmp_path / "x.h5"], "not a robomimic file"),
        ([tmp_path / "missing.rec", tmp_path / "x.h5"], "no such file"),
        ([tmp_path, tmp_path / "x.h5"], "unknown format"),
    ]
    for name, content, message in [
        ("a.rec", "seed=1\n1\n*\n", "--source"),
        ("b.npz", "no", "not a NumPy"),
        ("c.csv", "a,b\n1,2\n", "no column"),
        ("d.txt", "?", "unknown format"),
    ]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        cases.append(([tmp_path / name, tmp_path / "x.h5"], message))
    before = sorted(tmp_path.iterdir())
    for arguments, message in cases:
        assert main(["convert", *map(str, arguments)]) == 2, arguments
        err = capsys.readouterr().err.splitlines()
        assert len(err) == 1 and message in err[0], (arguments, err)
        assert sorted(tmp_path.iterdir()) == before


def test_the_command_verifies_what_it_imports(path, tmp_path, capsys):
    out = tmp_path / "x.csv"
    assert main(["convert", str(path), str(out)]) == 0
    text = out.read_text(encoding="utf-8").splitlines()
    cells = text[5].split(",")
    cells[-1] = "0.125"
    text[5] = ",".join(cells)
    out.write_text("\n".join(text) + "\n", encoding="utf-8")
    assert main(["convert", str(out), str(tmp_path / "x.h5")]) == 0
    reader = DatasetReader(tmp_path / "x.h5")
    assert reader.index["verified"].tolist() == [-1, 1, 1]
    assert "frame 4, rightThigh.vy" in reader[0].verified


# ---- in the other projects' own hands ------------------------------------------------------------------
# Their pins collide with ours, so they get environments of their own: QWOP_TEST_PEERS=1 makes them.

MINARI_SCRIPT = """
    import json, sys, minari, numpy as np
    dataset = minari.load_dataset("qwop/test-v0")
    episodes = list(dataset.iterate_episodes())
    assert dataset.spec.action_space.n == 9 and dataset.spec.observation_space.shape == (60,)
    assert dataset.total_steps == sum(len(e.actions) for e in episodes)
    for e in episodes:
        assert dataset.spec.observation_space.contains(e.observations[0])
        assert len(e.observations) == len(e.actions) + 1 == len(e.infos["keys"])
    assert dataset.env_spec.id == "qwop_game/QWOP-v0" and dataset.env_spec.kwargs["frame_skip"] == 1
    known = dataset.storage.metadata
    assert known["eval_env_spec"] == known["env_spec"]
    assert "ref_min_score" not in known
    assert known["author"] == {"Zoë"} and known["algorithm_name"] == "policy"
    assert known["code_permalink"].startswith("https://")
    assert "3 episodes by policy, 1 of which" in known["description"]
    assert minari.list_local_datasets()["qwop/test-v0"]["total_episodes"] == 3
    scored = minari.load_dataset("qwop/scored-v0")
    assert scored.storage.metadata["num_episodes_average_score"] == 100
    assert minari.get_normalized_score(scored, np.array([-22.6, 306.6])).round(6).tolist() == [0, 1]
    print(json.dumps([
        [len(e.actions), bool(e.terminations[-1]), bool(e.truncations[-1]), float(e.rewards.sum()),
         float(np.float64(e.observations).sum())] for e in episodes]))
    print(len(dataset.filter_episodes(lambda e: e.terminations[-1])))
"""
ROBOMIMIC_SCRIPT = """
    import json, sys
    import robomimic.utils.obs_utils as ObsUtils
    from robomimic.utils.dataset import SequenceDataset
    ObsUtils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": ["observation"]}})
    for mode in ("all", None):
        data = SequenceDataset(sys.argv[1], ("observation",), ("actions", "rewards", "dones"), seq_length=10,
            hdf5_cache_mode=mode, filter_by_attribute="train")
    item = data[0]
    print(json.dumps([len(data), list(item["obs"]["observation"].shape), list(item["actions"].shape)]))
"""

LEROBOT = """
    accelerate anyio av>=15,<16 cachebox datasets>=4,<5 deepdiff diffusers>=0.27.2,<0.36 draccus==0.10.0
    einops gymnasium>=1.1.1,<2 h11 httpcore httpx huggingface-hub>=0.34.2,<0.36 imageio jsonlines
    lerobot==0.4.4 mergedeep mypy-extensions orderly-set pyserial pyyaml-include<2 termcolor toml
    torchvision==0.28.0 typing-inspect
""".split()  # fmt: skip
"""LeRobot, and what it imports to read datasets and to play; its other requirements bring CUDA."""
LEROBOT_SCRIPT = """
    import json, sys, torch
    missing = torch.library.Library("torchvision", "DEF")  # torchvision's operators are compiled for CUDA
    for name in ("nms", "qnms"):
        missing.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    import av, numpy as np
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.datasets.utils import dataset_to_policy_features
    from lerobot.datasets.video_utils import get_video_info
    folder, env_file = sys.argv[1:]
    later = {"action": [0, 1 / 30]}
    data = LeRobotDataset("ann/runs", root=folder, delta_timestamps=later, video_backend="pyav")
    assert len(data) == data.meta.total_frames and data.fps == 30
    features = dataset_to_policy_features(data.features)
    key = "observation.images.game"
    assert {name: (f.type.value, list(f.shape)) for name, f in features.items()} == {
        "observation.state": ("STATE", [60]), "action": ("ACTION", [4]), key: ("VISUAL", [3, 200, 320])}
    item = data.hf_dataset[0]
    assert item["observation.state"].shape == (60,) and item["next.done"].dtype == torch.bool
    described = dict(data.features[key]["info"])
    del described["has_audio"]
    rows = []
    for number in range(data.num_episodes):
        episode = data.meta.episodes[number]
        file = f"{folder}/{data.meta.get_video_file_path(number, key)}"
        found = get_video_info(file)
        assert {name: found[name] for name in described} == described, found
        start, stop = episode["dataset_from_index"], episode["dataset_to_index"]
        rows_of = data.hf_dataset[start:stop]
        with av.open(file) as video:
            shown = np.array([float(f.pts * f.time_base) for f in video.decode(video=0)])
        asked = episode[f"videos/{key}/from_timestamp"] + np.array([float(t) for t in rows_of["timestamp"]])
        assert all(abs(shown - t).min() < data.tolerance_s for t in asked)
        state = torch.stack(rows_of["observation.state"]).double().sum().item()
        rows.append([len(asked), state, torch.stack(rows_of["action"]).sum().item()])
    print(json.dumps(rows))
    assert data.meta.tasks.iloc[0].name == "Run 100 m in QWOP."
    assert data.meta.stats["observation.state"]["q99"].shape == (60,)

    from lerobot.envs.factory import _call_make_env, _import_hub_module, _normalize_hub_result
    from lerobot.scripts.lerobot_eval import rollout
    module = _import_hub_module(env_file, "ann/qwop")
    envs = _normalize_hub_result(_call_make_env(module, n_envs=2, use_async_envs=False, cfg=None))

    class Keys(torch.nn.Module):
        def reset(self):
            self.at = 0
        def select_action(self, observation):
            assert observation["task"] == ["Run 100 m in QWOP."] * 2
            assert observation["observation.state"].shape == (2, 60)
            self.at += 1
            return torch.stack(played["action"])[[min(self.at, len(played["action"])) - 1] * 2]

    played = data.hf_dataset[0 : data.meta.episodes[0]["dataset_to_index"]]
    same = lambda x: x
    done = rollout(envs["qwop"][0], Keys(), same, same, same, same, seeds=[1, 2])
    print(json.dumps([done["reward"].shape[1], done["reward"][0].sum().item(), done["done"][:, -1].tolist()]))
"""  # fmt: skip


def python_with(where, *requirements):
    """An interpreter that has these packages, made anew."""
    if not os.environ.get("QWOP_TEST_PEERS"):
        pytest.skip("set QWOP_TEST_PEERS=1 to install the other project and load with it")
    venv.create(where, with_pip=True)
    python = where / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
    return str(python)


def peer(python, script, *arguments, **environment):
    command = [python, "-c", textwrap.dedent(script), *map(str, arguments)]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_minari_loads_the_dataset(path, tmp_path):
    python = python_with(tmp_path / "venv", "minari[hdf5]", "pillow")
    root = tmp_path / "datasets"  # without the environment, whose folders Minari takes for datasets
    converted(path, "minari", root / "qwop" / "test-v0")
    with DatasetReader(path, "number!=1") as reader:  # 1 has a reward of its own
        convert.export(reader, root / "qwop" / "scored-v0", "minari")
    lines = peer(python, MINARI_SCRIPT, MINARI_DATASETS_PATH=str(root))
    for theirs, ours in zip(json.loads(lines[0]), DatasetReader(path), strict=True):
        assert theirs[:3] == [len(ours), ours.terminated, not ours.terminated]
        assert theirs[3] == pytest.approx(float(rewards_of(ours).astype(np.float64).sum()))
        assert theirs[4] == pytest.approx(float(normalize(ours.raw_observations).astype(np.float64).sum()))
    assert lines[1] == "2"


def test_lerobot_loads_the_folder_and_plays_in_our_games(path, tmp_path):
    python = python_with(tmp_path / "venv", "--no-deps", *LEROBOT)
    share(tmp_path / "venv", h5py, torch, folders=("cli", "game"))
    out, env_file = tmp_path / "x", ROOT / "docs" / "envhub" / "env.py"
    with DatasetReader(path, "frames<100") as reader:
        convert.export(reader, out, "lerobot", video=True)
        stored = list(reader)
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "SDL_VIDEODRIVER": "dummy"}
    loaded, played = map(json.loads, peer(python, LEROBOT_SCRIPT, out, env_file, **environment))
    assert [row[0] for row in loaded] == [len(run) for run in stored]
    for (_, state, action), run in zip(loaded, stored, strict=True):
        assert state == pytest.approx(float(normalize(run.raw_observations[:-1]).astype(np.float64).sum()))
        assert action == sum(2 * int(mask).bit_count() - 4 for mask in run.keys)
    falling = stored[0]  # its rewards are those of the environment, which counts the first step from 0
    assert played[0] == len(falling) and played[2] == [True, True]
    assert played[1] == pytest.approx(float(rewards_of(falling).astype(np.float64).sum()), abs=1e-4)


def share(where, *packages, folders=()):
    """Let an environment import packages of ours, and our own from the repository."""
    site = next(where.rglob("site-packages"))
    ours = dict.fromkeys(str(Path(module.__path__[0]).parent) for module in packages)
    lines = [*ours, *(str(ROOT / folder) for folder in folders)]
    (site / "ours.pth").write_text("\n".join(lines), encoding="utf-8")


def test_robomimic_accepts_the_file(path, tmp_path):
    # Of its many requirements it needs only these two for reading; torch and h5py are ours.
    python = python_with(tmp_path / "venv", "--no-deps", "robomimic==0.3.0", "termcolor", "psutil")
    share(tmp_path / "venv", h5py, torch)
    out = tmp_path / "x.hdf5"
    converted(path, "robomimic", out)
    info = subprocess.run(
        [python, "-m", "robomimic.scripts.get_dataset_info", "--dataset", out],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert info.returncode == 0, info.stderr
    stored = list(DatasetReader(path))
    assert f"total transitions: {sum(map(len, stored))}" in info.stdout
    assert "action min: -1.0" in info.stdout and "action max: 1.0" in info.stdout
    assert "filter key train with" in info.stdout
    chosen = DatasetReader(path, "mask=train")
    lines = peer(python, ROBOMIMIC_SCRIPT, out)
    assert json.loads(lines[-1]) == [sum(map(len, chosen)), [10, 60], [10, 4]]
