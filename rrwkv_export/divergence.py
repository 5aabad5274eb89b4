"""Two models over one text, side by side: what the one's probabilities are of the other's.

Both carry their state from chunk to chunk; no more than one chunk of logits is held at a time.

    KL divergence   Σ p (log p - log q) in nats, p the reference's probabilities of the next token, q the other's
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rrwkv_export.errors import TextError
from rrwkv_runtime.execution.decoder import Decoder
from rrwkv_runtime.model import Model

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Rows:
    """What two models say of the same tokens: log-probabilities float64 [N, V] and the tokens that follow [N].

    start: index in the text of the first of the N tokens that were read. reference, other: the decoders behind them,
    whose states are those after the N tokens.
    """

    start: int
    targets: Array
    log_p: Array
    log_q: Array
    reference: Decoder
    other: Decoder

    @cached_property
    def kl(self) -> Array:
        """KL divergence [N] in nats; rounding may leave it a hair below 0, which is cut off."""
        divergence: Array = np.einsum("nv,nv->n", np.exp(self.log_p), self.log_p - self.log_q)
        return np.maximum(divergence, 0)

    @property
    def top1(self) -> Array:
        """Whether both find the same token the likeliest: bool [N]."""
        same: Array = self.log_p.argmax(axis=-1) == self.log_q.argmax(axis=-1)
        return same

    @property
    def top5(self) -> Array:
        """How many of the reference's five likeliest tokens are among the other's five, as a share: float64 [N]."""
        best = min(5, self.log_p.shape[-1])
        first, second = (np.argpartition(log, -best, axis=-1)[:, -best:] for log in (self.log_p, self.log_q))
        shared: Array = (first[:, :, None] == second[:, None, :]).sum(axis=(1, 2)) / best
        return shared

    @property
    def targets_log_p(self) -> Array:
        """The reference's log-probability of the token that follows: float64 [N]."""
        return self.log_p[np.arange(len(self.targets)), self.targets]

    @property
    def targets_log_q(self) -> Array:
        """The other's log-probability of the token that follows: float64 [N]."""
        return self.log_q[np.arange(len(self.targets)), self.targets]


def side_by_side(
    reference: Model, other: Model, ids: Array, *, chunk: int = 256, other_chunk: int | None = None
) -> Iterator[Rows]:
    """Run both over ids [T + 1]: T predictions, `chunk` at a time; the last id is only a target.

    other_chunk: tokens that the other model is given at once (`chunk` by default). Raises TextError if the models'
    vocabularies differ.
    """
    if reference.vocab_size != other.vocab_size:
        raise TextError(f"one model has {reference.vocab_size} tokens and the other {other.vocab_size}: not comparable")
    first, second = reference.decoder(), other.decoder()
    for start in range(0, len(ids) - 1, chunk):
        read = ids[start : min(start + chunk, len(ids) - 1)]
        log_p = log_softmax(first.run(read, len(read)))
        log_q = log_softmax(second.run(read, len(read), chunk=other_chunk))
        yield Rows(start, ids[start + 1 : start + 1 + len(read)], log_p, log_q, first, second)


def log_softmax(logits: Array) -> Array:
    """Log-probabilities float64 [N, V] of logits [N, V]."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


@dataclass(frozen=True)
class Divergence:
    """The headline: mean KL divergence in nats, share of equal likeliest tokens, perplexities, tokens predicted."""

    kl: float
    top1: float
    perplexity: float
    reference_perplexity: float
    tokens: int


def measure(reference: Model, other: Model, ids: Array, **options: Any) -> Divergence:
    """The headline figures over ids; options as in `side_by_side`."""
    sums = np.zeros(4)
    for rows in side_by_side(reference, other, ids, **options):
        sums += rows.kl.sum(), rows.top1.sum(), rows.targets_log_q.sum(), rows.targets_log_p.sum()
    tokens = len(ids) - 1
    kl, top1, log_q, log_p = (float(value) for value in sums / tokens)
    return Divergence(kl, top1, float(np.exp(-log_q)), float(np.exp(-log_p)), tokens)
