"""A bundle's weights, mapped once for all of its sessions: for graphs whose kernels read weights as they lie in a file.

onnxruntime maps the file for each session, and every page that two sessions read is counted for the process twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from rrwkv_runtime.common.reading import boundary
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.providers import import_onnxruntime

_MOST_AXES = 8


@dataclass(frozen=True)
class Weight:
    """A constant of a graph, by its name there: where in the data file it lies, in bytes, and what it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Weight:
        return cls(**{**fields, "shape": tuple(fields["shape"])})

    def within(self, data: np.ndarray) -> np.ndarray:
        """The weight itself, without a copy. Raises DamagedBundle if the data end before it does."""
        dtype = np.dtype(self.dtype)
        end = self.offset + prod(self.shape) * dtype.itemsize
        if end > len(data) or self.offset % dtype.itemsize or len(self.shape) > _MOST_AXES:
            raise DamagedBundle(f"manifest.json: weight {self.name!r} does not lie in the weights' file")
        return data[self.offset : end].view(dtype).reshape(self.shape)


class SharedWeights:
    """They must be kept as long as the sessions that they were lent to."""

    def __init__(self, path: Path, weights: tuple[Weight, ...]) -> None:
        """Raises DamagedBundle."""
        values = import_onnxruntime().OrtValue
        with boundary(DamagedBundle, f"{path}: does not hold the weights that the manifest says"):
            data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
            self._values = {w.name: values.ortvalue_from_numpy(w.within(data)) for w in weights}

    def lend(self, options: Any) -> None:
        """Let a session take them in place of what its graph names so."""
        for name, value in self._values.items():
            options.add_initializer(name, value)
