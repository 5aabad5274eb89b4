"""What a manifest says of a graph in fixed shapes: the parts of states it takes, and what follows from a position."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.errors import DamagedBundle

_LARGEST_DERIVED = 2**20  # elements; real ones are as many as a model has slots for mediums


@dataclass(frozen=True)
class StatePart:
    """A float32 input and output of a graph in fixed shapes: elements of a state from `offset` on, in its own shape."""

    input: str
    output: str
    state: str
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DerivedInput:
    """A float32 input of a graph in fixed shapes that follows from the number of tokens seen before the run.

    Each element is `then` from that number `since` on, `otherwise` before; where there is a period, of the number
    modulo it. since: a number, or nested lists that broadcast to the shape.
    """

    input: str
    shape: tuple[int, ...]
    since: float | list[Any]
    period: int
    otherwise: float
    then: float

    def __post_init__(self) -> None:
        if prod(self.shape) > _LARGEST_DERIVED:
            raise DamagedBundle(f"manifest.json: {self.input!r} of {list(self.shape)} is larger than any such input")
        try:
            np.broadcast_to(np.asarray(self.since, np.float64), self.shape)
        except (ValueError, TypeError, OverflowError):
            raise DamagedBundle(f"manifest.json: `since` of {self.input!r} does not fit its shape") from None

    def at(self, position: int) -> np.ndarray:
        """The value [shape] float32 for a run after so many tokens."""
        place = position % self.period if self.period else position
        reached = place >= np.broadcast_to(np.asarray(self.since, np.float64), self.shape)
        return np.where(reached, np.float32(self.then), np.float32(self.otherwise))


@dataclass(frozen=True)
class FixedShape:
    """A graph that takes exactly so many tokens, as int32 [1, tokens], and gives logits [1, tokens, V].

    It may be run where the number of tokens seen is a multiple of `align`. States that no part belongs to stay as they
    are, but for the position, which the runtime counts.
    """

    tokens: int
    align: int
    parts: tuple[StatePart, ...]
    derived: tuple[DerivedInput, ...]

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> FixedShape:
        parts = tuple(StatePart(**{**part, "shape": tuple(part["shape"])}) for part in fields["parts"])
        derived = tuple(DerivedInput(**{**one, "shape": tuple(one["shape"])}) for one in fields["derived"])
        return cls(fields["tokens"], fields["align"], parts, derived)

    def check(self, name: str, states: Mapping[str, StateSpec]) -> None:
        """Raises DamagedBundle if a part is not one of these states'."""
        for part in self.parts:
            state = states.get(part.state)
            if state is None or state.dtype != "float32" or part.offset + prod(part.shape) > prod(state.shape):
                raise DamagedBundle(f"manifest.json: {part.input!r} of graph {name!r} is no part of a state")
