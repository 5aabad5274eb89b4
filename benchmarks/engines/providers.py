"""Every scheme on every provider that is installed here: where the nodes went, parity with the CPU, and speed.

python -m benchmarks.engines.providers [--in FOLDER] [PROVIDER ...]     default: cpu, and the plugins that are installed

The demo model. Parity: the largest error of a logit over the largest logit, and the mean KL divergence, from the same
bundle in onnxruntime's own kernels on the CPU, over eight pieces of the evaluation text, each from the initial state:
256 tokens at once, and then 64 one by one. Quantized, one piece may differ tenfold from another, so one alone says
little. Speeds: medians, the providers of a scheme in alternation.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

import rrwkv_export
from benchmarks.machine import describe
from rrwkv_export.bench.alternate import alternate
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.divergence import log_softmax
from rrwkv_export.export import export
from rrwkv_export.markdown import table
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, TEXT, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.texts import read_text
from rrwkv_runtime import Model
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.execution import native as kernels
from rrwkv_runtime.execution.engine import start
from rrwkv_runtime.providers import PROVIDERS

CHECKPOINT = Path(rrwkv_export.__file__).parent / "assets" / "rrwkv-chat"
SCHEMES = ("float32", "float16", "int8", "int8-static", "int8-dynamic", "int8-weight", "int4")
PIECES, COMPARED, STEPPED, PREFILLED, DECODED, ROUNDS, THREADS = 8, 256, 64, 256, 32, 5, 2
NATIVE, CPU = "cpu, rrwkv-native", "cpu"
COLUMNS = ("scheme", "provider", "nodes there", "error", "KL", f"decode, ms a token, and prefill {PREFILLED}, tokens/s")


def make(scheme: str, folder: Path) -> Path:
    bundle = folder / scheme
    if not bundle.exists() and scheme == "float32":
        export(open_checkpoint(CHECKPOINT), bundle)
    elif not bundle.exists():
        source = make("float32", folder)
        quantize(source, bundle, shipped_recipe(scheme), Calibration.read([TEXT], source))
    return bundle


def load(bundle: Path, name: str) -> Model:
    provider = name.partition(",")[0]
    return Model.load(bundle, provider, THREADS, native=name == NATIVE if provider == CPU else None)


def pieces(bundle: Path) -> list[np.ndarray]:
    ids = np.concatenate(read_text(EVALUATION_TEXT, bundle).passages)
    return [part[: COMPARED + STEPPED] for part in np.array_split(ids, PIECES)]


def logits_of(model: Model, texts: Sequence[np.ndarray]) -> np.ndarray:
    found: list[np.ndarray] = []
    for ids in texts:
        decoder = model.decoder()
        found.append(decoder.run(ids[:COMPARED], COMPARED))
        found += [decoder.step(int(token))[None].copy() for token in ids[COMPARED:]]
    return np.concatenate(found).astype(float)


def divergence(expected: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """The largest error over the largest logit; the mean KL divergence."""
    log_p, log_q = log_softmax(expected), log_softmax(found)
    kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()
    return np.abs(expected - found).max() / np.abs(expected).max(), max(0.0, kl)


def placed(model: Model) -> str:
    own = PROVIDERS[model.provider].ort
    counts = {name: [node.provider == own for node in nodes] for name, nodes in model.nodes.items()}
    return ", ".join(f"{name} {sum(there)} of {len(there)}" for name, there in counts.items())


def speeds(models: Mapping[str, Model]) -> dict[str, str]:
    ids = np.random.default_rng(0).integers(0, 4096, PREFILLED)
    runs = {(name, DECODED): decode(model, ids[:DECODED]) for name, model in models.items()}
    runs |= {(name, PREFILLED): prefill(model, ids) for name, model in models.items()}
    samples = alternate(runs, ROUNDS)
    seconds = {key: median(sample.seconds for sample in found) for key, found in samples.items()}
    return {
        name: f"{1e3 * seconds[name, DECODED] / DECODED:.2f}, {PREFILLED / seconds[name, PREFILLED]:,.0f}"
        for name in models
    }


def rows_of(scheme: str, bundle: Path, names: Sequence[str]) -> list[list[str]]:
    models: dict[str, Model] = {}
    said: dict[str, list[str]] = {}
    texts = pieces(bundle)
    expected = logits_of(load(bundle, CPU), texts)
    for name in names:
        try:
            models[name] = load(bundle, name)
            error, kl = divergence(expected, logits_of(models[name], texts))
            said[name] = [placed(models[name]), f"{error:.1e}", f"{kl:.1e}"]
        except RRWKVError as refusal:
            loaded = models.pop(name, None)  # it may load and then not run
            where = f"{placed(loaded)}: " if loaded else ""
            said[name] = [where + str(refusal).replace(str(bundle), bundle.name)[:200], "–", "–"]
    measured = speeds(models)
    return [[scheme, name, *said[name], measured.get(name, "–")] for name in names]


def installed() -> list[str]:
    found = [CPU, *([NATIVE] if kernels.find(CPU, None) else [])]
    for name in ("cuda", "openvino", "webgpu", "qnn", "tensorrt-rtx", "coreml", "xnnpack", "nnapi"):
        try:
            start(name)
            found.append(name)
        except RRWKVError:
            continue
    return found


def main(names: Sequence[str], folder: Path) -> None:
    rows = [row for scheme in SCHEMES for row in rows_of(scheme, make(scheme, folder), names)]
    print(table(COLUMNS, rows))
    print(f"\n{THREADS} threads. {describe()}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--in", dest="folder", type=Path)
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(given.names or installed(), given.folder or Path(temporary))
