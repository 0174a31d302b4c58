"""A config dataclass as a command line: docstrings are the help, a mistake is one line and exit code 2."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

Config = TypeVar("Config")

SIDES, RULES = "│| ", set("─-╭╮╰╯+ ")  # tyro's box, in UTF-8 and in ASCII


class CommandError(Exception):
    """A mistake that the user can mend: what, where and how, in one line."""


def run_command(
    program: str,
    config_type: type[Config],
    command: Callable[[Config], int | None],
    arguments: Sequence[str] | None,
    *mistakes: type[Exception],
) -> int:
    """Parse `arguments` (None: those of the process) into a config and run the command with it.

    returns: the exit code: the command's own (None: 0), 2 after one line for CommandError and `mistakes`,
        130 on Ctrl-C
    """
    try:
        return command(parse(program, config_type, arguments)) or 0
    except (CommandError, *mistakes) as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0


def parse(
    program: str, config_type: type[Config], arguments: Sequence[str] | None, default: Config | None = None
) -> Config:
    """The config that the arguments describe. Raises CommandError for arguments that describe none.

    default: what holds where the arguments say nothing, in place of the config's own defaults.
    """
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
