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

from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.errors import StateError
from rrwkv_runtime.manifest import WKV, Manifest

Values = Mapping[str, np.ndarray]
_ROWS = {"plain": 2, "stable": 3}
_OTHER = {"plain": "stable", "stable": "plain"}
_SUM, _WEIGHT = "medium_sum", "medium_weight"  # roles: a sum, and the weights that it is divided by
_INFORMATION, _TOKEN = "medium_information", "medium_token"  # roles: I of an adaptive interval, and the last token
_UNIT = 1 << 16  # of I: what a segment's tokens come to, and the most that one can tell
# A step squares what it makes of a value (ffn.key), and more than this squared is more than float32 holds. Real ones,
# outputs of LayerNorms and means of them, are far below.
_LARGEST = math.sqrt(np.finfo(np.float32).max)
_TINY = float(np.finfo(np.float32).tiny)
_LAST_POSITION = 2**62  # far from where int64 would overflow with any number of tokens to come


def other_form(specs: Sequence[StateSpec]) -> tuple[StateSpec, ...]:
    """The same states with wkv in the form that these do not have."""
    return tuple(_in_other_form(spec) if _converts(spec) else spec for spec in specs)


def _converts(spec: StateSpec) -> bool:
    """Whether it is a wkv in one of the two forms; other models' are in one that has no other."""
    return spec.role == WKV and len(spec.shape) == 3 and spec.shape[1] == _ROWS.get(spec.form or "")


def _in_other_form(spec: StateSpec) -> StateSpec:
    form = _OTHER[str(spec.form)]
    shape = (spec.shape[0], _ROWS[form], spec.shape[2])
    return dataclasses.replace(spec, form=form, shape=shape, init=0, exponents=0)


def fitted(values: Values, manifest: Manifest) -> dict[str, np.ndarray]:
    """The values in the form that the bundle carries, checked. Raises StateError."""
    found: dict[str, np.ndarray] = {}
    if values.keys() != {spec.input for spec in manifest.states}:
        raise StateError("its states are not this bundle's")
    for spec in manifest.states:
        value = values[spec.input]
        if _converts(spec) and value.shape == _in_other_form(spec).shape:
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
    """wkv in the form of the spec, given in the other one."""
    if spec.form == "plain":
        return _plain(wkv)
    stable = np.concatenate([wkv, np.zeros_like(wkv[:, :1])], axis=1)
    # Where nothing has been summed yet an exponent of 0 would hide keys far below it.
    return np.where(wkv[:, 1:] == 0, spec.initial(), stable)


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
    position = int(values[manifest.position])
    if not 0 <= position <= _LAST_POSITION:
        raise StateError(f"it is damaged (a position of {position} is out of range)")
    for spec in filter(_converts, manifest.states):
        if (values[spec.input][:, 1] < 0).any():
            raise StateError(f"it is damaged ({spec.input} holds a negative sum of weights)")
    weights = next((values[spec.input] for spec in manifest.states_of(_WEIGHT)), None)
    medium = manifest.config.get("medium")
    if medium and weights is not None:
        counted = next((int(values[spec.input]) for spec in manifest.states_of(_INFORMATION)), None)
        if counted is None:
            _check_segment(weights, f"{position % medium['interval']} tokens", position % medium["interval"])
        else:
            _check_counted(values, manifest, position, counted)
            _check_segment(weights, f"{counted % _UNIT / _UNIT:.2g} of the way", counted % _UNIT)
    for spec in manifest.states:
        _check_size(spec, values[spec.input], weights)


def _check_size(spec: StateSpec, value: np.ndarray, medium_weights: np.ndarray | None) -> None:
    """Raises StateError for a value that a step would overflow on; of a sum and its weights, for their mean."""
    if value.dtype.kind != "f" or spec.role == _WEIGHT:
        return
    weights: np.ndarray | None = None
    if _converts(spec):  # the exponent of the stable form may be of any size
        value, weights = value[:, 0], value[:, 1]
    elif spec.role == _SUM:
        weights = medium_weights
    least = 1.0 if weights is None else np.maximum(weights.astype(np.float64), _TINY)
    largest = float((np.abs(value) / least).max(initial=0))
    if largest > _LARGEST:
        mean = "" if weights is None else "a mean of "
        raise StateError(f"it is damaged ({spec.input} holds {mean}{largest:.1g}, on which a step overflows)")


def _check_counted(values: Values, manifest: Manifest, position: int, counted: int) -> None:
    """Of an adaptive interval: what so many tokens can have told, and the last of them."""
    if not position <= counted <= position * _UNIT:
        raise StateError(f"it is damaged ({position} tokens do not tell {counted} / {_UNIT})")
    for spec in manifest.states_of(_TOKEN):
        token = int(values[spec.input])
        if not (0 if position else -1) <= token < (manifest.vocab_size if position else 0):
            raise StateError(f"it is damaged ({spec.input} is {token}, after {position} tokens)")


def _check_segment(weight: np.ndarray, into: str, begun: int) -> None:
    """into: how far, in words; begun: 0 where it is at its beginning."""
    if (weight < 0).any() or (begun and not weight.all()):
        raise StateError(
            f"it is damaged (medium_weight is {weight.min():g}, {into} into a segment, where it is a sum of positive "
            "weights)"
        )
