"""Export a random RWKV-4 of 1.5 B parameters from a bfloat16 .pth: time and peak anonymous memory of each phase.

python -m benchmarks.speed.large [SIZE] [FOLDER]     needs about 10 GB of disk and, to verify, 16 GB of memory
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.machine import describe, peak_memory
from benchmarks.models import SIZES, write_pth
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands.shared.console import progress_bars
from rrwkv_export.export import export
from rrwkv_runtime import Model


def main(size: str, folder: Path) -> None:
    print(describe())
    source, bundle = folder / "model.pth", folder / "bundle"
    if not source.exists():
        write_pth(source, SIZES[size], torch.bfloat16)
    print(f"{source.name}: {source.stat().st_size / 1e9:.2f} GB")

    phases: dict[str, list[float]] = {}
    with peak_memory() as memory, progress_bars() as bars:
        started, phase = perf_counter(), ""

        def watch(what: str, done: int, total: int) -> None:
            nonlocal phase
            if phase:
                seconds, peak = phases.setdefault(phase, [perf_counter(), 0, 0])[0], memory.lap()
                phases[phase] = [seconds, max(phases[phase][1], peak), perf_counter()]
            phase = what
            phases.setdefault(what, [perf_counter(), 0, perf_counter()])
            bars(what, done, total)

        manifest, parity = export(open_checkpoint(source), bundle, overwrite=True, progress=watch)
        total = perf_counter() - started
    written = sum(entry.bytes for entry in manifest.files)
    print(f"bundle: {written / 1e9:.2f} GB, {manifest.parameters:,} parameters, exported and verified in {total:.0f} s")
    for name, (begin, peak, end) in phases.items():
        share = f"{peak / 1e9:5.2f} GB, {peak / written:.2f} times the bundle"
        print(f"  {name:24} {end - begin:6.1f} s   peak anonymous memory {share}")
    print(f"parity: {parity.error:.1e} of the largest logit over {parity.tokens} tokens, {len(parity.checks)} runs")
    _first_tokens(bundle)


def _first_tokens(bundle: Path) -> None:
    started = perf_counter()
    model = Model.load(bundle)
    loaded = perf_counter()
    tokens = [token.id for token in model.generate([0, 1, 2, 3], max_tokens=8, temperature=0)]
    seconds = perf_counter() - loaded
    print(f"loaded in {loaded - started:.1f} s; tokens {tokens} in {seconds:.1f} s")


if __name__ == "__main__":
    size = sys.argv[1] if len(sys.argv) > 1 else "1.5b"
    if len(sys.argv) > 2:
        main(size, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(size, Path(temporary))
