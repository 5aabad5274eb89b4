"""How many instructions the kernels take for 64 bytes of weights when a token is decoded: AVX2's beside Arm's.

    python -m benchmarks.speed.instructions

Needs g++, Arm64's (Debian's g++-aarch64-linux-gnu) and QEMU's processors for programs (qemu-user), which run one
instruction after the other and write each down. Counted are those of a longer row less those of a shorter, so nothing
of what is done once a row. It is a matter of compilers: speed is another, and so are caches.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.markdown import table

NATIVE = Path(__file__).parents[2] / "runtimes" / "native"
SHORT, LONG = 1024, 2048  # inputs
# By name: what `checks/one_row.cc` is told, the bits of a weight and how many outputs it has.
FORMS = {
    "int8 by column": (("int8", "0"), 8, 64),
    "4 bits in blocks of 32": (("4", "32"), 4, 16),
    "4 bits in blocks of 128": (("4", "128"), 4, 16),
    "8 bits in blocks of 32": (("8", "32"), 8, 16),
}


@dataclass(frozen=True)
class Processor:
    """A table of kernels, by its file and its name in C++; what compiles it, and what runs it."""

    kernels: str
    table: str
    compiler: tuple[str, ...]
    runner: tuple[str, ...]

    def compile(self, folder: Path) -> Path:
        """Raises CalledProcessError, or FileNotFoundError where the compiler is not there."""
        program = folder / self.table.replace("::", "_")
        given = [f'-DKERNELS="kernels/{self.kernels}"', f"-DTABLE={self.table}", "-I", str(NATIVE / "src")]
        options = ["-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-static", *given]
        source = NATIVE / "checks" / "one_row.cc"
        subprocess.run([*self.compiler, *options, str(source), "-o", str(program)], check=True)
        return program

    def instructions(self, program: Path, form: tuple[str, ...], inputs: int) -> int:
        """Of one row more. Raises as `compile`."""
        once, twice = (self._run(program, str(times), str(inputs), *form) for times in (1, 2))
        return twice - once

    def _run(self, program: Path, *arguments: str) -> int:
        command = [*self.runner, "-singlestep", "-d", "exec,nochain", str(program), *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as run:
            assert run.stderr is not None
            count = sum(1 for _ in run.stderr)
        if run.returncode:
            raise subprocess.CalledProcessError(run.returncode, command)
        return count


PROCESSORS = {
    "avx2": Processor(
        "avx2/plain.cc", "avx2::plain::kTable", ("g++", "-mavx2", "-mfma", "-mf16c"), ("qemu-x86_64", "-cpu", "max")
    ),
    "neon": Processor(
        "neon/dotprod.cc",
        "neon::dotprod::kTable",
        ("aarch64-linux-gnu-g++", "-march=armv8.2-a+dotprod"),
        ("qemu-aarch64", "-cpu", "cortex-a76"),
    ),
}


def counted(processor: Processor, program: Path) -> dict[str, float]:
    """Instructions for 64 bytes, by form."""
    found = {}
    for name, (form, bits, outputs) in FORMS.items():
        short, long = (processor.instructions(program, form, inputs) for inputs in (SHORT, LONG))
        found[name] = (long - short) / (outputs * (LONG - SHORT) * bits / 8 / 64)
    return found


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = {name: counted(of, of.compile(Path(folder))) for name, of in PROCESSORS.items()}
        except FileNotFoundError as error:
            sys.exit(f"{error.filename} is not there; apt-get install g++ g++-aarch64-linux-gnu qemu-user")
    rows = [
        [form, *(f"{found[name][form]:.1f}" for name in PROCESSORS), f"{found['neon'][form] / found['avx2'][form]:.2f}"]
        for form in FORMS
    ]
    print(table(("weights", *PROCESSORS, "times"), rows))
    compiler = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"\nInstructions for 64 bytes of weights, GCC {compiler}.")


if __name__ == "__main__":
    main()
