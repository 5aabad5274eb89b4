"""What `lint-imports` cannot say: the runtime's complete list of packages, and what is imported only when needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import rrwkv_runtime
import rrwkv_server

RUNTIME, SERVER = Path(rrwkv_runtime.__file__).parent, Path(rrwkv_server.__file__).parent
ALLOWED = {
    RUNTIME: {"numpy", "onnxruntime", "tokenizers", "rrwkv_runtime"},
    SERVER: {
        "fastapi",
        "numpy",
        "prometheus_client",
        "pydantic",
        "rrwkv_runtime",
        "rrwkv_server",
        "starlette",
        "uvicorn",
    },
}
MODULES = [(package, module) for package in ALLOWED for module in sorted(package.rglob("*.py"))]


def imported(source):
    """(line, top-level package) of every import in it, wherever it stands; a relative one is the package's own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c\ndef f():\n    from d.e import g\n    if f: import h as i\nfrom . import j"
    assert list(imported(source)) == [(1, "a"), (1, "c"), (3, "d"), (4, "h")]


@pytest.mark.parametrize(("package", "path"), MODULES, ids=lambda path: path.name)
def test_a_package_needs_those_that_it_says_and_no_other(package, path):
    strange = [
        (line, name)
        for line, name in imported(path.read_text(encoding="utf-8"))
        if name not in ALLOWED[package] and name not in sys.stdlib_module_names
    ]
    assert not strange


def loaded_by(statement, *names):
    """Which of the packages a fresh Python has loaded after a statement."""
    code = f"{statement}\nimport sys\nprint(*(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_command_line_starts_without_the_heavy_packages():
    heavy = ("accelerate", "fastapi", "torch", "onnx", "onnx_ir", "onnxruntime", "tokenizers", "safetensors")
    assert loaded_by("import rrwkv_export.commands", "click", *heavy) == ["click"]


def test_the_runtime_is_imported_without_onnxruntime():
    """It is loaded with the first bundle, so that a missing one is an error of this project's."""
    assert loaded_by("import rrwkv_runtime.model", "numpy", "onnxruntime", "torch") == ["numpy"]
