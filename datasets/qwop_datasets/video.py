"""Write videos (mp4, gif) with ffmpeg. A video that was interrupted still plays."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from qwop_cli import OWN_GROUP, Interrupted, interrupts
from qwop_datasets.errors import DatasetError
from qwop_datasets.storage import made_folder, replace_file

FPS = 30
"""Frames a second of an mp4: the game's own."""
GIF_EVERY = 2
"""A GIF has only every second frame: its delays are hundredths of a second, and it must stay small."""

# A palette for every frame: one for the whole film would hold all its frames in memory.
_GIF_FILTER = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
_ENCODERS = {
    ".mp4": "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -movflags +faststart".split(),
    ".gif": ["-filter_complex", _GIF_FILTER, "-loop", "0"],
}


class VideoError(Exception):
    """A video can't be written. The message is one line: why, and what to do."""


def check_target(path: str | os.PathLike[str], force: bool = False) -> Path:
    """Check that a file may be written, and make its folder.

    Raises:
        VideoError: the file exists (and no `force`), or its folder can't be made.
    """
    path = Path(path)
    if path.is_dir():
        raise VideoError(f"{path}: a folder; name a file")
    if path.exists() and not force:
        raise VideoError(f"{path}: exists already; --force replaces it")
    try:
        with made_folder(path.parent):
            pass
    except DatasetError as error:
        raise VideoError(str(error)) from None
    except OSError as error:
        raise VideoError(f"{path.parent}: {error.strerror or error}") from None
    return path


class VideoWriter:
    """A context manager that writes frames to a video, which is complete even after Ctrl-C or an error.

    The video is written to NAME.part.mp4 and renamed when it is complete. Without a frame, no file is left.
    In the main thread, Ctrl-C takes effect in `write`, after a whole frame, or after the video is finished.

    path: .mp4 (H.264, 30 frames a second) or .gif (15 a second). size: (width, height) px, both even.
    keyframes: frames from one keyframe of an mp4 to the next, for programs that read single frames; None:
        the encoder chooses.

    Raises VideoError: another suffix, no ffmpeg, a folder that can't be written, ffmpeg's own failure.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size: tuple[int, int],
        force: bool = False,
        keyframes: int | None = None,
    ) -> None:
        self.path = check_target(path, force)
        self._suffix = self.path.suffix.lower()
        if self._suffix not in _ENCODERS:
            raise VideoError(f"{self.path}: the name must end in {' or '.join(_ENCODERS)}")
        try:
            self._ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            raise VideoError(
                "no ffmpeg: install it, or pip install --force-reinstall imageio-ffmpeg"
            ) from None
        self.size = size
        self._options = list(_ENCODERS[self._suffix])
        if keyframes is not None and self._suffix == ".mp4":
            self._options += ["-g", str(keyframes)]
        self._every = GIF_EVERY if self._suffix == ".gif" else 1
        self._part = self.path.with_name(f"{self.path.stem}.part{self._suffix}")
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._frames = 0
        self._interrupt: Interrupted | None = None
        self._signals = interrupts(self._note_interrupt)

    def __enter__(self) -> VideoWriter:
        self._signals.__enter__()  # an exception within a frame would leave half of it in the pipe
        return self

    @property
    def bytes_written(self) -> int:
        """Size of the video so far, about, in bytes."""
        return self._part.stat().st_size if self._part.exists() else 0

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 [height, width, 3]."""
        if frame.shape != (self.size[1], self.size[0], 3) or frame.dtype != np.uint8:
            raise ValueError(
                f"a frame must be uint8 {[self.size[1], self.size[0], 3]}, got {list(frame.shape)}"
            )
        if self._frames % self._every == 0:
            if self._process is None:
                self._process = self._start()
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(frame.tobytes())
            except OSError:
                raise VideoError(self._failure()) from None
        self._frames += 1
        if self._interrupt is not None:
            raise self._interrupt

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._process is not None:
                self._finish(quiet=error is not None)
        finally:
            self._signals.__exit__(None, None, None)
        if self._interrupt is not None and error is None:
            raise self._interrupt

    def _start(self) -> subprocess.Popen[bytes]:
        width, height = self.size
        self._errors = tempfile.TemporaryFile()
        source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {FPS / self._every:g} -i -".split()
        return subprocess.Popen(
            [self._ffmpeg, "-y", "-loglevel", "error", *source, *self._options, str(self._part)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # so that the terminal's Ctrl-C does not end ffmpeg
            creationflags=OWN_GROUP,
        )

    def _finish(self, quiet: bool) -> None:
        """End the stream, wait for ffmpeg, put the video in its place."""
        assert self._process is not None
        try:
            self._process.communicate()  # closes its input
            if self._process.returncode == 0:
                self._put_in_place()
            elif not quiet:
                raise VideoError(self._failure())
        finally:
            self._part.unlink(missing_ok=True)
            self._errors.close()

    def _put_in_place(self) -> None:
        try:
            replace_file(self._part, self.path)
        except DatasetError as error:
            raise VideoError(str(error)) from None

    def _failure(self) -> str:
        assert self._process is not None
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        reason = next((line.strip() for line in lines if line.strip()), "no reason given")
        return f"{self.path}: ffmpeg stopped: {reason}"

    def _note_interrupt(self, number: int, _frame: object) -> None:
        if self._interrupt is not None:
            raise Interrupted(number)
        self._interrupt = Interrupted(number)
