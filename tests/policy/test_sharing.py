"""`qwop-policy push` and `pull`, against a stand-in of the Hub: the card, the film, the model, and faults."""

import importlib.util
import json
import re
import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from qwop_cli import CommandError, json_text
from qwop_evaluation import CheckpointPlayer, evaluate, play
from qwop_game import FEATURE_SIZE, PolicySpec
from qwop_policy import ShareConfig, check_onnx, pull_policy, push_policy, write_repository
from qwop_policy.cli import main
from qwop_policy.sharing import has_onnx, read_figures, typical_seed
from qwop_rl_core import ActorCritic, CheckpointError, QNetwork, prefixed, save_checkpoint

HUB = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")


def stored(path, network=None, **metadata):
    """Write a policy that falls within seconds, so that it is measured and filmed quickly."""
    network = network or ActorCritic(FEATURE_SIZE, 9, (8,), torch.Generator().manual_seed(1))
    described = {**network.architecture, **PolicySpec().metadata(), **metadata}
    save_checkpoint(path, prefixed("network", network.state_dict()), described)
    return path


@pytest.fixture
def policy(tmp_path):
    settings = {"config": {"seed": 3, "note": "a|b <img src=x>\n# `c`"}, "made_by": "a test"}
    return stored(tmp_path / "my runner.safetensors", **settings)


def figures_of(path, **changes):
    played = evaluate(CheckpointPlayer(path, numpy=True), episodes=2).as_json()
    return json.loads(json_text(played)) | changes


