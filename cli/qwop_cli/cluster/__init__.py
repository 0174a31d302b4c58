"""Run independent tasks: in this process, in a pool of processes, or on a Ray cluster."""

from qwop_cli.cluster.kept import KeptResults
from qwop_cli.cluster.options import ClusterOptions
from qwop_cli.cluster.tasks import TasksFailedError, map_tasks

__all__ = ["ClusterOptions", "KeptResults", "TasksFailedError", "map_tasks"]
