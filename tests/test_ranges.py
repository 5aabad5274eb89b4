"""Histograms and ranges, against what numpy says of the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.quantize.ranges import BINS, METHODS, Histogram, range_of


def seen(*pieces):
    histogram = Histogram()
    for piece in pieces:
        histogram.add(np.asarray(piece, np.float32))
    return histogram


def squared_error(values, low, high, bits=8):
    step = (high - low) / (2**bits - 1)
    return float(np.square(np.clip(np.rint((values - low) / step) * step + low, low, high) - values).mean())


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), max_size=20), max_size=6))
def test_pieces_count_as_one(pieces):
    parts, whole = seen(*pieces), seen([value for piece in pieces for value in piece])
    assert parts.count == parts.bins.sum() == whole.count
    assert (parts.low, parts.high) == (whole.low, whole.high)
    assert parts.limit == whole.limit
    assert np.abs(np.cumsum(parts.bins) - np.cumsum(whole.bins)).max(initial=0) <= parts.count


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 99))
def test_ranges_hold_zero_and_lie_within_what_was_seen(method, seed):
    values = np.random.default_rng(seed).standard_t(3, 3000).astype(np.float32)
    histogram = seen(values)
    low, high = range_of(histogram, method)
    assert histogram.low <= low <= 0 <= high <= histogram.high


def test_the_least_squared_error_is_below_that_of_all_values():
    values = np.random.default_rng(0).standard_t(3, 20000).astype(np.float32)
    error = {method: squared_error(values, *range_of(seen(values), method, bits=6), bits=6) for method in METHODS}
    assert error["mse"] == min(error.values())
    assert error["mse"] < 0.7 * error["minmax"]


def test_percentiles_cut_off_what_they_say():
    values = np.random.default_rng(0).normal(size=100_000).astype(np.float32)
    low, high = range_of(seen(values), "percentile", percentile=99)
    assert np.mean((values < low) | (values > high)) == pytest.approx(0.01, abs=0.002)
    low, high = range_of(seen(values), "percentile", percentile=99, symmetric=True)
    assert low == -high
    assert np.mean(np.abs(values) > high) == pytest.approx(0.01, abs=0.002)


def test_one_sided_values_keep_a_one_sided_range():
    values = np.random.default_rng(0).exponential(size=5000).astype(np.float32)
    for method in METHODS:
        assert range_of(seen(values), method)[0] == 0


def test_zeros_nothing_and_infinity():
    assert range_of(seen(np.zeros(5)), "mse") == (0, 0)
    with pytest.raises(ValueError, match="nothing"):
        range_of(Histogram(), "minmax")
    with pytest.raises(ValueError, match="finite"):
        seen([np.inf])
    assert len(seen(np.arange(1e5)).bins) == BINS
