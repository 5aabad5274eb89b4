"""How far two models' states move apart along a text, by state, layer and position.

The relative error of a layer's state is ‖a - b‖ / ‖b‖, b the reference's. Compared are

    shift.att, shift.ffn       the last outputs of LN1 and of LN2
    wkv, wkv_log_b             A / B and log B, which the plain form (A, B) and the stable one
                               (aa, bb, pp: A = aa e^pp, B = bb e^pp) have in common
    matrix                     RWKV-5 to 7's, by head too
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
# Whether the error grows is told by windows of so many tokens. The demo's int8 model has flat errors over 56,825.
# 9 % of all its stretches of 16 windows (4,096 tokens) pass for growing and none of 32, while with a growth of 1.25 put
# in all of 32 do. Of 32 windows 81 % are flat and the others too short to tell, of 64 (16,384 tokens) all are flat.
WINDOW, LEAST_WINDOWS = 256, 32
# Growing: from the second quarter to the last by more than GROWTH and by more than _SURE standard errors. Flat: _ENOUGH
# of them rule out a growth of RULED_OUT. Otherwise the text is too short to tell.
GROWTH, RULED_OUT = 1.1, 1.5
_SURE, _ENOUGH = 3.0, 2.0


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
    """‖a - b‖ / ‖b‖ of each state by layer, of `matrix` by layer and head: float64 [L] or [L, H]; 0 where nothing
    differs, infinite for what is not finite.
    """
    mine, theirs = comparable(other), comparable(reference)
    return {name: _relative(mine[name], b, 2 if name == "matrix" else 1) for name, b in theirs.items() if name in mine}


def _relative(a: Array, b: Array, kept: int) -> Array:
    """Over all axes but the first so many."""
    axes = tuple(range(kept, b.ndim))
    with np.errstate(all="ignore"):
        difference, norm = np.sqrt(((a - b) ** 2).sum(axes)), np.sqrt((b**2).sum(axes))
        error: Array = np.where(difference == 0, 0, difference / norm)
    return np.where(np.isnan(error), np.inf, error)


@dataclass(frozen=True)
class StateDrift:
    """One state's relative error by layer [L][P] at P positions (tokens seen), or by layer and head [L][H][P].

    quarters: means over the layers and over each quarter of the positions; None if there are fewer than four.
    """

    positions: tuple[int, ...]
    errors: Array

    @property
    def by_layer(self) -> Array:
        """[L, P], the mean over a layer's heads."""
        mean: Array = self.errors.mean(axis=1) if self.errors.ndim == 3 else self.errors
        return mean

    @property
    def by_head(self) -> Array | None:
        """[L, H], the mean over the last quarter of the positions; None for a state that has no heads."""
        if self.errors.ndim < 3:
            return None
        mean: Array = np.array_split(self.errors, 4, axis=2)[3 if len(self.positions) > 3 else 0].mean(axis=2)
        return mean

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
    def windows(self) -> Array:
        """The mean over the layers and over each WINDOW of tokens that has a position: [W]."""
        window = (np.array(self.positions) - 1) // WINDOW
        _, index, counts = np.unique(window, return_inverse=True, return_counts=True)
        means: Array = np.bincount(index, self.mean) / counts
        return means

    @property
    def bears_a_verdict(self) -> bool:
        """Whether there are windows enough to tell growth from chance."""
        return len(self.windows) >= LEAST_WINDOWS

    @property
    def growth(self) -> tuple[float, float] | None:
        """log of the ratio by windows, and its standard error; None where there are too few of them.

        Neighbours are alike where the state reaches farther back than a window: the error is made larger by what the
        autocorrelation at a distance of one says, √((1 + r) / (1 - r)).
        """
        if not self.bears_a_verdict:
            return None
        _, *later = np.array_split(self.windows, 4)
        apart = [part - part.mean() for part in later]
        squares = sum(float((part**2).sum()) for part in apart)
        alike = sum(float((part[1:] * part[:-1]).sum()) for part in apart) / squares if squares else 0.0
        alike = min(max(alike, 0.0), 0.9)
        second, _, last = later
        if not (second.any() and last.any()):
            return (float("inf") if last.any() else float("-inf")), 0.0
        relative = [part.var(ddof=1) / len(part) / part.mean() ** 2 for part in (second, last)]
        error = np.sqrt(sum(relative) * (1 + alike) / (1 - alike))
        return float(np.log(last.mean() / second.mean())), float(error)

    @property
    def flat(self) -> bool | None:
        """Whether the error has stopped growing; None where the text is too short to tell."""
        if not np.isfinite(self.mean).all():
            return False
        if not self.mean.any():
            return True
        if self.growth is None:
            return None
        growth, error = self.growth
        if growth > max(np.log(GROWTH), _SURE * error):
            return False
        return True if growth + _ENOUGH * error < np.log(RULED_OUT) else None


@dataclass(frozen=True)
class Drift:
    """All states, by name."""

    states: dict[str, StateDrift]

    @property
    def flat(self) -> bool | None:
        """Whether all are; None where the text is too short to tell. One that is seldom there does not decide."""
        verdicts = [state.flat for state in self.states.values()]
        if False in verdicts:
            return False
        decide = [state.flat for state in self.states.values() if state.bears_a_verdict] or verdicts
        return None if None in decide or not decide else True

    @property
    def largest(self) -> float:
        """The largest of the states' last quarters."""
        return max((state.last for state in self.states.values()), default=0.0)


def drift(points: Sequence[tuple[int, dict[str, Array]]]) -> Drift:
    """From (tokens seen, relative errors by state, each [L] or [L, H]) along a text."""
    states = {}
    for name in dict.fromkeys(name for _, errors in points for name in errors):
        positions, columns = zip(*((position, errors[name]) for position, errors in points if name in errors))
        states[name] = StateDrift(positions, np.stack(columns, axis=-1))
    return Drift(states)
