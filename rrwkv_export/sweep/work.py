"""What the runs of a sweep do, each in a process that may be another machine's: JSON in, JSON out.

A run takes as many threads as OMP_NUM_THREADS says, which Ray sets to a task's cores; without it, onnxruntime's choice.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import alternate
from rrwkv_export.bench.machine import load_average, machine
from rrwkv_export.bench.plan import graph_bytes
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.errors import OutputError, TextError
from rrwkv_export.quantize.calibration import choose_calibration
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipe import parse_recipe
from rrwkv_export.report.measure.compare import compare
from rrwkv_export.report.measure.speed import DECODED, PREFILLED
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.errors import BundleError
from rrwkv_runtime.manifest import MANIFEST_NAME, Manifest
from rrwkv_runtime.model import Model

Json = dict[str, Any]
ROUNDS, MOST_SECONDS = 7, 60.0


def quantized(
    bundle_id: str,
    recipe: str,
    calibration_ids: Sequence[str],
    samples: int | None,
    seed: int,
    *,
    bundle: str,
    calibration: Sequence[str],
    out: str,
) -> Json:
    """Make a bundle by a recipe in TOML; what a killed run left in its folder is replaced."""
    _require(bundle, bundle_id)
    if os.path.lexists(out) and not Path(out, MANIFEST_NAME).is_file():
        raise OutputError(f"{out} is in the way and is no bundle; move it away")
    said: list[str] = []
    read = choose_calibration([Path(path) for path in calibration], Path(bundle), samples, seed, say=said.append)
    for text, known, path in zip(read.texts, calibration_ids, calibration):
        _same(text, known, path)
    made = quantize(Path(bundle), Path(out), parse_recipe(recipe), read, overwrite=True)
    return {"bundle_id": made.bundle_id, "bytes": graph_bytes(made), "notes": said}


def measured(
    reference_id: str,
    bundle_id: str,
    sha256: str,
    tokens: int,
    chunk: int,
    *,
    reference: str,
    bundle: str,
    text: str,
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


def timed(bundle_ids: Sequence[str], sha256: str, machine: str, *, bundles: Sequence[str], text: str) -> Json:
    """Decoding and prefill of bundles in alternation, medians, by bundle id; the reference first."""
    read = read_text(Path(text), Path(bundles[0]))
    _same(read, sha256, text)
    ids, runs, load = np.resize(read.ids, DECODED + PREFILLED), {}, load_average()
    for known, bundle in zip(bundle_ids, bundles):
        model = _model(bundle, known)
        runs[known, "decode"] = decode(model, ids[PREFILLED:])
        runs[known, "prefill"] = prefill(model, ids[:PREFILLED])
    samples = alternate(runs, ROUNDS, most_seconds=MOST_SECONDS)
    seconds = {key: median(sample.seconds for sample in found) for key, found in samples.items()}
    every = [sample for found in samples.values() for sample in found]
    return {
        "decode_ms": {known: 1e3 * seconds[known, "decode"] / DECODED for known in bundle_ids},
        "prefill": {known: PREFILLED / seconds[known, "prefill"] for known in bundle_ids},
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
