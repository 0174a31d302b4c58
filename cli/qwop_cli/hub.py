"""Files of the Hugging Face Hub: push to a repository and pull from it, with errors of one line.

It needs the extra `hub` (huggingface_hub), which reads HF_ENDPOINT, HF_TOKEN and HF_HOME.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qwop_cli.command import CommandError

Kind = Literal["dataset", "model"]
"""What a repository of the Hub holds."""
CARD = "README.md"
"""The file that the Hub shows as the card of a repository."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
# What the HTTP clients of huggingface_hub are made of; each has its own errors.
_CLIENTS = {"requests", "urllib3", "http", "httpx", "httpx2", "httpcore", "httpcore2", "ssl"}


@dataclass(frozen=True)
class Pulled:
    """What `pull` got: the file's name in the repository, and the commit that it is from."""

    name: str
    commit: str


def push(
    repository: str,
    files: Mapping[str, Path | bytes],
    *,
    kind: Kind,
    message: str,
    private: bool = False,
    folders: Collection[str] = (),
    tag: str | None = None,
) -> str:
    """Put files into a repository, in one commit. The repository is made if it does not exist.

    Args:
        repository: USER/NAME.
        files: name in the repository -> a file, or its content.
        kind: what the repository holds.
        message: first line of the commit's message.
        private: make a new repository private.
        folders: folders of the repository that get exactly these files: others in them are deleted.
        tag: a tag to put on the commit; it is moved there if it exists.

    Returns:
        The address of the repository.

    Raises:
        CommandError: huggingface_hub or a token is missing, or the Hub refuses or can't be reached.
    """
    check_access(repository)
    hub = _huggingface_hub()
    api = hub.HfApi()
    with _errors(repository, kind), _quiet(hub):
        address = api.create_repo(repository, repo_type=kind, private=private or None, exist_ok=True)
        operations: list[Any] = [
            hub.CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in files.items()
        ]
        there = api.list_repo_files(repository, repo_type=kind)
        operations += [
            hub.CommitOperationDelete(name)
            for name in there
            if name not in files and any(name.startswith(f"{folder}/") for folder in folders)
        ]
        api.create_commit(repository, operations, commit_message=message, repo_type=kind)
        if tag is not None:
            with contextlib.suppress(hub.errors.RevisionNotFoundError):
                api.delete_tag(repository, tag=tag, repo_type=kind)
            api.create_tag(repository, tag=tag, repo_type=kind)
    return str(address)


def check_access(repository: str) -> None:
    """Check before a long command begins that it can push: the package, a token, the repository's name.

    Raises:
        CommandError: one of them is missing or wrong.
    """
    check_name(repository)
    if not _huggingface_hub().get_token():
        raise CommandError(f"no token of the Hub: {_LOG_IN}")


