"""Where a command writes is decided, and tried, before it begins."""

import os
from pathlib import Path

import pytest

from qwop_bc.cli import main as qwop_bc
from qwop_cli.command import CommandError, check_outputs
from qwop_evaluation.cli import main as qwop_eval
from qwop_finetune.cli import main as qwop_finetune
from qwop_rl_core import load_checkpoint
from qwop_search.cli import main as qwop_search

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
POLICY = Path(__file__).parents[2] / "demos" / "policy.safetensors"
FINETUNE = "--num-envs 8 --threads 1 --device cpu --rollout-length 16 --hidden 8 --total-steps 128".split()
BC = "--epochs 1 --hidden 8 --play-episodes 2 --device cpu --threads 1".split()


def test_a_checkpoint_without_suffix(tmp_path):
    out = tmp_path / "runner"
    assert qwop_finetune(["--out", str(out), *FINETUNE]) == 0
    assert load_checkpoint(out).metadata["training"]["steps"] == 128
    assert list((tmp_path / "runner-logs").glob("events*"))
    assert qwop_finetune(["--resume", str(out), "--total-steps", "256"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["runner", "runner-logs"]
    assert qwop_bc([str(DEMOS), "--out", str(tmp_path / "clone"), *BC]) == 0
    assert load_checkpoint(tmp_path / "clone").metadata["training"]["epoch"] == 1


@pytest.mark.parametrize(
    ("out", "logdir", "said"),
    [
        ("folder", None, "is a folder"),
        ("file/out", None, "not a folder"),
        ("file/deep/out", None, "not a folder"),
        ("out", "file", "not a folder"),
        ("out", "file/logs", "not a folder"),
        ("out", "out", "--out is the same place"),
        ("out", "out/logs", "is in --out"),
        ("out", "/proc/nothing", "can't be written"),
        ("/proc/out", None, "can't be written"),
        ("/dev/null", None, "not a regular file"),
        ("x" * 300, None, "name too long"),
        ("x" * 255, None, "name too long"),
        ("loop", None, "loop"),
    ],
)
@pytest.mark.parametrize("command", ["qwop-finetune", "qwop-bc"])
def test_places_that_can_not_be_written(command, out, logdir, said, tmp_path, capsys, monkeypatch):
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no such place here")
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("", encoding="utf-8")
    Path("loop").symlink_to("loop")
    before = sorted(os.listdir())
    arguments = ["--out", out, "--force", *([] if logdir is None else ["--logdir", logdir])]
    # neither the dataset nor the checkpoint is there: what is written is tried before anything is read
    main, read = (qwop_finetune, ["--init", "none"]) if command == "qwop-finetune" else (qwop_bc, ["none.h5"])
    assert main([*read, *arguments]) == 2
    line = capsys.readouterr().err
    assert said.lower() in line.lower() and line.count("\n") == 1, line
    assert sorted(os.listdir()) == before


def test_no_command_writes_over_what_it_reads(tmp_path, capsys):
    data, policy = tmp_path / "data.h5", tmp_path / "policy"
    data.write_bytes(b"d" * 10)
    policy.write_bytes(b"p" * 10)
    link = tmp_path / "link"
    link.symlink_to(policy)
    for main, arguments in (
        (qwop_finetune, ["--init", policy, "--out", policy, "--force"]),
        (qwop_finetune, ["--init", policy, "--out", link, "--force"]),
        (qwop_finetune, ["--demos", data, "--out", data, "--force"]),
        (qwop_bc, [data, "--out", data, "--force"]),
        (qwop_bc, [data, "--init", policy, "--method", "gail", "--out", policy, "--force"]),
        (qwop_search, [policy, "--out", policy]),
        (qwop_eval, [policy, "--save", policy]),
    ):
        assert main([str(a) for a in arguments]) == 2
        line = capsys.readouterr().err
        assert "is the same place" in line and line.count("\n") == 1
    assert (data.read_bytes(), policy.read_bytes()) == (b"d" * 10, b"p" * 10)


@pytest.mark.parametrize(("main", "flag"), [(qwop_eval, "--save"), (qwop_search, "--out")])
def test_datasets_too(main, flag, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for place in (tmp_path, tmp_path / "file" / "a.h5", "/proc/a.h5"):
        assert main([flag, str(place)]) == 2
        line = capsys.readouterr().err
        assert flag in line and line.count("\n") == 1


def test_a_missing_folder_is_made(tmp_path):
    out = tmp_path / "a" / "b" / "runs.h5"
    assert qwop_eval(["--episodes", "1", "--max-seconds", "2", "--save", str(out)]) == 0
    assert out.exists()


def test_check_outputs_leaves_nothing_behind(tmp_path):
    check_outputs({"--out": tmp_path / "a" / "b" / "out"}, {"--logdir": tmp_path / "c"}, {"--init": None})
    assert os.listdir(tmp_path) == []
    with pytest.raises(CommandError, match="--json .*: --save is the same place"):
        check_outputs({"--save": tmp_path / "a", "--json": tmp_path / "b" / ".." / "a"})
