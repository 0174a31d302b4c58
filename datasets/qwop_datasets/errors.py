"""The one error that readers and writers of datasets raise for what a user can cause."""


class DatasetError(Exception):
    """One line: what is wrong, in which file, and the mend. Commands print it and exit with code 2."""
