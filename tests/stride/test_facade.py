"""`import qwop_stride as qs`: all names are there and typed; nothing heavy is imported before it is used."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import qwop_stride as qs


def test_names_for_people_and_for_type_checkers_are_the_same():
    tree = ast.parse(Path(str(qs.__file__)).read_text(encoding="utf-8"))
    imported = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("qwop_")
        for alias in node.names
    }
    assert imported | {"__version__"} == set(qs.__all__) == set(dir(qs))


def test_names_are_those_of_the_packages():
    import qwop_bc
    import qwop_datasets

    assert qs.clone is qwop_bc.clone and qs.Dataset is qwop_datasets.DatasetReader
    assert qs.__version__ == metadata.version("qwop-stride")
    assert not hasattr(qs, "nothing")


def test_importing_it_imports_neither_torch_nor_pygame():
    heavy = "{'torch', 'pygame', 'imitation'}"
    code = f"import sys, qwop_stride as qs; qs.Simulator; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8")
    assert result.stdout.strip() == "set()", result.stderr


def test_from_a_dataset_to_a_judged_policy(tmp_path):
    demos = Path(__file__).parents[2] / "demos" / "demos.h5"
    config = qs.CloneConfig(epochs=1, play_episodes=2, hidden=(32,))
    clone = qs.clone(demos, out=tmp_path / "clone.safetensors", config=config, where="number<3")
    judged = qs.evaluate(clone.path, episodes=2, max_seconds=5)
    assert len(judged.episodes) == 2 and 0 <= judged.summary.finish_rate <= 1
    policy = qs.Policy.load(clone.path)
    assert policy.metadata["kind"] == "policy"
    runs = qs.replay(judged.episodes[0], html=tmp_path / "run.html")
    assert runs[0].verification.exact and (tmp_path / "run.html").exists()
