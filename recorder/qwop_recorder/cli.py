"""`qwop-record`: a person plays the game in a window, and every kept run is stored in an HDF5 file."""

import sys
from collections.abc import Sequence

from qwop_cli import parse_config, run_command
from qwop_recorder.config import RecordConfig
from qwop_recorder.errors import RecorderError
from qwop_recorder.recorder import record

PROGRAM = "qwop-record"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns its exit code: 0, or 2 after one line about what is wrong."""
    return run_command(PROGRAM, lambda: _run(parse_config(PROGRAM, RecordConfig, arguments)), RecorderError)


def _run(config: RecordConfig) -> None:
    result = record(config, tell=_print, warn=_print_warning, confirm=_confirm)
    print(result.text())
    if result.unsaved:
        raise RecorderError(
            f"{result.unsaved} run(s) are not in {config.file} yet ({result.problem}). They are in "
            f"{config.file}.journal: free disk space, then start again or run qwop-data recover {config.file}"
        )


def _print(line: str) -> None:
    print(line, flush=True)


def _print_warning(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _confirm(question: str) -> bool:
    """Ask at the terminal. Without a terminal the answer is yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        return True
    return not input(f"{question} [Y/n] ").strip().lower().startswith("n")


if __name__ == "__main__":
    sys.exit(main())
