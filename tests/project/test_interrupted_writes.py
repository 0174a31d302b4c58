"""A signal at any point of a write: the file is the old one or the new one, and nothing is left beside it."""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from qwop_cli.command import Interrupted, interrupts
from qwop_datasets import DatasetReader, DatasetWriter, storage, write_compact_dataset, write_dataset
from qwop_datasets.convert.common import output_directory
from qwop_datasets.edit import merge
from qwop_game.real import install
from qwop_recorder.web_invitations import Invitations
from qwop_replay.show import ReplayedRun, write_page
from qwop_rl_core import load_checkpoint, save_checkpoint

posix = pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without asking it")


class SignalAt:
    """A profiler that sends the process SIGTERM at one of the points where Python looks for signals.

    These are the start of a function and the return from one of C's. Only our packages' are counted.
    """

    def __init__(self, point: int) -> None:
        self.left = point

    def __call__(self, frame, event: str, _argument: object) -> None:
        if not frame.f_globals.get("__name__", "").startswith("qwop_"):
            return
        if frame.f_code is storage._close.__code__:  # Python drops what a finalizer raises
            return
        starts = event == "call" and not frame.f_code.co_flags & inspect.CO_GENERATOR
        if starts or event == "c_return":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGTERM)


def was_interrupted(act: Callable[[], object], point: int) -> bool:
    """Run `act` with a signal at a point. False: it has fewer points."""

    def handler(number: int, _frame: object) -> None:
        raise Interrupted(number)

    signal_at = SignalAt(point)
    with interrupts(handler):
        try:
            sys.setprofile(signal_at)
            try:
                act()
            finally:
                sys.setprofile(None)
        except Interrupted:
            assert signal_at.left <= 0
            return True
    assert signal_at.left > 0, "the signal was lost"
    return False


class Writer:
    """Writes version 0 of a file, then version 1."""

    STEP = 1  # between the points that are tried

    def __init__(self, folder: Path, golden) -> None:
        self.path, self.golden = folder / "file", golden
        self.write(0)

    def write(self, version: int) -> None:
        raise NotImplementedError

    def read(self) -> int:
        raise NotImplementedError


class Checkpoint(Writer):
    def write(self, version):
        save_checkpoint(self.path, {"network.x": torch.zeros(3)}, {"version": version})

    def read(self):
        return load_checkpoint(self.path).metadata["version"]


class Page(Writer):
    def write(self, version):
        with patch("qwop_replay.show.page", return_value=str(version)):
            write_page(self.path, [ReplayedRun("run", self.golden)], "title")

    def read(self):
        return int(self.path.read_text(encoding="utf-8"))


class Invited(Writer):
    def write(self, version):
        Invitations(self.path, 1 + version)

    def read(self):
        return sum(1 for _ in Invitations(self.path, 0)) - 2


class GamePage(Writer):
    def write(self, version):
        install._write(self.path, bytes([version]))

    def read(self):
        return self.path.read_bytes()[0]


class Appended(Writer):
    STEP = 23

    def write(self, version):
        DatasetWriter(self.path, gait=False).append(self.golden.replace(id=f"{version:032x}"))

    def read(self):
        with DatasetReader(self.path) as reader:
            return len(reader) - 1


class NewFile(Writer):
    """Version 0 is no file."""

    def read(self):
        if not self.path.exists():
            return 0
        with DatasetReader(self.path) as reader:
            assert len(reader) == 1
        return 1


class Written(NewFile):
    STEP = 3

    def write(self, version):
        if version:
            write_dataset(self.path, [self.golden], gait=False)


class Compact(NewFile):
    STEP = 3

    def write(self, version):
        if version:
            write_compact_dataset(self.path, [self.golden])


class Merged(NewFile):
    STEP = 7

    def write(self, version):
        if version:
            merge(self.path, [self.source])
        else:
            self.source = self.path.parent.parent / "source.h5"
            if not self.source.exists():
                write_dataset(self.source, [self.golden], gait=False)


class Directory(Writer):
    def write(self, version):
        if version:
            with output_directory(self.path) as folder:
                (folder / "part").touch()

    def read(self):
        return int((self.path / "part").exists())


QUICK = [Checkpoint, Page, Invited, GamePage, Directory]
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in (Appended, Written, Compact, Merged)]


@posix
@pytest.mark.parametrize("kind", [*QUICK, *SLOW])
def test_an_interrupted_write_is_done_or_not(kind, tmp_path, golden):
    short = golden.replace(
        keys=golden.keys[:50],
        raw_observations=golden.raw_observations[:51],
        times=golden.times[:51],
        success=False,
        terminated=False,
        truncated=True,
    )
    outcomes = set()
    for point in range(1, 100_000, kind.STEP):
        folder = tmp_path / str(point)
        folder.mkdir()
        file = kind(folder, short)
        before = set(os.listdir(folder))
        finished = not was_interrupted(lambda file=file: file.write(1), point)
        assert set(os.listdir(folder)) <= before | {file.path.name}, point
        version = file.read()
        assert version in (0, 1), point
        outcomes.add(version)
        if finished:
            assert version == 1
            break
    assert outcomes == {0, 1}
