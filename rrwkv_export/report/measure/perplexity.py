"""How well one model predicts texts, read as a report reads them: in chunks, the state carried throughout.

    nll            mean of -log p of the token that comes, in nats
    perplexity     exp(nll)
    bits per byte  sum of -log2 p over the bytes of UTF-8 that the predicted tokens stand for, which unlike perplexity
                   does not depend on how a tokenizer cuts text

Standard errors are those of means of successive batches (batch means; Law, Simulation Modeling and Analysis), √T of
about √T predictions each: how surprising tokens are depends on what came just before, so they are no independent draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrwkv_export.divergence import log_softmax
from rrwkv_export.progress import Progress
from rrwkv_export.report.measure.metrics import Array
from rrwkv_export.texts import Ids, Text
from rrwkv_runtime.model import Model

_LEAST_BATCHES = 2
_MOSTLY_ONE = 0.5  # such a token stands for what the vocabulary lacks


@dataclass(frozen=True)
class Perplexity:
    """Of one model on one text.

    tokens: predictions that counted; available: how many the text has. nll, its standard error: nats a token. bytes: of
    the text that was predicted; None where the bundle has no tokenizer, or one that makes nothing of the text.
    """

    name: str
    sha256: str
    tokens: int
    available: int
    nll: float
    nll_standard_error: float | None
    bytes: int | None

    @property
    def perplexity(self) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(self.nll))

    @property
    def perplexity_standard_error(self) -> float | None:
        """To first order: perplexity times that of nll."""
        return None if self.nll_standard_error is None else self.perplexity * self.nll_standard_error

    @property
    def bits_per_byte(self) -> float | None:
        return self.nll * self.tokens / math.log(2) / self.bytes if self.bytes else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; None for what is not finite."""
        names = ("tokens", "available", "nll", "nll_standard_error", "perplexity", "perplexity_standard_error", "bytes")
        values = {name: getattr(self, name) for name in (*names, "bits_per_byte")}
        return {"text": {"name": self.name, "sha256": self.sha256}, **{n: _finite(v) for n, v in values.items()}}


def perplexity(model: Model, text: Text, *, tokens: int, chunk: int, progress: Progress | None = None) -> Perplexity:
    """Over the first `tokens` predictions of a text, `chunk` tokens a run. Raises InputError, Cancelled."""
    ids, decoder = text.ids[: tokens + 1], model.decoder()
    parts: list[Array] = []
    for start in range(0, len(ids) - 1, chunk):
        read = ids[start : min(start + chunk, len(ids) - 1)]
        log_p = log_softmax(decoder.run(read, len(read)))
        parts.append(log_p[np.arange(len(read)), ids[start + 1 : start + 1 + len(read)]])
        if progress:
            progress(f"reading {text.name}", start + len(read), len(ids) - 1)
    nll = -np.concatenate(parts)
    return Perplexity(
        text.name, text.sha256, len(nll), len(text.ids) - 1, float(nll.mean()), standard_error(nll), _bytes(model, ids)
    )


def standard_error(values: Array) -> float | None:
    """Of the mean of [T] successive values, by batch means; None where there are too few to say."""
    batches = math.isqrt(len(values))
    if batches < _LEAST_BATCHES:
        return None
    means = np.array([batch.mean() for batch in np.array_split(values, batches)])
    return float(means.std(ddof=1) / math.sqrt(batches))


def _bytes(model: Model, ids: Ids) -> int | None:
    if model.tokenizer is None or np.bincount(ids).max() / len(ids) > _MOSTLY_ONE:
        return None
    return len(model.tokenizer.decode(ids[1:].tolist()).encode("utf-8", "replace"))


def _finite(value: float | None) -> float | None:
    if not isinstance(value, float):
        return value
    return float(f"{value:.9g}") if math.isfinite(value) else None
