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

from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.round.block_scales import best_scale, levels_of, refitted
from rrwkv_export.quantize.round.compensate import Compensated, root

Array = np.ndarray[Any, np.dtype[Any]]

_INPUTS_AT_ONCE = 128
_OUTPUTS_AT_ONCE = 1024


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
    H = moments.astype(np.float32, copy=False)
    R = _root(H, damping)
    levels, scales = _empty(inputs, outputs, block)
    for start in range(0, outputs, _OUTPUTS_AT_ONCE):
        some = slice(start, start + _OUTPUTS_AT_ONCE)
        part = np.ascontiguousarray(W[:, some], np.float32)
        found, scales[:, some] = _in_blocks(Compensated.start(part, R), H, bits, block, refit)
        levels[:inputs, some] = found
    return _blocks(inputs, levels, scales, bits, block)


def _in_blocks(rounding: Compensated, H: Array, bits: int, block: int, refit: bool) -> tuple[Array, Array]:
    """Levels float32 [inputs, outputs], scales float32 [blocks, outputs]."""
    levels, scales = np.empty_like(rounding.W), []
    for part in rounding.blocks(block):
        s = best_scale(part.aim, bits, part.diagonal[:, 0] ** 2)
        levels[part.start : part.end] = part.round(partial(_level, s, bits), s)
        scales.append(s)
    found = np.stack(scales)
    return levels, refitted(rounding, H, levels, found, block) if refit else found


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
    R, values = _root(moments.astype(np.float32, copy=False), damping), np.empty(W.shape, np.float32)
    for start in range(0, W.shape[1], _OUTPUTS_AT_ONCE):
        some = slice(start, start + _OUTPUTS_AT_ONCE)
        values[:, some] = _by_output(Compensated.start(np.ascontiguousarray(W[:, some], np.float32), R), grid)
    return values


def _by_output(rounding: Compensated, grid: Grid) -> Array:
    W = rounding.W
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
    levels: Array = levels_of(w, s, bits)
    return levels


def _root(H: Array, damping: float) -> Array:
    """The root of H, damped as far as it takes; an input that is never other than 0 does not matter."""
    mean = float(np.diag(H).mean(dtype=np.float64))
    if not np.isfinite(mean):
        raise RecipeError('the inputs of a product are too large for second moments; rounding = "nearest" needs none')
    while True:
        try:
            return root(H, max(damping * mean, 1e-30))
        except np.linalg.LinAlgError:
            damping *= 10


def _empty(inputs: int, outputs: int, block: int) -> tuple[Array, Array]:
    """Levels int8 [blocks · block, outputs], all 0, and scales float32 [blocks, outputs]."""
    count = -(-inputs // block)
    return np.zeros((count * block, outputs), np.int8), np.empty((count, outputs), np.float32)


def _blocks(inputs: int, levels: Array, scales: Array, bits: int, block: int) -> Blocks:
    q = np.ascontiguousarray((levels.view(np.uint8) + np.uint8(1 << (bits - 1))).T)
    return Blocks(bits, block, inputs, q, np.ascontiguousarray(scales.T))
