"""How far two models' states move apart along a text, by state, layer and position.

The relative error of a layer's state is ‖a - b‖ / ‖b‖, b the reference's. Compared are

    shift.att, shift.ffn       the last outputs of LN1 and of LN2
    wkv, wkv_log_b             A / B and log B, which the plain form (A, B) and the stable one
                               (aa, bb, pp: A = aa e^pp, B = bb e^pp) have in common
    medium_open                S / G of the open segment, where there is one
    medium_bank, medium_key    the held mediums and their keys
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Values = Mapping[str, Array]
# An error that grows by less than this from the second quarter to the last does not grow.
FLAT_RATIO = 1.1


def comparable(values: Values) -> dict[str, Array]:
    """A state's values as float64 [L, …] in units that do not depend on the graph's form."""
    found: dict[str, Array] = {}
    for name, value in values.items():
        if value.ndim < 2:  # the position
            continue
        if name == "shift":
            found["shift.att"], found["shift.ffn"] = value[:, 0], value[:, 1]
        elif name == "wkv":
            found["wkv"], found["wkv_log_b"] = _wkv(value.astype(np.float64))
        elif name == "medium_sum":
            found |= _open_segment(value, values["medium_weight"])
        elif name != "medium_weight":
            found[name] = value
    return {name: value.astype(np.float64) for name, value in found.items()}


def _wkv(wkv: Array) -> tuple[Array, Array]:
    """A / B and log B [L, C] of the plain form [L, 2, C] or the stable one [L, 3, C]."""
    numerator, denominator = wkv[:, 0], wkv[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        log_b = np.log(denominator) + (wkv[:, 2] if wkv.shape[1] == 3 else 0)
        return numerator / denominator, log_b


def _open_segment(total: Array, weight: Array) -> dict[str, Array]:
    return {"medium_open": total / weight} if (weight != 0).all() else {}


def relative_errors(other: Values, reference: Values) -> dict[str, Array]:
    """‖a - b‖ / ‖b‖ of each state by layer: float64 [L]; 0 where nothing differs, infinite for what is not finite."""
    mine, theirs = comparable(other), comparable(reference)
    return {name: _relative(mine[name], b) for name, b in theirs.items() if name in mine}


def _relative(a: Array, b: Array) -> Array:
    axes = tuple(range(1, b.ndim))
    with np.errstate(all="ignore"):
        difference, norm = np.sqrt(((a - b) ** 2).sum(axes)), np.sqrt((b**2).sum(axes))
        error: Array = np.where(difference == 0, 0, difference / norm)
    return np.where(np.isnan(error), np.inf, error)


@dataclass(frozen=True)
class StateDrift:
    """One state's relative error by layer [L][P] at P positions (tokens seen).

    quarters: means over the layers and over each quarter of the positions; None if there are fewer than four.
    """

    positions: tuple[int, ...]
    by_layer: Array

    @property
    def mean(self) -> Array:
        """Over the layers: [P]."""
        mean: Array = self.by_layer.mean(axis=0)
        return mean

    @property
    def quarters(self) -> tuple[float, float, float, float] | None:
        if len(self.positions) < 4:
            return None
        first, second, third, last = (float(part.mean()) for part in np.array_split(self.mean, 4))
        return first, second, third, last

    @property
    def last(self) -> float:
        """The last quarter's mean; of the last position if there are fewer than four."""
        return self.quarters[3] if self.quarters else float(self.mean[-1])

    @property
    def ratio(self) -> float | None:
        """The last quarter over the second; None if that is not to be had. 1 where both are zero."""
        if not self.quarters:
            return None
        _, second, _, last = self.quarters
        if second:
            return last / second
        return 1.0 if last == 0 else float("inf")

    @property
    def flat(self) -> bool | None:
        """Whether the error has stopped growing; None where there are too few positions to say."""
        return None if self.ratio is None else self.ratio <= FLAT_RATIO


@dataclass(frozen=True)
class Drift:
    """All states, by name."""

    states: dict[str, StateDrift]

    @property
    def flat(self) -> bool | None:
        """Whether all are; None where the text is too short to say."""
        verdicts = [state.flat for state in self.states.values()]
        if False in verdicts:
            return False
        return None if None in verdicts or not verdicts else True

    @property
    def largest(self) -> float:
        """The largest of the states' last quarters."""
        return max((state.last for state in self.states.values()), default=0.0)


def drift(points: Sequence[tuple[int, dict[str, Array]]]) -> Drift:
    """From (tokens seen, relative errors [L] by state) along a text."""
    states = {}
    for name in dict.fromkeys(name for _, errors in points for name in errors):
        positions, columns = zip(*((position, errors[name]) for position, errors in points if name in errors))
        states[name] = StateDrift(positions, np.stack(columns, axis=1))
    return Drift(states)
