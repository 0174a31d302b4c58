"""The error for wrong input or a missing program: one line, exit code 2."""


class RealGameError(Exception):
    """The message is one line: what is wrong, where, and how to fix it."""
