"""What a user can mend: one line, exit code 2."""


class RecorderError(Exception):
    """Its text is one line that says what is wrong, where, and the mend."""
