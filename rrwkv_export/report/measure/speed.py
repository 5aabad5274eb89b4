"""Speed of two bundles on this machine: decoding and prefill in alternation, medians over the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from rrwkv_export.bench.alternate import Sample, alternate
from rrwkv_export.bench.workloads import decode, prefill
from rrwkv_export.report.measure.metrics import Array
from rrwkv_runtime.model import Model

ROUNDS, DECODED, PREFILLED = 5, 64, 256
# A large model, or a machine with much else to do: two rounds will do.
_MOST_SECONDS = 10.0


@dataclass(frozen=True)
class Speed:
    """decode: milliseconds a token, one token a run. prefill: tokens a second, 256 tokens at once."""

    decode_ms: float
    prefill: float

    @classmethod
    def of(cls, decoding: list[Sample], prefilling: list[Sample]) -> Speed:
        return cls(1e3 * _median(decoding) / DECODED, PREFILLED / _median(prefilling))


def speeds(reference: Model, other: Model, ids: Array) -> tuple[Speed, Speed]:
    """(the reference's, the other's), reading ids [T] of a text, repeated if there are too few."""
    text = np.resize(ids, DECODED + PREFILLED)
    runs = {}
    for which, model in enumerate((reference, other)):
        runs[which, "prefill"] = prefill(model, text[:PREFILLED])
        runs[which, "decode"] = decode(model, text[PREFILLED:])
    samples = alternate(runs, ROUNDS, most_seconds=_MOST_SECONDS)
    first, second = (Speed.of(samples[which, "decode"], samples[which, "prefill"]) for which in (0, 1))
    return first, second


def _median(samples: list[Sample]) -> float:
    return median(sample.seconds for sample in samples)
