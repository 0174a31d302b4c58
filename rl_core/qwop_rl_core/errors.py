"""Errors that a training reports to the user."""

from __future__ import annotations


class TrainingError(Exception):
    """Training cannot start or continue. The message is one line for the user."""
