"""Serve the page's files on this machine."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

from qwop_evaluation import shipped_policy_path

POLICY = "policy.safetensors"
_TYPES = {  # some systems say text/plain of JavaScript, which no browser runs as a module
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".wasm": "application/wasm",
}


def page_folder() -> Path:
    """The folder with the page's files, all but the policy, which the page loads from beside them."""
    return Path(str(files("qwop_web"))) / "page"


def page_files() -> dict[str, Path]:
    """Every file of the page, the policy included: name -> where it lies."""
    return {path.name: path for path in page_folder().iterdir()} | {POLICY: shipped_policy_path()}


def content_type(name: str) -> str:
    """The media type of a file of the page."""
    return _TYPES.get(Path(name).suffix, "application/octet-stream")


def serve(port: int = 0) -> ThreadingHTTPServer:
    """Make a server of the page on 127.0.0.1; the caller runs `serve_forever` and `server_close`.

    Args:
        port: 0: a free one, see `server_port`.

    Raises:
        OSError: the port is taken.
    """
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(page_folder())))


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **_TYPES}

    def translate_path(self, path: str) -> str:
        if path.partition("?")[0] == f"/{POLICY}":
            return str(shipped_policy_path())
        return super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        pass
