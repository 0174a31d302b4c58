"""Errors that a user can fix."""


class RecorderError(Exception):
    """One line: what is wrong, where, and what to do. The command prints it and exits with code 2."""
