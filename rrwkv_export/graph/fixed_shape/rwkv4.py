"""RWKV-4's time-mix and channel-mix in fixed shapes, with wkv in the stable form."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.making import Making, state_part
from rrwkv_export.graph.fixed_shape.recurrences.wkv import before_every_token, updated, wkv_of
from rrwkv_export.onnx.scope import Scope
from rrwkv_runtime.bundle.fixed_shape import StatePart

# In place of the maximum before the first token, which in float16 would be -infinity and its differences no numbers.
LOWEST_MAXIMUM = -1e4


def parts(config: ModelConfig, layer: int) -> list[StatePart]:
    """aa and bb [2, 1, D], pp [1, 1, D]"""
    D, sums, maximum = config.attention_width, f"{names.WKV}.{layer}.sums", f"{names.WKV}.{layer}.maximum"
    return [
        state_part(sums, names.WKV, 3 * layer * D, (2, 1, D)),
        state_part(maximum, names.WKV, (3 * layer + 2) * D, (1, 1, D)),
    ]


def time_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """Woutput (r ⊙ wkv)"""
    block, w, T = f"blocks.{index}.att", m.w, m.T
    mix_k, mix_v, mix_r = mixed
    k = w.matmul(scope, mix_k, f"{block}.key.weight", name="key")
    v = w.matmul(scope, mix_v, f"{block}.value.weight", name="value")
    r = scope.op("Sigmoid", w.matmul(scope, mix_r, f"{block}.receptance.weight", name="receptance"), name="r")
    u, d = w.load(f"{block}.time_first"), np.exp(w.load(f"{block}.time_decay").astype(np.float64))

    inner, sums, maximum = scope / "wkv", f"{names.WKV}.{index}.sums", f"{names.WKV}.{index}.maximum"
    ones = inner.common(np.ones((1, T, m.config.attention_width)), np.float32, "ones")
    v_and_one = inner.op("Concat", v, ones, name="v_and_one", axis=0)
    S, p = m.before[sums], inner.op("Max", m.before[maximum], _floor(inner), name="maximum_before")
    if T > 1:
        S, p = before_every_token(inner, S, p, k, v_and_one, d, T)
    wkv = wkv_of(inner, S, p, k, v_and_one, u)
    if T > 1:
        rows = zip("Spkv", (S, p, k, v_and_one))
        S, p, k, v_and_one = (m.last(inner, x, f"last_{n}") for n, x in rows)
    m.after[sums], m.after[maximum] = updated(inner, S, p, k, v_and_one, d)
    return w.matmul(scope, scope.op("Mul", r, wkv, name="gated"), f"{block}.output.weight", name="output")


def _floor(scope: Scope) -> ir.Value:
    return scope.common(np.full((1, 1, 1), LOWEST_MAXIMUM), np.float32, "lowest_maximum")


def channel_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²)"""
    block, w = f"blocks.{index}.ffn", m.w
    mix_k, mix_r = mixed
    k = scope.op("Relu", w.matmul(scope, mix_k, f"{block}.key.weight", name="key"), name="relu")
    v = w.matmul(scope, scope.op("Mul", k, k, name="square"), f"{block}.value.weight", name="value")
    r = scope.op("Sigmoid", w.matmul(scope, mix_r, f"{block}.receptance.weight", name="receptance"), name="r")
    return scope.op("Mul", r, v, name="gated")
