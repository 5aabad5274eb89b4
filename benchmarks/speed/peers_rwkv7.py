"""RWKV-7 beside llama.cpp and BlinkDL's `rwkv` on the same random weights, in alternation: two threads, then one.

python -m benchmarks.speed.peers_rwkv7 [--in FOLDER] [SIZE]     a size of benchmarks.models.SIZES; default rwkv7-0.19b

FOLDER keeps checkpoint, bundles and GGUF files, and those that are there already are used. Ours run on rrwkv-native
where it is installed. In float32 all must give our logits before anything is timed. Each peer stands beside what is
most like it of ours: Q8_0 beside int8-dynamic, Q4_0 beside int4.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

os.environ["RWKV_V7_ON"] = "1"  # which the `rwkv` package reads when it is imported

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_bundle, write_pth, write_quantized
from benchmarks.speed import llamacpp
from benchmarks.speed.peers import PREFILLED, Step, blinkdl, generate, medians, read, require_agreement
from rrwkv_export.architectures.rwkv7 import RWKV7Config
from rrwkv_export.bench.alternate import Run, Sample, alternate, share_of_others
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.markdown import table
from rrwkv_runtime import Model

THREADS, ROUNDS, DECODED = (2, 1), 5, 32
OURS = ("float32", "int8-dynamic", "int4")
LIKE = {"Q8_0": "int8-dynamic", "Q4_0": "int4"}
COLUMNS = (
    *("program", "threads", "decode, ms a token", f"prefill {PREFILLED}, tokens/s"),
    *("beside", "ours decodes", "ours prefills", "others' CPU"),
)
Samples = dict[tuple[str, str], list[Sample]]


def make_bundles(folder: Path, weights: Path, config: RWKV7Config) -> dict[str, Path]:
    """By scheme."""
    made = {scheme: folder / scheme for scheme in OURS}
    plain = made["float32"]
    if not plain.exists():
        write_bundle(plain, open_checkpoint(weights))
    for scheme, bundle in made.items():
        if not bundle.exists():
            write_quantized(plain, bundle, scheme, config.vocab_size)
    return made


def make_ggufs(folder: Path, weights: Path, config: RWKV7Config) -> dict[str, Path]:
    """By kind of number, float32 among them; what is quantized comes from float16, as its converter writes it."""
    made = {kind: folder / f"{kind}.gguf" for kind in ("float32", "float16", *llamacpp.KINDS)}
    loaded = torch.load(weights, mmap=True)
    for kind, dtype in (("float32", np.float32), ("float16", np.float16)):
        if not made[kind].exists():
            llamacpp.write_gguf(made[kind], loaded, config, dtype)
    for kind in llamacpp.KINDS:
        if not made[kind].exists():
            llamacpp.quantized(made["float16"], made[kind], kind)
    return made


def peers(folder: Path, weights: Path, config: RWKV7Config, threads: int) -> tuple[dict[str, Step], dict[str, str]]:
    """What is installed, and the scheme of ours that each stands beside. What is not is said."""
    steps: dict[str, Step] = {}
    beside: dict[str, str] = {}
    if _installed("llama_cpp", "gguf"):
        named = f"llama.cpp ({metadata.version('llama-cpp-python')})"
        ggufs = make_ggufs(folder, weights, config)
        for kind in ("float32", *LIKE):
            steps[f"{named} {kind}"] = llamacpp.run_by(ggufs[kind], threads)
            beside[f"{named} {kind}"] = LIKE.get(kind, kind)
    else:
        print(f"llama.cpp is not installed: {llamacpp.INSTALL}\n")
    if _installed("rwkv"):
        name = f"rwkv {metadata.version('rwkv')} float32"
        steps[name], beside[name] = blinkdl(weights), "float32"
    else:
        print("BlinkDL's rwkv is not installed; it is rwkv on PyPI\n")
    return steps, beside


def _installed(*names: str) -> bool:
    return all(map(importlib.util.find_spec, names))


def measure(models: dict[str, Model], steps: dict[str, Step], vocab_size: int) -> Samples:
    """Of (name, "decode" or "prefill")."""
    ids = np.random.default_rng(0).integers(0, vocab_size, PREFILLED + DECODED)
    prompt, rest = np.split(ids, [PREFILLED])
    runs: dict[tuple[str, str], Run] = {}
    for name, model in models.items():
        runs |= {(name, "decode"): decode(model, rest), (name, "prefill"): prefill(model, prompt)}
    for name, step in steps.items():
        runs |= {(name, "decode"): generate(step, rest), (name, "prefill"): read(step, prompt)}
    return alternate(runs, ROUNDS)


def ratio(name: str, samples: Samples, beside: str) -> tuple[float, float]:
    """How many times as fast ours of that scheme is: (decoding, reading a prompt)."""
    theirs, ours = medians(name, samples), medians(f"rrwkv-export {beside}", samples)
    return theirs[0] / ours[0], theirs[1] / ours[1]


def row(name: str, threads: int, samples: Samples, beside: str | None) -> list[str]:
    """beside: the scheme of ours to which it is compared."""
    step, prompt = medians(name, samples)
    both = [*samples[name, "decode"], *samples[name, "prefill"]]
    compared = [beside or "–", *(f"{each:.2f} ×" for each in ratio(name, samples, beside))] if beside else ["–"] * 3
    disturbed = " (!)" if any(sample.disturbed for sample in both) else ""
    others = f"{share_of_others(both) or 0:.0%}{disturbed}"
    return [name, str(threads), f"{1e3 * step:.2f}", f"{1 / prompt:,.0f}", *compared, others]


def measure_all(size: str, folder: Path) -> dict[tuple[str, int], tuple[float, float]]:
    """Prints a table for each number of threads. Gives the ratios by peer and threads."""
    config, weights = SIZES[size], folder / f"{size}.pth"
    if not isinstance(config, RWKV7Config):
        raise SystemExit(f"{size} is no RWKV-7")
    if not weights.exists():
        write_pth(weights, config, torch.float32)
    bundles = make_bundles(folder, weights, config)
    ratios: dict[tuple[str, int], tuple[float, float]] = {}
    for threads in THREADS:
        torch.set_num_threads(threads)
        models = {f"rrwkv-export {scheme}": Model.load(path, threads=threads) for scheme, path in bundles.items()}
        steps, beside = peers(folder, weights, config, threads)
        if threads == THREADS[0]:
            exact = {name: step for name, step in steps.items() if beside[name] == "float32"}
            require_agreement(models["rrwkv-export float32"], exact)
        samples = measure(models, steps, config.vocab_size)
        rows = [row(name, threads, samples, beside.get(name)) for name in (*models, *steps)]
        print(table(COLUMNS, rows), end="\n\n", flush=True)
        ratios |= {(name, threads): ratio(name, samples, scheme) for name, scheme in beside.items()}
    print(f"Medians of {ROUNDS} rounds in alternation; × is how many times as fast ours is.")
    return ratios


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("size", nargs="?", default="rwkv7-0.19b")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure_all(given.size, folder)
    print(f"\n{describe()}")
