"""Decode and prefill speed of bundles, in alternation: ms a token, tokens/s, nodes; beside a memory-bandwidth probe.

python -m benchmarks.speed [SIZE ...]     sizes of benchmarks.models.SIZES; default demo, demo-plain, 169m, 169m-medium

SIZE:int8 is the same graph after onnxruntime's own dynamic quantizer, embedding and medium projections left in float.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import onnx
import psutil

from benchmarks.machine import describe
from benchmarks.models import SIZES, write_directory
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_runtime import Model

ROUNDS = 7
PREFILLS = (32, 256)


def make(name: str, folder: Path) -> Path:
    """A bundle with random weights; not verified, since only its speed matters here."""
    size, _, quantized = name.partition(":")
    write_directory(folder / f"{size}-weights", SIZES[size])
    checkpoint = open_checkpoint(folder / f"{size}-weights")
    bundle, options = folder / name.replace(":", "-"), GraphOptions("plain")
    bundle.mkdir()
    write_graph(bundle, checkpoint.config, checkpoint.weights.array, options)
    if quantized:
        quantize_dynamically(bundle)
    chat, provenance = checkpoint.chat, {"random": size}
    write_manifest(
        bundle, checkpoint.config, options, model_id="0" * 64, tokenizer=None, chat=chat, provenance=provenance
    )
    return bundle


def quantize_dynamically(bundle: Path) -> None:
    """Replace the bundle's graph by onnxruntime's dynamic int8 of it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = bundle.with_name(f"{bundle.name}-float") / "model.onnx", bundle / "model.onnx"
    bundle.rename(source.parent)
    bundle.mkdir()
    nodes = [node.name for node in onnx.load(source, load_external_data=False).graph.node if node.op_type == "MatMul"]
    blocks = [name for name in nodes if "mix" in name or name.startswith("head")]
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=blocks,
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )


def bandwidth(size: int, threads: int = 2, tries: int = 10) -> float:
    """Bytes per second at which `threads` threads together read a buffer of `size` bytes; the best of some tries."""
    parts = np.array_split(np.ones(size // 8), threads)

    def read() -> float:
        started = perf_counter()
        list(pool.map(np.max, parts))
        return sum(part.nbytes for part in parts) / (perf_counter() - started)

    with ThreadPoolExecutor(threads) as pool:
        return max(read() for _ in range(tries))


def alone(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a run, and the share of a core that other processes used meanwhile."""
    before, own, started = psutil.cpu_times(), process_time(), perf_counter()
    run()
    seconds = perf_counter() - started
    after = psutil.cpu_times()
    busy = sum(getattr(after, kind) - getattr(before, kind) for kind in ("user", "system", "nice"))
    return seconds, max(0.0, busy - (process_time() - own)) / seconds


def decode(model: Model, steps: int) -> Callable[[], object]:
    decoder = model.decoder()
    decoder.prefill(range(64))

    def run() -> None:
        for token in range(steps):
            decoder.step(token)

    return run


def measure(models: dict[str, Model]) -> dict[tuple[str, str], tuple[float, float]]:
    """Median seconds a token, and the median share that others used, by (model, kind), all kinds in alternation."""
    runs: dict[tuple[str, str], tuple[Callable[[], object], int]] = {}
    for name, model in models.items():
        steps = 20 if model.manifest.parameters > 1e8 else 200
        runs[name, "decode"] = decode(model, steps), steps
        for T in PREFILLS:
            ids = [i % model.vocab_size for i in range(T)]
            runs[name, f"prefill {T}"] = lambda model=model, ids=ids: model.forward(ids), T  # type: ignore[misc]
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in runs}
    for _ in range(ROUNDS + 1):  # the first round warms up
        for key, (run, count) in runs.items():
            took, others = alone(run)
            seconds[key].append((took / count, others))
    return {key: tuple(map(statistics.median, zip(*kept[1:]))) for key, kept in seconds.items()}  # type: ignore[misc]


def main(sizes: list[str]) -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        bundles = {size: make(size, Path(temporary)) for size in sizes}
        nodes = {s: len(onnx.load(b / "model.onnx", load_external_data=False).graph.node) for s, b in bundles.items()}
        models = {size: Model.load(bundle, threads=2) for size, bundle in bundles.items()}
        results = measure(models)
        columns = " | ".join(f"prefill {T}, tokens/s" for T in PREFILLS)
        print(f"| model | nodes | decode, ms a token | share of roof | {columns} | others' CPU |")
        print("|---|---|---|---|---|---|---|")
        for size in sizes:
            config = SIZES[size.partition(":")[0]]
            read = (1 if ":" in size else 4) * (
                config.parameters() - config.vocab_size * config.hidden_size
            )  # one row of the embedding is read
            roof = read / bandwidth(read)
            step, others = results[size, "decode"]
            rates = [1 / results[size, f"prefill {T}"][0] for T in PREFILLS]
            print(
                f"| {size} | {nodes[size]} | {step * 1e3:.2f} | {roof / step:.2f} | {rates[0]:,.0f} | {rates[1]:,.0f} "
                f"| {others:.0%} |"
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ["demo", "demo-plain", "169m", "169m-medium"])
