"""How every command parses its arguments and reports errors: one line on standard error, exit code 2."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from types import FrameType, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

Config = TypeVar("Config")
SignalHandlers: TypeAlias = dict[signal.Signals, Callable[[int, FrameType | None], Any] | int]
"""Handlers by the number of their signal, as signal.signal takes them."""

SIDES, RULES = "│| ", set("─-╭╮╰╯+ ")  # tyro's box, in UTF-8 and in ASCII


class CommandError(Exception):
    """Wrong input. The message is one line: what is wrong, where, and what to do."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, or another signal that ends the process. `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


def escape_unprintable(text: str) -> str:
    """Replace line breaks, terminal escapes and other unprintable characters by backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def nan_to_none(value: Any) -> Any:
    """Copy nested mappings and lists with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: nan_to_none(v) for name, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [nan_to_none(v) for v in cast("Sequence[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(value: Any, indent: int | None = None) -> str:
    """Encode nested mappings and lists as standard JSON: NaN and infinity become null."""
    return json.dumps(nan_to_none(value), allow_nan=False, indent=indent)


def run_command(program: str, command: Callable[[], int | None], *expected_errors: type[Exception]) -> int:
    """Run the body of a command and turn its errors into one line and an exit code.

    Args:
        program: name of the command, in front of every message.
        command: the body. Returns the exit code; None means 0.
        expected_errors: errors that wrong input causes, beside CommandError.

    Returns:
        The exit code of the body; 2 after CommandError or one of `expected_errors`; 128 + the number of the
        signal that interrupted it (Ctrl-C: 130). The message of a KeyboardInterrupt, such as how to resume,
        is printed after "interrupted".
    """
    try:
        with interrupts(_interrupt), _dropped_interrupts_again():
            return command() or 0
    except (CommandError, *expected_errors) as error:
        print(f"{program}: {escape_unprintable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        hint = f"; {interrupt}" if str(interrupt) else ""
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(f"{program}: interrupted{hint}", file=sys.stderr)
        return 128 + getattr(interrupt, "signal", signal.SIGINT)
    except BrokenPipeError:  # the reader of the pipe, such as head, has exited
        sys.stderr.close()
        return 0


def log_progress(line: str) -> None:
    """Print a line to standard error, where no progress bar is. Ignore a full disk or a closed terminal."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


class ProgressTimer:
    """Says when to print the next line of progress: after 10 s, then at intervals that grow to 5 minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval = 10.0
        self._next = clock() + self._interval

    def due(self) -> bool:
        """Return True once per interval."""
        if self._clock() < self._next:
            return False
        self._interval = min(1.5 * self._interval, 300.0)
        self._next = self._clock() + self._interval
        return True


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask a program to end, of those that this system has.

    They are Ctrl-C, SIGTERM (a time limit), SIGHUP (a closed terminal) and SIGBREAK (Ctrl-Break or a closed
    console on Windows).
    """
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


OWN_GROUP: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
"""Flags for subprocess.Popen that keep the terminal's Ctrl-C from a program on Windows, as
start_new_session=True does elsewhere."""


@contextlib.contextmanager
def interrupts(handler: Callable[[int, FrameType | None], None]) -> Generator[None]:
    """Call `handler` for each of `stop_signals` within the block.

    Signals that the process ignores from its start, as under nohup, stay ignored. Outside the main thread
    this does nothing, since other threads receive no signals.

    Args:
        handler: called with the number of the signal and the interrupted frame.
    """
    before: SignalHandlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in stop_signals():
            earlier = signal.getsignal(number)
            if earlier not in (signal.SIG_IGN, None):
                before[number] = earlier
    try:
        set_handlers(dict.fromkeys(before, handler))
        yield
    finally:
        set_handlers(before)


def set_handlers(handlers: SignalHandlers) -> None:
    """Set handlers of signals: all of them, even if a signal comes meanwhile and its handler raises."""
    left = dict(handlers)
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
            del left[number]
    finally:
        for number, handler in left.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: object) -> None:
    raise Interrupted(number)


@contextlib.contextmanager
def _dropped_interrupts_again() -> Generator[None]:
    """Within the block, send a signal again if Python drops the `Interrupted` that it raised.

    It drops exceptions in destructors and in callbacks of weak references, which have no caller.
    """
    before = sys.unraisablehook

    def hook(dropped: sys.UnraisableHookArgs) -> None:
        if isinstance(dropped.exc_value, Interrupted):
            later = threading.Timer(0.01, _send_to_main_thread, (dropped.exc_value.signal,))
            later.daemon = True
            later.start()
        else:
            before(dropped)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _send_to_main_thread(number: int) -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, number)  # also ends a wait
    else:
        signal.raise_signal(number)


def check_outputs(
    files: Mapping[str, Path | None],
    folders: Mapping[str, Path | None] | None = None,
    inputs: Mapping[str, Path | None] | None = None,
) -> None:
    """Check before a long command begins that it can write all its outputs. Creates nothing.

    Where a folder is missing, its nearest existing parent is checked.

    Args:
        files: files to write, by their flag. None: not given.
        folders: folders to write into, by their flag.
        inputs: files that the command reads. No output may be one of them.

    Raises:
        CommandError: a path is not writable, is of the wrong kind, or is given twice.
    """
    taken: dict[Path, str] = {}
    for flag, path in [*(inputs or {}).items(), *files.items(), *(folders or {}).items()]:
        if path is None:
            continue
        try:
            place = path.resolve()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                path.stat()  # from Python 3.13 on, `resolve` accepts a loop of links
        except RuntimeError:
            raise CommandError(f"{flag} {path}: a loop of links") from None
        except OSError as error:
            reason = "a loop of links" if error.errno == errno.ELOOP else error.strerror or str(error)
            raise CommandError(f"{flag} {path}: {reason}") from None
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
                raise CommandError(f"{flag} {path}: is in {other_flag}, which is a file; choose another")
        _try_to_write(flag, path, path, ".")


def _try_to_write(flag: str, path: Path, folder: Path, prefix: str) -> None:
    try:
        if folder != path and path.exists() and not path.is_file():
            raise CommandError(f"{flag} {path}: is {'a folder' if path.is_dir() else 'not a regular file'}")
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
    program: str,
    config_type: type[Config] | UnionType,
    arguments: Sequence[str] | None,
    default: Config | None = None,
    description: str | None = None,
) -> Config:
    """Parse a command line into a config dataclass, or into one of a union of them: the subcommands.

    The fields are the flags and their docstrings the help. Whole numbers may be written as 5e7.

    Args:
        program: name of the command.
        config_type: the dataclass, or the union.
        arguments: the words behind the name of the command. None: those of the process.
        default: values of flags that are not given, in place of the dataclass's own defaults.
        description: the text above the flags. None: the docstring of the dataclass.

    Raises:
        CommandError: the arguments are wrong.
        SystemExit: with code 0, after --help.
    """
    import tyro  # 0.1 s, which a use of this package without a command line does not need
    from tyro.constructors import ConstructorRegistry

    registry = ConstructorRegistry()
    registry.primitive_rule(_whole_numbers)
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message), _printable_help():
            return tyro.cli(
                cast("type[Config]", config_type),
                prog=program,
                args=arguments,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                # "None" is accepted only for flags that `default` sets, so that it can be undone.
                config=(tyro.conf.DisallowNone,) if default is None else (),
                registry=registry,
            )
    except SystemExit as stop:
        if stop.code in (None, 0):  # --help
            raise
        raise CommandError(f"{_first_part(message.getvalue())} (see {program} --help)") from None


@contextlib.contextmanager
def _printable_help() -> Generator[None]:
    """Print "*" for characters that standard output can't encode, such as the bullets of tyro's help."""
    if not isinstance(sys.stdout, io.TextIOWrapper):
        yield
        return
    before = sys.stdout.errors
    codecs.register_error("star", lambda error: ("*" * (error.end - error.start), error.end))  # type: ignore
    sys.stdout.reconfigure(errors="star")
    try:
        yield
    finally:
        sys.stdout.reconfigure(errors=before)


def _whole_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[int] | None:
    """Tell tyro how to parse fields of type int."""
    from tyro.constructors import PrimitiveConstructorSpec

    if info.type is not int:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT",
        instance_from_str=lambda words: _whole_number(words[0]),
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    )


def _whole_number(text: str) -> int:
    """Parse "12", "5e7" or "1_000"."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
        if value.is_integer():
            return int(value)
    except ValueError:
        pass
    raise ValueError(f"{text} is not a whole number")


def _first_part(box: str) -> str:
    """Take the message out of tyro's box: the part above the first rule, and the flag that it suggests."""
    words: list[str] = []
    rules = 0
    suggestion = False
    for line in box.splitlines()[1:]:
        text = line.strip(SIDES)
        if set(text) <= RULES:
            rules += bool(words)  # without UTF-8 there is a rule below the title too
            suggestion = False
        elif rules == 0:
            words.append(text)
        elif text.startswith("Perhaps you meant"):
            suggestion = True
        elif suggestion and text.startswith("--"):
            words.append(f"; perhaps {text.split()[0]}")
            suggestion = False
    # tyro names the class whose check failed, which means nothing to a user.
    return re.sub(r"^Error parsing [A-Z][a-z]\w*: ", "", " ".join(words).replace(" ;", ";"))
