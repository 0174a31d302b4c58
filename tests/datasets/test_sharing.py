"""Datasets on the Hub: pushed with a card, pulled back bit for bit, against a stand-in of the Hub."""

import json
import re

import imageio_ffmpeg
import numpy as np
import pytest

from qwop_datasets import DatasetReader, first_difference, write_dataset
from qwop_datasets.cli import main

pytest.importorskip("huggingface_hub")
pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def path(play_keys, tmp_path_factory):
    """Two runs of an evaluation and one of a person with an ugly name."""
    path = tmp_path_factory.mktemp("data") / "runs.h5"
    fall = play_keys(np.full(90, 12, np.uint8))
    short = play_keys(np.repeat(np.array([9, 6, 9, 6, 0], np.uint8), 8))
    runs = [
        fall.replace(source="policy", provenance={"protocol": "P", "seed": 100, "frame_skip": 2}),
        short.replace(source="policy", provenance={"protocol": "P", "seed": 101, "frame_skip": 2}),
        fall.replace(id="b" * 32, source="human", player="a|b <script>"),
    ]
    write_dataset(path, runs)
    return path


def run(capsys, *arguments):
    """The exit code, and the lines of standard output and error."""
    code = main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def test_there_and_back(hub, path, tmp_path, capsys):
    code, out, err = run(capsys, "push", path, "ann/runs", "--license", "CC0-1.0")
    assert (code, err) == (0, []) and out == [f"{hub.url}/datasets/ann/runs: 9 files"]
    repository = hub.repositories["dataset", "ann/runs"]
    assert repository.tags == {"v3.0": repository.sha} and not repository.private
    assert sorted(repository.files) == [
        "README.md",
        "data/chunk-000/file-000.parquet",
        "film.gif",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/qwop.parquet",
        "meta/stats.json",
        "meta/tasks.parquet",
        "runs.h5",
    ]
    code, out, err = run(capsys, "pull", "ann/runs", tmp_path / "got.h5")
    assert (code, err) == (0, [])
    assert out == [f"{tmp_path / 'got.h5'}: 3 episodes, runs.h5 of commit {repository.sha[:8]}"]
    for a, b in zip(DatasetReader(path), DatasetReader(tmp_path / "got.h5"), strict=True):
        assert first_difference(a, b) is None
    for name, content in repository.files.items():  # what the viewer and LeRobot get
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    assert run(capsys, "convert", tmp_path / "folder", tmp_path / "again.h5")[0] == 0
    for a, b in zip(DatasetReader(path), DatasetReader(tmp_path / "again.h5"), strict=True):
        assert first_difference(a.replace(verified="exact"), b) is None
    (tmp_path / "film.gif").write_bytes(repository.files["film.gif"])
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.gif"))[0] >= 20


def test_the_card(hub, path, capsys):
    run(capsys, "push", path, "ann/runs", "--license", "CC-BY-4.0", "--no-film")
    text = hub.repositories["dataset", "ann/runs"].files["README.md"].decode()
    header, body = re.fullmatch(r"---\n(.*?)\n---\n\n(.*)", text, re.DOTALL).groups()
    yaml = pytest.importorskip("yaml").safe_load(header)
    assert yaml == {
        "license": "cc-by-4.0",
        "task_categories": ["robotics", "reinforcement-learning"],
        "tags": ["LeRobot", "qwop", "imitation-learning", "gymnasium"],
        "pretty_name": "QWOP runs: runs",
        "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
    }
    for line in (
        "# ann/runs",
        "qwop-data pull ann/runs runs.h5",
        "dataset = LeRobotDataset('ann/runs')",
        "| finished | 0 of 3 (0%) |",
        "| fell, cut short | 2, 1 |",
        "| evaluation | 2 episodes of protocol P, seeds 100 to 101 |",
        "| source | human 1, policy 2 |",
        "| frame&#95;skip | 2 |",
        "CC-BY-4.0",
    ):
        assert line in body.splitlines(), (line, body)
    assert "a&#124;b &#60;script&#62; 1" in body and "film" not in body


