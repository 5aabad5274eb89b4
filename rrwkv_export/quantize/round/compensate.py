"""Rounding input by input, where the inputs that are still to come make up for the errors of those before.

    H = R Rᵀ    moments [inputs, inputs], R upper triangular
    E = W - V   the weights [inputs, outputs] less the values that they are rounded to
    Y = Rᵀ E    what of the errors is left when the later inputs have made up for them as well as they can

Input k aims at w_k + Σ_{j<k} R_jk / R_kk E_j, and Y_k = R_kk (aim - value). It is the same rounding as GPTQ's by the
root of H⁻¹ (arXiv 2210.17323; QuIP, arXiv 2307.13304, theorem 6), but needs no inverse, and the errors of all inputs
before a block reach it in one product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Level = Callable[[int, Array], Array]
"""(input, weights [outputs]) -> levels [outputs], whole numbers around 0."""
_AT_ONCE = 256  # inputs, in a product: few enough that a triangle's empty half costs little


def root(H: Array, ridge: float) -> Array:
    """R float32 [inputs, inputs], upper triangular: H + ridge I = R Rᵀ. H float32, symmetric.

    From the last inputs to the first: each corner by itself, in float64, then all above it in one product. Numpy's own
    takes four times as long. Raises LinAlgError if the sum is not positive definite.
    """
    R = np.zeros_like(H)
    for end in range(len(H), 0, -_AT_ONCE):
        start = max(0, end - _AT_ONCE)
        left = H[:end, start:end] - R[:end, end:] @ R[start:end, end:].T
        corner = left[start:].astype(np.float64) + ridge * np.eye(end - start)
        upper = np.linalg.cholesky(corner[::-1, ::-1])[::-1, ::-1]
        R[start:end, start:end] = upper
        R[:start, start:end] = left[:start] @ np.linalg.inv(upper).T.astype(np.float32)
    return R


def upper_product(R: Array, x: Array) -> Array:
    """R x, R upper triangular."""
    found = np.empty_like(x)
    for start in range(0, len(x), _AT_ONCE):
        np.matmul(R[start : start + _AT_ONCE, start:], x[start:], out=found[start : start + _AT_ONCE])
    return found


def lower_product(R: Array, x: Array) -> Array:
    """Rᵀ x, R upper triangular."""
    found = np.empty_like(x)
    for start in range(0, len(x), _AT_ONCE):
        end = min(start + _AT_ONCE, len(x))
        np.matmul(R[:end, start:end].T, x[:end], out=found[start:end])
    return found


@dataclass(frozen=True)
class Compensated:
    """A matrix in the rounding. E, Y float32 [inputs, outputs]: of the inputs rounded so far, as above."""

    W: Array
    R: Array
    E: Array
    Y: Array

    @classmethod
    def start(cls, W: Array, R: Array) -> Compensated:
        """W float32 [inputs, outputs]"""
        return cls(W, R, np.empty_like(W), np.empty_like(W))

    def blocks(self, size: int) -> Iterator[Block]:
        """So many inputs at a time, a divisor of 256; each is to be rounded before the next is asked for."""
        R, E, diagonal = self.R, self.E, np.diag(self.R)[:, None]
        for first in range(0, len(self.W), _AT_ONCE):
            last = min(first + _AT_ONCE, len(self.W))
            before = R[:first, first:last].T @ E[:first]
            for start in range(first, last, size):
                end = min(start + size, last)
                sums = before[start - first : end - first] + R[first:start, start:end].T @ E[first:start]
                scale = diagonal[start:end]
                aim = self.W[start:end] + sums / scale
                yield Block(self, start, end, aim, R[start:end, start:end] / scale[:, 0], scale)


@dataclass(frozen=True)
class Block:
    """Inputs start .. end - 1.

    aim [n, outputs]: what they should be, the errors before them made up for. share [n, n]: R_jk / R_kk.
    diagonal [n, 1]: R_kk.
    """

    of: Compensated
    start: int
    end: int
    aim: Array
    share: Array
    diagonal: Array

    def round(self, level: Level, s: Array) -> Array:
        """Their levels [n, outputs], float32, for the scales s [outputs]."""
        levels = np.empty_like(self.aim)
        W, E = self.of.W, self.of.E
        for i in range(len(levels)):
            q = levels[i] = level(self.start + i, self.aim[i])
            error = E[self.start + i]
            np.subtract(W[self.start + i], q * s, out=error)
            self.aim[i + 1 :] += self.share[i, i + 1 :, None] * error
        np.multiply(self.aim - levels * s, self.diagonal, out=self.of.Y[self.start : self.end])
        return levels
