"""Submissions that the tests of the benchmark share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for files.py, and for walker.py as a user's own module

from files import ROOT, WALKER

from qwop_benchmark import read_submission
from qwop_benchmark.cli import main as qwop_benchmark


@pytest.fixture(scope="session")
def submissions(tmp_path_factory):
    """Submissions of each kind, and an entry of each: {name: path}."""
    folder = tmp_path_factory.mktemp("submissions")
    files = {name: folder / f"{name}.safetensors" for name in ("policy", "run", "recorded")}
    policy, records = ROOT / "demos" / "policy.safetensors", ROOT / "demos" / "records.h5"
    shared = ["--name", "somebody's", "--out"]
    made = [
        ["10m-v1", "--policy", str(policy), *shared, str(files["policy"])],
        ["100m-v1", "--keys", str(records), "--episode", "3", *shared, str(files["run"])],
        ["hurdle-v1", "--python", WALKER, "--file", __file__, *shared, str(files["recorded"])],
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for words in made:
            assert qwop_benchmark(["submit", *words]) == 0
    for name, path in list(files.items()):
        files[f"{name} entry"] = folder / f"{name}.entry.safetensors"
        assert qwop_benchmark(["verify", str(path), "--entry", str(files[f"{name} entry"])]) == 0
    assert read_submission(files["run"]).name == "somebody's"
    return files


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small batches are slower with several threads, by far if other programs use the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
