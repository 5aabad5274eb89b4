"""The demo on an Arm64 processor: the recorded logits, in float32 and in int8.

`make arm64` runs this under qemu-user with the wheels for Arm, where nothing but onnxruntime, numpy and tokenizers is
installed: `python -m benchmarks.arm64 build/mobile`. Speed means nothing there. Exit status 1 if a limit is broken.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from benchmarks.plugins import divergence
from rrwkv_runtime.session import Model

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "rrwkv-chat.npz"
MOST_ERROR, MOST_KL = 1e-5, 0.01
TOKENS = 96


def in_one_run(model, ids):
    return model.forward(ids, num_logits=len(ids))[0]


def in_steps(model, ids):
    decoder = model.decoder()
    return np.stack([decoder.step(int(token)).copy() for token in ids])


def main(folder):
    """Whether all is well."""
    print(f"{platform.machine()}, Python {platform.python_version()}")
    with np.load(GOLDEN) as arrays:
        ids, positions, golden = arrays["ids"][:TOKENS], arrays["positions"], arrays["logits"]
    golden, positions = golden[positions < TOKENS], positions[positions < TOKENS]
    well = platform.machine() == "aarch64"
    for variant in (None, "mobile"):
        model = Model.load(folder / "float", variant=variant, threads=1)
        for run in (in_one_run, in_steps):
            error = float(np.abs(run(model, ids)[positions] - golden).max() / np.abs(golden).max())
            what = f"float32{', static graphs' if variant else ''}, {run.__name__.replace('_', ' ')}"
            print(f"{what}: largest error {error:.1e} of the recorded logits' largest (at most {MOST_ERROR})")
            well &= error <= MOST_ERROR

    with np.load(folder / "text.npz") as floats, np.load(folder / "arm64.npz") as integers:
        ids, reference, elsewhere = floats["ids"][:TOKENS], floats["logits"][:TOKENS], integers["logits"][:TOKENS]
    model = Model.load(folder / "arm64", threads=1)
    for run in (in_one_run, in_steps):
        rows = run(model, ids)
        kl, top1 = divergence(reference, rows)
        same, _ = divergence(elsewhere, rows)
        what = f"int8-static, {run.__name__.replace('_', ' ')}, {len(ids)} tokens"
        print(
            f"{what}: mean KL against float32 {kl:.1e} (at most {MOST_KL}), likeliest token the same {top1:.1%}; ",
            end="",
        )
        print(f"against int8 where it was made {same:.1e}")
        well &= kl <= MOST_KL and same <= MOST_KL / 10
    print("all is well" if well else "NOT AS IT SHOULD BE")
    return well


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1])))
