"""Wheels of rrwkv-native that need no compiler, for other machines too: `make wheels`, or

    python runtimes/native/wheels.py FOLDER [PLATFORM …]

A wheel for each platform, all by default, in a folder. The compiler is Zig's Clang (the package ziglang), which knows
every system's C library and links C++'s into ours: that depends on the C library alone. Needs, besides,
scikit-build-core, wheel, CMake and Ninja. The first wheel for a system takes minutes: Zig compiles its C++ library, and
keeps it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Target:
    """Of a compiler: `zig`, its name for it, and CMake's for the system and the processor."""

    zig: str
    system: str
    processor: str


# By the platform in a wheel's name. Linux from 2018 on, as onnxruntime's wheels.
TARGETS = {
    "manylinux_2_28_x86_64": Target("x86_64-linux-gnu.2.28", "Linux", "x86_64"),
    "manylinux_2_28_aarch64": Target("aarch64-linux-gnu.2.28", "Linux", "aarch64"),
    "musllinux_1_2_x86_64": Target("x86_64-linux-musl", "Linux", "x86_64"),
    "musllinux_1_2_aarch64": Target("aarch64-linux-musl", "Linux", "aarch64"),
    "macosx_11_0_arm64": Target("aarch64-macos.11.0", "Darwin", "arm64"),
    "win_amd64": Target("x86_64-windows-gnu", "Windows", "AMD64"),
}


def zig() -> Path:
    """The program. Raises SystemExit where it is not installed."""
    found = importlib.util.find_spec("ziglang")
    if found is None or not found.submodule_search_locations:
        sys.exit("wheels.py: the compiler, the package ziglang, is not installed; `make wheels` does it")
    return Path(found.submodule_search_locations[0]) / ("zig.exe" if os.name == "nt" else "zig")


def definitions(target: Target) -> dict[str, str]:
    """What CMake is told to compile for a target. Its trials are linked as the library is: for other options Zig would
    compile its C++ library once more.
    """
    return {
        "CMAKE_SYSTEM_NAME": target.system,
        "CMAKE_SYSTEM_PROCESSOR": target.processor,
        "CMAKE_CXX_COMPILER": f"{zig()};c++",
        "CMAKE_CXX_COMPILER_TARGET": target.zig,
        "CMAKE_TRY_COMPILE_CONFIGURATION": "Release",
        "CMAKE_CXX_FLAGS": "-fPIC",
        "CMAKE_EXE_LINKER_FLAGS": "-shared -s",
        "CMAKE_MODULE_LINKER_FLAGS": "-s",
        "CMAKE_SHARED_LINKER_FLAGS": "-s",
    }


def build(platform: str, folder: Path) -> Path:
    """A wheel for a platform, in a folder. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as made:
        told = [
            f"--config-settings=cmake.define.{key}={value}" for key, value in definitions(TARGETS[platform]).items()
        ]
        pip = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", made, *told, str(PACKAGE)]
        environment = {**os.environ, "RRWKV_NATIVE_REQUIRED": "1"}  # else there is a wheel without kernels
        subprocess.run([sys.executable, "-m", "pip", *pip], check=True, env=environment)
        (wheel,) = Path(made).glob("*.whl")
        tags = ["tags", "--remove", "--python-tag", "py3", "--abi-tag", "none", "--platform-tag", platform, str(wheel)]
        subprocess.run([sys.executable, "-m", "wheel", *tags], check=True, stdout=subprocess.DEVNULL)
        (wheel,) = Path(made).glob("*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, folder / wheel.name))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Wheels of rrwkv-native that need no compiler.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"{', '.join(TARGETS)}; all by default")
    given = parser.parse_args()
    for unknown in sorted(set(given.platforms) - set(TARGETS)):
        parser.error(f"no platform {unknown!r}; one of {', '.join(TARGETS)}")
    for platform in given.platforms or TARGETS:
        print(build(platform, given.folder))


if __name__ == "__main__":
    main()
