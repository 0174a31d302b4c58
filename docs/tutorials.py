"""Run the tutorials with their own settings and store their outputs: python docs/tutorials.py [NAME ...]

The site and GitHub show the stored outputs. The tests run the same notebooks with smaller settings.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]


def run(path: Path) -> float:
    """Run a notebook in the repository's root and store its outputs. Returns the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
    ).execute()
    for cell in notebook.cells:
        # Drop stderr: it has warnings of other packages, with paths of this machine.
        cell.get("outputs", [])[:] = [o for o in cell.get("outputs", []) if o.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)
    return time.perf_counter() - started


def main() -> None:
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for path in sorted((ROOT / "docs" / "tutorials").glob("*.ipynb")):
        if path.stem in (sys.argv[1:] or [path.stem]):
            print(f"{path.stem}: {run(path):.0f} s", flush=True)


if __name__ == "__main__":
    main()
