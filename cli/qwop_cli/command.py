"""How all commands read their arguments and speak of mistakes: one line on standard error, exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Config = TypeVar("Config")

SIDES, RULES = "│| ", set("─-╭╮╰╯+ ")  # tyro's box, in UTF-8 and in ASCII


class CommandError(Exception):
    """A mistake that the user can mend: what, where and how, in one line."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or a signal that asks a process to end. `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def printable(text: str) -> str:
    """The text with line breaks, escape sequences and all else that is not printable written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON has no words for; a figure that is not, is null."""
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, indent: int | None = None) -> str:
    """Plain data as JSON that every reader takes: null where a number is NaN or infinite."""
    return json.dumps(plain(value), allow_nan=False, indent=indent)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_trig_argument(parser: argparse.ArgumentParser, native: bool = False) -> None:
    """--trig, for commands that play a game.

    native: with --native too, for commands that also play the real game; `options.trig` is None with it.
    """
    from qwop_game import DEFAULT_TRIG, TRIG_VARIANTS

    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--trig",
        choices=TRIG_VARIANTS,
        default=DEFAULT_TRIG,
        help="sine and cosine of the game: those of the browser whose game it equals bit for bit "
        "(default: %(default)s, the canonical game)",
    )
    if native:
        group.add_argument(
            "--native",
            dest="trig",
            action="store_const",
            const=None,
            help="the real game with the browser's own sine and cosine, not exact ones of --trig",
        )


def run_command(program: str, command: Callable[[], int | None], *mistakes: type[Exception]) -> int:
    """Run a command's body.

    returns: the exit code: the body's own (None: 0), 2 after one line for CommandError and `mistakes`,
        128 + the signal's number (Ctrl-C: 130) when it was interrupted; a KeyboardInterrupt's own words,
        such as how to go on, follow "interrupted"
    """
    try:
        with interrupts(_interrupt):
            return command() or 0
    except (CommandError, *mistakes) as error:
        print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        said = f"; {interrupt}" if str(interrupt) else ""
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"{program}: interrupted{said}", file=sys.stderr)
        return 128 + getattr(interrupt, "signal", signal.SIGINT)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0


def log(line: str) -> None:
    """Print a line of progress to standard error, where no progress bar is. A full disk or a closed terminal
    is no reason to stop."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


class Pace:
    """Whether a line of progress is due: after 10 s, then ever more seldom, up to every 5 minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = 10.0
        self._due = clock() + self._pause

    def due(self) -> bool:
        """True once, when the time has come."""
        if self._clock() < self._due:
            return False
        self._pause = min(1.5 * self._pause, 300.0)
        self._due = self._clock() + self._pause
        return True


def stop_signals() -> list[signal.Signals]:
    """The signals that ask a program to end, of those that this system has: Ctrl-C, SIGTERM (a time limit),
    SIGHUP (a closed terminal), SIGBREAK (Ctrl-Break or a closed console on Windows)."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""subprocess.Popen's creationflags for a program that the terminal's Ctrl-C does not reach, as
start_new_session=True makes it outside Windows."""


@contextlib.contextmanager
def interrupts(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `handler` answer `stop_signals` within the block.

    Signals that the process was started to ignore, as by nohup, stay ignored. Other threads than the main one
    get no signals: nothing changes there.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in stop_signals():
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


def check_outputs(
    files: Mapping[str, Path | None],
    folders: Mapping[str, Path | None] | None = None,
    inputs: Mapping[str, Path | None] | None = None,
) -> None:
    """Try whether all that a command will write can be written, before it begins.

    Nothing is left behind; where a folder is missing, the nearest one above it counts.

    Args:
        files: files to write, by their flag. None: not wanted.
        folders: folders to write into, by their flag.
        inputs: files that the command reads; none of them may be written to.

    Raises:
        CommandError: a place is not writable, is of the wrong kind, or is wanted for two things.
    """
    taken: dict[Path, str] = {}
    for flag, path in [*(inputs or {}).items(), *files.items(), *(folders or {}).items()]:
        if path is None:
            continue
        try:
            place = path.resolve()
        except (OSError, RuntimeError) as error:  # a loop of links
            raise CommandError(f"{flag} {path}: {getattr(error, 'strerror', None) or error}") from None
        if taken.get(place, flag) != flag and flag not in (inputs or {}):
            raise CommandError(f"{flag} {path}: {taken[place]} is the same place; choose another name")
        taken[place] = flag
    for flag, path in files.items():
        if path is not None:
            _try_to_write(flag, path, path.parent, f".{path.name}.")
    for flag, path in (folders or {}).items():
        if path is None:
            continue
        for other_flag, file in files.items():
            if file is not None and file.resolve() in path.resolve().parents:
                raise CommandError(f"{flag} {path}: lies in {other_flag}, which is a file; choose another")
        _try_to_write(flag, path, path, ".")


def _try_to_write(flag: str, path: Path, folder: Path, prefix: str) -> None:
    try:
        if folder != path and path.exists() and not path.is_file():
            raise CommandError(f"{flag} {path}: is {'a folder' if path.is_dir() else 'no regular file'}")
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder}: not a folder")
        while not folder.exists():
            folder = folder.parent
            prefix = "."
        with tempfile.NamedTemporaryFile(dir=folder, prefix=prefix) as file:
            file.write(b"\0")
    except OSError as error:
        reason = "not a folder" if folder.is_file() else error.strerror or str(error)
        raise CommandError(f"{flag} {path}: can't be written: {folder}: {reason}; choose another") from None


def parse_config(
    program: str, config_type: type[Config], arguments: Sequence[str] | None, default: Config | None = None
) -> Config:
    """A config dataclass from the command line: its fields are the flags, its docstrings the help.

    arguments: None: those of the process
    default: what holds where the arguments say nothing, in place of the config's own defaults

    Raises CommandError for arguments that describe no config, SystemExit(0) after --help.
    """
    import tyro  # a quarter of a second that commands without a config need not wait

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            if default is None:
                return tyro.cli(config_type, args=arguments, prog=program)
            return tyro.cli(config_type, args=arguments, prog=program, default=default)
    except SystemExit as stop:
        if stop.code in (None, 0):  # --help
            raise
        raise CommandError(f"{_first_part(complaint.getvalue())} (see {program} --help)") from None


def _first_part(box: str) -> str:
    """What tyro says in its box, without the frame: the part above the first rule, and what it suggests."""
    said: list[str] = []
    rules = 0
    suggestion = False
    for line in box.splitlines()[1:]:
        text = line.strip(SIDES)
        if set(text) <= RULES:
            rules += bool(said)  # without UTF-8 there is a rule below the title too
            suggestion = False
        elif rules == 0:
            said.append(text)
        elif text.startswith("Perhaps you meant"):
            suggestion = True
        elif suggestion and text.startswith("--"):
            said.append(f"; perhaps {text.split()[0]}")
            suggestion = False
    return " ".join(said).replace(" ;", ";")
