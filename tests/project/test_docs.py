"""The documentation agrees with the code: names, flags, links, metrics. Its tutorials and examples run."""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import nbformat
import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("[a-z]*/README.md"),
        ROOT / "game/engine/README.md",
    ]
    if path.relative_to(ROOT).parts[0] not in ("build", "dist", "runs")
)
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS: dict[str, str] = PROJECT["scripts"]
FOLDERS = sorted(
    {path.parent.parent.name for path in ROOT.glob("*/qwop_*/__init__.py")}
    | {"docs", "tests", "demos", "benchmarks"}
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    """The page; of a notebook its cells, code as fenced blocks."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(
        cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```" for cell in cells
    )


def code_of(text: str) -> list[str]:
    """Inline code and lines of code blocks, continuation lines joined."""
    text = text.replace("\\\n", " ")
    blocks = [block for _, block in FENCE.findall(text)]
    prose = FENCE.sub("", text)
    indented = re.findall(r"^(?:    |\t)(.*)$", prose, re.MULTILINE)
    inline = re.findall(
        r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"^(?:    |\t).*$", "", prose, flags=re.MULTILINE)
    )
    lines = [line for block in blocks for line in block.splitlines()] + indented + inline
    return [re.sub(r"\s+", " ", line).strip().removeprefix("!") for line in lines]


@functools.cache
def help_of(command: str, *words: str) -> str:
    """The help that the command prints when `words` stand before --help."""
    module, function = COMMANDS[command].split(":")
    out = io.StringIO()
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "400"  # so that no flag is broken in two
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                getattr(import_module(module), function)([*words, "--help"])
            except SystemExit:
                pass
    finally:
        os.environ.pop("COLUMNS") if columns is None else os.environ.update(COLUMNS=columns)
    return out.getvalue()


def flags_of(command: str, words: list[str]) -> set[str]:
    """The flags that the command takes, which for some depend on a subcommand or on other flags."""
    return set(re.findall(r"--[a-z][\w.-]*", help_of(command, *words)))


def subcommands_of(command: str) -> set[str]:
    """The subcommands that the help lists; none for most commands."""
    return set(re.findall(r"^\W*• ([a-z]+) ", help_of(command), re.MULTILINE))


def choosing(command: str, words: list[str]) -> list[str]:
    """What decides which flags hold: the subcommand, and the algorithm of a fine-tuning."""
    if subcommands_of(command):
        return words[:1] if words and not words[0].startswith("-") else []
    if "--algorithm" in words:
        at = words.index("--algorithm")
        return words[at : at + 2]
    return []


def usages(path: Path) -> list[tuple[str, list[str]]]:
    """Every use of a command of ours in the page: name, words behind it."""
    found = []
    for code in code_of(text_of(path)):
        for match in re.finditer(r"(?<![\w/-])qwop-[a-z]+\b(?![\w/.-])([^|;#)]*)", code):
            name = match[0].split()[0]
            if name in COMMANDS:
                with contextlib.suppress(ValueError):
                    words = shlex.split(match[0])[1:]
                    own = words[: words.index("--")] if "--" in words else words
                    found.append((name, own))
                    if name == "qwop-sweep" and own != words:  # behind -- are flags of its trainings
                        found.append(("qwop-finetune", words[len(own) + 1 :]))
    return found


def test_there_is_something_to_check() -> None:
    assert len(PAGES) > 30 and len(NOTEBOOKS) == 5
    assert sum(len(usages(path)) for path in [*PAGES, *NOTEBOOKS]) > 100


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=page_name)
def test_every_command_and_flag_exists(path: Path) -> None:
    wrong = []
    for command, words in usages(path):
        flags = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
        subcommands = subcommands_of(command)
        if subcommands and words and re.match(r"[a-z]+$", words[0]) and words[0] not in subcommands:
            wrong.append(f"{command} {words[0]}")
            continue
        unknown = flags - flags_of(command, choosing(command, words)) - {"--help"}
        wrong += [f"{command} {' '.join(words[:1])}: {flag}" for flag in sorted(unknown)]
    assert not wrong


def flags_in(source: str) -> set[str]:
    """The flags of a script: those that it names, and the fields of the classes that parse_config fills."""
    tree = ast.parse(source)
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("parse_config", "tyro.cli")
    ]
    named = {node.id for call in calls for node in ast.walk(call) if isinstance(node, ast.Name)}
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name in named]
    assert bool(calls) == bool(classes), "parse_config must name a dataclass of the same script"
    fields = [
        statement.target.id
        for node in classes
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if "Positional" not in ast.unparse(statement.annotation)
    ]
    flags = {f"--{name.replace('_', '-')}" for name in fields}
    return flags | set(re.findall(r"\"(--[a-z][\w-]*)\"", source))


def test_flags_are_found_in_the_source_of_a_script() -> None:
    source = """
class Options:
    file: Annotated[Path, tyro.conf.Positional]
    frame_skip: int = 4
    json: Flag = False

class Row:
    median: float

parser.add_argument("--old")
parse_config("script", Options, None)
"""
    assert flags_in(source) == {"--frame-skip", "--json", "--old"}


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=page_name)
def test_every_flag_named_alone_is_a_flag_of_some_command(path: Path) -> None:
    everywhere = {"--help", "--frozen"}
    for command in COMMANDS:
        everywhere |= flags_of(command, [])
    algorithms = [["--algorithm", name] for name in ("ddqn", "pqn", "expert-iteration")]
    for words in (*algorithms, ["--init", str(ROOT / "demos" / "policy.safetensors")]):
        everywhere |= flags_of("qwop-finetune", words)
    for command in COMMANDS:
        for subcommand in subcommands_of(command):
            everywhere |= flags_of(command, [subcommand])
    scripts = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "demos").glob("*.py"), ROOT / "hatch_build.py"]
    for script in scripts:
        everywhere |= flags_in(script.read_text(encoding="utf-8"))
    prose = FENCE.sub("", text_of(path))
    named = set(re.findall(r"`(--[a-z][\w.-]*)[^`]*`", prose))
    assert not named - everywhere


def names_in(path: Path) -> set[str]:
    """Dotted names of our packages, and what fenced Python imports from them."""
    text = text_of(path)
    names = set(re.findall(r"(?<![\w/.\"])(qwop_[a-z_]+(?:\.\w+)+)(?![\w/])", text))
    for language, block in FENCE.findall(text):
        if language != "python":
            continue
        lines = [line for line in block.splitlines() if not re.match(r"\s*[!%]", line)]
        with contextlib.suppress(SyntaxError):
            for node in ast.walk(ast.parse("\n".join(lines))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qwop_"):
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def exists(name: str) -> bool:
    """Whether a dotted name of our packages is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return part in getattr(found, "__dataclass_fields__", {})
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=page_name)
def test_every_python_name_exists(path: Path) -> None:
    files = (".py", ".md", ".h5", ".hpp", ".cpp", ".html", ".js", ".so")
    assert not [n for n in sorted(names_in(path)) if not n.endswith(files) and not exists(n)]


