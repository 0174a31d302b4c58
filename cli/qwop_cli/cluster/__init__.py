"""Run independent tasks: in this process, in a pool of processes, or on a Ray cluster."""

from qwop_cli.cluster.kept import KeptResults
from qwop_cli.cluster.on_ray import RETRIES, check_same_version, own_version, ray_cluster
from qwop_cli.cluster.options import ClusterOptions
from qwop_cli.cluster.tasks import TasksFailedError, map_tasks

__all__ = [
    "RETRIES",
    "ClusterOptions",
    "KeptResults",
    "TasksFailedError",
    "check_same_version",
    "map_tasks",
    "own_version",
    "ray_cluster",
]
