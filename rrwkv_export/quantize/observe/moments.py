"""Second moments of a value with thousands of channels: the upper half, in rows of blocks, as the other is the same."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_ROWS = 256


class Moments:
    """Σ x xᵀ over rows x [inputs], float32, in little more than half of a matrix's memory."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._upper = [np.zeros((min(_ROWS, inputs - at), inputs - at), np.float32) for at in range(0, inputs, _ROWS)]

    def add(self, x: Array) -> None:
        """Rows [n, inputs] float32."""
        product = np.empty((_ROWS, self._inputs), np.float32)
        for at, upper in zip(range(0, self._inputs, _ROWS), self._upper):
            columns, rest = x[:, at : at + _ROWS], x[:, at:]
            out = product.reshape(-1)[: upper.size].reshape(upper.shape)
            upper += np.matmul(columns.T, rest, out=out)

    def mean(self, rows: int, divisor: Array | None = None) -> Array:
        """float32 [inputs, inputs], symmetric; with a divisor [inputs] that of x / divisor."""
        whole = np.empty((self._inputs, self._inputs), np.float32)
        for at, upper in zip(range(0, self._inputs, _ROWS), self._upper):
            end = at + len(upper)
            np.divide(upper, np.float32(rows), out=whole[at:end, at:])
            if divisor is not None:
                whole[at:end, at:] /= divisor[at:end, None]
                whole[at:end, at:] /= divisor[at:]
            whole[end:, at:end] = whole[at:end, end:].T
            square = whole[at:end, at:end]  # its halves may differ in how they were summed
            np.copyto(square, np.triu(square) + np.triu(square, 1).T)
        return whole


def moment_bytes(inputs: int) -> int:
    """What they take while they are summed."""
    return sum(4 * min(_ROWS, inputs - at) * (inputs - at) for at in range(0, inputs, _ROWS))
