"""What a manifest says of one recurrent state: its place in the graphs, its shape, and how it begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrwkv_runtime.errors import BundleError

_LARGEST_EXPONENT = 32


@dataclass(frozen=True)
class StateSpec:
    """One recurrent state.

    input, output  its names in the graphs
    role           what it is to the model: "position" (tokens seen, which a runtime reads), "shift", "wkv",
                   "medium_sum" …; by it a runtime tells what a value may hold, and knows no name
    shape, dtype   of its value ("float32" …)
    init           its value before the first token: a number, or nested lists that broadcast to the shape
    form           of a role that can be written in several ways: which this is; see `execution.state_values`
    exponents      the graphs carry the model's value / 2^exponents, in which quantization found it rounds less. A
                   number, or nested lists that broadcast to the shape
    """

    input: str
    output: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    init: float | list[Any]
    form: str | None = None
    exponents: float | list[Any] = 0

    def __post_init__(self) -> None:
        if self.exponents == 0:
            return
        try:
            exponents = np.asarray(self.exponents, np.float32)
            np.broadcast_to(exponents, self.shape)  # a view: the shape may be of any size yet
        except (ValueError, TypeError, OverflowError):
            raise BundleError(f"the manifest's exponents of state {self.input!r} do not fit its shape") from None
        if not (np.abs(exponents) <= _LARGEST_EXPONENT).all():
            raise BundleError(f"the manifest's exponents of state {self.input!r} are out of range")
        if not self.dtype.startswith("float"):
            raise BundleError(f"the manifest has exponents for state {self.input!r}, which is {self.dtype}")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> StateSpec:
        return cls(**{**fields, "shape": tuple(fields["shape"])})

    @property
    def is_whole_number(self) -> bool:
        """Whether it is a single one, as what is counted."""
        return self.dtype == "int64" and self.shape == ()

    def inputs(self, apart: bool) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of the graph's input; apart: of one input for each of the first axis."""
        if apart and self.shape:
            return [(f"{self.input}.{i}", self.shape[1:]) for i in range(self.shape[0])]
        return [(self.input, self.shape)]

    def carried(self, value: np.ndarray) -> np.ndarray:
        """The model's value as the graph carries it."""
        return value if self.exponents == 0 else value * np.exp2(-np.asarray(self.exponents, np.float32))

    def restored(self, value: np.ndarray) -> np.ndarray:
        """The model's value from what the graph carries."""
        return value if self.exponents == 0 else value * np.exp2(np.asarray(self.exponents, np.float32))

    def initial(self) -> np.ndarray:
        """A new array with the state's value before the first token."""
        try:
            value = np.array(np.broadcast_to(np.asarray(self.init, dtype=self.dtype), self.shape), order="C")
        except (ValueError, TypeError, OverflowError, MemoryError):
            raise BundleError(f"the manifest's initial value of state {self.input!r} does not fit its shape") from None
        if not np.isfinite(value).all():
            raise BundleError(f"the manifest's initial value of state {self.input!r} is not finite")
        return value

    @property
    def nbytes(self) -> int:
        count = np.dtype(self.dtype).itemsize
        for size in self.shape:
            count *= size
        return count
