"""Matrices in few bits, in blocks along the inputs as onnxruntime's MatMulNBits stores them, or with a scale an output.

    W  [inputs, outputs], the product is x @ W     H  moments [inputs, inputs], the mean of x xᵀ over calibration text
    q  levels 0 .. 2^bits - 1                      s  a block's scale, of either sign; value = (q - 2^(bits-1)) s

`nearest` rounds every weight on its own. `gptq` rounds one input after the other and lets the inputs that are still to
come make up for the error (GPTQ, arXiv 2210.17323), which lowers tr(Eᵀ H E), the mean squared error of the product.
`gptq_by_output` does so for weights that share one scale an output. Onnxruntime's quantizer takes that scale from the
largest weight, so the largest stays at the end of its range, and the quantizer finds just these levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Scales that are tried, as parts of the one that just holds a block's largest value. Beyond 1 for a block whose largest
# value of the other sign is as large: there are half-range levels below zero and one less above.
_PARTS = {4: np.linspace(0.6, 1.16, 29), 8: np.linspace(0.9, 1.02, 13)}
_OUTPUTS_AT_ONCE, _INPUTS_AT_ONCE = 256, 128


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
    inputs = len(W)
    levels, scales = [], []
    for start in range(0, inputs, block):
        part = W[start : start + block].astype(np.float32)
        importance = np.ones(len(part), np.float32) if weight is None else weight[start : start + block]
        s = best_scale(part, bits, importance.astype(np.float32))
        levels.append(_round(part, s, bits))
        scales.append(s)
    return _blocks(np.concatenate(levels), np.stack(scales), bits, block)


def gptq(W: Array, moments: Array, bits: int, block: int, *, damping: float = 0.01, refit: bool = True) -> Blocks:
    """Round input by input, each block's scale searched when its turn comes.

    damping: added to the diagonal of H, as a part of its mean. refit: at the end, choose all scales of an output at
    once for the levels found.
    """
    inputs, outputs = W.shape
    H = _damped(moments, damping)
    U = _inverse_root(H)
    left = W.astype(np.float32, copy=True)
    levels, scales = np.empty((inputs, outputs), np.float32), []
    for start in range(0, inputs, block):
        end = min(start + block, inputs)
        s = best_scale(left[start:end], bits, 1 / np.diag(U)[start:end] ** 2)
        levels[start:end] = _compensated(left, U, start, end, partial(_level, s, bits), s)
        scales.append(s)
    found = np.stack(scales)
    return _blocks(levels, _refitted(W, H, levels, found, block) if refit else found, bits, block)


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
    U = _inverse_root(_damped(moments, damping))
    left = W.astype(np.float32, copy=True)
    largest = np.abs(left).argmax(axis=0)
    extreme = left[largest, np.arange(left.shape[1])]
    s = np.where(extreme == 0, 1, np.abs(extreme) / grid.span).astype(np.float32)
    ends = np.clip(np.rint(np.sign(extreme) * grid.span), grid.low, grid.high)

    def level(i: int, w: Array) -> Array:
        return np.where(largest == i, ends, np.clip(np.rint(w / s), grid.low, grid.high))

    levels = np.empty_like(left)
    for start in range(0, len(left), _INPUTS_AT_ONCE):
        end = min(start + _INPUTS_AT_ONCE, len(left))
        levels[start:end] = _compensated(left, U, start, end, level, s)
    levels[largest, np.arange(len(s))] = np.sign(extreme) * grid.span
    return (levels * s).astype(np.float32)


def best_scale(part: Array, bits: int, weight: Array) -> Array:
    """Scales [outputs] for one block [n, outputs] with the least Σ weight (w - value)², weight [n]."""
    lowest = -float(1 << (bits - 1))
    extreme = np.take_along_axis(part, np.abs(part).argmax(axis=0)[None], axis=0)[0]
    full = np.where(extreme == 0, np.float32(1), extreme / lowest).astype(np.float32)
    best, least = full.copy(), np.full(full.shape, np.inf, np.float32)
    for fraction in _PARTS[bits].astype(np.float32):
        s = full * fraction
        q = _round(part, s, bits)
        squares = weight @ (q * q)
        s = np.where(squares > 0, weight @ (q * part) / np.maximum(squares, 1e-30), s).astype(np.float32)
        s = np.where(s == 0, full, s)
        q = _round(part, s, bits)
        error = weight @ np.square(part - q * s)
        best, least = np.where(error < least, s, best), np.minimum(error, least)
    return best


def _round(w: Array, s: Array, bits: int) -> Array:
    """Levels around 0, float32: -2^(bits-1) .. 2^(bits-1) - 1."""
    half = 1 << (bits - 1)
    levels: Array = np.clip(np.rint(w / s), -half, half - 1)
    return levels


def _level(s: Array, bits: int, _: int, w: Array) -> Array:
    return _round(w, s, bits)


def _inverse_root(H: Array) -> Array:
    """U float32, upper triangular: H⁻¹ = Uᵀ U."""
    U: Array = np.linalg.cholesky(np.linalg.inv(H)).T.astype(np.float32)
    return U


def _compensated(left: Array, U: Array, start: int, end: int, level: Callable[[int, Array], Array], s: Array) -> Array:
    """The levels float32 [end - start, outputs] of the inputs start .. end - 1 of what is `left` to round [inputs,
    outputs], by level(input, weights [outputs]) with the scales s [outputs]; later inputs make up for the errors.
    """
    levels = np.empty((end - start, left.shape[1]), np.float32)
    errors = np.empty_like(levels)
    for i in range(start, end):
        levels[i - start] = level(i, left[i])
        error = errors[i - start] = (left[i] - levels[i - start] * s) / U[i, i]
        left[i + 1 : end] -= U[i, i + 1 : end, None] * error
    left[end:] -= U[start:end, end:].T @ errors
    return levels


def _damped(moments: Array, damping: float) -> Array:
    """H float64, positive definite; an input that is never other than 0 does not matter."""
    H = moments.astype(np.float64)
    diagonal = np.diag(H)
    return H + np.eye(len(H)) * max(damping * float(diagonal.mean()), 1e-30)


def _refitted(W: Array, H: Array, levels: Array, scales: Array, block: int) -> Array:
    """The scales [blocks, outputs] with the least (w - D s)ᵀ H (w - D s) of each output, D its levels by block."""
    inputs, count = len(W), len(scales)
    pad = ((0, count * block - inputs), (0, 0))
    H = np.pad(H.astype(np.float32), ((0, pad[0][1]), (0, pad[0][1])))
    W, levels = np.pad(W, pad), np.pad(levels, pad)
    found = np.empty_like(scales)
    for start in range(0, W.shape[1], _OUTPUTS_AT_ONCE):
        w, q = (m[:, start : start + _OUTPUTS_AT_ONCE].T for m in (W, levels))
        n = len(w)
        by_block = np.ascontiguousarray(q.reshape(n, count, block))
        # HD [n, blocks, inputs]: H times the levels of one block only
        HD = np.stack([by_block[:, b] @ H[b * block : (b + 1) * block] for b in range(count)], axis=1)
        normal = np.einsum("nbcj,ncj->nbc", HD.reshape(n, count, count, block), by_block, optimize=True)
        right = np.einsum("nbi,ni->nb", HD, w, optimize=True)
        normal = normal.astype(np.float64)
        ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None] / count + 1e-30
        old = scales[:, start : start + n].T
        normal += ridge[:, :, None] * np.eye(count)
        s = np.linalg.solve(normal, (right + ridge * old)[..., None])[..., 0]
        found[:, start : start + n] = np.where(s == 0, old, s).T
    return found


def _blocks(levels: Array, scales: Array, bits: int, block: int) -> Blocks:
    """levels [inputs, outputs] around 0, scales [blocks, outputs]."""
    inputs, half = len(levels), 1 << (bits - 1)
    padded = np.pad(levels, ((0, len(scales) * block - inputs), (0, 0)))
    q = np.ascontiguousarray((padded + half).astype(np.uint8).T)
    return Blocks(bits, block, inputs, q, np.ascontiguousarray(scales.T.astype(np.float32)))
