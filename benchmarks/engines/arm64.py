"""The demo on an Arm64 processor: the recorded logits, in float32 and in int8; and RWKV-7 in float32.

`make arm64` runs this under qemu-user with the wheels for Arm, where nothing but onnxruntime, numpy and tokenizers is
installed: `python -m benchmarks.engines.arm64 build/mobile build/mobile-rwkv7 …`. Speed means nothing there. A model
without recorded logits is compared with those that the machine which exported it computes. Exit status 1 if a limit is
broken.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from benchmarks.engines.plugins import divergence
from rrwkv_runtime.model import Model

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"
RECORDED = {"mobile": "rrwkv-chat", "mobile-rwkv7-chat": "rwkv7-chat"}  # by the name of the model's folder
MOST_ERROR, MOST_KL, MOST_OWN_KL = 1e-5, 0.01, 0.005
TOKENS = 96


def in_one_run(model, ids):
    return model.forward(ids, num_logits=len(ids))[0]


def in_steps(model, ids):
    decoder = model.decoder()
    return np.stack([decoder.step(int(token)).copy() for token in ids])


def expected(folder):
    """ids [T], and logits [n, V] at some positions [n]."""
    if name := RECORDED.get(folder.name):
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            ids, positions, logits = arrays["ids"][:TOKENS], arrays["positions"], arrays["logits"]
        return ids, positions[positions < TOKENS], logits[positions < TOKENS]
    with np.load(folder / "text.npz") as arrays:
        return arrays["ids"][:TOKENS], np.arange(TOKENS), arrays["logits"][:TOKENS]


def floats(folder):
    """Whether the float32 graphs, of both kinds, give what they should."""
    ids, positions, logits = expected(folder)
    well = True
    for variant in (None, "mobile"):
        model = Model.load(folder / "float", variant=variant, threads=1)
        for run in (in_one_run, in_steps):
            error = float(np.abs(run(model, ids)[positions] - logits).max() / np.abs(logits).max())
            what = f"{folder.name}, float32{', fixed shapes' if variant else ''}, {run.__name__.replace('_', ' ')}"
            print(f"{what}: largest error {error:.1e} of the largest logit (at most {MOST_ERROR})")
            well &= error <= MOST_ERROR
    return well


def integers(folder):
    """Whether int8 kernels give what the same graph does without them."""
    well = True
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
    return well


def main(folders):
    """Whether all is well."""
    print(f"{platform.machine()}, Python {platform.python_version()}")
    well = platform.machine() == "aarch64"
    for folder in folders:
        well &= floats(folder)
        if (folder / "arm64").exists():
            well &= integers(folder)
    print("all is well" if well else "NOT AS IT SHOULD BE")
    return well


if __name__ == "__main__":
    sys.exit(not main([Path(name) for name in sys.argv[1:]]))
