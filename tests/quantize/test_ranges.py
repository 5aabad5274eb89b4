"""Histograms and ranges, against what numpy says of the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rrwkv_export.quantize.observe.ranges import BINS, METHODS, Histogram, range_of

FLOATS = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)


def seen(*pieces):
    histogram = Histogram()
    for piece in pieces:
        histogram.add(np.asarray(piece, np.float32))
    return histogram


def squared_error(values, low, high, bits=8):
    step = (high - low) / (2**bits - 1)
    return float(np.square(np.clip(np.rint((values - low) / step) * step + low, low, high) - values).mean())


@given(st.lists(st.lists(FLOATS, max_size=20), max_size=6))
@example([[0.0], [1e-6], [0.0, -3e-6]])
def test_pieces_count_as_one(pieces):
    parts, whole = seen(*pieces), seen([value for piece in pieces for value in piece])
    assert parts.count == parts.bins.sum() == whole.count
    assert (parts.low, parts.high) == (whole.low, whole.high)
    assert parts.limit == whole.limit
    assert (parts.bins == whole.bins).all()


@given(st.lists(FLOATS, min_size=1))
def test_bins_count_what_lies_between_their_edges(values):
    histogram, values = seen(values), np.array(values)
    assert histogram.limit / 2 <= max(np.abs(values).max(), 2.0**-65) < histogram.limit
    assert (np.histogram(values, histogram.edges)[0] == histogram.bins).all()
    assert (histogram.low, histogram.high) == (min(0, values.min()), max(0, values.max()))


def drawn(kind, seed, count=3000):
    """Values as a model has them: around zero, all of one sign, or with a few that are far out."""
    rng = np.random.default_rng(seed)
    values = {
        "normal": rng.normal(size=count),
        "heavy": rng.standard_t(2, count),
        "relu²": np.maximum(rng.normal(size=count), 0) ** 2,
        "negative": -rng.exponential(size=count),
        "outlier": np.append(rng.normal(size=count), 100),
    }[kind]
    return (values * 10.0 ** rng.integers(-12, 12)).astype(np.float32)


KINDS = st.sampled_from(["normal", "heavy", "relu²", "negative", "outlier"])


@pytest.mark.parametrize("method", METHODS)
@given(KINDS, st.integers(0, 10**6), st.booleans())
@settings(max_examples=6)
def test_ranges_hold_zero_and_lie_within_what_was_seen(method, kind, seed, symmetric):
    histogram = seen(drawn(kind, seed))
    low, high = range_of(histogram, method, symmetric=symmetric)
    if symmetric:
        assert -low == high <= max(-histogram.low, histogram.high)
    else:
        assert histogram.low <= low <= 0 <= high <= histogram.high


@given(KINDS, st.integers(0, 10**6), st.booleans(), st.sampled_from([4, 8, 16]))
@settings(max_examples=30)
def test_the_least_squared_error_is_no_greater_than_that_of_all_values(kind, seed, symmetric, bits):
    """Of the values themselves, not of their histogram; in 16 bits the steps are finer than its bins."""
    values = drawn(kind, seed).astype(np.float64)
    error = {
        method: rounding_error(values, *range_of(seen(values), method, bits=bits, symmetric=symmetric), bits, symmetric)
        for method in ("mse", "minmax")
    }
    assert error["mse"] <= 1.02 * error["minmax"]


def rounding_error(values, low, high, bits, symmetric):
    """With the zero point a whole number, as integers have it; low = -high leaves one of them unused."""
    steps = 2**bits - 1 - symmetric
    step = (high - low) / steps
    zero = np.rint(-low / step)
    return float(np.square((np.clip(np.rint(values / step) + zero, 0, steps) - zero) * step - values).mean())


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
    for method in METHODS:
        assert range_of(seen(np.zeros(5)), method) == (0, 0)
    with pytest.raises(ValueError, match="nothing"):
        range_of(Histogram(), "minmax")
    for wrong in (np.inf, -np.inf, np.nan):
        with pytest.raises(ValueError, match="finite"):
            seen([1, wrong, 2])
    with pytest.raises(ValueError, match="minmax, percentile, entropy, mse, not 'max'"):
        range_of(seen([1]), "max")
    assert len(seen(np.arange(1e5)).bins) == BINS
