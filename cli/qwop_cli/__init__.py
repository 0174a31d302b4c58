"""What every command shares: arguments, one-line errors, interrupts, progress, tables. Imports no sibling."""

from qwop_cli.command import (
    CommandError,
    CommandParser,
    Interrupted,
    Pace,
    add_trig_argument,
    check_outputs,
    interrupts,
    json_text,
    log,
    parse_config,
    plain,
    printable,
    run_command,
)
from qwop_cli.table import text_table

__all__ = [
    "CommandError",
    "CommandParser",
    "Interrupted",
    "Pace",
    "add_trig_argument",
    "check_outputs",
    "interrupts",
    "json_text",
    "log",
    "parse_config",
    "plain",
    "printable",
    "run_command",
    "text_table",
]
