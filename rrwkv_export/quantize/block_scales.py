"""The scales of weights in blocks: of one block by itself, and of all blocks of an output for the levels found."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrwkv_export.quantize.compensate import Compensated

Array = np.ndarray[Any, np.dtype[Any]]

# Scales that are tried, as parts of the one that just holds a block's largest value. Beyond 1 for a block whose largest
# value of the other sign is as large: there are half-range levels below zero and one less above.
_PARTS = {4: np.linspace(0.6, 1.16, 29), 8: np.linspace(0.9, 1.02, 13)}
_VALUES_AT_ONCE = 2**15  # as much as stays in a core's cache
_OUTPUTS_AT_ONCE = 256
_ROUNDS = 2


def levels_of(w: Array, s: Array, bits: int) -> Array:
    """Levels around 0, float32: -2^(bits-1) .. 2^(bits-1) - 1."""
    half = np.float32(1 << (bits - 1))
    levels: Array = np.rint(w / s)
    np.maximum(levels, -half, out=levels)
    return np.minimum(levels, half - 1, out=levels)


def best_scale(part: Array, bits: int, weight: Array) -> Array:
    """Scales [outputs] for one block [n, outputs] with the least Σ weight (w - value)², weight [n]."""
    found = np.empty(part.shape[1], np.float32)
    size = max(1, _VALUES_AT_ONCE // len(part))
    for start in range(0, len(found), size):
        few = np.ascontiguousarray(part[:, start : start + size])
        found[start : start + size] = _best_scale(few, bits, weight.astype(np.float32))
    return found


def _best_scale(part: Array, bits: int, weight: Array) -> Array:
    """Of the levels that the scales tried lead to, those whose own best scale leaves the least error: with levels q it
    is s = Σ weight q w / Σ weight q², which takes (Σ weight q w)² / Σ weight q² off the error.
    """
    half = np.float32(1 << (bits - 1))
    extreme = np.take_along_axis(part, np.abs(part).argmax(axis=0)[None], axis=0)[0]
    full = np.where(extreme == 0, np.float32(1), extreme / -half).astype(np.float32)
    relative, weighted = part / full, part * weight[:, None]
    best, most = full.copy(), np.full(full.shape, -1, np.float32)
    q, product = np.empty_like(part), np.empty_like(part)
    for fraction in _PARTS[bits].astype(np.float32):
        np.multiply(relative, 1 / fraction, out=q)
        np.rint(q, out=q)
        np.maximum(q, -half, out=q)
        np.minimum(q, half - 1, out=q)
        cross = np.multiply(weighted, q, out=product).sum(axis=0)
        squares = weight @ np.multiply(q, q, out=q)
        gain = cross * cross / np.maximum(squares, np.float32(1e-30))
        better = gain > most
        np.copyto(most, gain, where=better)
        np.copyto(best, cross / np.maximum(squares, np.float32(1e-30)), where=better & (cross != 0))
    for _ in range(_ROUNDS):  # the levels that this scale leads to may have a better one yet
        q = levels_of(part, best, bits)
        cross, squares = (weighted * q).sum(axis=0), weight @ (q * q)
        np.copyto(best, cross / np.maximum(squares, np.float32(1e-30)), where=cross != 0)
    return best


def refitted(rounding: Compensated, H: Array, levels: Array, scales: Array, block: int) -> Array:
    """The scales [blocks, outputs] with the least (w - D s)ᵀ H (w - D s) of each output, D its levels by block.

    H float32; levels [blocks · block, outputs], whole numbers, padded with 0. With the errors E of the scales that
    there are, they have to change by what solves (Dᵀ H D) x = Dᵀ H E.
    """
    count, outputs = scales.shape
    right = np.empty_like(scales)
    for b, rows in enumerate(rounding.moved(block)):
        right[b] = np.einsum("io,io->o", levels[b * block : b * block + len(rows)].astype(np.float32), rows)
    H = np.pad(H, (0, count * block - len(H)))
    found = np.empty_like(scales)
    for start in range(0, outputs, _OUTPUTS_AT_ONCE):
        which = slice(start, start + _OUTPUTS_AT_ONCE)
        normal = _normal(H, levels[:, which].astype(np.float32), count, block)
        ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2) / count + 1e-30
        normal += ridge[:, None, None] * np.eye(count)
        change = np.linalg.solve(normal, right[:, which].T.astype(np.float64)[..., None])[..., 0]
        s = scales[:, which] + change.T
        found[:, which] = np.where(s == 0, scales[:, which], s)
    return found


def _normal(H: Array, q: Array, count: int, block: int) -> Array:
    """Dᵀ H D of each output: float64 [outputs, blocks, blocks]. q float32 [blocks · block, outputs]"""
    outputs = q.shape[1]
    upper = np.zeros((count, count, outputs), np.float32)
    for b in range(count):
        at = b * block
        product = H[at:, at : at + block] @ q[at : at + block]
        product *= q[at:]
        np.sum(product.reshape(count - b, block, outputs), axis=1, out=upper[b, b:])
    normal = upper.transpose(2, 0, 1).astype(np.float64)
    diagonal = np.arange(count)
    normal += normal.transpose(0, 2, 1).copy()
    normal[:, diagonal, diagonal] /= 2
    return normal