@functools.cache
def words_of_the_code() -> frozenset[str]:
    """Every word of the sources: Python, C++, JavaScript, settings."""
    endings = {".py", ".cpp", ".hpp", ".h", ".js", ".html", ".toml", ".txt"}
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    words: set[str] = set()
    for path in files:
        if (path.suffix in endings or path.name == "Makefile") and path != Path(__file__):
            words |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(words)


OTHERS = {"GymWrapper", "RecordVideo"}
"""Names of other projects, or of the operating system."""


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=page_name)
def test_every_identifier_exists(path: Path) -> None:
    """Names in inline code that can only be code: with an underscore, in CamelCase, or called."""
    if path.name == "CHANGELOG.md":
        pytest.skip("it also names what is gone")
    prose = FENCE.sub("", text_of(path))
    wrong = []
    for code in re.findall(r"`([^`\n]+)`", prose):
        for name in re.findall(r"^(?:\w+\.)*(\w+)(?:\(.*\))?$", code):
            looks_like_code = "_" in name.strip("_") or re.match(r"[A-Z][a-z]+[A-Z]", name) or "(" in code
            if looks_like_code and name not in words_of_the_code() | OTHERS:
                wrong.append(name)
    assert not wrong


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=page_name)
def test_every_file_and_link_exists(path: Path) -> None:
    text = text_of(path)
    prose = FENCE.sub("", text)
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        to = (path.parent / target).resolve() if target else path
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors_of(to)):
            wrong.append(link)
    # Files named in code, from the repository's root; after a colon (git show COMMIT:FILE), one of the past.
    for name in re.findall(
        rf"(?<![\w./:-])((?:{'|'.join(FOLDERS)})/[\w./-]+\.(?:py|md|h5|json|hpp|cpp|safetensors|ipynb))", text
    ):
        if not (ROOT / name).exists() and name != "datasets/__init__.py":  # which must not exist
            wrong.append(name)
    assert not wrong


