"""The wheels that `make wheels` leaves in dist/: for which machines, what they show, what they need of a system."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = Path(os.environ.get("RRWKV_NATIVE_WHEELS", ROOT / "dist"))
COMPILER = ROOT / "build/wheels/bin/python"  # whose package ziglang `make wheels` compiles with
WHEELS = sorted(DIST.glob("rrwkv_native-*.whl"))
LARGEST = 2_000_000  # bytes, of a library
FORMATS = {"manylinux": b"\x7fELF", "musllinux": b"\x7fELF", "macosx": b"\xcf\xfa\xed\xfe", "win": b"MZ"}
# ELF's number of a machine, at offset 18; Mach-O's, at 4; and COFF's, 4 after where offset 60 says.
MACHINES = {
    "x86_64": (62, None, None),
    "aarch64": (183, None, None),
    "arm64": (None, 0x100000C, None),
    "amd64": (None, None, 0x8664),
}
EXPORTS = (b"RegisterCustomOps", b"rrwkv_native_tables")

pytestmark = pytest.mark.skipif(not WHEELS, reason="no wheels in dist/; make wheels")


def machine_of(library):
    if library[:4] == b"\x7fELF":
        return int.from_bytes(library[18:20], "little"), None, None
    if library[:2] == b"MZ":
        at = int.from_bytes(library[60:64], "little") + 4
        return None, None, int.from_bytes(library[at : at + 2], "little")
    return None, int.from_bytes(library[4:8], "little"), None


@pytest.mark.parametrize("path", WHEELS, ids=lambda path: path.stem.rsplit("-", 1)[1])
def test_a_wheel_holds_a_library_for_the_platform_that_its_name_says(path):
    python, abi, platform = path.stem.split("-")[2:]
    assert (python, abi) == ("py3", "none")
    with zipfile.ZipFile(path) as wheel:
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/WHEEL"))
        (library,) = (wheel.read(name) for name in wheel.namelist() if "librrwkv_native." in name)
    assert f"Tag: py3-none-{platform}\n" in metadata
    assert "Root-Is-Purelib: false" in metadata
    assert library.startswith(FORMATS[re.match("[a-z]+", platform)[0]])
    assert machine_of(library) == next(MACHINES[name] for name in MACHINES if platform.endswith(name))
    assert len(library) < LARGEST
    assert all(b"\0" + name + b"\0" in library or b"\0_" + name + b"\0" in library for name in EXPORTS)
    if platform.startswith("manylinux"):
        newest = max(tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+)", library))
        assert newest <= tuple(map(int, re.findall(r"\d+", platform)[:2]))
        assert b"libstdc++" not in library


@pytest.mark.slow  # an environment of its own
def test_the_wheel_for_this_machine_runs_without_a_compiler(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--only-binary", ":all:", "--quiet"]
    found = subprocess.run(
        [*command, "--find-links", str(DIST), "--target", str(tmp_path), "rrwkv-native"],
        env={**os.environ, "PATH": "", "PIP_FIND_LINKS": ""},
        capture_output=True,
        text=True,
    )
    if "No matching distribution" in found.stderr:
        pytest.skip("dist/ has no wheel for this machine")
    assert found.returncode == 0, found.stderr
    asked = "import rrwkv_native as n; print(n.path().parent, *n.tables())"
    said = subprocess.run([sys.executable, "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, *tables = said.stdout.split()
    assert Path(where) == tmp_path / "rrwkv_native"
    compiled = pytest.importorskip("rrwkv_native", reason="nothing is compiled here that it can be held against")
    assert tables == [*compiled.tables()]


@pytest.mark.parametrize("path", [path for path in WHEELS if "musllinux" in path.name], ids=lambda path: path.stem)
def test_the_library_of_a_wheel_for_musl_loads_there(path, tmp_path):
    """By musl's own loader, of this processor or of QEMU's, which looks for it under QEMU_LD_PREFIX too."""
    machine = re.search(r"musllinux_\d+_\d+_(\w+)", path.stem)[1]
    here = machine == platform.machine()
    loader = Path("/" if here else os.environ.get("QEMU_LD_PREFIX", "/"), f"lib/ld-musl-{machine}.so.1")
    runner = [] if here else [f"qemu-{machine}", "-cpu", "max"]
    if not (loader.exists() and COMPILER.exists() and (here or shutil.which(runner[0]))):
        pytest.skip(f"needs {loader} (Debian's musl), `make wheels` and {'no more' if here else runner[0]}")
    with zipfile.ZipFile(path) as wheel:
        library = wheel.extract(next(name for name in wheel.namelist() if "librrwkv_native." in name), tmp_path)
    source, program = ROOT / "runtimes/native/checks/loads.c", tmp_path / "loads"
    command = [COMPILER, "-m", "ziglang", "cc", "-O2", "-fno-sanitize=all", "-target", f"{machine}-linux-musl"]
    command += ["-dynamic", source, "-o", program]
    subprocess.run([*map(str, command)], check=True)
    said = subprocess.run([*runner, str(program), str(library)], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    tables = said.stdout.strip().split(",")
    compiled = pytest.importorskip("rrwkv_native", reason="nothing is compiled here that it can be held against")
    assert tables == [*compiled.tables()] if here else tables[-1] == "scalar"
