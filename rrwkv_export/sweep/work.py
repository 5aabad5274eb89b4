"""What the runs of a sweep do, each in a process that may be another machine's: JSON in, JSON out.

A run takes as many threads as OMP_NUM_THREADS says, which Ray sets to a task's cores; without it, onnxruntime's choice.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import alternate
from rrwkv_export.bench.machine import load_average, machine
from rrwkv_export.bench.plan import graph_bytes
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.errors import TextError
from rrwkv_export.quantize.calibration import choose_calibration
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.report.measure.compare import compare
from rrwkv_export.report.measure.speed import DECODED, PREFILLED
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.errors import BundleError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model

Json = dict[str, Any]
ROUNDS, MOST_SECONDS = 7, 60.0


def quantized(
    bundle: str,
    bundle_id: str,
    recipe: str,
    calibration: Sequence[Mapping[str, str]],
    samples: int | None,
    seed: int,
    out: str,
) -> Json:
    """Make a bundle by a recipe in TOML; what a killed run left in its folder is replaced."""
    _require(bundle, bundle_id)
    paths = [Path(text["path"]) for text in calibration]
    said: list[str] = []
    read = choose_calibration(paths, Path(bundle), samples, seed, say=said.append)
    for text, known in zip(read.texts, calibration):
        _same(text, known["id"], known["path"])
    made = quantize(Path(bundle), Path(out), parse_recipe(recipe), read, overwrite=True)
    return {"bundle_id": made.bundle_id, "bytes": graph_bytes(made), "notes": said}


def measured(
    reference: str,
    reference_id: str,
    bundle: str,
    bundle_id: str,
    text: str,
    sha256: str,
    tokens: int,
    chunk: int,
) -> Json:
    """Both over a text, as `rrwkv report` has it."""
    first, second = _model(reference, reference_id), _model(bundle, bundle_id)
    read = read_text(Path(text), Path(reference))
    _same(read, sha256, text)
    found = compare(first, second, read, tokens=tokens, chunk=chunk)
    figures = found.figures
    return {
        "tokens": figures.tokens,
        "perplexity": _finite(figures.perplexity),
        "reference_perplexity": _finite(figures.reference_perplexity),
        "kl": _finite(figures.kl.mean),
        "kl_p99": _finite(figures.kl.p99),
        "top1": figures.top1_agreement,
        "drift": _finite(found.drift.largest),
    }


def timed(bundles: Mapping[str, str], text: str, machine: str) -> Json:
    """Decoding and prefill of bundles in alternation, medians. bundles: ids by folder, the reference first."""
    reference = next(iter(bundles))
    ids = np.resize(read_text(Path(text), Path(reference)).ids, DECODED + PREFILLED)
    runs, load = {}, load_average()
    for bundle, known in bundles.items():
        model = _model(bundle, known)
        runs[bundle, "decode"] = decode(model, ids[PREFILLED:])
        runs[bundle, "prefill"] = prefill(model, ids[:PREFILLED])
    samples = alternate(runs, ROUNDS, most_seconds=MOST_SECONDS)
    seconds = {key: median(sample.seconds for sample in found) for key, found in samples.items()}
    every = [sample for found in samples.values() for sample in found]
    return {
        "decode_ms": {bundle: 1e3 * seconds[bundle, "decode"] / DECODED for bundle in bundles},
        "prefill": {bundle: PREFILLED / seconds[bundle, "prefill"] for bundle in bundles},
        "disturbed": sum(sample.disturbed for sample in every) / len(every),
        "load": load,
        "machine": machine,
    }


def this_machine() -> str:
    """On what speeds are measured: processor, cores, kernels and versions, in one line; changes with none else."""
    return ", ".join(f"{what} {which}" for what, which in machine().items())


def _model(bundle: str, known: str) -> Model:
    _require(bundle, known)
    said = os.environ.get("OMP_NUM_THREADS", "")
    return Model.load(bundle, threads=int(said) if said.isascii() and said.isdigit() and int(said) else None)


def _require(bundle: str, known: str) -> None:
    """Raises BundleError for a bundle that is gone, or is another than it was when the sweep was planned."""
    if Manifest.load(Path(bundle)).bundle_id != known:
        raise BundleError(f"{bundle} is another bundle than it was; begin the sweep again")


def _same(text: Text, known: str, path: str) -> None:
    if text.sha256 != known:
        raise TextError(f"{path} is another text than it was; begin the sweep again")


def _finite(value: float) -> float | None:
    """None for what JSON cannot hold."""
    return float(value) if np.isfinite(value) else None
