"""Histograms that never grow, and the range of values to keep when they are rounded to few bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[str, ...] = get_args(Method)
BINS = 4096
_PARTS = np.linspace(0.3, 1, 71)  # of the extreme value, for a range's end


class Histogram:
    """Of one tensor's values, piece by piece, in BINS equal bins on [-limit, limit].

    limit is a power of two and doubles, pairs of bins becoming one, when a value lies outside. low, high: the extremes,
    exactly; 0 is always within. count: values seen.
    """

    def __init__(self) -> None:
        self.bins = np.zeros(BINS, np.int64)
        self.limit = 2.0**-20
        self.low = self.high = 0.0
        self.count = 0

    def add(self, values: Array) -> None:
        """Values of any shape, float32."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("a value is not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while max(-low, high) >= self.limit:
            self._widen()
        place = values.ravel() * np.float32(BINS / 2 / self.limit)
        place += np.float32(BINS / 2)
        index = place.astype(np.int64)
        np.minimum(index, BINS - 1, out=index)
        self.bins += np.bincount(index, minlength=BINS)
        self.count += values.size

    def _widen(self) -> None:
        pairs = self.bins.reshape(-1, 2).sum(axis=1)
        self.bins = np.concatenate([np.zeros(BINS // 4, np.int64), pairs, np.zeros(BINS // 4, np.int64)])
        self.limit *= 2

    @property
    def centres(self) -> Array:
        """The middle of each bin [BINS]."""
        return (np.arange(BINS) + 0.5) * (2 * self.limit / BINS) - self.limit


def range_of(
    histogram: Histogram, method: str, *, bits: int = 8, symmetric: bool = False, percentile: float = 99.99
) -> tuple[float, float]:
    """The range (low <= 0 <= high) that is rounded to 2^bits values; what is outside is cut off.

    minmax      all that was seen
    percentile  so many per cent of the values, half of the rest cut off at either end
    entropy     the least KL divergence between the values and the rounded ones (as TensorRT's calibration)
    mse         the least squared error, of rounding inside and cutting off outside

    symmetric: low = -high.
    """
    if not histogram.count:
        raise ValueError("nothing was seen")
    low, high = histogram.low, histogram.high
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    if method == "percentile":
        low, high = _percentile(histogram, percentile, symmetric, low, high)
    elif method == "entropy":
        low, high = _entropy(histogram, low, high)
    elif method == "mse":
        low, high = _search(lambda a, b: _squared_error(histogram, a, b, bits), low, high, symmetric)
    return low, high


def _percentile(h: Histogram, percentile: float, symmetric: bool, low: float, high: float) -> tuple[float, float]:
    outside = (1 - percentile / 100) * h.count
    if symmetric:
        folded = h.bins[BINS // 2 :] + h.bins[BINS // 2 - 1 :: -1]
        kept = int(np.searchsorted(np.cumsum(folded[::-1]), outside, side="right"))
        end = min(high, (BINS // 2 - kept) * 2 * h.limit / BINS)
        return -end, end
    width = 2 * h.limit / BINS
    below = int(np.searchsorted(np.cumsum(h.bins), outside / 2, side="right"))
    above = int(np.searchsorted(np.cumsum(h.bins[::-1]), outside / 2, side="right"))
    return min(0.0, max(low, below * width - h.limit)), max(0.0, min(high, h.limit - above * width))


def _entropy(h: Histogram, low: float, high: float) -> tuple[float, float]:
    """By onnxruntime's search for a threshold, which is symmetric; cut to what was seen."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    end = max(-low, high)
    if end == 0:
        return low, high
    used = max(1, int(np.ceil(end / h.limit * BINS / 2)))
    bins = h.bins[BINS // 2 - used : BINS // 2 + used]
    while len(bins) > 512:  # its search takes the square of their number
        bins = np.pad(bins, len(bins) % 4 // 2).reshape(-1, 2).sum(axis=1)
    if len(bins) < 129:
        return low, high
    bins = bins[: len(bins) // 2 * 2 - 1] if len(bins) % 2 == 0 else bins
    edges = np.linspace(-end, end, len(bins) + 1).astype(np.float32)
    collector = HistogramCollector("entropy", False, len(bins), 128, 99.99, "same")
    threshold = collector.get_entropy_threshold((bins, edges, -end, end, end), 128)
    return max(low, float(threshold[0])), min(high, float(threshold[1]))


def _search(error: Callable[[float, float], float], low: float, high: float, symmetric: bool) -> tuple[float, float]:
    """Both ends in turn, until neither moves; all that was seen is among what is tried."""
    if symmetric:
        best = min(_PARTS, key=lambda p: error(low * p, high * p))
        return low * float(best), high * float(best)
    a, b = low, high
    for _ in range(4):
        before = a, b
        if low < 0:
            a = low * float(min(_PARTS, key=lambda p: error(low * p, b)))
        if high > 0:
            b = high * float(min(_PARTS, key=lambda p: error(a, high * p)))
        if (a, b) == before:
            break
    return a, b


def _squared_error(h: Histogram, low: float, high: float, bits: int) -> float:
    step = (high - low) / (2**bits - 1)
    centres = h.centres
    outside = np.minimum(centres - low, 0) ** 2 + np.maximum(centres - high, 0) ** 2
    inside = (centres >= low) & (centres <= high)
    return float((h.bins * (outside + inside * (step**2 / 12))).sum())