def refused(capsys, message, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err, captured.err
    assert captured.err.count("\n") == 1 and not captured.out


@pytest.mark.slow
def test_a_policy_goes_to_the_hub_and_comes_back(hub, policy, tmp_path, capsys):
    flags = "--license MIT --episodes 3 --film gif".split()
    assert main(["push", str(policy), "ann/runner", *flags]) == 0
    assert capsys.readouterr().out == f"{hub.url}/ann/runner\n"
    files = hub.repositories["model", "ann/runner"].files
    onnx = ["my-runner.onnx"] if has_onnx() else []
    assert sorted(files) == sorted(
        [
            "README.md",
            "figures.json",
            "my-runner.safetensors",
            *onnx,
            "replay.gif",
            *(".gitattributes" for _ in ()),
        ]
    )
    assert files["my-runner.safetensors"] == policy.read_bytes() and files["replay.gif"][:4] == b"GIF8"
    expected = evaluate(policy, episodes=3)  # by PyTorch
    assert json.loads(files["figures.json"]) == json.loads(
        json_text(expected.as_json() | {"policy": "my runner"})
    )

    card = HUB.ModelCard(files["README.md"].decode())
    assert card.data.license == "mit" and card.data.library_name == "qwop-stride"
    assert "reinforcement-learning" in card.data.tags and ("onnx" in card.data.tags) == has_onnx()
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results["finish_rate"] == 0 and "median_time_s" not in results  # nothing finished
    assert results["mean_distance_m"] == pytest.approx(expected.summary.mean_distance, abs=1e-4)
    text = card.text
    assert "3 episodes of [protocol P]" in text and "seeds 0 to 2, argmax actions" in text
    assert f"| mean distance | {expected.summary.mean_distance:.2f} m |" in text
    assert "| finished | 0.0 % (95 % interval 0.0 to 56.1) |" in text
    assert f"| stride length | {expected.summary.gait.stride_length:.2f} m |".replace("nan", "-") in text
    assert "![The policy runs](replay.gif)" in text and "| license | MIT |" in text
    assert "qwop-policy pull ann/runner my-runner.safetensors" in text
    assert r"| config.seed | 3 |" in text and r"a\|b &lt;img src=x&gt;\\n\# \`c\`" in text

    assert main(["pull", "ann/runner", str(tmp_path / "got.safetensors")]) == 0
    commit = hub.repositories["model", "ann/runner"].sha
    assert f"my-runner.safetensors of ann/runner, commit {commit}\n" in capsys.readouterr().out
    assert (tmp_path / "got.safetensors").read_bytes() == policy.read_bytes()


@pytest.mark.skipif(not has_onnx(), reason="the extra onnx is not installed")
def test_what_the_card_tells_to_run_runs(policy, tmp_path, monkeypatch):
    """Its Python examples, on the files of the repository."""
    files = write_repository(policy, "ann/runner", tmp_path, ShareConfig(episodes=1, film="none"))
    (tmp_path / "my-runner.safetensors").write_bytes(policy.read_bytes())
    assert "replay.mp4" not in files
    check = check_onnx(tmp_path / "my-runner.onnx", CheckpointPlayer(policy), 1)
    assert check.same_episodes == 1
    monkeypatch.chdir(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(example, {})
    assert "<video" not in text and "license: " not in text.split("---")[1]
    assert "not given: ask the author" in text


def test_a_preview_with_figures_and_a_film(policy, tmp_path, capsys):
    """Figures of qwop-eval in place of a measurement, and an mp4 of the typical episode."""
    numbers, out = tmp_path / "figures.json", tmp_path / "preview"
    runs = [
        {"seed": s, "finished": True, "time_s": t, "distance_m": 100.0} for s, t in ((4, 61.0), (9, 60.0))
    ]
    figures = figures_of(policy, runs=runs, seeds=[4, 9], median_time_s=60.5, actions="sampled at 0.7")
    numbers.write_text(json.dumps(figures), encoding="utf-8")
    flags = ["--figures", str(numbers), "--preview", str(out), "--no-onnx"]
    assert main(["push", str(policy), "ann/runner", *flags]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    names = ["README.md", "figures.json", "my-runner.safetensors", "replay.mp4"]
    assert sorted(p.name for p in out.iterdir()) == names
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "Its episode with seed 9 of protocol P" in text and "sampled at 0.7 actions" in text
    assert "| median time of finished episodes | 60.5 s |" in text
    assert 'src="https://huggingface.co/ann/runner/resolve/main/replay.mp4"' in text
    (episode,) = play(CheckpointPlayer(policy), [9])
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    probe = subprocess.run(
        [ffmpeg, "-i", out / "replay.mp4"], capture_output=True, text=True, encoding="utf-8"
    )
    found = re.search(r"Duration: 00:00:([\d.]+).*?640x400", probe.stderr, re.DOTALL)
    assert found and float(found[1]) == pytest.approx(episode.time + 1, abs=0.2)


def test_a_q_network_and_figures_without_numbers(tmp_path):
    network = QNetwork(FEATURE_SIZE, 9, (8,), dueling=True)
    path = stored(tmp_path / "q.safetensors", network, target="x")
    numbers = tmp_path / "n.json"
    numbers.write_text(json.dumps(figures_of(path, cadence_steps_per_minute=None)), encoding="utf-8")
    config = ShareConfig(film="none", onnx=False, figures=numbers)
    write_repository(path, "ann/q", tmp_path, config)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "A Q-network that plays QWOP" in text and "| steps per minute | -  |" in text


def test_figures_of_something_else_are_refused(policy, tmp_path):
    good = figures_of(policy)
    path = tmp_path / "f.json"
    sha256 = CheckpointPlayer(policy).sha256

    def message(content):
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        with pytest.raises(CommandError) as error:
            read_figures(path, sha256)
        assert "\n" not in str(error.value)
        return str(error.value)

    path.write_text(json.dumps(good), encoding="utf-8")
    assert read_figures(path, sha256) == good
    assert "is of another policy (SHA-256 abc)" in message(good | {"policy_sha256": "abc"})
    assert "omit --unperturbed" in message(good | {"protocol": "unperturbed"})
    run = good["runs"][0]
    for content in (
        "", "{", "[]", "7", "[" * 100_000, json.dumps(good).replace("0.0", "NaN"), {},
        {name: value for name, value in good.items() if name != "upright"},
        good | {"upright": "all"}, good | {"seeds": []}, good | {"seeds": ["x"]}, good | {"runs": [3]},
        good | {"runs": [run | {"seed": -1}]}, good | {"runs": [run | {"time_s": None}]},
        good | {"actions": 3},
    ):  # fmt: skip
        assert "not what qwop-eval --json prints" in message(content)
    with pytest.raises(CommandError, match="No such file"):
        read_figures(tmp_path / "none", sha256)


def test_the_typical_episode():
    def run(seed, finished, time, meters=50.0):
        return {"seed": seed, "finished": finished, "time_s": time, "distance_m": meters}

    assert typical_seed([run(0, True, 60.0), run(1, True, 50.0), run(2, True, 55.0), run(3, False, 1.0)]) == 2
    assert typical_seed([run(0, False, 9.0, 30.0), run(1, False, 9.0, 10.0), run(2, False, 9.0, 20.0)]) == 2
    assert typical_seed([run(7, True, 60.0), run(8, True, 50.0)]) == 8


def test_a_push_that_can_not_be_is_one_line_before_anything_is_measured(
    hub, policy, tmp_path, capsys, monkeypatch
):
    def unwanted(*_, **__):
        raise AssertionError("measured in vain")

    monkeypatch.setattr("qwop_policy.sharing.evaluate", unwanted)
    refused(capsys, "no such checkpoint", "push", tmp_path / "none", "ann/runner")
    refused(capsys, "write USER/NAME", "push", policy, "runner")
    refused(capsys, "write USER/NAME", "push", policy, "../..", "--preview", tmp_path / "new")
    refused(capsys, "license 'my own'", "push", policy, "ann/runner", "--license", "my own")
    refused(capsys, "episodes is 0", "push", policy, "ann/runner", "--episodes", 0)
    refused(capsys, "exists; name a new folder", "push", policy, "ann/runner", "--preview", tmp_path)
    old = stored(tmp_path / "old.safetensors", feature_version=0)
    refused(capsys, "feature_version is 0", "push", old, "ann/runner")
    monkeypatch.setenv("HF_TOKEN", "")
    refused(capsys, "no token of the Hub", "push", policy, "ann/runner")
    assert not hub.repositories and not (tmp_path / "new").exists()


def test_faults_of_the_hub_are_one_line_and_leave_nothing(hub, policy, tmp_path, capsys, monkeypatch):
    numbers = tmp_path / "n.json"
    numbers.write_text(json.dumps(figures_of(policy)), encoding="utf-8")
    push = ["push", policy, "ann/runner", "--figures", numbers, "--film", "none", "--no-onnx"]
    pull = ["pull", "ann/runner", tmp_path / "got.safetensors"]
    refused(capsys, "no such model on", *pull)
    assert main([str(argument) for argument in push]) == 0
    capsys.readouterr()
    before = dict(hub.repositories["model", "ann/runner"].files)
    hub.answer = (500, {})
    refused(capsys, "answers 500", *push)
    refused(capsys, "answers 500", *pull)
    hub.answer = None
    monkeypatch.setenv("HF_TOKEN", hub.read_token)
    refused(capsys, "the token may not do this", *push)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused(capsys, "does not accept the token", *push)
    refused(capsys, "does not accept the token", *pull)
    monkeypatch.delenv("HF_TOKEN")  # anybody may read
    hub.damage = lambda content: content[:-1] + b"\1"
    refused(capsys, "was damaged on its way", *pull)
    assert hub.repositories["model", "ann/runner"].files == before
    assert sorted(tmp_path.iterdir()) == sorted([policy, numbers])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable checkpoint"),
        (b"\x00" * 64, "not a readable checkpoint"),
        ("other features", "feature_size is 7"),
        ("other release", "feature_version is 0"),
    ],
)
def test_what_this_release_can_not_play_is_not_kept(hub, content, message, tmp_path, capsys):
    path = tmp_path / "x.safetensors"
    if content == "other features":
        stored(path, ActorCritic(7, 9, (8,)), feature_size=7)
    elif content == "other release":
        stored(path, feature_version=0)
    else:
        path.write_bytes(content)
    from qwop_cli.hub import push

    push("ann/runner", {"x.safetensors": path}, kind="model", message="x")
    refused(
        capsys,
        f"ann/runner: no policy that this release can play: {message}",
        "pull",
        "ann/runner",
        tmp_path / "got.safetensors",
    )
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_pull_by_name_and_revision(hub, policy, tmp_path, capsys):
    other = stored(tmp_path / "b.safetensors", note="other")
    from qwop_cli.hub import push

    push("ann/runner", {"a.safetensors": policy, "b.safetensors": other}, kind="model", message="x")
    first = hub.repositories["model", "ann/runner"].sha
    push("ann/runner", {"a.safetensors": other}, kind="model", message="y")
    refused(capsys, "name one with --file", "pull", "ann/runner", tmp_path / "g")
    refused(capsys, "has no file c", "pull", "ann/runner", tmp_path / "g", "--file", "c")
    refused(capsys, "no such revision", "pull", "ann/runner", tmp_path / "g", "--revision", "v9")
    refused(capsys, "already exists", "pull", "ann/runner", policy)
    got = pull_policy("ann/runner", tmp_path / "g", "a.safetensors", first)
    assert got.commit == first and (tmp_path / "g").read_bytes() == policy.read_bytes()


def test_from_python(hub, policy, tmp_path):
    config = ShareConfig(episodes=1, film="none", onnx=False)
    assert push_policy(policy, "ann/runner", config, private=True) == f"{hub.url}/ann/runner"
    assert hub.repositories["model", "ann/runner"].private
    pull_policy("ann/runner", tmp_path / "got")
    features = np.zeros((1, FEATURE_SIZE), np.float32)
    a, b = (CheckpointPlayer(path, numpy=True).scores(features) for path in (policy, tmp_path / "got"))
    assert np.array_equal(a, b)
    with pytest.raises(CheckpointError):
        push_policy(tmp_path / "none", "ann/runner")


def test_without_the_extras(policy, tmp_path, capsys, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else real(name, *rest)
    )
    out = tmp_path / "preview"
    flags = ["--episodes", "1", "--film", "none", "--preview", str(out)]
    assert main(["push", str(policy), "ann/runner", *flags]) == 0
    assert (
        capsys.readouterr().err
        == "qwop-policy: no ONNX model: pip install 'qwop-stride[onnx]', or --no-onnx\n"
    )
    assert sorted(p.name for p in out.iterdir()) == ["README.md", "figures.json", "my-runner.safetensors"]
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    for arguments in (["push", policy, "ann/runner"], ["pull", "ann/runner", tmp_path / "x"]):
        refused(capsys, "huggingface_hub is missing: pip install 'qwop-stride[hub]'", *arguments)
