"""Histograms that never grow, and the range of values to keep when they are rounded to few bits."""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp
from typing import Any, Literal, get_args

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Method = Literal["minmax", "percentile", "entropy", "mse"]
METHODS: tuple[str, ...] = get_args(Method)
BINS = 4096
_SMALLEST_LIMIT = 2.0**-64
_PARTS = np.geomspace(1, 1 / 64, 97)  # of an extreme value, for a range's end; all of it comes first
_ROUNDS = 4
_ENTROPY_BINS, _ENTROPY_LEVELS = 512, 128  # onnxruntime's search takes time by the square of the bins


class Histogram:
    """Of one tensor's values, piece by piece, in BINS equal bins [lower, upper) on [-limit, limit).

    limit is the least power of two over every magnitude seen; when it doubles, pairs of bins become one, so that the
    bins do not depend on the pieces. low, high: the extremes, exactly, and 0 is always within. count: values seen.
    """

    def __init__(self) -> None:
        self.bins = np.zeros(BINS, np.int64)
        self.limit = _SMALLEST_LIMIT
        self.low = self.high = 0.0
        self.count = 0

    def add(self, values: Array) -> None:
        """Values of any shape, float32. Raises ValueError if one is not finite; nothing is added then."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError("a value is not finite")
        end = max(-low, high)
        self._widen(2.0 ** frexp(end)[1] if end else 0)
        self.low, self.high = min(self.low, low), max(self.high, high)
        place = values.ravel() * np.float32(BINS / 2 / self.limit)
        np.floor(place, out=place)  # before the shift, which would round: this way the places are exact
        place += np.float32(BINS / 2)
        self.bins += np.bincount(place.astype(np.intp), minlength=BINS)
        self.count += values.size

    def _widen(self, limit: float) -> None:
        if self.low == self.high == 0:  # nothing but zeros yet, whose bin is the same for every limit
            self.limit = max(limit, _SMALLEST_LIMIT)
        while self.limit < limit:
            pairs = self.bins.reshape(-1, 2).sum(axis=1)
            self.bins = np.pad(pairs, BINS // 4)
            self.limit *= 2

    @property
    def edges(self) -> Array:
        """The bins' edges, float64 [BINS + 1]."""
        return np.linspace(-self.limit, self.limit, BINS + 1)


def range_of(
    histogram: Histogram, method: str, *, bits: int = 8, symmetric: bool = False, percentile: float = 99.99
) -> tuple[float, float]:
    """The range (low <= 0 <= high) that is rounded to 2^bits values; what is outside is cut off.

    minmax      all that was seen
    percentile  at least so many per cent of the values, as much as half of the others cut off at either end
    entropy     the least KL divergence between the values and the rounded ones, as in TensorRT's calibration, whatever
                the bits; it cuts off much of values that are mostly near zero, such as relu(x)²
    mse         the least squared error, of rounding inside and cutting off outside

    symmetric: low = -high, and one of the 2^bits values stays unused. (0, 0) if only zeros were seen. Raises ValueError
    for an empty histogram and for a method that there is not.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
    if not histogram.count:
        raise ValueError("nothing was seen: the histogram is empty; observe a longer text")
    low, high = histogram.low, histogram.high
    if low == high:
        return 0.0, 0.0
    if method == "percentile":
        low, high = _percentile(histogram, percentile, symmetric)
    elif method == "entropy":
        low, high = _entropy(histogram)
    elif method == "mse":
        return _least_squares(histogram, bits, symmetric)
    end = max(-low, high)
    return (-end, end) if symmetric else (low, high)


def _percentile(h: Histogram, percentile: float, symmetric: bool) -> tuple[float, float]:
    outside, width = (1 - percentile / 100) * h.count, 2 * h.limit / BINS
    below, above = h.bins[: BINS // 2], h.bins[: BINS // 2 - 1 : -1]  # both from outside in
    if symmetric:
        end = h.limit - width * _cut(below + above, outside)
        return max(h.low, -end), min(h.high, end)
    low, high = (h.limit - width * _cut(side, outside / 2) for side in (below, above))
    return max(h.low, -low), min(h.high, high)


def _cut(bins: Array, values: float) -> int:
    """How many of the first bins hold no more than so many values together."""
    return int(np.searchsorted(np.cumsum(bins), values, side="right"))


def _entropy(h: Histogram) -> tuple[float, float]:
    """By onnxruntime's search, with its number of levels; its candidates are symmetric, then cut to what was seen."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    bins = h.bins.reshape(_ENTROPY_BINS, -1).sum(axis=1)
    edges = np.linspace(-h.limit, h.limit, len(bins) + 1).astype(np.float32)
    collector = HistogramCollector("entropy", False, len(bins), _ENTROPY_LEVELS, 99.99, "same")
    seen = bins, edges, np.float32(h.low), np.float32(h.high)
    low, high = collector.get_entropy_threshold(seen, _ENTROPY_LEVELS)
    return float(low), float(high)


def _least_squares(h: Histogram, bits: int, symmetric: bool) -> tuple[float, float]:
    """Both ends together, then each in turn until neither moves. What was seen is tried first, so no range that is
    found has a greater error.
    """
    if symmetric:
        end = max(-h.low, h.high)
        return min(((-end * part, end * part) for part in map(float, _PARTS)), key=_Error(h, 2**bits - 2))
    error = _Error(h, 2**bits - 1)
    best = min(((h.low * part, h.high * part) for part in map(float, _PARTS)), key=error)
    for _ in range(_ROUNDS):
        before = best
        best = min(_with_other_end(best, 0, h.low), key=error)
        best = min(_with_other_end(best, 1, h.high), key=error)
        if best == before:
            break
    return best


def _with_other_end(ends: tuple[float, float], which: int, extreme: float) -> Iterator[tuple[float, float]]:
    yield ends
    if extreme:
        for end in (extreme * _PARTS).tolist():
            yield (end, ends[1]) if which == 0 else (ends[0], end)


class _Error:
    """The squared error, summed over a histogram's values, of rounding to the nearest of steps + 1 values in a range.

    Within a bin the values count as evenly spread. With t = x / Δ and n the level (a whole number, 0 among them) next
    to t, the error's integral from 0 to x is Δ³ F(t), F(t) = n/12 + (t - n)³/3; the same n, the last one, holds for
    whatever is cut off.
    """

    def __init__(self, h: Histogram, steps: int) -> None:
        used = np.flatnonzero(h.bins)
        first, last = int(used[0]), int(used[-1]) + 1
        self._bins, self._edges = h.bins[first:last].astype(np.float64), h.edges[first : last + 1]
        self._width, self._steps = 2 * h.limit / BINS, steps

    def __call__(self, ends: tuple[float, float]) -> float:
        low, high = ends
        step = (high - low) / self._steps
        lowest = np.rint(low / step)
        t = self._edges / step
        n = np.clip(np.rint(t), lowest, lowest + self._steps)
        t -= n
        integral = n / 12 + t * t * t / 3
        return float(self._bins @ np.diff(integral)) * step**3 / self._width
