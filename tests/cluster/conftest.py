"""A Ray cluster of two nodes on this machine: two raylets with different resources."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_raylet_start_wait_time_s"] = "60"  # noqa: SIM112 (for a busy machine)

FAULTS = Path(__file__).with_name("faults.py")
sys.path.insert(0, str(FAULTS.parent))  # tests and Ray's workers import its functions by name
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (on a busy machine, Ray's 15 starves workers)


@dataclass
class TwoNodes:
    """Two raylets. `second` has the resource "second"."""

    cluster: Any
    second: Any

    @property
    def address(self) -> str:
        return self.cluster.address

    def lose_second(self) -> None:
        """Kill the second node's processes, as a power failure does."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def add_second(self) -> None:
        self.second = tried(lambda: self.cluster.add_node(num_cpus=1, resources={"second": 8}))


@pytest.fixture(scope="session")
def ray_or_skip() -> Any:
    return pytest.importorskip("ray", reason="Ray is not installed: pip install 'qwop-stride[cluster]'")


def tried(start: Callable[[], Any]) -> Any:
    """Start a node, up to four times: Ray gives the Python part of a node only 15 s."""
    for attempt in range(4):
        try:
            return start()
        except Exception as error:
            if attempt == 3 or "during startup" not in str(error):
                raise
    return None


@pytest.fixture(scope="session")
def start_head(ray_or_skip: Any) -> Callable[..., Any]:
    """A function that starts a cluster of one node on this machine."""
    cluster = importlib.import_module("ray.cluster_utils").Cluster

    def start(**arguments: Any) -> Any:
        return tried(lambda: cluster(initialize_head=True, head_node_args={"num_cpus": 1, **arguments}))

    return start


@pytest.fixture(scope="session")
def two_nodes(start_head: Callable[..., Any]) -> Iterator[TwoNodes]:
    before = os.environ.get("PYTHONPATH", "")
    # Workers find the functions of faults.py, as a node finds those of the installed packages.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FAULTS.parent), before])
    cluster = start_head(resources={"first": 8})
    nodes = TwoNodes(cluster, None)
    try:
        nodes.add_second()
        yield nodes
    finally:
        cluster.shutdown()
        os.environ["PYTHONPATH"] = before
