"""`map_tasks` without a cluster, and results kept on disk."""

import importlib.util

import faults
import pytest

from qwop_cli import CommandError
from qwop_cli.cluster import ClusterOptions, TasksFailedError, map_tasks, on_ray
from qwop_evaluation import cli as evaluation_cli

SQUARES = {i: i * i for i in range(8)}


def results(name, folder, keep=None, **more):
    kept = None if keep is None else faults.kept(keep, name)
    return map_tasks(getattr(faults, name), str(folder), list(range(8)), kept=kept, show=False, **more)


def test_here_and_in_a_pool_the_results_are_the_same(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(results("square", tmp_path)) == list(SQUARES.items())
    monkeypatch.setenv("PYTHONPATH", faults.__file__.rpartition("/")[0])
    assert dict(results("square", tmp_path, workers=2)) == SQUARES


def test_a_task_that_raises_does_not_stop_the_others(tmp_path):
    found = {}
    with pytest.raises(TasksFailedError, match=r"^1 of 8 tasks failed, the first \(000002\): no such frame$"):
        for index, result in results("wrong", tmp_path):
            found[index] = result
    assert found == {i: s for i, s in SQUARES.items() if i != 2}


def test_a_single_task_raises_its_own_error(tmp_path):
    with pytest.raises(ValueError, match="^no such frame$"):
        list(map_tasks(faults.wrong, str(tmp_path), [2], show=False))


def test_kept_results_are_not_computed_again(tmp_path):
    keep = tmp_path / "kept"
    first = results("square", tmp_path, keep)
    assert [next(first), next(first)] == [(0, 0), (1, 1)]
    first.close()
    assert sorted(path.name for path in keep.iterdir()) == ["000000.json", "000001.json", "job.json"]
    assert dict(results("square", tmp_path, keep)) == SQUARES
    calls = [len((tmp_path / f"{i}.calls").read_text(encoding="utf-8")) for i in range(8)]
    assert calls == [1] * 8


def test_a_damaged_result_is_one_line(tmp_path):
    list(results("square", tmp_path, tmp_path / "kept"))
    (tmp_path / "kept" / "000003.json").write_text("9 tons", encoding="utf-8")
    with pytest.raises(CommandError, match=r"000003.json: damaged \(.*\): delete it, and"):
        list(results("square", tmp_path, tmp_path / "kept"))


def test_a_folder_belongs_to_one_job(tmp_path):
    list(results("square", tmp_path, tmp_path / "kept"))
    with pytest.raises(CommandError, match="holds the tasks of another job: name was square, now wrong"):
        list(results("wrong", tmp_path, tmp_path / "kept"))
    with pytest.raises(CommandError, match="is not a folder of tasks"):
        list(results("square", tmp_path, tmp_path))
    (tmp_path / "kept" / "job.json").write_text("[", encoding="utf-8")
    with pytest.raises(CommandError, match="can't be used"):
        list(results("square", tmp_path, tmp_path / "kept"))


def test_without_ray_the_flag_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ray" else real(name))
    with pytest.raises(
        CommandError, match=r"^--ray: Ray is not installed: pip install 'qwop-stride\[cluster\]'$"
    ):
        list(results("square", tmp_path, options=ClusterOptions("local")))
    assert evaluation_cli.main(["--episodes", "1", "--ray", "local"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("qwop-eval: --ray: Ray is not installed")


class Cluster:
    """A stand-in for `ray` with one node, which joins after some questions."""

    def __init__(self, joins_after):
        self.questions, self.joins_after = 0, joins_after

    def nodes(self):
        self.questions += 1
        cores = {"CPU": 3.0} if self.questions > self.joins_after else {}
        return [{"NodeID": "first", "Alive": True, "Resources": cores}]


def test_a_node_may_join_after_the_head(monkeypatch):
    monkeypatch.setattr(on_ray, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(on_ray, "NODES_SECONDS", 0.0)
    assert not on_ray._Nodes(Cluster(10**9), cpus=1).wait_for_one(0.0)
    assert not on_ray._Nodes(Cluster(0), cpus=4).wait_for_one(0.0)  # too small
    nodes = on_ray._Nodes(Cluster(5), cpus=1)
    assert nodes.wait_for_one(60.0)
    assert [nodes.take() for _ in range(4)] == ["first", "first", "first", None]
    nodes.give_back("first")
    assert nodes.take() == "first"
    nodes.give_back("first")
    nodes.distrust("first")
    assert nodes.take() is None
