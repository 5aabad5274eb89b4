"""rrwkv-native where it is installed without a compiler: there is the package, and it says why it has no kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "runtimes/native"
ASKED = "import json, rrwkv_native as n; print(json.dumps([str(n.library()), n.reason(), n.tables()]))"
WHY = "no C++ compiler that can build them was found when rrwkv-native was installed"


def said(folder):
    done = subprocess.run([sys.executable, "-c", ASKED], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_package_without_a_library_says_why(tmp_path):
    shutil.copytree(PACKAGE / "rrwkv_native", tmp_path / "rrwkv_native")
    assert said(tmp_path) == ["None", WHY, []]


@pytest.mark.slow  # pip fetches what builds it
@pytest.mark.skipif(os.name != "posix", reason="makes programs of shell")
@pytest.mark.parametrize("compiler", ["none", "broken"])
def test_without_a_compiler_that_works_it_is_installed_all_the_same(compiler, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "uname", "cmake", "ninja"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    if compiler == "broken":
        for name in ("c++", "g++", "clang++"):
            (programs / name).write_text("#!/bin/sh\nexit 1\n")
            (programs / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "RRWKV_NATIVE_REQUIRED")}
    environment["PATH"] = str(programs)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site")]
    done = subprocess.run([*command, str(PACKAGE)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert said(tmp_path / "site") == ["None", WHY, []]
    required = subprocess.run(
        [*command, "--upgrade", str(PACKAGE)], env={**environment, "RRWKV_NATIVE_REQUIRED": "1"}, capture_output=True
    )
    assert required.returncode != 0
