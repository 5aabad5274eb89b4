"""How fast models are trained on a GPU, with the kernels for it and without: forward, backward and AdamW's step.

python -m benchmarks.speed.training [--rows 32] [--length 512] [--steps 20] [--device cuda] [MODEL ...]

Models are the shapes of 13 M parameters, random: demo (RRWKV), demo-plain (RWKV-4), rwkv7-13m. Tokens a second; and the
share of what this device reaches in one large product of matrices in bfloat16: 6 operations a token for each number of
a matrix, two of them in the forward pass and four in the backward one. With and without kernels by turns, the fastest
of each is told. On a CPU there are no kernels.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.functional import cross_entropy

from benchmarks.machine import describe
from benchmarks.models import SIZES, rwkv7
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.markdown import table
from rrwkv_export.train import kernels
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.initial import initial_weights

MODELS = {
    "demo": SIZES["demo"],
    "demo-plain": SIZES["demo-plain"],
    "rwkv7-13m": rwkv7(4096, 320, 8, 1280, ranks=(32, 32, 32, 96)),
}
ROUNDS = 3
_SIDE = 8192  # of the matrices that the peak is measured with


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device) -> float:
    """Operations a second of one large product in bfloat16."""
    side = _SIDE if device.type == "cuda" else _SIDE // 8
    a, best = torch.randn(side, side, device=device, dtype=torch.bfloat16), float("inf")
    for _ in range(5):
        wait(device)
        begun = time.perf_counter()
        a @ a
        wait(device)
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


@contextmanager
def chosen(with_kernels: bool) -> Iterator[None]:
    before = kernels._has_triton
    kernels._has_triton = before if with_kernels else lambda: False
    try:
        yield
    finally:
        kernels._has_triton = before


def tokens_a_second(model: Model, ids: torch.Tensor, steps: int) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        with torch.autocast(ids.device.type, torch.bfloat16):
            logits = model(ids[:, :-1])[0]
        cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    for _ in range(2):  # kernels are compiled by the first
        step()
    wait(ids.device)
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    wait(ids.device)
    return steps * ids[:, 1:].numel() / (time.perf_counter() - begun)


def operations(config: ModelConfig) -> int:
    """Of a token, forward and backward, in products of matrices; the embedding's row is only read."""
    return 6 * sum(a * b for name, (a, b) in matrices(config).items() if name != "emb.weight")


def matrices(config: ModelConfig) -> dict[str, tuple[int, int]]:
    return {name: (shape[0], shape[1]) for name, shape in config.shapes().items() if len(shape) == 2}


def measured(name: str, options: argparse.Namespace, reached: float) -> Iterator[list[str]]:
    config, device = MODELS[name], torch.device(options.device)
    model = Model(config, initial_weights(config, 0)).to(device)
    ids = torch.randint(0, config.vocab_size, (options.rows, options.length + 1), device=device)
    ways = (True, False) if device.type == "cuda" and kernels._has_triton() else (False,)
    best = dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for way in ways:
            with chosen(way):
                best[way] = max(best[way], tokens_a_second(model, ids, options.steps))
    for way, rate in best.items():
        share = rate * operations(config) / reached
        yield [name, "Triton" if way else "none", f"{rate:,.0f}", f"{share:.1%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    for name, value in (("rows", 32), ("length", 512), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no model {min(unknown)!r}; there are {', '.join(MODELS)}")
    reached = peak(torch.device(options.device))
    rows = [row for name in options.models or MODELS for row in measured(name, options, reached)]
    print(table(("model", "kernels", "tokens/s", "share of the peak"), rows))
    where = torch.cuda.get_device_name() if options.device.startswith("cuda") else describe()
    print(f"\n{where}; peak {reached / 1e12:.1f} T operations a second; {options.rows} rows of {options.length} tokens")


if __name__ == "__main__":
    main()
