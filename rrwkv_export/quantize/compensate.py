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


def root(H: Array) -> Array:
    """R float32 [inputs, inputs], upper triangular: H = R Rᵀ. H float64, positive definite."""
    lower = np.linalg.cholesky(H[::-1, ::-1])
    return np.ascontiguousarray(lower[::-1, ::-1], np.float32)


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
        """So many inputs at a time; each is to be rounded before the next is asked for."""
        for start in range(0, len(self.W), size):
            end = min(start + size, len(self.W))
            diagonal = np.diag(self.R)[start:end]
            share = self.R[:end, start:end] / diagonal
            aim = self.W[start:end] + share[:start].T @ self.E[:start]
            yield Block(self, start, end, aim, share[start:], diagonal)

    def moved(self, size: int) -> Iterator[Array]:
        """H E = R Y, rows of so many inputs at a time, when all is rounded."""
        for start in range(0, len(self.W), size):
            yield self.R[start : start + size, start:] @ self.Y[start:]


@dataclass(frozen=True)
class Block:
    """Inputs start .. end - 1. aim [n, outputs]: what they should be, the errors before them made up for."""

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
        np.multiply(self.aim - levels * s, self.diagonal[:, None], out=self.of.Y[self.start : self.end])
        return levels
