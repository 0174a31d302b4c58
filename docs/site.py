"""Hooks of mkdocs: pages of README, CHANGELOG and notebooks; links out of docs/ to the repository."""

from __future__ import annotations

import base64
import re
from pathlib import Path, PurePosixPath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BADGE = re.compile(r"\[!\[[^]]*\]\(https://colab[^)]*\.svg\)\]")  # a picture from another host
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the front page and the changelog, and turn each notebook into a Markdown page with its pictures."""
    for name, source in (("index.md", "README.md"), ("changelog.md", "CHANGELOG.md")):
        text = LINK.sub(
            lambda link: link[1].removeprefix("docs/") if link[1].startswith("docs/") else "../" + link[1],
            (ROOT / source).read_text(encoding="utf-8"),
        )
        files.append(File.generated(config, name, content=text))
    page = ROOT / "web" / "qwop_web" / "page"
    for path in [*page.iterdir(), ROOT / "demos" / "policy.safetensors"]:
        files.append(File.generated(config, f"play/{path.name}", content=path.read_bytes()))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
        page = PurePosixPath(notebook.src_uri).with_suffix(".md")
        text, pictures = notebook_page(Path(str(notebook.abs_src_path)), page.stem)
        files.append(File.generated(config, str(page), content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, str(page.parent / name), content=content))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replace the names of notebooks in the navigation by those of their pages."""
    config.nav = _renamed(config.nav)
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links to files outside docs/ to the repository."""
    here = ROOT / "docs" / PurePosixPath(page.file.src_uri).parent

    def outside(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        if not target.exists() or target.is_relative_to(ROOT / "docs"):
            return link[1]
        return f"{config.extra['repository']}/blob/main/{target.relative_to(ROOT).as_posix()}"

    return LINK.sub(outside, markdown)


def notebook_page(path: Path, stem: str) -> tuple[str, dict[str, bytes]]:
    """Convert a notebook's cells and stored outputs to Markdown and pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(BADGE.sub("[Open in Colab]", cell.source).replace(".ipynb)", ".md)"))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{stem}-{len(pictures)}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![Output of the cell above]({name})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n", pictures


def _renamed(nav: object) -> object:
    if isinstance(nav, list):
        return [_renamed(entry) for entry in nav]
    if isinstance(nav, dict):
        return {title: _renamed(entry) for title, entry in nav.items()}
    return str(nav).replace(".ipynb", ".md")
