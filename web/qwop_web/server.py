"""Serve the page's files on this machine."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

from qwop_evaluation import shipped_policy_path

POLICY = "/policy.safetensors"


def page_folder() -> Path:
    """The folder with the page's files, all but the policy, which the page loads from beside them."""
    return Path(str(files("qwop_web"))) / "page"


def serve(port: int = 0) -> ThreadingHTTPServer:
    """Make a server of the page on 127.0.0.1; the caller runs `serve_forever` and `server_close`.

    Args:
        port: 0: a free one, see `server_port`.

    Raises:
        OSError: the port is taken.
    """
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(page_folder())))


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",  # some systems say text/plain, which no browser runs as a module
        ".wasm": "application/wasm",
    }

    def translate_path(self, path: str) -> str:
        if path.partition("?")[0] == POLICY:
            return str(shipped_policy_path())
        return super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        pass