def pull(
    repository: str,
    output: Path,
    *,
    kind: Kind,
    choose: Callable[[list[str]], str],
    revision: str | None = None,
    check: Callable[[Path], object] | None = None,
) -> Pulled:
    """Get one file of a repository. It gets its name only when it is complete and has the Hub's digest.

    Args:
        repository: USER/NAME.
        output: the new file.
        kind: what the repository holds.
        choose: gets the names of all files of the repository, returns the one to get.
        revision: a branch, tag or commit; None: the main branch.
        check: called with the downloaded file before it becomes `output`; raises to refuse it.

    Raises:
        CommandError: `output` exists, huggingface_hub is missing, there is no such repository, revision or
            file, the Hub can't be reached, or the file was damaged on its way.
        OSError: the file can't be written.
    """
    check_name(repository)
    if output.exists():
        raise CommandError(f"{output}: already exists; choose another name")
    if not output.parent.is_dir():
        raise CommandError(f"{output.parent}: no such folder")
    hub = _huggingface_hub()
    api = hub.HfApi()
    aside = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        with _errors(repository, kind), _quiet(hub):
            info = api.repo_info(repository, repo_type=kind, revision=revision)
            commit = str(info.sha)
            name = choose(api.list_repo_files(repository, repo_type=kind, revision=commit))
            (there,) = api.get_paths_info(repository, [name], repo_type=kind, revision=commit)
            got = Path(
                api.hf_hub_download(repository, name, repo_type=kind, revision=commit, local_dir=aside)
            )
        if not _has_digest(got, there):
            raise CommandError(f"{repository}: {name} was damaged on its way; try again")
        if check is not None:
            check(got)
        os.replace(got, output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Pulled(name, commit)


def only_file(repository: str, suffix: str, name: str | None = None) -> Callable[[list[str]], str]:
    """Return a `choose` for `pull`: the file `name`, else the only one at the top with this suffix.

    It raises CommandError if there is none, or there are several.
    """

    def choose(names: list[str]) -> str:
        if name is not None:
            if name in names:
                return name
            raise CommandError(f"{repository}: has no file {name}")
        found = sorted(n for n in names if n.endswith(suffix) and "/" not in n)
        if len(found) == 1:
            return found[0]
        if found:
            raise CommandError(f"{repository}: has {', '.join(found)}; name one with --file")
        raise CommandError(f"{repository}: has no {suffix} file; name another with --file")

    return choose


def check_name(repository: str) -> None:
    """Raise CommandError if this is not the name of a repository: USER/NAME."""
    if not _REPOSITORY.fullmatch(repository):
        raise CommandError(f"{repository}: not a repository of the Hub; write USER/NAME")


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise CommandError("huggingface_hub is missing: pip install 'qwop-stride[hub]'") from None
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise CommandError("HF_HUB_OFFLINE is set: unset it to use the Hub")
    return huggingface_hub


@contextlib.contextmanager
def _quiet(hub: Any) -> Generator[None]:
    """Keep huggingface_hub's warnings from standard error, and its progress bars from what is no terminal."""
    level = hub.logging.get_verbosity()
    bars = not (sys.stderr.isatty() or hub.utils.are_progress_bars_disabled())
    hub.logging.set_verbosity_error()
    if bars:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        hub.logging.set_verbosity(level)
        if bars:
            hub.utils.enable_progress_bars()


def _has_digest(path: Path, there: Any) -> bool:
    """Whether a file is the one of the repository: by its SHA-256, or where it has none, by git's SHA-1."""
    if there.lfs is not None:
        digest, expected = hashlib.sha256(), there.lfs.sha256
    else:
        digest, expected = hashlib.sha1(b"blob %d\0" % path.stat().st_size), there.blob_id
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == expected


@contextlib.contextmanager
def _errors(repository: str, kind: str) -> Generator[None]:
    """Turn the errors of huggingface_hub and of its HTTP client into a CommandError of one line."""
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        message = _message(error, repository, kind)
        if message is None:
            raise
        raise CommandError(message) from None


def _message(error: BaseException, repository: str, kind: str) -> str | None:
    from huggingface_hub import constants, errors

    where = str(constants.ENDPOINT)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"no token of the Hub: {_LOG_IN}"
    if isinstance(error, errors.GatedRepoError):
        return f"{repository}: is gated; accept its conditions on its page, then {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository}: has no such revision"
    if isinstance(error, errors.EntryNotFoundError) and status is not None:
        return f"{repository}: has no such file"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return f"{repository}: no such {kind} on {where}, or it is private: {_LOG_IN}"
    if status == 401:
        return f"{repository}: {where} does not accept the token: {_LOG_IN}"
    if status == 403:
        return f"{repository}: the token may not do this; make one with write access to {repository}"
    if status is not None:
        reason = getattr(error, "server_message", None)
        return f"{repository}: {where} answers {status}" + (f": {reason}" if reason else "; try again later")
    said = " ".join(str(error).split())[:160]
    unusable = f"{repository}: {where} gives an answer that can't be used: {said}"
    if isinstance(error, ValueError):
        return unusable
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__module__.partition(".")[0] in _CLIENTS:
            return f"{where} can't be reached: {type(cause).__name__}; check the network and try again"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.errno:
        return None  # a full disk, for example
    if isinstance(error, OSError):  # huggingface_hub's own, such as a file of the wrong size
        return f"{repository}: {said}"
    return unusable if isinstance(error, RuntimeError) else None
