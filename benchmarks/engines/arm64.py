"""The demo on an Arm64 processor: the recorded logits, in float32 and in int8.

`make arm64` runs this under qemu-user with the wheels for Arm, where nothing but onnxruntime, numpy and tokenizers is
installed: `python -m benchmarks.engines.arm64 build/mobile`. Speed means nothing there. Exit status 1 if a limit is
broken.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from benchmarks.engines.plugins import divergence
from rrwkv_runtime.model import Model

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "rrwkv-chat.npz"
MOST_ERROR, MOST_KL, MOST_OWN_KL = 1e-5, 0.01, 0.005
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
            what = f"float32{', fixed shapes' if variant else ''}, {run.__name__.replace('_', ' ')}"
            print(f"{what}: largest error {error:.1e} of the recorded logits' largest (at most {MOST_ERROR})")
            well &= error <= MOST_ERROR

    with np.load(folder / "text.npz") as arrays:
        ids, reference = arrays["ids"][:TOKENS], arrays["logits"][:TOKENS]
    # The same graph here without the int8 kernels. Not another machine's logits: floats summed in another order round
    # activations to other levels, kernels or none (KL 2.5e-3 between this and x86-64, both without them).
    plain = in_one_run(Model.load(folder / "arm64", threads=1, optimization="disabled"), ids)
    model = Model.load(folder / "arm64", threads=1)
    for run in (in_one_run, in_steps):
        rows = run(model, ids)
        (kl, top1), (own, _) = divergence(reference, rows), divergence(plain, rows)
        what = f"int8-static, {run.__name__.replace('_', ' ')}, {len(ids)} tokens"
        print(
            f"{what}: mean KL against float32 {kl:.1e} (at most {MOST_KL}), likeliest token the same {top1:.1%}; ",
            end="",
        )
        print(f"against the same graph without int8 kernels {own:.1e} (at most {MOST_OWN_KL})")
        well &= kl <= MOST_KL and own <= MOST_OWN_KL
    print("all is well" if well else "NOT AS IT SHOULD BE")
    return well


if __name__ == "__main__":
    sys.exit(not main(Path(sys.argv[1])))
