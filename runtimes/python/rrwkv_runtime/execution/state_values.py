"""What a state may hold, and one of its values in another form: wkv as sums, or relative to their largest exponent.

    plain   [L, 2, C]   A, B
    stable  [L, 3, C]   aa, bb, pp with A = aa exp(pp), B = bb exp(pp)

Both are in the model's own units; which one a bundle's graphs carry is a choice of its export.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from rrwkv_runtime.errors import StateError
from rrwkv_runtime.manifest import Manifest, StateSpec

Values = Mapping[str, np.ndarray]
_WKV = "wkv"
_OTHER_ROWS = {2: 3, 3: 2}
# A step squares what it makes of a value (ffn.key), and more than this squared is more than float32 holds. Real ones,
# outputs of LayerNorms and means of them, are far below.
_LARGEST = math.sqrt(np.finfo(np.float32).max)
_TINY = float(np.finfo(np.float32).tiny)
_LAST_POSITION = 2**62  # far from where int64 would overflow with any number of tokens to come


def other_form(specs: Sequence[StateSpec]) -> tuple[StateSpec, ...]:
    """The same states with wkv in the form that these do not have."""
    return tuple(
        dataclasses.replace(spec, shape=(spec.shape[0], _OTHER_ROWS[spec.shape[1]], spec.shape[2]), init=0, exponents=0)
        if spec.input == _WKV and len(spec.shape) == 3 and spec.shape[1] in _OTHER_ROWS
        else spec
        for spec in specs
    )


def fitted(values: Values, manifest: Manifest) -> dict[str, np.ndarray]:
    """The values in the form that the bundle carries, checked. Raises StateError."""
    found: dict[str, np.ndarray] = {}
    if values.keys() != {spec.input for spec in manifest.states}:
        raise StateError("its states are not this bundle's")
    for spec in manifest.states:
        value = values[spec.input]
        if spec.input == _WKV and value.ndim == 3 and value.shape != spec.shape:
            value = _converted(value, spec)
        if spec.shape == () and value.size == 1:  # numpy's functions for memory layouts make [1] of []
            value = value.reshape(())
        if value.shape != spec.shape or value.dtype != np.dtype(spec.dtype):
            described = f"{value.dtype} {list(value.shape)}, not {spec.dtype} {list(spec.shape)}"
            raise StateError(f"its states are laid out differently from this bundle's ({spec.input} is {described})")
        found[spec.input] = value
    _check(found, manifest)
    return found


def _converted(wkv: np.ndarray, spec: StateSpec) -> np.ndarray:
    """wkv in the form of the spec, if it is in the other one."""
    if wkv.shape[1] == 2 and spec.shape[1] == 3:
        stable = np.concatenate([wkv, np.zeros_like(wkv[:, :1])], axis=1)
        # Where nothing has been summed yet an exponent of 0 would hide keys far below it.
        return np.where(wkv[:, 1:] == 0, spec.initial(), stable) if stable.shape == spec.shape else wkv
    if wkv.shape[1] == 3 and spec.shape[1] == 2:
        return _plain(wkv)
    return wkv


def _plain(wkv: np.ndarray) -> np.ndarray:
    """A, B of aa, bb, pp. Raises StateError where float32 does not hold them."""
    exact = wkv.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = exact[:, :2] * np.exp(exact[:, 2:])
    sums[exact[:, :2] == 0] = 0  # whatever the exponent is
    if not (np.abs(sums) <= np.finfo(np.float32).max).all():
        with np.errstate(divide="ignore"):
            largest = (np.log(np.abs(exact[:, :2])) + exact[:, 2:]).max()
        raise StateError(
            f"its sums reach e^{largest:.0f}, and float32, in which the plain form of wkv carries them, "
            f"holds e^{math.log(np.finfo(np.float32).max):.0f}; go on with a bundle exported with --wkv stable"
        )
    return sums.astype(np.float32)


def _check(values: Values, manifest: Manifest) -> None:
    """Raises StateError for values that no text leads to, and that would make every further token's NaN or nonsense."""
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise StateError(f"it is damaged ({name} holds NaN or infinity)")
    position = int(values["position"]) if "position" in values else 0
    if not 0 <= position <= _LAST_POSITION:
        raise StateError(f"it is damaged (a position of {position} is out of range)")
    if _WKV in values and values[_WKV].ndim == 3 and (values[_WKV][:, 1] < 0).any():
        raise StateError("it is damaged (wkv holds a negative sum of weights)")
    medium = manifest.config.get("medium")
    if medium and "medium_weight" in values:
        _check_segment(values["medium_weight"], position, int(medium["interval"]))
    _check_sizes(values)


def _check_sizes(values: Values) -> None:
    """Raises StateError for a value that a step would overflow on; of a sum and its weights, for their mean."""
    for name, value in values.items():
        weights: np.ndarray | float = 1.0
        if value.dtype.kind != "f" or name == "medium_weight":
            continue
        if name == _WKV and value.ndim == 3:  # the exponent of the stable form may be of any size
            value, weights = value[:, 0], np.maximum(value[:, 1].astype(np.float64), _TINY)
        elif name == "medium_sum" and "medium_weight" in values:
            weights = np.maximum(values["medium_weight"].astype(np.float64), _TINY)
        largest = float((np.abs(value) / weights).max(initial=0))
        if largest > _LARGEST:
            mean = "a mean of " if name in (_WKV, "medium_sum") else ""
            raise StateError(f"it is damaged ({name} holds {mean}{largest:.1g}, on which a step overflows)")


def _check_segment(weight: np.ndarray, position: int, interval: int) -> None:
    into = position % interval
    if (weight < 0).any() or (into and not weight.all()):
        raise StateError(
            f"it is damaged (medium_weight is {weight.min():g}, {into} tokens into a segment of {interval}, "
            "where it is a sum of that many positive weights)"
        )
