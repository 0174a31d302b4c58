"""How commands speak of mistakes: one line on standard error, exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


class CommandError(Exception):
    """A mistake that the user can mend: what, where and how, in one line."""


def run_command(program: str, command: Callable[[], int | None], *mistakes: type[Exception]) -> int:
    """The exit code of a command's body: 2 after one line for CommandError and `mistakes`, 130 on Ctrl-C."""
    try:
        return command() or 0
    except (CommandError, *mistakes) as error:
        print(f"{program}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stderr.close()
        return 0