def anchors_of(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


def test_source_code_names_pages_that_exist() -> None:
    wrong = []
    for path in [
        *ROOT.glob("*/qwop_*/**/*.py"),
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "tests").glob("*.py"),
    ]:
        if path == Path(__file__):
            continue
        for name in re.findall(r"docs/[\w./-]+\.(?:md|png|h5|json)", path.read_text(encoding="utf-8")):
            if not (ROOT / name).exists():
                wrong.append(f"{page_name(path)}: {name}")
    assert not wrong


def test_version_and_repository_are_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation
    assert f"\nrepository-code: {PROJECT['urls']['Repository']}\n" in citation
    assert f"\n  repository: {PROJECT['urls']['Repository']}\n" in (ROOT / "mkdocs.yml").read_text(
        encoding="utf-8"
    )
    newest = re.findall(
        r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )[0]
    assert newest == PROJECT["version"]


def test_the_architecture_says_where_things_are() -> None:
    """Each row of "Where to find" that names a file and something in it."""
    rows = re.findall(
        r"\| `([\w/]+\.py)`, `(\w+)` \|", (DOCS / "design" / "architecture.md").read_text("utf-8")
    )
    assert len(rows) > 1
    for name, what in rows:
        assert re.search(rf"^(?:def|class) {what}\b", (ROOT / name).read_text("utf-8"), re.MULTILINE), (
            name,
            what,
        )


# Metrics.


METRIC = re.compile(r"^(?:bc|play|ppo|expert|dqn|pqn|episode|finish|gait|forgetting|speed)/\w*[^\W_]$")


