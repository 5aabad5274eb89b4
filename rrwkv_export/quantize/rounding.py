"""Matrices in few bits, in blocks along the inputs as onnxruntime's MatMulNBits stores them, or with a scale an output.

    W  [inputs, outputs], the product is x @ W     H  moments [inputs, inputs], the mean of x xᵀ over calibration text
    q  levels 0 .. 2^bits - 1                      s  a block's scale, of either sign; value = (q - 2^(bits-1)) s

`nearest` rounds every weight on its own. `gptq` rounds one input after the other and lets the inputs that are still to
come make up for the error (GPTQ, arXiv 2210.17323), which lowers tr(Eᵀ H E), the mean squared error of the product.
`gptq_by_output` does so for weights that share one scale an output. Onnxruntime's quantizer takes that scale from the
largest weight, so the largest stays at the end of its range, and the quantizer finds just these levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rrwkv_export.quantize.block_scales import best_scale, levels_of, refitted
from rrwkv_export.quantize.compensate import Compensated, root

Array = np.ndarray[Any, np.dtype[Any]]

_INPUTS_AT_ONCE = 128


@dataclass(frozen=True)
class Blocks:
    """A matrix [inputs, outputs], rounded in blocks of `block` inputs.

    q: uint8 [outputs, blocks · block], the padding holds the level of 0. scale: float32 [outputs, blocks].
    """

    bits: int
    block: int
    inputs: int
    q: Array
    scale: Array

    @property
    def nbytes(self) -> int:
        """Bytes of the packed levels and the scales."""
        return self.q.size * self.bits // 8 + 4 * self.scale.size

    def dequantized(self) -> Array:
        """float32 [inputs, outputs]"""
        levels = self.q.astype(np.float32) - np.float32(1 << (self.bits - 1))
        values = levels.reshape(*self.scale.shape, self.block) * self.scale[..., None]
        return np.ascontiguousarray(values.reshape(len(self.q), -1)[:, : self.inputs].T)


def nearest(W: Array, bits: int, block: int, weight: Array | None = None) -> Blocks:
    """Round to nearest. Each block's scale has the least squared error, where asked for weighted by weight [inputs]."""
    inputs, outputs = W.shape
    levels, scales = _empty(inputs, outputs, block)
    importance = np.ones(inputs, np.float32) if weight is None else weight
    for index, start in enumerate(range(0, inputs, block)):
        part = W[start : start + block].astype(np.float32)
        s = scales[index] = best_scale(part, bits, importance[start : start + block])
        levels[start : start + len(part)] = levels_of(part, s, bits)
    return _blocks(inputs, levels, scales, bits, block)


def gptq(W: Array, moments: Array, bits: int, block: int, *, damping: float = 0.01, refit: bool = True) -> Blocks:
    """Round input by input, each block's scale searched when its turn comes.

    damping: added to the diagonal of H, as a part of its mean. refit: at the end, choose all scales of an output at
    once for the levels found.
    """
    inputs, outputs = W.shape
    H = _damped(moments, damping)
    rounding = Compensated.start(W.astype(np.float32, copy=False), root(H))
    H = H.astype(np.float32)
    levels, scales = _empty(inputs, outputs, block)
    for index, part in enumerate(rounding.blocks(block)):
        s = scales[index] = best_scale(part.aim, bits, part.diagonal**2)
        levels[part.start : part.end] = part.round(partial(_level, s, bits), s)
    if refit:
        scales = refitted(rounding, H, levels, scales, block)
    return _blocks(inputs, levels, scales, bits, block)


@dataclass(frozen=True)
class Grid:
    """The levels low .. high of a weight that is rounded with one scale an output; the largest weight is at ±span."""

    span: float
    low: int
    high: int


# By the weights' type, and whether its range is reduced: as onnxruntime's quantizer lays them.
GRIDS = {
    ("int8", False): Grid(127, -127, 127),
    ("int8", True): Grid(64, -64, 64),
    ("uint8", False): Grid(127.5, -128, 127),
}


def gptq_by_output(W: Array, moments: Array, grid: Grid, *, damping: float = 0.01) -> Array:
    """W float32 [inputs, outputs] on the grid. damping: as in `gptq`."""
    W = W.astype(np.float32, copy=False)
    rounding = Compensated.start(W, root(_damped(moments, damping)))
    largest = np.abs(W).argmax(axis=0)
    extreme = W[largest, np.arange(W.shape[1])]
    s = np.where(extreme == 0, 1, np.abs(extreme) / grid.span).astype(np.float32)
    ends = np.clip(np.rint(np.sign(extreme) * grid.span), grid.low, grid.high)

    def level(i: int, w: Array) -> Array:
        return np.where(largest == i, ends, np.clip(np.rint(w / s), grid.low, grid.high))

    values = np.empty_like(W)
    for part in rounding.blocks(_INPUTS_AT_ONCE):
        values[part.start : part.end] = part.round(level, s) * s
    values[largest, np.arange(len(s))] = np.sign(extreme) * grid.span * s
    return values


def _level(s: Array, bits: int, _: int, w: Array) -> Array:
    return levels_of(w, s, bits)


def _damped(moments: Array, damping: float) -> Array:
    """H float64, positive definite; an input that is never other than 0 does not matter."""
    H = moments.astype(np.float64)
    diagonal = np.arange(len(H))
    H[diagonal, diagonal] += max(damping * float(H[diagonal, diagonal].mean()), 1e-30)
    return H


def _empty(inputs: int, outputs: int, block: int) -> tuple[Array, Array]:
    """Levels int8 [blocks · block, outputs], all 0, and scales float32 [blocks, outputs]."""
    count = -(-inputs // block)
    return np.zeros((count * block, outputs), np.int8), np.empty((count, outputs), np.float32)


def _blocks(inputs: int, levels: Array, scales: Array, bits: int, block: int) -> Blocks:
    q = np.ascontiguousarray((levels.view(np.uint8) + np.uint8(1 << (bits - 1))).T)
    return Blocks(bits, block, inputs, q, np.ascontiguousarray(scales.T))
