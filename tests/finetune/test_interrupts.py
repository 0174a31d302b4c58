"""SIGTERM and SIGHUP do as Ctrl-C in long commands: what there is is saved, and one line says so."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qwop_bc import cli as bc
from qwop_cli.command import Interrupted, ProgressTimer, interrupts, run_command, stop_signals
from qwop_datasets import DatasetReader, DatasetWriter
from qwop_finetune import cli as finetune
from qwop_finetune.environment import TrainingEnv
from qwop_rl_core import checkpoint, load_checkpoint
from qwop_stride import run

DEMOS = Path(__file__).parents[2] / "demos" / "demos.h5"
COMMANDS = {
    "qwop-finetune": "qwop_finetune.cli",
    "qwop-bc": "qwop_bc.cli",
    "qwop-search": "qwop_search.cli",
    "qwop-eval": "qwop_evaluation.cli",
    "qwop-run": "qwop_stride.run",
    "train_policy": "train_policy",
}
posix = pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")


@pytest.fixture(scope="module")
def demos(tmp_path_factory) -> Path:
    """Two of the demonstrations: quick to load."""
    path = tmp_path_factory.mktemp("demos") / "demos.h5"
    with DatasetReader(DEMOS) as reader:
        DatasetWriter(path).append_all([reader[0], reader[1]])
    return path


def stopped(
    number: int, ready: Path, command: str, *arguments: object, later: float = 0.0
) -> tuple[int, str]:
    """Run a command, signal it `later` seconds after a file is there. Its exit code and standard error."""
    code = f"import sys; sys.path.append({str(DEMOS.parent)!r}); "
    code += f"from {COMMANDS[command]} import main; sys.exit(main())"
    words = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        while not ready.exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        time.sleep(later)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said


@posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_end_a_command_in_one_line(name, capsys):
    number = getattr(signal, name)
    before = signal.getsignal(number)

    def command() -> int:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return 0

    assert run_command("prog", command) == 128 + number
    assert capsys.readouterr().err == "prog: interrupted\n"
    assert signal.getsignal(number) == before


@posix
def test_an_ignored_signal_stays_ignored_as_nohup_wants():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_command("prog", lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_gets_no_signals():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(run_command("prog", lambda: 3)))
    thread.start()
    thread.join()
    assert codes == [3]


def test_interrupts_without_sighup(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    with interrupts(lambda number, frame: None):
        pass


def test_a_line_of_progress_now_and_then():
    now = 0.0
    pace = ProgressTimer(lambda: now)
    due = []
    for now in range(7200):
        if pace.due():
            due.append(now)
    assert due[:3] == [10, 25, 48] and len(due) < 40
    assert max(b - a for a, b in itertools.pairwise(due)) == 300


@posix
def test_finetune_saves_at_the_first_signal(tmp_path):
    number = signal.SIGHUP
    out = tmp_path / "runner.safetensors"
    flags = "--num-envs 8 --threads 1 --device cpu --rollout-length 16 --checkpoint-every 999999999".split()
    events = tmp_path / "logs"
    # the folder of the logs is there when the training starts
    code, said = stopped(number, events, "qwop-finetune", "--out", out, "--logdir", events, *flags)
    assert code == 128 + number
    assert f"qwop-finetune: interrupted; continue with: qwop-finetune --resume {out}\n" in said
    assert "Traceback" not in said
    assert load_checkpoint(out).metadata["training"]["steps"] >= 128


@posix
def test_finetune_stops_at_once_at_the_second_signal(tmp_path, monkeypatch, capsys):
    step, steps = TrainingEnv.step, [0]

    def impatient(self, actions):
        steps[0] += 1
        if steps[0] in (3, 5):
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, actions)

    monkeypatch.setattr(TrainingEnv, "step", impatient)
    out = tmp_path / "runner"
    flags = "--num-envs 8 --threads 1 --device cpu --rollout-length 16 --hidden 8".split()
    assert finetune.main(["--out", str(out), *flags]) == 143
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("interrupted: finishing the iteration")
    assert lines[1:] == ["qwop-finetune: interrupted"]
    assert steps == [5] and not out.exists()


@posix
def test_train_policy_saves_the_stage(tmp_path):
    first = tmp_path / "1-stride.safetensors"
    logs = first.with_suffix("")
    code, said = stopped(signal.SIGTERM, logs, "train_policy", "--out", tmp_path)
    assert code == 143 and "Traceback" not in said
    assert f"qwop-finetune: interrupted; continue with: qwop-finetune --resume {first}\n" in said
    assert load_checkpoint(first).metadata["training"]["steps"] > 0
    assert not (tmp_path / "policy.safetensors").exists()


@posix
def test_eval_saves_what_is_over(tmp_path):
    out = tmp_path / "runs.h5"
    # The file is there just before the play begins. Shorter episodes would be thousands: long to write.
    flags = ["--episodes", "5000", "--max-seconds", "10", "--save", out]
    code, said = stopped(signal.SIGTERM, out, "qwop-eval", *flags, later=2.0)
    assert code == 143
    with DatasetReader(out) as runs:
        over = len(runs)
    expected = f"qwop-eval: interrupted; {out} has the {over} episodes that were over"
    before_play = {"qwop-eval: interrupted"} if over == 0 else set()  # on a machine that is very busy
    assert said.splitlines()[-1] in {expected, *before_play} and "Traceback" not in said


@posix
def test_bc_keeps_the_last_epoch(demos, tmp_path):
    out = tmp_path / "clone.safetensors"
    flags = "--epochs 5000 --patience 5000 --play-every 0 --hidden 8 --device cpu --threads 1".split()
    code, said = stopped(signal.SIGTERM, tmp_path / "clone", "qwop-bc", demos, "--out", out, *flags)
    assert code == 143
    assert "Traceback" not in said and "continue with --resume" in said
    assert f"after epoch {load_checkpoint(out).metadata['training']['epoch']};" in said


@posix
def test_search_keeps_the_best_run(tmp_path):
    out = tmp_path / "new" / "found.h5"
    code, said = stopped(
        signal.SIGTERM, out, "qwop-search", "--out", out, "--meters", "2", "--width", "8", "--children", "8"
    )
    assert code == 143 and "Traceback" not in said
    assert said.splitlines()[-1].startswith("qwop-search: interrupted")


def test_bc_names_the_epoch_that_it_kept(demos, tmp_path, monkeypatch, capsys):
    """The signal comes just after the checkpoint has its name, before `save_checkpoint` returns."""
    real, saves = checkpoint._replace, itertools.count()

    def interrupted(source, target):
        real(source, target)
        if next(saves) == 2:  # of epoch 0, 1, 2
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(checkpoint, "_replace", interrupted)
    out = tmp_path / "clone.safetensors"
    flags = "--epochs 5 --play-every 0 --hidden 8 --device cpu --threads 1".split()
    assert bc.main([str(demos), "--out", str(out), *flags]) == 143
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"qwop-bc: interrupted; {out} has the clone after epoch 2; continue with --resume"
    assert load_checkpoint(out).metadata["training"]["epoch"] == 2
    assert sorted(os.listdir(tmp_path)) == ["clone", "clone.safetensors"]


@posix
def test_the_main_job_passes_a_signal_on_once(demos, tmp_path):
    arguments = ["--folder", tmp_path / "main", "--demos", demos, "--epochs", "1000"]
    code, said = stopped(signal.SIGTERM, tmp_path / "main" / "clone", "qwop-run", *arguments)
    assert code == 143
    assert "qwop-bc: interrupted; " in said and "qwop-run: qwop-bc ended with exit code 143" in said
    assert "Traceback" not in said
    assert load_checkpoint(tmp_path / "main" / "clone.safetensors").metadata["made"]["method"] == "bc"


@posix
@pytest.mark.parametrize("early", [True, False])
def test_the_main_job_passes_on_a_signal_that_comes_while_a_command_starts(early, tmp_path, monkeypatch):
    (tmp_path / "sleeper.py").write_text("import time\nmain = lambda: time.sleep(60)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setitem(run.MODULES, "sleeper", "sleeper")
    started = []
    real = subprocess.Popen

    def start(*arguments, **options):
        if early:
            signal.raise_signal(signal.SIGTERM)
        started.append(real(*arguments, **options))
        if not early:
            signal.raise_signal(signal.SIGTERM)
        return started[0]

    monkeypatch.setattr(run.subprocess, "Popen", start)
    assert run_command("qwop-run", lambda: run._run("Sleep", ["sleeper"])) == 143
    assert started[0].returncode == -signal.SIGTERM


def test_eval_keeps_the_episodes_that_are_over(tmp_path, monkeypatch, capsys):
    from qwop_evaluation import cli, evaluation

    real = evaluation.play

    def play(*arguments, on_frame, **options):
        def impatient(frame, over):
            on_frame(frame, over)
            if over >= 2:
                raise Interrupted(signal.SIGTERM)

        return real(*arguments, on_frame=impatient, **options)

    monkeypatch.setattr(evaluation, "play", play)
    monkeypatch.setattr("qwop_evaluation.protocol.BATCH", 2)
    out = tmp_path / "new" / "runs.h5"
    arguments = ["--episodes", "4", "--max-seconds", "3", "--save", str(out)]
    assert cli.main(arguments) == 143
    said = capsys.readouterr().err.splitlines()[-1]  # a line of progress may stand before it
    assert said == f"qwop-eval: interrupted; {out} has the 2 episodes that were over"
    with DatasetReader(out) as runs:
        assert len(runs) == 2


def test_the_signals_that_stop_are_those_of_the_system(monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    monkeypatch.setattr(signal, "SIGBREAK", 21, raising=False)
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM, 21]
