"""Takes away from Python on Linux what Windows lacks, so that tests show what is stored there.

    pread, pwrite, posix_fallocate and SIGHUP; a folder can't be opened, and so not synced;
    an open file, of whatever process, can't be renamed, replaced or removed;
    os.open without O_BINARY in this project's own code is an error.

The fixture `bare_system` (tests/conftest.py) does it for one test and for the processes that it starts: this
file is then on their path under the name that Python imports at its start. To run any tests so:

    QWOP_TEST_BARE_SYSTEM=1 pytest tests/test_datasets_*.py
"""

import errno
import os
import pathlib
import signal
import sys
import tempfile

VARIABLE = "QWOP_TEST_BARE_SYSTEM"


def take_away(change=setattr, remove=delattr):
    """`change` and `remove` are setattr and delattr, or monkeypatch's."""
    for module, names in ((os, ("pread", "pwrite", "posix_fallocate")), (signal, ("SIGHUP",))):
        for name in names:
            if hasattr(module, name):
                remove(module, name)
    binary = 1 << 30
    change(os, "O_BINARY", binary, *([] if change is setattr else [False]))
    change(tempfile, "_bin_openflags", tempfile._bin_openflags | binary)
    portable = sys.modules.get("qwop_datasets.portable")
    if portable is not None:
        change(portable, "BINARY", binary)
    change(os, "open", _opening(os.open, binary))
    accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10: has the functions from its start
    for name, code in (("replace", 5), ("rename", 5), ("unlink", 32), ("remove", 32)):
        function = _refusing(getattr(os, name), code)
        change(os, name, function)
        if accessor is not None and hasattr(accessor, name):
            change(accessor, name, staticmethod(function))


def _opening(real, binary):
    def open(path, flags, *arguments, **options):
        if not isinstance(path, int) and os.path.isdir(path) and not options.get("dir_fd"):
            if not _called_by("shutil"):  # rmtree
                raise _refusal(path, 5)
        if _called_by("qwop") and not flags & binary:
            raise AssertionError(f"os.open({path!r}) without O_BINARY")
        return real(path, flags & ~binary, *arguments, **options)

    return open


def _refusing(real, code):
    def act(*paths, **options):
        for path in [] if options.get("dir_fd") is not None else paths:
            if is_open(os.fspath(path)):
                raise _refusal(path, code)
        return real(*paths, **options)

    return act


def _refusal(path, code):
    error = PermissionError(errno.EACCES, "Access is denied", str(path))
    error.winerror = code
    return error


def _called_by(package):
    return sys._getframe(2).f_globals.get("__name__", "").startswith(package)


def is_open(path):
    """Whether a process of this user has the file open, or one in that folder."""
    path = os.path.realpath(path)
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                for entry in os.scandir(f"/proc/{process}/fd"):
                    target = os.readlink(entry.path)
                    if target == path or target.startswith(path + "/"):
                        return True
            except OSError:  # it has ended, or is somebody else's
                pass
    return False


if os.environ.get(VARIABLE) and __name__ == "sitecustomize":
    take_away()
