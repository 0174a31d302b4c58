"""Helpers that all commands share: arguments, one-line errors, interrupts, progress, tables."""

from qwop_cli.bundled import bundled_file
from qwop_cli.command import (
    OWN_GROUP,
    CommandError,
    Interrupted,
    ProgressTimer,
    SignalHandlers,
    check_outputs,
    escape_unprintable,
    interrupts,
    json_text,
    log_progress,
    nan_to_none,
    parse_config,
    run_command,
    set_handlers,
    stop_signals,
)
from qwop_cli.table import text_table
from qwop_cli.writing import write_whole

__all__ = [
    "OWN_GROUP",
    "CommandError",
    "Interrupted",
    "ProgressTimer",
    "SignalHandlers",
    "bundled_file",
    "check_outputs",
    "escape_unprintable",
    "interrupts",
    "json_text",
    "log_progress",
    "nan_to_none",
    "parse_config",
    "run_command",
    "set_handlers",
    "stop_signals",
    "text_table",
    "write_whole",
]
