"""Logs that fail do not end a training, and a resumed one does not tell its steps twice."""

import os
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qwop_rl_core.logging import EVENTS, Logger


def steps(folder) -> list[int]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars("a")]


def log(folder, at, resumed_at=None) -> None:
    with Logger(folder, config={"x": 1}, resumed_at=resumed_at) as logger:
        for step in at:
            logger.scalars({"a": float(step)}, step)


def test_steps_after_the_one_that_a_training_resumes_at_are_forgotten(tmp_path):
    log(tmp_path, [10, 20, 30, 40])
    log(tmp_path, [30, 40, 50], resumed_at=20)
    assert steps(tmp_path) == [10, 20, 30, 40, 50]
    log(tmp_path, [60], resumed_at=50)
    assert steps(tmp_path) == [10, 20, 30, 40, 50, 60]


def test_a_new_training_moves_old_logs_aside(tmp_path):
    for _ in range(3):
        log(tmp_path, [10, 20])
    assert steps(tmp_path) == [10, 20] and len(list(tmp_path.glob(EVENTS))) == 1
    assert [steps(tmp_path / f"old-{i}") for i in (1, 2)] == [[10, 20], [10, 20]]


@pytest.mark.skipif(os.name != "posix", reason="RLIMIT_FSIZE")
def test_a_full_disk_stops_the_logging_with_one_warning(tmp_path, capfd):
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    logger = Logger(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        for step in range(300):
            logger.scalars({f"a/{i}": 1.0 for i in range(10)}, step)
        logger.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"warning: {tmp_path}: logging has stopped"), said
    assert "File too large" in said


def test_a_writer_that_fails_at_any_time(tmp_path, capsys, monkeypatch):
    logger = Logger(tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logger._writer, "add_scalar", full)
    for step in range(3):
        logger.scalars({"a": 1.0}, step)
    logger.close()
    assert capsys.readouterr().err == (
        f"warning: {tmp_path}: logging has stopped, training continues: No space left on device\n"
    )


def test_wandb_that_fails_leaves_tensorboard(tmp_path, capsys, monkeypatch):
    class Run:
        def log(self, figures, step):
            raise RuntimeError("the connection\nis lost")

        def finish(self):
            raise AssertionError("it has been given up")

    wandb = types.SimpleNamespace(init=lambda **_: Run(), Error=RuntimeError)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with Logger(tmp_path, track="p") as logger:
        logger.scalars({"a": 1.0}, 1)
        logger.scalars({"a": 1.0}, 2)
    assert capsys.readouterr().err == (
        "warning: Weights & Biases: logging has stopped, training continues: the connection is lost\n"
    )
    assert steps(tmp_path) == [1, 2]
