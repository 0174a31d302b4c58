"""Where the files are that come with the project: demonstrations and a policy."""

from __future__ import annotations

import errno
from importlib.resources import files
from pathlib import Path


def bundled_file(package: str, name: str) -> Path:
    """Return the path of a file of demos/ that comes with the project.

    A wheel has the file in the folder demos/ of one of its packages; a checkout has it in its own demos/.

    Args:
        package: import name of the package that has the file in a wheel.
        name: name of the file.

    Raises:
        FileNotFoundError: it is in neither place. `filename` is where a checkout would have it.
    """
    folder = Path(str(files(package)))
    in_checkout = folder.resolve().parents[1] / "demos" / name
    for path in (folder / "demos" / name, in_checkout):
        if path.is_file():
            return path
    raise FileNotFoundError(errno.ENOENT, "a file that comes with the project is missing", str(in_checkout))
