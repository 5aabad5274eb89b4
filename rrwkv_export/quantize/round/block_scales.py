"""The scales of weights in blocks: of one block by itself, and of all blocks of an output for the levels found.

A block of whole multiples of a scale keeps it and is rounded to what it is: so a checkpoint that was tuned for a recipe
comes out of it as it was tuned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rrwkv_export.quantize.round.compensate import Compensated, lower_product, upper_product

Array = np.ndarray[Any, np.dtype[Any]]

# Scales that are tried, as parts of the one that just holds a block's largest value. Beyond 1 for a block whose largest
# value of the other sign is as large: there are half-range levels below zero and one less above.
_PARTS = {4: np.linspace(0.6, 1.16, 15), 8: np.linspace(0.9, 1.02, 13)}
_VALUES_AT_ONCE = 2**15  # as much as stays in a core's cache
_ROUNDS = 2
_LEAST = np.float32(1e-30)
_NEAR = np.float32(2**-21)  # of a number; float32's own are 2^-24 apart at most


def levels_of(w: Any, s: Any, bits: int) -> Any:
    """Levels around 0, float32: -2^(bits-1) .. 2^(bits-1) - 1. Of arrays, and in training of torch's tensors."""
    half = 1 << (bits - 1)
    return (w / s).round().clip(-half, half - 1)


def best_scale(part: Array, bits: int, weight: Array) -> Array:
    """Scales [outputs] for one block [n, outputs] with the least Σ weight (w - value)², weight [n]."""
    found = np.empty(part.shape[1], np.float32)
    size = max(1, _VALUES_AT_ONCE // len(part))
    for start in range(0, len(found), size):
        few = np.ascontiguousarray(part[:, start : start + size])
        exact = exact_scale(few, bits)
        if not exact.all():
            exact = np.where(exact == 0, _best_scale(few, bits, weight.astype(np.float32)), exact)
        found[start : start + size] = exact
    return found


def exact_scale(part: Array, bits: int) -> Array:
    """Scales [outputs] that a block [n, outputs] is whole multiples of; 0 where there is none.

    To the bit, or as near as weights are that a graph has times a number. Of all scales that divide the largest weight
    by a level few divide the smallest too.
    """
    half = 1 << (bits - 1)
    size = np.abs(part)
    largest = np.take_along_axis(part, size.argmax(axis=0)[None], axis=0)[0]
    smallest = np.where(size > 0, size, np.abs(largest)).min(axis=0)
    scales = np.where(largest == 0, np.float32(1), largest) / -np.arange(1, half + 1, dtype=np.float32)[:, None]
    ratio = smallest / scales
    possible = (np.abs(ratio - np.rint(ratio)) <= _NEAR * np.abs(ratio)) & (largest != 0)  # [levels, outputs]
    found = np.zeros(part.shape[1], np.float32)
    for level in np.flatnonzero(possible.any(axis=1)):
        tried = np.flatnonzero(possible[level] & (found == 0))
        s, some = scales[level, tried], part[:, tried]
        fits = (np.abs(levels_of(some, s, bits) * s - some) <= _NEAR * np.abs(some)).all(axis=0)
        found[tried[fits]] = s[fits]
    return found


def short_scale(s: Any) -> Any:
    """s, float32, rounded to 16 significant bits: `exact_scale` finds it, as 8-bit levels times it are exact.

    Of arrays and of tensors.
    """
    larger = s * 257  # 2^8 + 1: the sum has no room for the last 8 bits
    return larger - (larger - s)


def _best_scale(part: Array, bits: int, weight: Array) -> Array:
    """Of the levels that the scales tried lead to, those whose own best scale leaves the least error: with levels q it
    is s = Σ weight q w / Σ weight q², which takes (Σ weight q w)² / Σ weight q² off the error.
    """
    half = np.float32(1 << (bits - 1))
    lowest, highest = part.min(axis=0), part.max(axis=0)
    extreme = np.where(highest > -lowest, highest, lowest)
    full = np.where(extreme == 0, np.float32(1), extreme / -half).astype(np.float32)
    relative, weighted = part / full, part * weight[:, None]
    best, most = full.copy(), np.full(full.shape, -1, np.float32)
    # Arrays, as numpy takes the larger of two arrays four times as fast as that of an array and a number.
    least_level, largest_level = np.full_like(part, -half), np.full_like(part, half - 1)
    q, square = np.empty_like(part), np.empty_like(part)
    for fraction in _PARTS[bits].astype(np.float32):
        np.multiply(relative, 1 / fraction, out=q)
        np.rint(q, out=q)
        np.maximum(q, least_level, out=q)
        np.minimum(q, largest_level, out=q)
        cross = np.einsum("io,io->o", weighted, q)
        squares = np.maximum(weight @ np.multiply(q, q, out=square), _LEAST)
        gain = cross * cross / squares
        better = gain > most
        np.copyto(most, gain, where=better)
        np.copyto(best, cross / squares, where=better & (cross != 0))
    for _ in range(_ROUNDS):  # the levels that this scale leads to may have a better one yet
        q = levels_of(part, best, bits)
        cross, squares = (weighted * q).sum(axis=0), weight @ (q * q)
        np.copyto(best, cross / np.maximum(squares, _LEAST), where=cross != 0)
    return best


def refitted(rounding: Compensated, H: Array, levels: Array, scales: Array, block: int) -> Array:
    """Scales [blocks, outputs] nearer to those with the least |Rᵀ (W - D s)|² of each output, D its levels by block.

    H float32; levels float32 [inputs, outputs], whole numbers. One step down the slope Dᵀ R Y, each block's part over
    its own qᵀ H q, as long as it is best. It finds 95 % of what solving for the scales would, at a tenth of the cost.
    """
    R, Y = rounding.R, rounding.Y
    starts = np.arange(0, len(levels), block)
    slope = np.add.reduceat(levels * upper_product(R, Y), starts, axis=0)
    step = slope / np.maximum(_own(H, levels, starts, block), _LEAST)
    moved = lower_product(R, np.repeat(step, block, axis=0)[: len(levels)] * levels)
    length = (slope * step).sum(axis=0) / np.maximum(np.einsum("io,io->o", moved, moved), _LEAST)
    found = scales + length * step
    return np.where(found == 0, scales, found)


def _own(H: Array, levels: Array, starts: Array, block: int) -> Array:
    """qᵀ H q of each block by itself [blocks, outputs]."""
    parts = [slice(start, start + block) for start in starts]
    return np.stack([np.einsum("io,io->o", levels[part], H[part, part] @ levels[part]) for part in parts])
