"""The kernels as modules of WebAssembly: `make web-kernels`, or

    python runtimes/native/web_kernels.py FOLDER [MODULE …]

A module for each kind of engine, all by default, in a folder: `kernels` for any with vectors of 128 bits,
`kernels-relaxed` for those with relaxed ones too, whose sums of products are fused; and of each one, `-threads`, whose
memory several threads may share. `check` and `check-relaxed` are checks/tables.cc for WASI. The compiler is Zig's Clang
(the package ziglang), which brings the C and C++ libraries. The first module takes minutes, and the first one with
threads: Zig compiles these, and keeps them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from wheels import zig

SOURCES = Path(__file__).resolve().parent / "src"
# Sums and products as they are written: see src/kernels/lanes/functions.h.
OPTIONS = ["-target", "wasm32-wasi", "-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", f"-I{SOURCES}", "-s"]
PLAIN = ["-msimd128", "-DRRWKV_NATIVE_UNFUSED"]
RELAXED = ["-msimd128", "-mrelaxed-simd"]
REACTOR = ["-DRRWKV_NATIVE_WITHOUT_SCALAR", "-mexec-model=reactor", "-Wl,-z,stack-size=262144"]
# The host gives the memory, at first of so many bytes, and puts each thread's stack and variables into it.
THREADS = [
    "-mcpu=generic+atomics+bulk_memory",
    "-Wl,--shared-memory,--import-memory,--initial-memory=1048576,--max-memory=4294901760",
    *(f"-Wl,--export={name}" for name in ("__stack_pointer", "__wasm_init_tls", "__tls_size")),
]
KERNELS = ["kernels/kernels.cc", "kernels/wasm/*.cc", "wasm/runtime.cc", "exec/reading.cc", "model/matrix/*.cc"]
MODEL = [*KERNELS, "exec/shared_work.cc", "model/*.cc", "model/rwkv*/*.cc", "weights/*.cc", "wasm/[!r]*.cc"]
CHECK = [*KERNELS, "kernels/scalar/*.cc", "../checks/tables.cc"]
MODULES = {
    "kernels": (PLAIN, REACTOR, MODEL),
    "kernels-relaxed": (RELAXED, REACTOR, MODEL),
    "kernels-threads": (PLAIN, [*REACTOR, *THREADS], MODEL),
    "kernels-relaxed-threads": (RELAXED, [*REACTOR, *THREADS], MODEL),
    "check": (PLAIN, [], CHECK),
    "check-relaxed": (RELAXED, [], CHECK),
}


def build(name: str, folder: Path) -> Path:
    """A module, in a folder. Raises CalledProcessError."""
    features, linked, patterns = MODULES[name]
    sources = [str(path) for pattern in patterns for path in sorted(SOURCES.glob(pattern))]
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / f"{name}.wasm"
    part = made.with_suffix(".part")
    subprocess.run([zig(), "c++", *OPTIONS, *features, *linked, *sources, "-o", part], check=True)
    os.replace(part, made)
    return made


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The kernels as modules of WebAssembly.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"{', '.join(MODULES)}; all by default")
    given = parser.parse_args()
    for unknown in sorted(set(given.modules) - set(MODULES)):
        parser.error(f"no module {unknown!r}; one of {', '.join(MODULES)}")
    for name in given.modules or MODULES:
        print(build(name, given.folder))


if __name__ == "__main__":
    sys.exit(main())
