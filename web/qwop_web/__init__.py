"""The web page in which anybody plays the embedded game: `page/` holds all its files.

`python -m qwop_web` opens it from a server on this machine. Any static host serves it as well.
"""

from qwop_web.server import content_type, open_page, page_files, page_folder, serve

__all__ = ["content_type", "open_page", "page_files", "page_folder", "serve"]
