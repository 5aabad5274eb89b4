"""Errors are the largest absolute difference of any logit over the largest absolute logit of the reference; for states,
of any value over the largest value of that state and layer, in what all forms of a state share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rrwkv_export.architectures.reference import State

Array = np.ndarray[Any, np.dtype[Any]]
_AT_ONCE = 2**18  # values: differences of all logits would be as large as they are


def logits_error(expected: Array, found: Array) -> float:
    """Largest absolute difference over the largest absolute logit; infinite if anything is not finite."""
    return _relative(found, expected)


def states_error(expected: State, found: Mapping[str, Array]) -> float:
    """The largest error of any state in any layer, relative to the largest value of that state in that layer.

    found: the states by name, in any form. Whole numbers, the position among them, are to be the same.
    """
    right = {name: np.asarray(value) for name, value in vars(expected).items()}
    there = {name: np.asarray(value) for name, value in found.items()}
    for name in [name for name, value in there.items() if value.ndim == 0]:
        if int(there.pop(name)) != int(right.pop(name)):
            return math.inf
    there, right = (expected.comparable(values) for values in (there, right))
    return max(_relative(there[name][layer], right[name][layer]) for name in there for layer in range(len(there[name])))


def _relative(found: Array, expected: Array) -> float:
    if found.shape != expected.shape or not all(np.isfinite(part).all() for part in _parts(found)):
        return math.inf
    pairs = zip(_parts(found), _parts(expected))
    # numpy's max, unlike Python's, is NaN where one is.
    errors, scales = zip(*((np.abs(a - b).max(), np.abs(b).max()) for a, b in pairs))
    error, scale = float(np.max(errors)), float(np.max(scales))
    if scale == 0:
        return 0.0 if error == 0 else math.inf
    return error / scale


def _parts(values: Array) -> Iterator[Array]:
    """Some rows at a time, a view of each."""
    rows = max(1, _AT_ONCE * len(values) // max(1, values.size))
    return (values[start : start + rows] for start in range(0, len(values), rows))
