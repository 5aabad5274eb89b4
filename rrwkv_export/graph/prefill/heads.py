"""What RWKV-5, 6 and 7 share as ONNX nodes: heads, GroupNorm over each, and the recurrence of 5 and 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.matrices import HeadsConfig
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Array, Scope

GROUP_NORM_EPSILON = 64e-5  # 1e-5 · 8², whatever N is
SHORTEST = 1e-12  # what RWKV-7's κ is divided by at least


def heads(w: GraphWeights) -> tuple[int, int]:
    """H, N"""
    config = cast(HeadsConfig, w.config)
    return config.heads, config.head_size


def by_head(w: GraphWeights, scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """[T, 1, C] to [T, H, N]"""
    shape = scope.common([-1, *heads(w)], np.int64, "heads_shape")
    return scope.op("Reshape", x, shape, name=name)


def group_norm(w: GraphWeights, scope: Scope, att: str, y: ir.Value) -> ir.Value:
    """GN(y) [T, H, N]"""
    H, N = heads(w)
    one, zero = (scope.common(np.full(N, v), np.float32, f"{n}_of_head") for n, v in (("ones", 1), ("zeros", 0)))
    unit = scope.op("LayerNormalization", y, one, zero, name="ln_x", axis=-1, epsilon=GROUP_NORM_EPSILON)
    gained = scope.op("Mul", unit, w.vector(scope, f"{att}.ln_x.weight", [H, N]), name="ln_x.gained")
    return scope.op("Add", gained, w.vector(scope, f"{att}.ln_x.bias", [H, N]), name="ln_x.moved")


def projected(w: GraphWeights, scope: Scope, att: str, mixed: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    """r, k, v [T, H, N] of RWKV-5 and 6, of their mixes."""
    return {
        q: by_head(w, scope, w.product(scope, mixed[q], f"{att}.{name}.weight", name=name), f"{q}.heads")
        for q, name in (("r", "receptance"), ("k", "key"), ("v", "value"))
    }


def gated(w: GraphWeights, scope: Scope, att: str, y: ir.Value, x_g: ir.Value | None) -> ir.Value:
    """Woutput (GN(y) ⊙ SiLU(Wgate x_g)); without a gate of RWKV-5.0."""
    o = flat(w, scope, group_norm(w, scope, att, y), "o")
    if x_g is not None:
        gate = w.product(scope, x_g, f"{att}.gate.weight", name="gate")
        o = scope.op("Mul", o, scope.op("Mul", gate, scope.op("Sigmoid", gate, name="g.rate"), name="g"), name="gated")
    return w.matmul(scope, o, f"{att}.output.weight", name="output")


def flat(w: GraphWeights, scope: Scope, x: ir.Value, name: str) -> ir.Value:
    """[T, H, N] to [T, 1, C]"""
    return scope.op("Reshape", x, scope.common([-1, 1, w.config.hidden_size], np.int64, "rows_shape"), name=name)


def recurrence(
    w: GraphWeights,
    scope: Scope,
    over: Recurrence,
    S: ir.Value,
    of: dict[str, ir.Value],
    u: Array,
    decay: Array | ir.Value,
) -> tuple[ir.Value, ir.Value]:
    """y [T, H, N] of RWKV-5 and 6, and S [H, N, N] after the last token; r, k, v [T, H, N], u [H, N], decay [H, N] of
    all tokens or [T, H, N] of each. i is an index of the key, j of the value.

    y_j = Σ_i r_i S_ij + (Σ_i r_i u_i k_i) v_j;   S_ij ← w_i S_ij + k_i v_j
    """
    H, N = heads(w)
    rows = {"r": over.shaped(scope, of["r"], [H, 1, N], "r"), "v": over.shaped(scope, of["v"], [H, 1, N], "v")}
    rows["k"] = over.shaped(scope, of["k"], [H, N, 1], "k")
    fixed: ir.Value | None = None
    if isinstance(decay, np.ndarray):
        fixed = scope.const(decay[..., None], np.float32, "w.column")
    else:
        rows["w"] = over.shaped(scope, decay, [H, N, 1], "w")

    def body(inner: Scope, S: ir.Value, given: Sequence[ir.Value]) -> tuple[ir.Value, ir.Value]:
        r, v, k = given[:3]
        y = inner.op("MatMul", r, S, name="y")
        kept = inner.op("Mul", S, fixed or given[3], name="kept")
        return inner.op("Add", kept, inner.op("Mul", k, v, name="told"), name="S_next"), y

    S, y = over.scan(scope, S, rows, body)
    y = flat(w, scope, y, "y.flat")
    bonus = scope.op(
        "Mul", scope.op("Mul", of["r"], of["k"], name="r_k"), scope.const(u, np.float32, "u"), name="r_u_k"
    )
    axis = scope.common([-1], np.int64, "last_axis")
    now = scope.op("Mul", scope.op("ReduceSum", bonus, axis, name="bonus", keepdims=1), of["v"], name="bonus.v")
    # Flat, since onnxruntime would fuse the norm that follows with a sum by head, for one token only.
    y = scope.op("Add", y, flat(w, scope, now, "bonus.flat"), name="y.sum")
    return by_head(w, scope, y, "y.heads"), S
