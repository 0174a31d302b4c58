"""pyproject.toml, uv.lock and constraints.txt agree, and name public sources only."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from qwop_game import INSTALL_UNPINNED

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def read(name: str) -> dict:
    return tomllib.loads((ROOT / name).read_text(encoding="utf-8"))


PYPROJECT, LOCK = read("pyproject.toml"), read("uv.lock")
PROJECT = next(p for p in LOCK["package"] if p["name"] == "qwop-stride")


def plain(text: str) -> tuple[str, str, set[str], set[str]]:
    """A requirement as name, extras, ranges and the conditions of its marker, however it is written."""
    requirement = Requirement(text.replace("python_full_version", "python_version"))
    ranges = {str(s) for s in requirement.specifier}
    conditions = set(re.findall(r"[a-z_]+ [<>=!]+ ['\"][^'\"]+", str(requirement.marker or "")))
    return (
        requirement.name.lower(),
        ",".join(sorted(requirement.extras)),
        ranges,
        {c.replace('"', "'") for c in conditions},
    )


def locked(metadata: list[dict]) -> list[tuple]:
    """Requirements as uv.lock has them, without the markers that uv adds for an extra."""
    found = []
    for r in metadata:
        extras = f"[{','.join(r['extras'])}]" if "extras" in r else ""
        marker = re.sub(r"(?: and )?extra == '[^']+'", "", r.get("marker", ""))
        found.append(
            plain(f"{r['name']}{extras}{r.get('specifier', '')}" + (f"; {marker}" if marker else ""))
        )
    return sorted(found, key=str)


def test_the_lock_has_the_projects_own_metadata():
    project = PYPROJECT["project"]
    extras = [r for name in project["optional-dependencies"] for r in project["optional-dependencies"][name]]
    expected = sorted(map(plain, project["dependencies"] + extras), key=str)
    assert locked(PROJECT["metadata"]["requires-dist"]) == expected
    written, read = (
        text.replace(" ", "").split(",") for text in (project["requires-python"], LOCK["requires-python"])
    )
    assert sorted(written) == sorted(read)
    groups = PROJECT["metadata"]["requires-dev"]
    assert {name: len(rs) for name, rs in groups.items()} == {
        name: len(rs) + (name == "cpu") for name, rs in PYPROJECT["dependency-groups"].items()
    }  # torch of "cpu" comes from two places


def test_the_lock_has_the_corrected_metadata():
    for corrected, found in zip(
        PYPROJECT["tool"]["uv"]["dependency-metadata"], LOCK["manifest"]["dependency-metadata"], strict=True
    ):
        assert corrected["name"] == found["name"] and corrected.get("version") == found.get("version")
        assert sorted(map(plain, corrected["requires-dist"]), key=str) == sorted(
            map(plain, found["requires-dist"]), key=str
        )
        if "version" in corrected:
            assert f"{corrected['name']}=={corrected['version']}" in INSTALL_UNPINNED


def test_versions_before_and_from_python_3_13():
    versions = {}
    for package in LOCK["package"]:
        versions.setdefault(package["name"], []).append(package.get("version", None))
    assert versions["gymnasium"][0] == "0.29.1" and versions["gymnasium"][1].startswith("1.")
    assert versions["numpy"][0] == "1.26.4" and versions["numpy"][1].startswith("2.")
    assert versions["imitation"] == versions["qwop-gym"] == ["1.0.1"]


def test_constraints_are_the_locks_versions():
    """All but the CPU build of torch, which pip takes from where it is told to."""
    in_lock = {(p["name"], p["version"]) for p in LOCK["package"] if "version" in p}
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    pins = [line.partition(";")[0].strip().partition("==")[::2] for line in lines]
    assert len(pins) > 200 and set(pins) <= in_lock
    for requirement in map(Requirement, PYPROJECT["project"]["dependencies"]):
        assert any(name == requirement.name and requirement.specifier.contains(v) for name, v in pins), (
            requirement
        )
    repeated = {name for name, _ in pins if sum(name == other for other, _ in pins) > 1}
    assert {line.partition("=")[0] for line in lines if ";" in line} == repeated


def test_ci_tries_the_lowest_versions():
    """All but torch, and what imitation and qwop-gym determine."""
    lines = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    tried = [Requirement(line) for line in lines if not line.startswith("#")]
    allowed = [
        requirement
        for requirement in map(Requirement, PYPROJECT["project"]["dependencies"])
        if requirement.name != "torch" and "python_version" not in str(requirement.marker)
    ]
    lowest = {(r.name, Version(s.version)) for r in allowed for s in r.specifier if s.operator == ">="}
    lowest.add(("selenium", Version("4.27")))  # ~=4.27
    assert {(r.name, Version(s.version)) for r in tried for s in r.specifier} == lowest
    assert len(tried) == len(allowed)


def test_sources_are_public():
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://[^/\"]+", text))
    assert hosts == {"https://pypi.org", "https://files.pythonhosted.org", "https://download.pytorch.org"}
    torch = [p for p in LOCK["package"] if p["name"] == "torch" and "pytorch.org" in p["source"]["registry"]]
    assert [p["version"].partition("+")[2] for p in torch] == ["cpu"]
    assert not any("nvidia" in d["name"] or d["name"] == "triton" for d in torch[0]["dependencies"])


@pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")
def test_uv_finds_the_lock_up_to_date():
    subprocess.run(["uv", "lock", "--check", "--offline"], cwd=ROOT, check=True)


def test_pins_are_written_without_platforms(monkeypatch):
    spec = importlib.util.spec_from_file_location("constraints", ROOT / "tools" / "constraints.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    linux = "((platform_machine == 'x86_64' and sys_platform == 'linux') or sys_platform == 'win32')"
    exported = (
        f"a==1 ; {linux}\n"
        f"b==1 ; python_full_version < '3.11' and {linux}\n"
        f"b==2 ; python_full_version >= '3.11' and python_full_version < '3.13' and {linux}\n"
        "b==3 ; python_full_version >= '3.13' and sys_platform == 'linux'\n"
    )
    assert tool.constraints(exported).removeprefix(tool.HEAD).splitlines() == [
        "a==1",
        "b==1; python_full_version < '3.11'",
        "b==2; python_full_version >= '3.11' and python_full_version < '3.13'",
        "b==3; python_full_version >= '3.13'",
    ]
