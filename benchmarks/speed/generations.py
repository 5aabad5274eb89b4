"""RWKV-7 beside RWKV-4 of its size, and beside BlinkDL's `rwkv` on the same weights: onnxruntime alone, two threads.

python -m benchmarks.speed.generations [SCHEME …]     default: float32 int8-dynamic

The figure to look at for decoding is time by byte read: RWKV-7 reads more of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

os.environ["RWKV_V7_ON"] = "1"  # which the `rwkv` package reads when it is imported

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_bundle, write_pth, write_quantized
from benchmarks.speed.peers import PREFILLED, ROUNDS, THREADS, blinkdl, generate, medians, read, require_agreement
from rrwkv_export.bench.alternate import Run, alternate
from rrwkv_export.bench.weights import token_cost
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.markdown import table
from rrwkv_runtime import Model

COMPARED = {"RWKV-4 169M": "169m", "RWKV-7 0.19B": "rwkv7-0.19b"}
PEER = f"RWKV-7 0.19B, rwkv {metadata.version('rwkv')} float32"
DECODED = 32


def main(schemes: list[str]) -> None:
    torch.set_num_threads(THREADS)
    machine, models, runs = describe(), {}, dict[tuple[str, str], Run]()
    with tempfile.TemporaryDirectory() as temporary:
        for title, size in COMPARED.items():
            weights, vocab_size = Path(temporary, f"{size}.pth"), SIZES[size].vocab_size
            write_pth(weights, SIZES[size], torch.float32)
            plain = write_bundle(Path(temporary, size), open_checkpoint(weights))
            for scheme in schemes:
                named = plain.with_name(f"{size}-{scheme}")
                made = plain if scheme == "float32" else write_quantized(plain, named, scheme, vocab_size)
                models[f"{title}, {scheme}"] = Model.load(made, threads=THREADS, native=False)
        peer = blinkdl(weights)  # of the last, RWKV-7
        require_agreement(Model.load(plain, threads=THREADS), {PEER: peer})
        ids = np.random.default_rng(0).integers(0, 50277, PREFILLED + DECODED)
        for name, model in models.items():
            runs[name, "decode"] = decode(model, ids[PREFILLED:])
            runs[name, "prefill"] = prefill(model, ids[:PREFILLED])
        runs[PEER, "decode"], runs[PEER, "prefill"] = generate(peer, ids[PREFILLED:]), read(peer, ids[:PREFILLED])
        samples = alternate(runs, ROUNDS)
        costs = {name: token_cost(model.path, model.manifest) for name, model in models.items()}
    rows = []
    for name in (*models, PEER):
        step, prompt = medians(name, samples)
        cost, said = costs.get(name), ["–", "–", "–"]
        if cost:
            said = [f"{cost.read / 1e6:.0f}", str(cost.nodes), f"{1e12 * step / cost.read:.1f}"]
        rows.append([name, *said, f"{1e3 * step:.2f}", f"{1 / prompt:,.0f}"])
    columns = ("model", "MB read a token", "nodes", "µs a MB", "decode, ms a token", f"prefill {PREFILLED}, tokens/s")
    print(table(columns, rows))
    print(f"\nMedians of {ROUNDS} rounds in alternation, {THREADS} threads, no kernels of our own.\n")
    print(machine)


if __name__ == "__main__":
    main(sys.argv[1:] or ["float32", "int8-dynamic"])
