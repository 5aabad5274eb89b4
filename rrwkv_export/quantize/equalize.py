"""Equalization: scales moved from a product's inputs into its matrix, channel by channel, so that both round better.

    x @ W = (x / s) @ (s ⊙ W),   s_i = max|x_i|^e / max|W_i|^(1 - e),   e the exponent

Dividing x by s costs nothing where what makes x has free factors (SmoothQuant, arXiv 2211.10438, as RRWKV allows); what
they are is said by each architecture (`folds`), for example:

    att.key, ffn.key, …    the vectors of their mix, each role on its own
    att.output             RWKV-4: the columns of att.value, as wkv is linear in v, and its numerator A is carried in
                           these units; RWKV-5 and 6: the gain and bias of GroupNorm; RWKV-7: the columns of g2
    ffn.value              the columns of ffn.key by the root: relu(c k)² = c² relu(k)²
    medium.up              the columns of medium.down: relu(c x) = c relu(x)
    head                   ln_out

Scales may be negative in the mixes and before the head: a channel whose longer tail is below 0 is turned over, so that
the one range that all channels share need not reach as far below 0 as above it.

The exponent, where it is searched, is the one with the least expected error of the product, from what calibration saw
of each channel:

    Δx²/12 Σ (s_i W_ij)²  +  Σ_ij Δw_j²/12 E[x_i²] / s_i²,   Δ the step between two rounded values
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import HEAD, Linear, folds
from rrwkv_export.graph.weights import mix_letters
from rrwkv_export.quantize.rewrite.rewrite import Rewriter

Array = np.ndarray[Any, np.dtype[Any]]
EXPONENTS = tuple(float(e) for e in np.linspace(0, 1, 21))
_PARTS = np.linspace(1, 0.5, 26)
_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Seen:
    """Of a product's inputs: the extremes of each channel, 0 within, and its mean square, all [inputs]."""

    low: Array
    high: Array
    square: Array

    @property
    def absmax(self) -> Array:
        return np.maximum(self.high, -self.low)


def scales(W: Array, seen: Seen, exponent: float, unit: bool = False) -> Array:
    """s [inputs] float32, geometric mean 1; channels that are always zero, or that nothing reads, keep 1."""
    x, w = seen.absmax.astype(np.float64), np.abs(W).max(axis=1).astype(np.float64)
    alive = (x > 0) & (w > 0)
    s = np.ones(len(x))
    if exponent == 0 or not alive.any():
        return s.astype(np.float32)
    s[alive] = x[alive] ** exponent / w[alive] ** (1 - exponent)
    s[alive] /= np.exp(np.log(s[alive]).mean())
    limit = 2.0**12
    s = np.clip(s, 1 / limit, limit)
    if unit:
        s = np.exp2(np.rint(4 * np.log2(s)) / 4)
    return s.astype(np.float32)


def turned(W: Array, seen: Seen, s: Array) -> Array:
    """Scales of either sign, so that the longer tail of every channel is above 0, and a range with less below it.

    Channels whose shorter tail is more than a part of what the longest is get larger scales; the part has the least
    (high - low)² Σ |s_i W_i|², the error of rounding the inputs.
    """
    longer, shorter = seen.absmax / s, np.minimum(seen.high, -seen.low) / s
    rows = (W[start : start + _ROWS_AT_ONCE] for start in range(0, len(W), _ROWS_AT_ONCE))
    weight = np.concatenate([np.square(some.astype(np.float64)).sum(axis=1) for some in rows])
    end = float(longer.max())
    best, least = s, np.inf
    for part in _PARTS.astype(np.float32):
        larger = s * np.maximum(1, shorter / (part * end)) if end else s
        error = (1 + part) ** 2 * float((np.square(larger) * weight).sum())
        if error < least:
            best, least = larger, error
    return np.where(-seen.low > seen.high, -best, best).astype(np.float32)


def expected_error(W: Array, seen: Seen, s: Array, weight_bits: int, inputs_rounded: bool, block: int) -> float:
    """Expected squared error of one row's product after rounding, from the formula above."""
    scaled = s[:, None].astype(np.float64) * W
    levels = 2 ** (weight_bits - 1) - 1
    square = seen.square / s.astype(np.float64) ** 2
    error = 0.0
    if inputs_rounded:
        step = 2 * float((seen.absmax / s).max()) / 255
        if seen.low.min() >= 0:
            step /= 2
        error += step**2 / 12 * float((scaled**2).sum())
        steps = np.abs(scaled).max(axis=0) / levels
        return error + float((steps**2).sum()) / 12 * float(square.sum())
    for start in range(0, len(W), block):
        steps = np.abs(scaled[start : start + block]).max(axis=0) / levels
        error += float((steps**2).sum()) / 12 * float(square[start : start + block].sum())
    return error


def best_exponent(
    W: Array, seen: Seen, weight_bits: int, inputs_rounded: bool, block: int, unit: bool = False
) -> float:
    """The exponent of EXPONENTS with the least expected error; 0 is among them, so it never makes things worse."""

    def error(exponent: float) -> float:
        s = scales(W, seen, exponent, unit)
        return expected_error(W, seen, s, weight_bits, inputs_rounded, block)

    return min(EXPONENTS, key=error)


def fold(graph: Rewriter, config: ModelConfig, linear: Linear, s: Array) -> None:
    """Multiply the linear's matrix by s along its inputs, and divide what makes its inputs.

    A graph without its matrices, beside the one that has them, is changed in its vectors alone.
    """
    how, layer = folds(config)[linear.role], f"blocks.{linear.layer}"
    _scale(graph, linear.weight, s, 1, first_axis=True)
    if linear.role == HEAD:
        for name in ("ln_out.weight", "ln_out.bias"):
            _scale(graph, name, s, -1)
    if how.mix:
        block = linear.role.partition(".")[0]
        part, row = {"att": "time_mix", "ffn": "channel_mix"}[block], mix_letters(config, block).index(how.mix)
        for vector in ("now", "before", "recalled"):
            # Graphs in fixed shapes have a block's rows in parts, named after the first of each.
            first = next((n for n in range(row, 0, -1) if graph.has(f"{layer}.{part}.{vector}_{n}.weight")), 0)
            name = f"{vector}_{first}" if first else vector
            _scale(graph, f"{layer}.{part}.{name}.weight", s, -1, row=row - first)
    for scaled in how.weights:
        _scale(graph, f"{layer}.{scaled.weight}", s, scaled.power, row=how.row, first_axis=scaled.first_axis)


def _scale(
    graph: Rewriter, name: str, s: Array, power: float, *, row: int | None = None, first_axis: bool = False
) -> None:
    """A weight of the graph, if it has it, times s ** power along its last axes or its first; or only a row of it."""

    def scale(value: Array) -> None:
        rows, by = value if row is None else value[row], s ** abs(power)
        by = by.reshape(-1, *[1] * (rows.ndim - 1)) if first_axis else by.reshape(_last(rows.shape, by.size))
        (np.multiply if power > 0 else np.divide)(rows, by, out=rows)

    if graph.has(name):
        graph.change(name, scale)


def _last(shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The last axes of the shape that hold so many: a vector's channels may be parted into heads."""
    count = next(n for n in range(1, len(shape) + 1) if math.prod(shape[-n:]) == size)
    return shape[-count:]
