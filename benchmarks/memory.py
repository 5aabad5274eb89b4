"""The most memory that export and quantize take, as the command line runs them, beside a model's float32 weights.

python -m benchmarks.memory [SIZE …]     of random RWKV-4; needs some ten times the weights of the largest on the disk
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import sleep

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_pth

TOKENS = 2048  # that quantization observes
SCHEMES = ("int8", "int8-static", "int4")


@dataclass(frozen=True)
class Cost:
    """Bytes at most, mapped files included and not; processor time in seconds."""

    resident: int
    anonymous: int
    seconds: float


def measure(*command: object) -> Cost:
    """One run of `rrwkv`, looked at twenty times a second. Raises CalledProcessError."""
    before = getrusage(RUSAGE_CHILDREN)
    arguments = [sys.executable, "-m", "rrwkv_export", *map(str, command)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    resident = anonymous = 0
    while process.poll() is None:
        sizes = _sizes(process.pid)
        resident, anonymous = max(resident, sizes.get("VmHWM", 0)), max(anonymous, sizes.get("RssAnon", 0))
        sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    after = getrusage(RUSAGE_CHILDREN)
    return Cost(resident, anonymous, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _sizes(pid: int) -> dict[str, int]:
    lines = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: 1024 * int(rest.split()[0]) for name, _, rest in lines if rest.endswith("kB")}


def main(sizes: list[str]) -> None:
    print(describe(), "\n")
    print("| model | weights, MB | command | resident at most, MB | in weights | anonymous, MB | processor, s |")
    print("|---|--:|---|--:|--:|--:|--:|")
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            _measure_all(size, Path(temporary))


def _measure_all(size: str, folder: Path) -> None:
    config, ids, source, bundle = SIZES[size], folder / "random.ids", folder / "model.pth", folder / "bundle"
    weights = 4 * config.parameters()
    write_pth(source, config, torch.float32)
    ids.write_text(" ".join(map(str, np.random.default_rng(1).integers(1, config.vocab_size, TOKENS))))
    commands: dict[str, tuple[object, ...]] = {"export": ("export", source, "-o", bundle)}
    for scheme in SCHEMES:
        commands[scheme] = ("quantize", bundle, "-o", folder / scheme, "--scheme", scheme, "--calibration", ids)
    for name, command in commands.items():
        cost = measure(*command)
        own, share = f"{cost.resident / 1e6:,.0f} | {cost.resident / weights:.2f}", f"{cost.anonymous / 1e6:,.0f}"
        print(f"| {size} | {weights / 1e6:,.0f} | {name} | {own} | {share} | {cost.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["169m", "430m"])
