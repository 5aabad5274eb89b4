"""What one text says of two models: a few numbers for every token, and the figures that sum them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from rrwkv_export.divergence import Rows

Array = np.ndarray[Any, np.dtype[Any]]
POSITIONS = 64
_LEAST = 64  # predictions to sum up in one place
# Edges of the histogram of KL, four to a tenfold; the first bin also holds all that is less, the last all that is more.
EDGES = 10.0 ** np.linspace(-8, 2, 41)


@dataclass(frozen=True)
class Scores:
    """Of N predictions, in the order of the text.

    kl: KL divergence in nats [N]. log_p, log_q: the reference's and the other's log-probability of the token that came
    [N]. top1: whether both find the same token the likeliest, bool [N]. top5: the share of the reference's five
    likeliest that are among the other's five [N].
    """

    kl: Array
    log_p: Array
    log_q: Array
    top1: Array
    top5: Array

    @classmethod
    def of(cls, rows: Rows) -> Scores:
        return cls(rows.kl, rows.targets_log_p, rows.targets_log_q, rows.top1, rows.top5)

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        columns = zip(*((s.kl, s.log_p, s.log_q, s.top1, s.top5) for s in parts))
        return cls(*(np.concatenate(column) for column in columns))

    def __len__(self) -> int:
        return len(self.kl)

    def __getitem__(self, part: slice) -> Scores:
        return Scores(self.kl[part], self.log_p[part], self.log_q[part], self.top1[part], self.top5[part])


@dataclass(frozen=True)
class KL:
    """KL divergence in nats over some predictions."""

    mean: float
    median: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True)
class Change:
    """q - p of the token that came, p the reference's probability, q the other's: mean, root of the mean square."""

    mean: float
    rms: float


@dataclass(frozen=True)
class Figures:
    """Some predictions, summed up. Perplexity is exp of the mean of -log q; agreements are shares from 0 to 1."""

    tokens: int
    perplexity: float
    reference_perplexity: float
    kl: KL
    top1_agreement: float
    top5_agreement: float
    probability_change: Change

    @property
    def perplexity_ratio(self) -> float:
        return self.perplexity / self.reference_perplexity if self.reference_perplexity else float("nan")


def figures(scores: Scores) -> Figures:
    """All figures of N >= 1 predictions."""
    median, p90, p99 = (float(value) for value in np.quantile(scores.kl, (0.5, 0.9, 0.99)))
    change = np.exp(scores.log_q) - np.exp(scores.log_p)
    with np.errstate(over="ignore"):
        perplexity, reference = (float(np.exp(-log.mean())) for log in (scores.log_q, scores.log_p))
    return Figures(
        len(scores),
        perplexity,
        reference,
        KL(float(scores.kl.mean()), median, p90, p99, float(scores.kl.max())),
        float(scores.top1.mean()),
        float(scores.top5.mean()),
        Change(float(change.mean()), float(np.sqrt((change**2).mean()))),
    )


@dataclass(frozen=True)
class Place:
    """A stretch of the text, from its `start`-th prediction on."""

    start: int
    figures: Figures


def by_position(scores: Scores) -> tuple[Place, ...]:
    """The text cut into stretches of equal length, to a token."""
    places = min(POSITIONS, max(1, len(scores) // _LEAST))
    bounds = np.linspace(0, len(scores), places + 1).astype(int)
    return tuple(Place(int(a), figures(scores[a:b])) for a, b in pairwise(bounds))


def histogram(scores: Scores) -> Array:
    """Predictions whose KL is between two of EDGES: int64 [len(EDGES) - 1]. What is not finite is left out."""
    finite = scores.kl[np.isfinite(scores.kl)]
    return np.histogram(np.clip(finite, EDGES[0], EDGES[-1]), EDGES)[0]
