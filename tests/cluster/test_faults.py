"""Lost workers, nodes, heads and drivers: a job ends with all that was done and repeats what was lost."""

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest

from qwop_cli import CommandError
from qwop_cli.cluster import TasksFailedError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_or_skip")]
SQUARES = {i: i * i for i in range(8)}


def calls(folder: Path) -> list[int]:
    files = [folder / f"{i}.calls" for i in range(8)]
    return [len(f.read_text(encoding="utf-8")) if f.exists() else 0 for f in files]


@contextlib.contextmanager
def driver(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """faults.py in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, faults.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_lines(process: subprocess.Popen[str], count: int) -> list[int]:
    return [int(process.stdout.readline()) for _ in range(count)]


def last_line(process: subprocess.Popen[str]) -> dict[int, int]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return {int(k): v for k, v in json.loads(out.splitlines()[-1]).items()}


def test_a_killed_worker_costs_one_more_call_of_its_task(two_nodes, tmp_path):
    assert dict(faults.results(two_nodes.address, "killed_once", tmp_path, None)) == SQUARES
    assert calls(tmp_path) == [1, 1, 2, 1, 1, 1, 1, 1]


def test_a_task_that_dies_each_time_loses_only_its_own_result(two_nodes, tmp_path):
    found = {}
    with pytest.raises(
        TasksFailedError, match=r"1 of 8 tasks failed, the first \(000002\): its process died"
    ):
        for index, result in faults.results(two_nodes.address, "killed_always", tmp_path, None):
            found[index] = result
    assert found == {i: square for i, square in SQUARES.items() if i != 2}
    assert calls(tmp_path)[2] == 6


def test_a_task_without_enough_memory_is_tried_again_and_the_others_end(two_nodes, tmp_path):
    found = {}
    with pytest.raises(TasksFailedError, match=r"1 of 8 tasks failed, the first \(000002\): MemoryError"):
        for index, result in faults.results(two_nodes.address, "too_large", tmp_path, None):
            found[index] = result
    assert found == {i: square for i, square in SQUARES.items() if i != 2}
    assert calls(tmp_path) == [1, 1, 6, 1, 2, 1, 1, 1]


def test_a_task_that_raises_is_not_repeated_until_the_next_job(two_nodes, tmp_path):
    keep = tmp_path / "kept"
    for times in (1, 2):
        with pytest.raises(TasksFailedError, match="no such frame; the same command repeats only these"):
            list(faults.results(two_nodes.address, "wrong", tmp_path, keep))
        assert calls(tmp_path) == [1, 1, times, 1, 1, 1, 1, 1]


def test_a_killed_node_costs_only_the_tasks_that_it_ran(two_nodes, tmp_path):
    with driver(two_nodes.address, "slow", tmp_path) as process:
        before = read_lines(process, 2)
        two_nodes.lose_second()
        try:
            found = last_line(process)
        finally:
            two_nodes.add_second()
    assert found == SQUARES
    counted = calls(tmp_path)
    assert all(counted[i] == 1 for i in before)
    # It has one core, so it ran one task, and may have got the next one before its death was known.
    assert sum(counted) <= 8 + 2


def test_a_killed_driver_goes_on_where_it_was(two_nodes, tmp_path):
    keep = tmp_path / "kept"
    with driver(two_nodes.address, "slow", tmp_path, keep) as process:
        read_lines(process, 3)
        process.kill()
    done = {int(path.stem) for path in keep.glob("[0-9]*.json")}
    assert len(done) >= 3
    before = calls(tmp_path)
    assert dict(faults.results(two_nodes.address, "slow", tmp_path, keep)) == SQUARES
    assert [
        after - b for i, (after, b) in enumerate(zip(calls(tmp_path), before, strict=True)) if i in done
    ] == [0] * len(done)


def test_an_interrupted_driver_ends_its_tasks(two_nodes, tmp_path):
    with driver(two_nodes.address, "slow", tmp_path) as process:
        read_lines(process, 1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode != 0
    begun = sum(calls(tmp_path))
    assert begun < 8
    time.sleep(2)
    assert sum(calls(tmp_path)) == begun
    assert not importlib.import_module("ray").is_initialized()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_restarted_head_costs_only_what_was_not_done(start_head, tmp_path, monkeypatch):
    keep = tmp_path / "kept"
    monkeypatch.setenv("PYTHONPATH", str(Path(faults.__file__).parent))
    cluster = start_head()
    try:
        with driver(cluster.address, "slow", tmp_path, keep) as process:
            read_lines(process, 2)
            cluster.shutdown()
            process.communicate(timeout=120)
            assert process.returncode != 0
        done = len(list(keep.glob("[0-9]*.json")))
        assert 2 <= done < 8
        cluster = start_head()
        with driver(cluster.address, "slow", tmp_path, keep) as process:
            assert last_line(process) == SQUARES
    finally:
        cluster.shutdown()
    assert sum(calls(tmp_path)) <= 8 + 2


WITH_TOKENS = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


def test_a_cluster_that_asks_for_a_token_gets_it(ray_or_skip, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("5" * 64, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(Path(faults.__file__).parent))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with subprocess.Popen(
        [sys.executable, "-c", WITH_TOKENS],
        env=os.environ | {"HOME": str(home), "RAY_AUTH_MODE": "token"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as cluster:
        address = cluster.stdout.readline().strip()
        monkeypatch.setenv("HOME", str(home))
        with driver(address, "square", tmp_path) as process:
            assert last_line(process) == SQUARES
        monkeypatch.setenv("RAY_ADDRESS", address)
        with driver("auto", "square", tmp_path) as process:
            assert last_line(process) == SQUARES
        monkeypatch.setenv("HOME", str(tmp_path))  # without a token
        with driver(address, "square", tmp_path) as process:
            error = process.communicate(timeout=60)[1].splitlines()[-1]
        assert f"--ray {address}: the cluster asks for a token, and this machine has none" in error
        cluster.communicate("\n", timeout=60)


def test_auto_finds_the_cluster_of_this_machine(two_nodes, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        found = dict(faults.results("auto", "square", tmp_path, None))
    except CommandError as error:
        if "multiple active Ray instances" in str(error):
            pytest.skip("another Ray cluster runs on this machine")
        raise
    assert found == SQUARES


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "auto"])
def test_an_address_without_a_cluster_is_one_line(ray_or_skip, address, tmp_path, monkeypatch):
    monkeypatch.setattr("qwop_cli.cluster.on_ray.CONNECT_SECONDS", 8)
    gone = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", gone)  # for auto
    address = address.replace("127.0.0.1:{}", gone)
    with pytest.raises(CommandError, match=f"^--ray {address}: no Ray cluster: "):
        list(faults.results(address, "square", tmp_path, None))
    assert calls(tmp_path) == [0] * 8
