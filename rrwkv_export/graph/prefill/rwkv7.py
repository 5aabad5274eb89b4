"""RWKV-7's time-mix and channel-mix as ONNX nodes, in the symbols of `rrwkv_export.architectures.reference.rwkv7`.

A layer's recurrent state is S [H, N, N], i of the value, j of the key. Everything but its recurrence is computed for
all T tokens at once. Its recurrence in blocks is drawn in `.rwkv7_chunked`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.layer import Crossing
from rrwkv_export.graph.prefill import fewer_kernels
from rrwkv_export.graph.prefill.heads import SHORTEST, by_head, flat, group_norm, heads
from rrwkv_export.graph.prefill.rwkv7_chunked import DeltaBlocks
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import KEY_SCALE, GraphWeights
from rrwkv_export.onnx.scope import Scope


def time_mix(
    w: GraphWeights,
    scope: Scope,
    block: str,
    mixed: Sequence[ir.Value],
    over: Recurrence | DeltaBlocks,
    state: list[ir.Value],
    crossing: Crossing,
) -> tuple[ir.Value, list[ir.Value]]:
    """Woutput (o ⊙ g), and the new S."""
    att = f"{block}.att"
    x_r, x_w, x_k, x_v, x_a, x_g = mixed
    r, k, v = (
        w.matmul(scope, x, f"{att}.{name}.weight", name=name)
        for x, name in ((x_r, "receptance"), (x_k, "key"), (x_v, "value"))
    )
    a = rate(w, scope, att, "a", x_a)
    in_blocks = isinstance(over, DeltaBlocks)
    κ = (fewer_kernels.unit if in_blocks else _unit)(w, scope, att, k)
    k = learned(w, scope, att, k, a)
    v = value_after(w, scope, att, v, x_v, crossing)
    ln_w = _exponent(w, scope, att, x_w)
    decay = {"ln_w": ln_w} if in_blocks else {"w": scope.op("Exp", ln_w, name="w")}
    by_name = {name: by_head(w, scope, x, f"{name}.heads") for name, x in (("r", r), ("k", k), ("v", v), ("a", a))}
    y, S = _recurrence(w, scope / "recurrence", over, state[0], {**by_name, "κ": κ, **decay})
    shape = [1, *heads(w)]
    y = fewer_kernels.group_norm(w, scope, att, y, shape) if in_blocks else group_norm(w, scope, att, y)
    o = scope.op("Add", y, _told(w, scope, att, by_name), name="o")
    g = w.low(scope, scope.op("Sigmoid", w.low(scope, x_g, f"{att}.g1", "g1"), name="g.rate"), f"{att}.g2", "g2")
    o = flat(w, scope, o, "o.rows")
    return w.matmul(scope, scope.op("Mul", o, g, name="gated"), f"{att}.output.weight", name="output"), [S]


def channel_mix(w: GraphWeights, scope: Scope, block: str, mixed: Sequence[ir.Value]) -> ir.Value:
    """Wvalue relu(Wkey mix(k))²; in float16 mix(k) is small, which Wvalue makes good."""
    (x_k,) = mixed
    scale = 1 / KEY_SCALE**2 if w.half_matmuls else 1.0
    k = scope.op("Relu", w.product(scope, x_k, f"{block}.ffn.key.weight", name="key"), name="relu")
    v = w.product(scope, scope.op("Mul", k, k, name="square"), f"{block}.ffn.value.weight", name="value", scale=scale)
    return w.raised(scope, v, "value.float")


def _recurrence(
    w: GraphWeights, scope: Scope, over: Recurrence | DeltaBlocks, S: ir.Value, of: dict[str, ir.Value]
) -> tuple[ir.Value, ir.Value]:
    """y [T, H, N], and S after the last token, of values [T, H, N]; w, or in blocks ln w, may be [T, 1, C].

    s = S κ;   S ← S ⊙ w + [s, v] [-κ ⊙ a; k];   y = S r      r, κ, v as columns, the others as rows
    """
    H, N = heads(w)
    rewritten = scope.op("Neg", scope.op("Mul", of["κ"], of["a"], name="kappa_a"), name="rewritten")
    if isinstance(over, DeltaBlocks):
        return over.delta(scope, {**of, "b": rewritten, "ln_w": by_head(w, scope, of["ln_w"], "ln_w.heads")}, S)
    columns = {name: over.shaped(scope, of[name], [H, N, 1], name) for name in ("κ", "v", "r")}
    rows = {name: over.shaped(scope, value, [H, 1, N], name) for name, value in (("w", of["w"]), ("k", of["k"]))}
    rewritten = over.shaped(scope, rewritten, [H, 1, N], "rewritten")
    both = scope.op("Concat", rewritten, rows["k"], name="told", axis=-2)

    def body(inner: Scope, S: ir.Value, given: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        κ, v, r, decay, told = given
        s = inner.op("MatMul", S, κ, name="s")
        change = inner.op("MatMul", inner.op("Concat", s, v, name="s_and_v", axis=-1), told, name="change")
        S = inner.op("Add", inner.op("Mul", S, decay, name="decayed"), change, name="S_next")
        return S, inner.op("MatMul", S, r, name="y")

    given = {"κ": columns["κ"], "v": columns["v"], "r": columns["r"], "w": rows["w"], "told": both}
    S, y = over.scan(scope, S, given, body)
    return scope.op("Reshape", y, scope.common([-1, H, N], np.int64, "heads_shape"), name="y.heads"), S


def _exponent(w: GraphWeights, scope: Scope, att: str, x_w: ir.Value) -> ir.Value:
    """ln w = -e^(-1/2) σ(w0 + tanh(x_w w1) w2)"""
    rate_w = rate(w, scope, att, "w", x_w, "Tanh")
    scale = scope.common(-math.exp(-0.5), np.float32, "minus_exp_minus_half")
    return scope.op("Mul", rate_w, scale, name="w.exponent")


def rate(w: GraphWeights, scope: Scope, att: str, z: str, x: ir.Value, between: str | None = None) -> ir.Value:
    """σ(z0 + between(x z1) z2)"""
    low = w.low(scope, x, f"{att}.{z}1", f"{z}1")
    if between:
        low = scope.op(between, low, name=f"{z}.between")
    low = w.low(scope, low, f"{att}.{z}2", f"{z}2")
    total = scope.op("Add", low, w.vector(scope, f"{att}.{z}0"), name=f"{z}.sum")
    return scope.op("Sigmoid", total, name=f"{z}.rate")


def _unit(w: GraphWeights, scope: Scope, att: str, k: ir.Value) -> ir.Value:
    """κ [T, H, N]: each head of k ⊙ k_k over its length."""
    κ = scope.op("Mul", k, w.vector(scope, f"{att}.k_k"), name="k_k")
    κ = by_head(w, scope, κ, "kappa.heads")
    axis, least = scope.common([-1], np.int64, "last_axis"), scope.common(SHORTEST, np.float32, "shortest")
    length = scope.op("ReduceL2", κ, axis, name="kappa.length", keepdims=1)
    return scope.op("Div", κ, scope.op("Max", length, least, name="kappa.divisor"), name="kappa")


def learned(w: GraphWeights, scope: Scope, att: str, k: ir.Value, a: ir.Value) -> ir.Value:
    """k ⊙ (1 + (a - 1) ⊙ k_a) = k ⊙ ((1 - k_a) + a ⊙ k_a)"""
    k_a = w.load(f"{att}.k_a")
    factor = scope.op("Mul", a, scope.const(k_a, np.float32, "k_a.weight"), name="k_a")
    factor = scope.op("Add", factor, scope.const(1 - k_a, np.float32, "k_a.rest"), name="k_a.sum")
    return scope.op("Mul", k, factor, name="k")


def value_after(w: GraphWeights, scope: Scope, att: str, v: ir.Value, x_v: ir.Value, crossing: Crossing) -> ir.Value:
    """v + (v_first - v) ⊙ σ(v0 + x_v v1 v2); layer 0's own v is v_first"""
    if "v_first" not in crossing:
        crossing["v_first"] = v
        return v
    away = scope.op("Sub", crossing["v_first"], v, name="v.away")
    return scope.op("Add", v, scope.op("Mul", away, rate(w, scope, att, "v", x_v), name="v.moved"), name="v")


def _told(w: GraphWeights, scope: Scope, att: str, heads: dict[str, ir.Value]) -> ir.Value:
    """(Σ_j r_j k_j r_k[j]) v of every head [T, H, N]"""
    product = scope.op("Mul", heads["r"], heads["k"], name="r_times_k")
    product = scope.op("Mul", product, w.vector(scope, f"{att}.r_k"), name="r_k")
    axis = scope.common([-1], np.int64, "last_axis")
    return scope.op("Mul", scope.op("ReduceSum", product, axis, name="bonus", keepdims=1), heads["v"], name="bonus.v")
