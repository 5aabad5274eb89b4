"""The CUDA path on a GPU: parity, where nodes run, decode and prefill speed. Needs onnxruntime-gpu.

python -m benchmarks.engines.cuda [SIZE ...]   of benchmarks.models.SIZES; default 169m, 169m-medium, rwkv7-0.19b

Without a GPU it counts what there is to start: the kernels of each graph.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime

from benchmarks.models import SIZES, write_directory, write_quantized
from rrwkv_export import architectures
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.bundle import DECODE_FILE, GRAPH_FILE, GraphOptions, write_graph
from rrwkv_export.checkpoint import Checkpoint, open_checkpoint
from rrwkv_export.errors import RecipeError
from rrwkv_export.export import export, verify_against
from rrwkv_runtime import Model
from rrwkv_runtime.errors import ProviderError
from rrwkv_runtime.execution.engine import start
from rrwkv_runtime.execution.placement import count

ASSET = Path(__file__).parents[2] / "rrwkv_export/assets/rrwkv-chat"
GOLDEN = Path(__file__).parents[2] / "tests/golden"
VARIANTS = (("float32", "plain"), ("float32", "stable"), ("float16", "stable"))
SCHEMES = ("int8-weight", "int4")  # of the last float32 bundle
PREFILL, STEPS, ROUNDS = 1024, 200, 5
SHAPES = ("Reshape", "Squeeze", "Unsqueeze", "Shape")  # operators that start no kernel
COLUMNS = (
    *("model", "dtype", "wkv", "step's nodes", "prefill's nodes", "against float64", "against CPU"),
    *("ms a token (best)", f"tokens/s, {PREFILL}"),
)


def machine() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, onnxruntime {onnxruntime.__version__}"


def placement(model: Model, name: str) -> str:
    """How many nodes of a graph run on each provider."""
    found = count(model.nodes[name])
    counts = {provider: sum(operators.values()) for provider, operators in found.items()}
    return ", ".join(f"{number} {name.removesuffix('ExecutionProvider')}" for name, number in sorted(counts.items()))


def decode(model: Model) -> tuple[float, float]:
    """Milliseconds a token with its logits on the host: median and best of rounds."""
    decoder = model.decoder()
    decoder.prefill(np.arange(64))
    for token in range(5):
        decoder.step(token)
    times = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for token in range(STEPS):
            decoder.step(token)
        times.append((perf_counter() - started) / STEPS * 1e3)
    return statistics.median(times), min(times)


def prefill(model: Model) -> float:
    """Tokens per second over PREFILL tokens, logits of the last on the host; median of rounds."""
    ids = np.arange(PREFILL) % model.vocab_size
    model.decoder().prefill(ids)
    times = []
    for _ in range(ROUNDS):
        decoder = model.decoder()
        started = perf_counter()
        decoder.prefill(ids)
        times.append(perf_counter() - started)
    return PREFILL / statistics.median(times)


def difference(model: Model, other: Model, tokens: int = 64) -> float:
    """Largest difference of any logit over the largest logit, a prefill and then single steps."""
    ids = np.random.default_rng(0).integers(0, model.vocab_size, tokens)
    rows = []
    for one in (model, other):
        decoder = one.decoder()
        first = decoder.run(ids[: tokens // 2], tokens // 2)
        rows.append(np.concatenate([first, [decoder.step(int(i)).copy() for i in ids[tokens // 2 :]]]))
    return float(np.abs(rows[0] - rows[1]).max() / np.abs(rows[1]).max())


def golden(bundle: Path) -> float:
    """The demo's recorded logits on the GPU."""
    with np.load(GOLDEN / "rrwkv-chat-long.npz") as recorded:
        logits, _ = Model.load(bundle, "cuda").forward(recorded["ids"], num_logits=len(recorded["ids"]))
        error = np.abs(logits[recorded["positions"]] - recorded["logits"]).max()
        return float(error / np.abs(recorded["logits"]).max())


