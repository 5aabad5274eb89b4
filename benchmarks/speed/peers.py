"""Other programs beside this one, on the same random RWKV-4 weights, in alternation, two threads each.

python -m benchmarks.speed.peers [SIZE]     a size of benchmarks.models.SIZES without mediums; default 169m

BlinkDL's `rwkv` package (strategy "cpu fp32") and transformers' RwkvForCausalLM, float32 as well; their logits must be
ours before anything is timed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_bundle, write_pth, write_quantized
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.dialects import Transformers
from rrwkv_export.bench.alternate import Prepared, Run, Sample, alternate, share_of_others
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.markdown import table
from rrwkv_runtime import Model

THREADS, ROUNDS = 2, 5
PREFILLED, DECODED, COMPARED = 256, 32, 24
RTOL = 1e-3
SCHEMES = ("int8-static", "int8-dynamic")
Step = Callable[[list[int], Any], tuple[torch.Tensor, Any]]
"""A peer: ids and a state (None at first) to the logits [V] of the last id and the next state."""


def blinkdl(path: Path) -> Step:
    os.environ["RWKV_JIT_ON"] = "1"
    with contextlib.redirect_stdout(io.StringIO()):  # it says much
        from rwkv.model import RWKV

        model = RWKV(model=str(path.with_suffix("")), strategy="cpu fp32")
        return lambda ids, state: model.forward(ids, state)


def transformers(path: Path, config: ModelConfig) -> Step:
    from transformers import RwkvConfig, RwkvForCausalLM

    model = RwkvForCausalLM(
        RwkvConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            intermediate_size=config.ffn_size,
            layer_norm_epsilon=config.layer_norm_epsilon,
        )
    )
    weights, named = torch.load(path, mmap=True), Transformers().name_in_file
    model.load_state_dict({named(name): weight.reshape(_shape(name, weight)) for name, weight in weights.items()})
    model.eval()

    def step(ids: list[int], state: Any) -> tuple[torch.Tensor, Any]:
        with torch.inference_mode():
            made = model(torch.tensor([ids]), state=state, use_cache=True, logits_to_keep=1)
        return made.logits[0, -1], made.state

    return step


def _shape(name: str, weight: torch.Tensor) -> tuple[int, ...]:
    """Hugging Face keeps the mixes as [1, 1, C]."""
    return (1, 1, weight.numel()) if "time_mix" in name else tuple(weight.shape)


def read(step: Step, ids: np.ndarray) -> Run:
    tokens = ids.tolist()

    def prepare() -> Prepared:
        step([0], None)
        return lambda: step(tokens, None)

    return prepare


def generate(step: Step, ids: np.ndarray) -> Run:
    tokens = ids.tolist()

    def prepare() -> Prepared:
        _, state = step([0], None)

        def run() -> None:
            following = state
            for token in tokens:
                _, following = step([token], following)

        return run

    return prepare


def disagreement(model: Model, step: Step, ids: np.ndarray) -> float:
    """Largest difference of any logit over the largest, a prompt read at once and then token by token."""
    decoder, half = model.decoder(), len(ids) // 2
    ours = [decoder.prefill(ids[:half]).copy(), *(decoder.step(token).copy() for token in ids[half:].tolist())]
    logits, state = step(ids[:half].tolist(), None)
    theirs = [logits.numpy().copy()]
    for token in ids[half:].tolist():
        logits, state = step([token], state)
        theirs.append(logits.numpy().copy())
    return float(np.abs(np.array(ours) - np.array(theirs)).max() / np.abs(ours).max())


def require_agreement(model: Model, peers: dict[str, Step]) -> None:
    ids = np.random.default_rng(1).integers(0, model.vocab_size, COMPARED)
    for name, step in peers.items():
        error = disagreement(model, step, ids)
        print(f"{name}: logits of {COMPARED} tokens within {error:.1e} of the largest of ours\n", flush=True)
        if not error <= RTOL:
            raise SystemExit(f"{name} computes something else; its speed would mean nothing")


def report(name: str, samples: dict[tuple[str, str], list[Sample]], base: tuple[float, float]) -> list[str]:
    step, prompt = medians(name, samples)
    both = [*samples[name, "decode"], *samples[name, "prefill"]]
    disturbed = sum(sample.disturbed for sample in both)
    return [
        name,
        f"{1e3 * step:.2f}",
        f"{step / base[0]:.2f}",
        f"{1 / prompt:,.0f}",
        f"{base[1] / prompt:.2f}",
        f"{share_of_others(both) or 0:.0%}" + (f" (! in {disturbed} of {len(both)} runs)" if disturbed else ""),
    ]


def medians(name: str, samples: dict[tuple[str, str], list[Sample]]) -> tuple[float, float]:
    """Seconds a token: (decoding, reading a prompt)."""
    decoding = median(sample.seconds for sample in samples[name, "decode"]) / DECODED
    return decoding, median(sample.seconds for sample in samples[name, "prefill"]) / PREFILLED


def main(size: str) -> None:
    torch.set_num_threads(THREADS)
    config, machine = SIZES[size], describe()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = folder / f"{size}.pth"
        write_pth(weights, config, torch.float32)
        bundle = write_bundle(folder / "float32", open_checkpoint(weights))
        bundles = [bundle, *(write_quantized(bundle, folder / s, s, config.vocab_size) for s in SCHEMES)]
        ours = {f"rrwkv-export {path.name}": Model.load(path, threads=THREADS) for path in bundles}
        peers = {
            f"rwkv {metadata.version('rwkv')} float32": blinkdl(weights),
            f"transformers {metadata.version('transformers')} float32": transformers(weights, config),
        }
        first = next(iter(ours))
        require_agreement(ours[first], peers)
        prompt, rest = np.split(
            np.random.default_rng(0).integers(0, config.vocab_size, PREFILLED + DECODED), [PREFILLED]
        )
        runs: dict[tuple[str, str], Run] = {}
        for name, model in ours.items():
            runs |= {(name, "decode"): decode(model, rest), (name, "prefill"): prefill(model, prompt)}
        for name, step in peers.items():
            runs |= {(name, "decode"): generate(step, rest), (name, "prefill"): read(step, prompt)}
        samples = alternate(runs, ROUNDS)
    columns = (
        *("program", "decode, ms a token", "time over ours"),
        *(f"prefill {PREFILLED}, tokens/s", "speed over ours", "others' CPU"),
    )
    base = medians(first, samples)
    print(table(columns, [report(name, samples, base) for name in (*ours, *peers)]))
    print(f"\nMedians of {ROUNDS} rounds in alternation, {THREADS} threads; ratios to {first}.\n")
    print(machine)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "169m")