def test_a_part_of_it_without_extras(hub, path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("qwop_datasets.sharing.find_spec", lambda name: None)
    code, _, err = run(capsys, "push", path, "ann/runs", "--where", "source=human", "--no-film", "--private")
    assert code == 0 and err == [
        "qwop-data: without the LeRobotDataset: pip install 'qwop-stride[lerobot]' adds it"
    ]
    repository = hub.repositories["dataset", "ann/runs"]
    assert repository.private and sorted(repository.files) == ["README.md", "runs.h5"] and not repository.tags
    card = repository.files["README.md"].decode()
    assert "LeRobot" not in card and "None was named" in card and "license:" not in card
    assert run(capsys, "pull", "ann/runs", tmp_path / "got.h5")[0] == 0
    assert [e.player for e in DatasetReader(tmp_path / "got.h5")] == ["a|b <script>"]


def test_a_second_push_leaves_nothing_of_the_first(hub, path, capsys):
    run(capsys, "push", path, "ann/runs", "--video", "--no-film", "--where", "source=human")
    files = hub.repositories["dataset", "ann/runs"].files
    assert any(name.startswith("videos/") for name in files)
    assert json.loads(files["meta/info.json"])["total_episodes"] == 1
    first = hub.repositories["dataset", "ann/runs"].sha
    run(capsys, "push", path, "ann/runs", "--no-film")
    repository = hub.repositories["dataset", "ann/runs"]
    assert not any(name.startswith("videos/") for name in repository.files)
    assert json.loads(repository.files["meta/info.json"])["total_episodes"] == 3
    assert repository.sha != first and repository.tags == {"v3.0": repository.sha}


def test_dry_run_pushes_nothing(hub, path, capsys):
    code, out, _ = run(capsys, "push", path, "ann/runs", "--no-film", "--dry-run")
    assert code == 0 and "# ann/runs" in out and out[-1].startswith("ann/runs: would get README.md, data/")
    assert not hub.repositories and not hub.requests


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "FILE", "runs"], "runs: not a repository of the Hub; write USER/NAME"),
        (["push", "FILE", "ann/runs", "--license", "my own"], "--license my own: give an SPDX identifier"),
        (["push", "FILE", "ann/runs", "--where", "time>1000"], "no episode to push"),
        (["push", "FILE", "ann/runs", "--video", "--no-lerobot"], "omit --no-lerobot"),
        (["push", "missing.h5", "ann/runs"], "missing.h5: no such file"),
        (["pull", "ann/none", "OUT"], "ann/none: no such dataset on"),
        (["pull", "ann/other", "OUT"], "ann/other: other.h5: "),
        (["pull", "ann/other", "OUT", "--file", "x.h5"], "ann/other: has no file x.h5"),
        (["pull", "ann/other", "OUT", "--revision", "v7"], "ann/other: has no such revision"),
        (["pull", "ann/other", "FILE"], "runs.h5: already exists"),
    ],
)
def test_a_mistake_is_one_line(hub, path, tmp_path, capsys, monkeypatch, arguments, message):
    from qwop_cli.hub import push

    monkeypatch.chdir(tmp_path)
    push("ann/other", {"other.h5": b"no dataset"}, kind="dataset", message="x")
    places = {"FILE": path, "OUT": tmp_path / "out.h5"}
    before = sorted(path.parent.iterdir())
    code, out, err = run(capsys, *(places.get(word, word) for word in arguments))
    assert (code, out) == (2, []) and len(err) == 1 and message in err[0], err
    assert not list(tmp_path.iterdir()) and sorted(path.parent.iterdir()) == before


def test_no_token_and_no_server(hub, path, tmp_path, capsys, monkeypatch):
    for name, arguments, message in (
        ("", ["push", path, "ann/runs", "--no-film"], "no token of the Hub: log in with `hf auth login`"),
        ("hf_wrong", ["pull", "ann/runs", tmp_path / "out.h5"], "does not accept the token"),
    ):
        monkeypatch.setenv("HF_TOKEN", name)
        code, _, err = run(capsys, *arguments)
        assert code == 2 and len(err) == 1 and message in err[0]