def row(label: str, checkpoint: Checkpoint, folder: Path, dtype: str, wkv: str) -> str:
    bundle = folder / f"{label}-{dtype}-{wkv}"
    export(checkpoint, bundle, dtype=dtype, wkv=wkv, target="cuda", tokens=48)  # type: ignore[arg-type]
    parity = verify_against(bundle, checkpoint, provider="cuda", tokens=48)
    return measured(label, bundle, dtype, wkv, f"{parity.error:.1e}")


def measured(label: str, bundle: Path, dtype: str, wkv: str, parity: str) -> str:
    model = Model.load(bundle, "cuda")
    off = difference(model, Model.load(bundle, "cpu"))
    median, best = decode(model)
    return (
        f"| {label} | {dtype} | {wkv} | {placement(model, 'decode')} | {placement(model, 'main')} | {parity} "
        f"| {off:.1e} | {median:.3f} ({best:.3f}) | {prefill(model):,.0f} |"
    )


def variants(config: ModelConfig) -> list[tuple[str, str]]:
    """Those of VARIANTS whose form of wkv the model has; where it has one only, that."""
    forms = architectures.of(config).FORMS
    return list(dict.fromkeys((dtype, wkv if wkv in forms else forms[0]) for dtype, wkv in VARIANTS))


def measure(size: str, folder: Path) -> None:
    """The rows of a size."""
    write_directory(folder / size, SIZES[size])
    checkpoint, forms = open_checkpoint(folder / size), variants(SIZES[size])
    for dtype, wkv in forms:
        print(row(size, checkpoint, folder, dtype, wkv), flush=True)
    form = [wkv for dtype, wkv in forms if dtype == "float32"][-1]
    for scheme in SCHEMES:
        source, bundle = folder / f"{size}-float32-{form}", folder / f"{size}-{scheme}"
        try:
            write_quantized(source, bundle, scheme, SIZES[size].vocab_size)
        except RecipeError as error:
            print(f"| {size} | {scheme} | {error} |", flush=True)
            continue
        print(measured(size, bundle, scheme, form, "–"), flush=True)


def kernels(path: Path) -> int:
    """Nodes of a graph that compute: on no constants alone, and not only another shape."""
    graph, found = onnx.load(path, load_external_data=False).graph, 0
    constant = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if constant.issuperset(node.input):
            constant |= set(node.output)
        else:
            found += node.op_type not in SHAPES
    return found


def counted(sizes: list[str]) -> None:
    """What can be said without a GPU."""
    print("| model | dtype | wkv | kernels of a prefill | of a step |\n" + "|---" * 5 + "|")
    for size in sizes:
        for dtype, wkv in variants(SIZES[size]):
            with tempfile.TemporaryDirectory() as folder:
                write_zeros(Path(folder), SIZES[size], GraphOptions(wkv, dtype, "cuda"))  # type: ignore[arg-type]
                found = [kernels(Path(folder) / file) for file in (GRAPH_FILE, DECODE_FILE)]
            print(f"| {size} | {dtype} | {wkv} | " + " | ".join(f"{n:,}" for n in found) + " |", flush=True)


def write_zeros(folder: Path, config: ModelConfig, options: GraphOptions) -> None:
    """The graphs, with weights of 0."""
    shapes = config.shapes()
    write_graph(folder, config, lambda name: np.zeros(shapes[name], np.float32), options)


def main(sizes: list[str]) -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder, demo = Path(temporary), open_checkpoint(ASSET)
        print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|", flush=True)
        print(row("built-in", demo, folder, "float32", "plain"), flush=True)
        print(f"golden logits of the demo on the GPU: {golden(folder / 'built-in-float32-plain'):.1e}", flush=True)
        for size in sizes:
            measure(size, folder)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["169m", "169m-medium", "rwkv7-0.19b"]
    try:
        start("cuda")
    except ProviderError as error:
        print(f"nothing to measure on this machine, only to count: {error}")
        counted(asked)
    else:
        main(asked)
