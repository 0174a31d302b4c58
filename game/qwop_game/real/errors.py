"""What a user can mend: one line, exit code 2."""


class RealGameError(Exception):
    """Its text is one line that says what is wrong, where, and the mend."""