def glossary(section: str | None = None) -> set[str]:
    """Names in the first column of the glossary's tables, of one section or of all."""
    text = (DOCS / "guides" / "metrics.md").read_text(encoding="utf-8")
    if section is not None:
        text = text.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that tiny trainings of each kind write to the log."""
    from qwop_bc import cli as bc
    from qwop_finetune import cli as finetune
    from qwop_rl_core.logging import Logger

    names: set[str] = set()
    folder = tmp_path_factory.mktemp("logged")
    runs, policy = str(ROOT / "demos" / "records.h5"), str(ROOT / "demos" / "policy.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Logger, "scalars", lambda self, figures, steps: names.update(figures))
        few = ["--demos", runs, "--num-envs", "8", "--threads", "1"]
        # The shipped policy finishes within 1,400 steps when nothing disturbs it.
        ppo = ["--init", policy, "--no-disturb", "--total-steps", "12288", "--rollout-length", "256"]
        ppo += ["--minibatch-size", "1024", "--epochs", "1", "--demo-coef", "0.1", "--report-every", "12288"]
        assert finetune.main([*few, *ppo, "--out", str(folder / "ppo.safetensors")]) == 0
        dqn = ["--algorithm", "ddqn", "--total-steps", "2000", "--pretrain-updates", "2", "--frame-skip", "2"]
        assert finetune.main([*few, *dqn, "--out", str(folder / "dqn.safetensors")]) == 0
        pqn = ["--algorithm", "pqn", "--init", policy, "--total-steps", "128", "--pretrain-updates", "2"]
        pqn += ["--rollout-length", "16", "--margin-coef", "1"]
        assert finetune.main([*few, *pqn, "--out", str(folder / "pqn.safetensors")]) == 0
        expert = ["--algorithm", "expert-iteration", "--init", policy, "--total-steps", "64"]
        expert += ["--critic-warmup-steps", "0", "--rollout-length", "8"]
        assert finetune.main([*few, *expert, "--out", str(folder / "expert.safetensors")]) == 0
        clone = ["--epochs", "1", "--play-every", "1", "--play-episodes", "1", "--frame-skip", "8"]
        assert bc.main([runs, *clone, "--threads", "1", "--out", str(folder / "clone.safetensors")]) == 0
    return names


def test_the_glossary_has_every_metric_that_training_logs(logged: set[str]) -> None:
    assert len(logged) > 40
    assert not logged - glossary()


def test_training_logs_every_metric_of_the_glossary(logged: set[str]) -> None:
    never_by_a_clone_that_falls = {"play/median_time"}
    named = {name for name in glossary() if METRIC.match(name)}
    assert named - logged <= never_by_a_clone_that_falls


def test_the_glossary_has_every_metric_that_the_code_names() -> None:
    found = set()
    for path in ROOT.glob("*/qwop_*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and METRIC.match(node.value):
                found.add(node.value)
    assert len(found) > 10
    assert not found - glossary()


def call_json(capsys: pytest.CaptureFixture[str], command: str, arguments: list[str]) -> dict:
    module, function = COMMANDS[command].split(":")
    capsys.readouterr()
    assert getattr(import_module(module), function)(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_the_glossary_has_every_name_of_eval_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = call_json(capsys, "qwop-eval", ["--episodes", "1", "--max-seconds", "3", "--json"])
    assert glossary("JSON of `qwop-eval`") == set(result) | set(result["runs"][0])


def test_the_glossary_has_every_name_of_data_info_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = call_json(capsys, "qwop-data", ["info", str(ROOT / "demos" / "records.h5"), "--json"])
    assert glossary("`qwop-data info --json`") == set(result)


def test_the_glossary_has_every_name_of_policy_info_json(capsys: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "demos" / "policy.safetensors"
    result = call_json(capsys, "qwop-policy", ["info", str(path), "--json"])
    assert glossary("`qwop-policy info --json`") == set(result)


def test_the_glossary_has_every_name_of_rewards_json(capsys: pytest.CaptureFixture[str]) -> None:
    result = call_json(capsys, "qwop-rewards", ["compare", str(ROOT / "demos" / "records.h5"), "--json"])
    assert glossary("`qwop-rewards compare --json`") == set(result) | set(result["episodes"][0])


def test_the_guide_lists_every_reward_term() -> None:
    from qwop_rewards import TERMS

    section = (DOCS / "guides" / "finetuning.md").read_text(encoding="utf-8").split("## Rewards")[1]
    section = section.split("**knee rule**")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(TERMS)


# What is run: examples, tutorials, the site.


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/quickstart.md",
        "docs/guides/datasets.md",
        "docs/guides/other-tools.md",
        "docs/benchmark/use.md",
    ],
)
def test_the_python_examples_run(page: str, tmp_path: Path) -> None:
    if page.endswith("other-tools.md"):
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    blocks = [
        block
        for language, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8"))
        if language == "python"
    ]
    assert blocks
    (tmp_path / "demos").symlink_to(ROOT / "demos")
    for block in blocks:
        run = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
        )
        assert run.returncode == 0, run.stderr


QUICK = {
    "STEPS": "8192",
    "EPISODES": "2",
    "EPOCHS": "1",
    "DEMONSTRATIONS": "3",
    "RANDOM_STEPS": "60",
    "NUM_ENVS": "16",
    "PLAY": "False",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_tutorial_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run it with smaller settings: those of the cell that is tagged `settings`."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    (settings,) = [cell for cell in notebook.cells if "settings" in cell.metadata.get("tags", [])]
    names = re.findall(r"^(\w+) = ", settings.source, re.MULTILINE)
    settings.source = "\n".join(f"{name} = {QUICK[name]}" for name in names)
    for folder in ("demos", "docs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_tutorial_opens_in_colab(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    repository = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    assert f"colab.research.google.com/github/{repository}/blob/main/{page_name(path)}" in cells[0].source
    assert f"git clone --quiet --depth 1 https://github.com/{repository}\n" in cells[1].source


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        encoding="utf-8",
    )
    assert built.returncode == 0, built.stderr
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 25
    # Nothing comes from another host when a page is opened.
    for text in pages:
        assert not re.findall(r"<(?:script|img|iframe)[^>]* src=\"?https?://", text)
        assert not re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect)[^>]*https?://", text)
