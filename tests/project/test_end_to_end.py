"""The line from recorded keys to a filmed runner, with tiny budgets: every command a process of its own."""

import json
import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from qwop_datasets import DatasetReader, DatasetWriter, Episode
from qwop_datasets.exact_replay import replay_keys
from qwop_evaluation.player import CheckpointPlayer
from qwop_rl_core import load_checkpoint
from qwop_stride import run as qwop_run

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden" / "glibc-fma_runs.npz"


@pytest.fixture
def recorded(tmp_path) -> Path:
    """Two attempts at the run, as qwop-record leaves them: 333 and 200 frames of a run of the real game."""
    path = tmp_path / "recorded.h5"
    with np.load(GOLDEN) as traces:
        keys = traces["actions_0"]
    for frames in (333, 200):
        (run,) = replay_keys([keys[:frames]])
        DatasetWriter(path).append(
            Episode(
                keys=keys[:frames],
                raw_observations=run.raw_observations,
                times=run.times,
                terminated=False,
                truncated=True,
                success=False,
                source="script",
            )
        )
    return path


def test_main_job_from_recorded_keys_to_a_video(recorded, tmp_path, capfd):
    folder = tmp_path / "run"
    arguments = ["--demos", recorded, "--folder", folder, "--epochs", 2, "--steps", 5000, "--episodes", 2]
    assert qwop_run.main([str(a) for a in arguments]) == 0
    out = capfd.readouterr().out

    commands = re.findall(r"^\$ (\S+)", out, re.MULTILINE)
    assert commands == ["qwop-bc", "qwop-finetune", "qwop-eval", "qwop-eval", "qwop-replay"]
    table = out[out.rindex("finish %") :]
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["demonstrations", "clone", "fine-tuned"]

    clone, runner = (load_checkpoint(folder / f"{name}.safetensors") for name in ("clone", "runner"))
    assert clone.metadata["frame_skip"] == runner.metadata["frame_skip"] == 2
    assert runner.metadata["training"]["steps"] == 8192  # one rollout of 256 x 32
    assert CheckpointPlayer(folder / "runner.safetensors").samples
    for name in ("clone", "runner"):
        with DatasetReader(folder / f"{name}.h5") as reader:
            episodes = list(reader)
        assert [e.provenance["seed"] for e in episodes] == [0, 1]
        assert {e.verified for e in episodes} == {"exact"} and {e.source for e in episodes} == {"policy"}
    filmed = max(episodes, key=lambda e: e.distance)
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(folder / "runner.mp4"))
    assert frames == filmed.num_frames + 1 + 30

    # The policy in the folder is the one that was judged.
    code = "import sys; from qwop_evaluation.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, folder / "runner.safetensors", "--episodes", "2", "--json"]
    judged = json.loads(
        subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout
    )
    assert judged["mean_distance_m"] == pytest.approx(np.mean([e.distance for e in episodes]))

    # A second job takes the place of the first one, but never that of anything else.
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    assert qwop_run.main([str(a) for a in arguments]) == 2
    assert "has notes.txt" in capfd.readouterr().err
    assert (folder / "runner.mp4").exists()


def test_a_failing_command_ends_the_job_with_its_exit_code(recorded, tmp_path, capfd):
    arguments = ["--demos", recorded, "--folder", tmp_path / "run", "--epochs", 0]
    assert qwop_run.main([str(a) for a in arguments]) == 2
    err = capfd.readouterr().err
    assert "qwop-bc: epochs is 0" in err and "qwop-run: qwop-bc ended with exit code 2" in err
    assert qwop_run.main(["--demos", str(tmp_path / "none.h5"), "--folder", str(tmp_path / "run")]) == 2
    assert "none.h5" in capfd.readouterr().err
