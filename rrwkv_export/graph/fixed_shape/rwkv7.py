"""RWKV-7's time-mix and channel-mix in fixed shapes, in the symbols of
`rrwkv_export.architectures.reference.rwkv7`.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.heads import by_head, flat, group_norm, mean, number, told_now
from rrwkv_export.graph.fixed_shape.heads import parts as parts
from rrwkv_export.graph.fixed_shape.making import Making
from rrwkv_export.graph.fixed_shape.recurrences import delta
from rrwkv_export.graph.prefill.heads import heads
from rrwkv_export.graph.prefill.rwkv7 import learned, rate, value_after
from rrwkv_export.onnx.scope import Scope

# What κ is divided by at least: the smallest float16. The definition's 1e-12, which is none, is against 0 / 0 as well.
_SHORTEST = 6e-8


def time_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """Woutput (o ⊙ g)"""
    att, w, (H, N) = f"blocks.{index}.att", m.w, heads(m.w)
    x_r, x_w, x_k, x_v, x_a, x_g = mixed
    r, k, v = (
        w.matmul(scope, x, f"{att}.{name}.weight", name=name)
        for x, name in ((x_r, "receptance"), (x_k, "key"), (x_v, "value"))
    )
    a = rate(w, scope, att, "a", x_a)
    κ = _unit(m, scope, scope.op("Mul", k, w.vector(scope, f"{att}.k_k"), name="k_k"))
    k = learned(w, scope, att, k, a)
    v = value_after(w, scope, att, v, x_v, m.crossing)
    minus = scope.common(np.full((1, 1, 1), -math.exp(-0.5)), np.float32, "minus_exp_minus_half")
    ln_w = scope.op("Mul", rate(w, scope, att, "w", x_w, "Tanh"), minus, name="ln_w")
    q = scope.op("Mul", scope.op("Mul", κ, a, name="kappa_a"), number(scope, -1.0, "minus_one"), name="q")

    inner, part = scope / "recurrence", f"{names.MATRIX}.{index}"
    of = {"r": r, "k": k, "v": v, "κ": κ, "q": q, "ln_w": ln_w}
    if m.T == 1:
        y, m.after[part] = delta.one_token(inner, m.before[part], of, H, N)
    else:
        y, m.after[part] = delta.many_tokens(inner, m.before[part], of, m.T, H, N)
    o = scope.op("Add", group_norm(m, scope, att, y), told_now(m, scope, m.w.load(f"{att}.r_k"), r, k, v), name="o")
    g = scope.op("Sigmoid", w.low(scope, x_g, f"{att}.g1", "g1"), name="g.rate")
    gated = scope.op("Mul", o, w.low(scope, g, f"{att}.g2", "g2"), name="gated")
    return w.matmul(scope, gated, f"{att}.output.weight", name="output")


def channel_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """Wvalue relu(Wkey mix(k))²"""
    block, w = f"blocks.{index}.ffn", m.w
    k = scope.op("Relu", w.matmul(scope, mixed[0], f"{block}.key.weight", name="key"), name="relu")
    return w.matmul(scope, scope.op("Mul", k, k, name="square"), f"{block}.value.weight", name="value")


def _unit(m: Making, scope: Scope, κ: ir.Value) -> ir.Value:
    """Each head of κ [1, T, C] over its length."""
    κ = by_head(m, scope, κ, "kappa.heads")
    square = mean(scope, scope.op("Mul", κ, κ, name="kappa.square"), "kappa.mean")
    square = scope.op("Mul", square, number(scope, float(heads(m.w)[1]), "N"), name="kappa.sum")
    length = scope.op(
        "Max",
        scope.op("Sqrt", square, name="kappa.length"),
        number(scope, _SHORTEST, "shortest"),
        name="kappa.divisor",
    )
    return flat(m, scope, scope.op("Div", κ, length, name="kappa"), "kappa.flat")
