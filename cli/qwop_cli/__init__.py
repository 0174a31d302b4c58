"""Helpers that all commands share: arguments, one-line errors, interrupts, progress, tables."""

from qwop_cli.command import (
    CommandError,
    Interrupted,
    ProgressTimer,
    check_outputs,
    escape_unprintable,
    interrupts,
    json_text,
    log_progress,
    nan_to_none,
    parse_config,
    run_command,
)
from qwop_cli.table import text_table

__all__ = [
    "CommandError",
    "Interrupted",
    "ProgressTimer",
    "check_outputs",
    "escape_unprintable",
    "interrupts",
    "json_text",
    "log_progress",
    "nan_to_none",
    "parse_config",
    "run_command",
    "text_table",
]
