"""The repository's shape: no package is hidden, what is installed resolves, imports flow one way."""

import ast
import importlib
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import entry_points
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

COMMANDS = {
    "qwop-run": "qwop_stride.run:main",
    "qwop-game": "qwop_game.real.cli:main",
    "qwop-record": "qwop_recorder.cli:main",
    "qwop-data": "qwop_datasets.cli:main",
    "qwop-bc": "qwop_bc.cli:main",
    "qwop-finetune": "qwop_finetune.cli:main",
    "qwop-eval": "qwop_evaluation.cli:main",
    "qwop-replay": "qwop_replay.cli:main",
    "qwop-policy": "qwop_policy.cli:main",
    "qwop-coach": "qwop_replay.coach_cli:main",
    "qwop-rewards": "qwop_rewards.cli:main",
    "qwop-search": "qwop_search.cli:main",
    "qwop-sweep": "qwop_sweep.cli:main",
    "qwop-benchmark": "qwop_benchmark.cli:main",
}


# Modules that siblings may import beside the package itself: they are heavy, or a subject of their own.
PUBLIC_MODULES = {
    "qwop_cli.cluster",
    "qwop_cli.hub",
    "qwop_datasets.film",
    "qwop_datasets.video",
    "qwop_game.body",
    "qwop_game.encoder",
    "qwop_game.gait",
    "qwop_game.geometry",
    "qwop_game.observation",
    "qwop_game.real",
    "qwop_game.render",
    "qwop_game.rules",
    "qwop_game.scenery",
    "qwop_game.window",
    "qwop_rl_core.dqn",
    "qwop_rl_core.expert_iteration",
    "qwop_rl_core.ppo",
    "qwop_rl_core.pqn",
}


def allowed_imports() -> dict[str, set[str]]:
    """The table "Who imports whom" of docs/design/architecture.md: package -> packages it may import."""
    text = (ROOT / "docs" / "design" / "architecture.md").read_text(encoding="utf-8")
    section = text.split("## Who imports whom")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| qwop_")]
    return {package.strip(): set(allowed.replace(",", " ").split()) for package, allowed in rows}


ALLOWED = allowed_imports()


def folder(package: str) -> Path:
    return ROOT / package.removeprefix("qwop_") / package


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package; the package itself under its own name."""
    names = {}
    for path in folder(package).rglob("*.py"):
        parts = path.relative_to(folder(package).parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imported_names(nodes: list[ast.AST], package: str) -> set[str]:
    """Dotted names that the imports of a module in `package` ask for; `from a import b` gives `a.b`."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def package_of(module: str, path: Path) -> str:
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def import_time_nodes(tree: ast.Module) -> list[ast.AST]:
    """Every node that runs when the module is imported: function bodies and TYPE_CHECKING blocks left out."""
    nodes, pending = [], list(ast.iter_child_nodes(tree))
    while pending:
        node = pending.pop()
        type_checking = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if type_checking or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        nodes.append(node)
        pending.extend(ast.iter_child_nodes(node))
    return nodes


def resolved_module(name: str, known: set[str]) -> str | None:
    """The longest prefix of a dotted name that is one of our modules."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in known:
            return prefix
    return None


def run_python(code: str, cwd: Path) -> str:
    """Run code with `cwd` on sys.path and without a display; its output."""
    environment = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_datasets_is_not_a_package() -> None:
    assert not (ROOT / "datasets" / "__init__.py").exists(), "it would hide the package imitation imports"


def test_imitation_finds_its_datasets_package_from_the_repository_root() -> None:
    output = run_python("import imitation.data.serialize, datasets; print(datasets.__file__)", cwd=ROOT)
    path = Path(output.splitlines()[-1])
    assert ROOT / "datasets" not in path.parents
    assert path.name == "__init__.py"


def test_every_package_and_command_resolves_without_a_display(tmp_path: Path) -> None:
    installed = {script.name: script.value for script in entry_points(group="console_scripts")}
    assert {name: installed.get(name) for name in COMMANDS} == COMMANDS
    run_python(
        "from importlib import import_module\n"
        f"for package in {sorted(ALLOWED)!r}:\n"
        "    import_module(package)\n"
        f"for target in {sorted(COMMANDS.values())!r}:\n"
        "    module, _, function = target.partition(':')\n"
        "    assert callable(getattr(import_module(module), function)), target\n",
        cwd=tmp_path,
    )


def test_table_of_imports_names_every_package_and_has_no_cycle() -> None:
    on_disk = {path.name for path in ROOT.glob("*/qwop_*") if path.is_dir() and any(path.glob("*.py"))}
    assert set(ALLOWED) == on_disk
    assert ALLOWED["qwop_rl_core"] == set()
    list(TopologicalSorter(ALLOWED).static_order())  # raises CycleError


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_what_it_may(package: str) -> None:
    asked_for = {}
    for module, path in modules(package).items():
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        for name in imported_names(nodes, package_of(module, path)):
            asked_for.setdefault(name.split(".")[0], module)
    forbidden = set(ALLOWED) - ALLOWED[package] - {package}
    found = {name: module for name, module in asked_for.items() if name in forbidden}
    assert not found, f"{package} may not import these (docs/design/architecture.md): {found}"
    assert modules(package), f"{folder(package)} has no modules"


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_siblings_import_each_other_through_the_package(package: str) -> None:
    deep = []
    for module, path in modules(package).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}: write absolute imports"
                sibling = (node.module or "").split(".")[0]
                inside = sibling == package or node.module in PUBLIC_MODULES | set(ALLOWED)
                if sibling in ALLOWED and not inside:
                    deep.append(f"{module}: {ast.unparse(node)}")
    assert not deep


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_is_typed_and_every_public_name_resolves(package: str) -> None:
    assert (folder(package) / "py.typed").is_file()
    names = importlib.import_module(package).__all__
    assert names and all(hasattr(importlib.import_module(package), name) for name in names)


def test_no_module_imports_itself_in_a_circle() -> None:
    files = {name: path for package in ALLOWED for name, path in modules(package).items()}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        nodes = import_time_nodes(ast.parse(path.read_text(encoding="utf-8")))
        names = imported_names(nodes, package_of(module, path))
        targets = {resolved_module(name, set(files)) for name in names}
        graph[module] = {target for target in targets if target and target != module}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert "qwop_game.keys" in graph  # the walk found modules at all


def test_relative_imports_are_resolved_as_python_does() -> None:
    tree = ast.parse("from . import a\nfrom .b import c\nfrom .. import d\nimport e.f")
    assert imported_names(list(tree.body), "p.q") == {"p.q.a", "p.q.b.c", "p.d", "e.f"}
