"""RWKV-7's low-rank matrices of one token as two products, for `.rwkv7`.

v, w, a = σ(z),  g = z        z = z0 + between(x z1) z2        between: tanh of w, σ of g, nothing of v and a

One product is of all letters: their matrices, filled up with zeros to the largest rank, are laid together by a runtime
when it loads the graph, from where the main graph has them. g joins in, since σ(x) = 1/2 + tanh(x / 2) / 2: its
matrices are halved, which is exact, and g0 is half the sum of g2's rows.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope
from rrwkv_export.onnx.split_concat import join, split

_WITH_TANH, _HALVED = "wg", "g"


def low_ranks(w: GraphWeights, scope: Scope, att: str, mix: ir.Value, letters: str) -> dict[str, ir.Value]:
    """v (where there is one), w, a, g [1, 1, C] by letter. mix [R, 1, C], whose rows' letters end with "vwag"."""
    of = "vwag" if f"{att}.v1" in w.shapes else "wag"
    n, R = len(of), len(letters)
    first, second, offsets = _laid_together(w, scope / "low", att, of)
    low = scope.op("MatMul", scope.slice(mix, R - n, R, 0, name=f"mix_{of}"), first, name="low")
    mask = scope.common([[[q in _WITH_TANH]] for q in of], np.bool_, f"tanh_of_{of}")
    low = scope.op("Where", mask, scope.op("Tanh", low, name="low.tanh"), low, name="between")
    z = scope.op("Add", scope.op("MatMul", low, second, name="products"), offsets, name="z")
    rates = split(scope, scope.op("Sigmoid", z, name="rates"), [f"{q}.rate" for q in of])
    return {**dict(zip(of, rates)), "g": scope.slice(z, n - 1, n, 0, name="g")}


def _laid_together(w: GraphWeights, scope: Scope, att: str, of: str) -> tuple[ir.Value, ir.Value, ir.Value]:
    """z1 [letters, C, rank], z2 [letters, rank, C] and z0 [letters, 1, C]: constants, when the graph is loaded."""
    n, C = len(of), w.config.hidden_size
    ranks = {q: w.shapes[f"{att}.{q}1"][1] for q in of}
    rank = max(ranks.values())
    first, second = ({q: _matrix(w, scope, att, f"{q}{i}") for q in of} for i in (1, 2))
    axis = scope.common([0], np.int64, "0")
    offsets = [w.vector(scope, f"{att}.{q}0", [1, C]) for q in of if q != _HALVED]
    offsets.append(scope.op("ReduceSum", second[_HALVED], axis, name="g0", keepdims=1))
    for q in of:
        if missing := rank - ranks[q]:
            first[q] = _filled(scope, first[q], [0, missing], f"{q}1")
            second[q] = _filled(scope, second[q], [missing, 0], f"{q}2")
    return (
        _stacked(scope, [*first.values()], [n, C, rank], "first"),
        _stacked(scope, [*second.values()], [n, rank, C], "second"),
        _stacked(scope, offsets, [n, 1, C], "offsets"),
    )


def _matrix(w: GraphWeights, scope: Scope, att: str, name: str) -> ir.Value:
    matrix = w.low_matrix(scope, f"{att}.{name}")
    if name[0] != _HALVED:
        return matrix
    return scope.op("Mul", matrix, scope.common(0.5, np.float32, "half"), name=f"{name}.half")


def _filled(scope: Scope, matrix: ir.Value, missing: list[int], name: str) -> ir.Value:
    """With so many rows and columns of zeros after its own."""
    return scope.op("Pad", matrix, scope.const([0, 0, *missing], np.int64, f"{name}.missing"), name=f"{name}.filled")


def _stacked(scope: Scope, parts: list[ir.Value], shape: list[int], name: str) -> ir.Value:
    rows = join(scope, parts, f"{name}.rows")
    return scope.op("Reshape", rows, scope.const(shape, np.int64, f"{name}.shape"), name=name)
