"""The flags of commands whose work splits into independent tasks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ClusterOptions:
    """Where the tasks of a command run, and where their results are kept."""

    ray: str | None = None
    """Run the tasks on a Ray cluster: HOST:PORT or ray://HOST:PORT of its head, auto (the one that runs
    on this machine), or local (start one here). Needs qwop-stride[cluster]; see docs/guides/cluster.md."""
    tasks: Path | None = None
    """Folder that keeps the result of every task. The same command then repeats only what is missing, also
    after a crash."""

    @property
    def wanted(self) -> bool:
        """Whether the work is to be split into tasks that run elsewhere or are kept."""
        return self.ray is not None or self.tasks is not None
