"""Serve the page's files on this machine."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from qwop_cli import CommandError
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


def serve(port: int = 0, more: Mapping[str, bytes] | None = None) -> ThreadingHTTPServer:
    """Make a server of the page on 127.0.0.1; the caller runs `serve_forever` and `server_close`.

    Args:
        port: 0: a free one, see `server_port`.
        more: further files to serve beside the page, name -> content.

    Raises:
        OSError: the port is taken.
        OverflowError: there is no such port.
    """
    handler = partial(_Handler, directory=str(page_folder()), more=more or {})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def open_page(
    port: int = 0, more: Mapping[str, bytes] | None = None, query: str = "", browser: bool = True
) -> None:
    """Serve the page, print its address and open it, until Ctrl-C.

    Args:
        port: 0: a free one.
        more: further files to serve beside the page, name -> content.
        query: what follows the address's question mark.
        browser: open it in the browser.

    Raises:
        CommandError: the port is taken, or there is no such port.
    """
    try:
        server = serve(port, more)
    except (OSError, OverflowError) as error:
        raise CommandError(f"--port {port}: {error}; choose another") from None
    address = f"http://127.0.0.1:{server.server_port}/{query and '?'}{query}"
    print(f"{address} (Ctrl-C ends the server)", flush=True)
    if browser:
        webbrowser.open(address)
    with server:
        server.serve_forever()


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **_TYPES}

    def __init__(self, *args: Any, more: Mapping[str, bytes], **options: Any) -> None:
        self._more = more
        super().__init__(*args, **options)

    def send_head(self) -> BytesIO | BinaryIO | None:
        name = self.path.partition("?")[0].removeprefix("/")
        content = self._more.get(name)
        if content is None:
            return super().send_head()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type(name))
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        return BytesIO(content)

    def translate_path(self, path: str) -> str:
        if path.partition("?")[0] == f"/{POLICY}":
            return str(shipped_policy_path())
        return super().translate_path(path)

    def log_message(self, format: str, *args: object) -> None:
        pass
