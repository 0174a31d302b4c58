"""What every command shares: arguments, one-line errors, interrupts, progress, tables. Imports no sibling."""

from qwop_cli.command import (
    OWN_GROUP,
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
    stop_signals,
)
from qwop_cli.table import text_table

__all__ = [
    "OWN_GROUP",
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
    "stop_signals",
    "text_table",
]
