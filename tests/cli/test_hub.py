"""Files of the Hugging Face Hub, against a stand-in of its HTTP interface."""

import builtins
import os
import sys

import pytest

from qwop_cli import CommandError
from qwop_cli.hub import Kind, only_file, pull, push

RUNS = bytes(range(256)) * 40
CONTENT = {"README.md": b"# Runs\n", "runs.h5": RUNS, "data/a.parquet": b"PAR1", "empty": b""}


def pushed(tmp_path, kind: Kind = "dataset", **options):
    (tmp_path / "runs.h5").write_bytes(RUNS)
    files = CONTENT | {"runs.h5": tmp_path / "runs.h5"}
    return push("ann/runs", files, kind=kind, message="Add runs", **options)


def pulled(tmp_path, name=None, suffix=".h5", kind: Kind = "dataset", **options):
    got = pull("ann/runs", tmp_path / "got", kind=kind, choose=only_file("ann/runs", suffix, name), **options)
    return got, (tmp_path / "got").read_bytes()


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_what_is_pushed_comes_back(hub, tmp_path, kind):
    address = pushed(tmp_path, kind)
    assert address == f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}ann/runs"
    repository = hub.repositories[kind, "ann/runs"]
    assert repository.files == CONTENT and not repository.private
    got, content = pulled(tmp_path, kind=kind)
    assert (got.name, got.commit, content) == ("runs.h5", repository.sha, RUNS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["got", "runs.h5"]


@pytest.mark.parametrize("name", ["README.md", "data/a.parquet", "empty"])
def test_a_file_by_its_name(hub, tmp_path, name):
    pushed(tmp_path, private=True)
    assert hub.repositories["dataset", "ann/runs"].private
    assert pulled(tmp_path, name)[1] == CONTENT[name]


def test_a_second_push_replaces_its_folders_and_keeps_the_rest(hub, tmp_path):
    pushed(tmp_path)
    first = hub.repositories["dataset", "ann/runs"].sha
    push("ann/runs", {"data/b.parquet": b"PAR2"}, kind="dataset", message="More", folders=["data"])
    files = hub.repositories["dataset", "ann/runs"].files
    assert sorted(files) == ["README.md", "data/b.parquet", "empty", "runs.h5"]
    assert pulled(tmp_path, "data/a.parquet", revision=first)[1] == b"PAR1"


def test_a_tag_moves_to_the_newest_commit(hub, tmp_path):
    for content in (b"1", b"2"):
        push("ann/runs", {"a": content}, kind="dataset", message="x", tag="v3.0")
        repository = hub.repositories["dataset", "ann/runs"]
        assert repository.tags == {"v3.0": repository.sha} and repository.files == {"a": content}


def test_one_file_of_a_kind_is_found_and_several_are_asked_about():
    assert only_file("a/b", ".h5")(["x.h5", "data/y.h5"]) == "x.h5"
    with pytest.raises(CommandError, match="has x.h5, z.h5; name one with --file"):
        only_file("a/b", ".h5")(["z.h5", "x.h5"])
    with pytest.raises(CommandError, match="has no .h5 file"):
        only_file("a/b", ".h5")(["README.md"])
    with pytest.raises(CommandError, match="has no file q"):
        only_file("a/b", ".h5", "q")(["x.h5"])


def faults(hub, tmp_path, monkeypatch):
    """Each fault: the message, and what brings it about."""

    def answer(status, **headers):
        hub.answer = (status, {name.replace("_", "-"): value for name, value in headers.items()})

    def damage(change):
        hub.damage = change

    def constant(name, value):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)

    def token(text):
        monkeypatch.setenv("HF_TOKEN", text)

    return {
        "no token": ("push", lambda: token(""), "no token of the Hub: log in with `hf auth login`"),
        "a wrong token": ("both", lambda: token("hf_wrong"), "does not accept the token"),
        "a read token": ("push", lambda: token(hub.read_token), "the token may not do this"),
        "no server": ("both", lambda: constant("ENDPOINT", "http://127.0.0.1:9"), ":9 can't be reached"),
        "404": ("pull", lambda: hub.repositories.clear(), "no such dataset on http"),
        "a server's error": ("both", lambda: answer(500), "answers 500"),
        "a gate": ("pull", lambda: answer(403, X_Error_Code="GatedRepo"), "is gated"),
        "offline": ("both", lambda: constant("HF_HUB_OFFLINE", True), "HF_HUB_OFFLINE is set"),
        "damage": ("pull", lambda: damage(lambda c: c[:-1] + b"\1"), "runs.h5 was damaged on its way"),
        "a short file": ("pull", lambda: damage(lambda c: c[:-1]), "ann/runs: "),
        "an existing file": ("pull", lambda: (tmp_path / "got").write_bytes(b""), "got: already exists"),
    }  # fmt: skip


@pytest.mark.parametrize("fault", list(faults(None, None, None)))
def test_a_fault_is_one_line_and_leaves_nothing(hub, tmp_path, monkeypatch, fault):
    pushed(tmp_path)
    before = dict(hub.repositories["dataset", "ann/runs"].files)
    direction, arrange, message = faults(hub, tmp_path, monkeypatch)[fault]
    arrange()
    names = sorted(tmp_path.iterdir())
    for move in {"push": [pushed], "pull": [pulled], "both": [pushed, pulled]}[direction]:
        with pytest.raises(CommandError) as error:
            move(tmp_path)
        assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == names
    if hub.repositories:
        assert hub.repositories["dataset", "ann/runs"].files == before


def test_a_private_repository_needs_a_token(hub, tmp_path, monkeypatch):
    pushed(tmp_path, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(CommandError, match="no such dataset on http.*, or it is private: log in"):
        pulled(tmp_path)


def test_a_revision_and_a_name_that_do_not_exist(hub, tmp_path):
    pushed(tmp_path)
    with pytest.raises(CommandError, match="ann/runs: has no such revision"):
        pulled(tmp_path, revision="v9")
    for name in ("runs", "a/b/c", "../x/y", "ann/", "a b/c"):
        with pytest.raises(CommandError, match="not a repository of the Hub; write USER/NAME"):
            push(name, {}, kind="dataset", message="x")
    with pytest.raises(CommandError, match="no such folder"):
        pull("ann/runs", tmp_path / "no" / "x", kind="dataset", choose=only_file("ann/runs", ".h5"))


def test_a_file_that_the_caller_refuses_is_not_kept(hub, tmp_path):
    pushed(tmp_path)

    def refuse(path):
        assert path.read_bytes() == RUNS
        raise CommandError("not a dataset")

    with pytest.raises(CommandError, match="not a dataset"):
        pulled(tmp_path, check=refuse)
    assert [p.name for p in tmp_path.iterdir()] == ["runs.h5"]


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *rest):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CommandError, match=r"pip install 'qwop-stride\[hub\]'"):
        push("ann/runs", {}, kind="dataset", message="x")


def test_the_tests_reach_this_machine_only(hub):
    assert os.environ["HF_ENDPOINT"].startswith("http://127.0.0.1:")
