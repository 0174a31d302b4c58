"""How all commands read their arguments and speak of mistakes: one line on standard error, exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from .simulator import DEFAULT_TRIG, TRIG_VARIANTS

Config = TypeVar("Config")

SIDES, RULES = "│| ", set("─-╭╮╰╯+ ")  # tyro's box, in UTF-8 and in ASCII


class CommandError(Exception):
    """A mistake that the user can mend: what, where and how, in one line."""


def printable(text: str) -> str:
    """The text with line breaks, escape sequences and all else that is not printable written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_trig_argument(parser: argparse.ArgumentParser) -> None:
    """--trig, for commands that play the embedded game."""
    parser.add_argument(
        "--trig",
        choices=TRIG_VARIANTS,
        default=DEFAULT_TRIG,
        help="sine and cosine of the embedded game: those of the browser whose game it equals bit for bit "
        "(default: %(default)s, the canonical game)",
    )


def run_command(program: str, command: Callable[[], int | None], *mistakes: type[Exception]) -> int:
    """Run a command's body.

    returns: the exit code: the body's own (None: 0), 2 after one line for CommandError and `mistakes`,
        130 on Ctrl-C
    """
    try:
        return command() or 0
    except (CommandError, *mistakes) as error:
        print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0


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
