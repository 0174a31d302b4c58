"""Write constraints.txt, pip's copy of the versions in uv.lock: python tools/constraints.py. It needs uv."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """\
# Written by tools/constraints.py: the versions of uv.lock, which `make run` and `make test` install with pip.
# The ranges are in pyproject.toml.
"""
# pip takes PyPI's torch; its name and number are those of the CPU build.
EXPORT = [
    *("uv", "export", "--quiet", "--frozen", "--no-hashes", "--no-annotate", "--no-header"),
    "--no-emit-project",
    "--extra",
    "cluster",
    "--extra",
    "dev",
    "--extra",
    "docs",
    "--extra",
    "hub",
    "--extra",
    "lerobot",
    "--extra",
    "onnx",
    "--no-group",
    "cpu",
    "--group",
    "cuda",
    "--group",
    "make",
]


def constraints(exported: str) -> str:
    """Reduce the markers of uv's pins "name==version; marker" to conditions on Python's version.

    A package with one version needs no marker: a constraint does not decide whether it is installed.
    """
    pins: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in exported.splitlines():
        pin, _, marker = line.partition(" ; ")
        conditions = [c.strip("() ") for c in marker.split(" or ")[0].split(" and ")]
        python = " and ".join(c for c in conditions if c.startswith("python_full_version"))
        pins[pin.split("==")[0]].append((pin, python))
    lines = [
        f"{pin}; {python}" if len(versions) > 1 else pin
        for versions in pins.values()
        for pin, python in versions
    ]
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    exported = subprocess.run(
        EXPORT, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout
    (ROOT / "constraints.txt").write_text(constraints(exported), encoding="utf-8")
