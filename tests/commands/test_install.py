"""What errors and pages say is to be installed can be: by folders of a clone, until an index has the packages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from rrwkv_runtime.common import install
from rrwkv_runtime.common.install import EXTRAS, command, hint

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECTS = {
    "rrwkv-runtime": "runtimes/python",
    "rrwkv-native": "runtimes/native",
    "rrwkv-server": "runtimes/server",
    "rrwkv-export": ".",
}
COMMANDS = {command(package, extra) for package, extras in EXTRAS.items() for extra in ("", *extras)}
COMMANDS.add("pip install -r requirements.txt")
WHERE = ("*.md", "docs/*.md", "runtimes/**/*.md", "runtimes/**/*.py", "rrwkv_export/**/*.py", "benchmarks/**/*.py")
MADE = REPOSITORY / "docs/commands.md"  # of what `hint` gives
FILES = sorted({path for pattern in WHERE for path in REPOSITORY.glob(pattern)} - {Path(install.__file__), MADE})


def declared(package):
    return tomllib.loads((REPOSITORY / PROJECTS[package] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("package", PROJECTS)
def test_every_package_and_extra_is_one_of_a_clone(package):
    project = declared(package)
    assert project["name"] == package
    assert set(EXTRAS[package]) <= set(project.get("optional-dependencies", {}))


def test_a_release_changes_one_line(monkeypatch):
    assert hint("rrwkv-runtime", "cuda") == "pip install './runtimes/python[cuda]' in a clone of rrwkv-export"
    assert command("rrwkv-export", "optimum") == "pip install './runtimes/python[cpu]' '.[optimum]'"
    assert command("rrwkv-export", "serve") == "pip install './runtimes/python[cpu]' ./runtimes/server '.[serve]'"
    monkeypatch.setattr(install, "ON_AN_INDEX", True)
    assert hint("rrwkv-runtime", "cuda") == "pip install 'rrwkv-runtime[cuda]'"
    assert hint("rrwkv-native") == "pip install rrwkv-native"
    assert hint("rrwkv-export", "serve") == "pip install 'rrwkv-export[serve]'"


def misnamed(text):
    """What in a text tells people to install something that cannot be installed by that name."""
    said = [found.strip(" `\"'.,;)") for found in re.findall(r"pip install[^\n#`(|]*", text)]
    wanted = {one.strip("'") for one in COMMANDS} | {"pip install"}
    packages = re.findall(r"(?:rrwkv-(?:runtime|export|native|server)\[|install rrwkv-)[^\s]*", text)
    return [one for one in said if one not in wanted and "{" not in one and "…" not in one] + packages


def test_what_cannot_be_installed_is_found():
    for wrong in ("pip install rrwkv-native", "install rrwkv-runtime[cpu]", "`pip install 'rrwkv-export[optimum]'`"):
        assert misnamed(wrong), wrong
    assert not misnamed("`pip install './runtimes/python[cuda]'`, or pip install ./runtimes/native  # optional")


def test_no_page_or_message_names_what_no_index_has():
    assert len(FILES) > 100
    found = {str(path.relative_to(REPOSITORY)): misnamed(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
