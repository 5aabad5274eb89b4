"""One token for accelerators: fixed shapes, no control flow, and as few kernels as it takes.

    input_ids int64 [1], states   ->   logits float32 [1, V], states

A GPU takes longer to start a kernel than to run it here, so the nodes of a layer are what decoding costs. Three things
keep them few:

wkv     With the mean a = A / B and l = ln B, wkv = a + (v - a) ⊙ σ(u + k - l): the definition, divided by
        B + exp(u + k), and right for every key.
mixes   x is carried in R equal rows [R, 1, C]. A LayerNorm with a gain for each, g ⊙ a_p, and a bias for each,
        β ⊙ a_p + h' ⊙ b_p, gives what all roles p multiply, but for M.
states  What needs no layer's result is done for all layers at once, before them; what no layer needs, after them.
"""

from __future__ import annotations

import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.decode_gpu.medium import Mediums
from rrwkv_export.graph.decode_gpu.mixes import Mixes
from rrwkv_export.graph.decode_gpu.wkv import Sums, sums_of
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill.rwkv4 import channel_gated
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope
from rrwkv_export.onnx.split_concat import split


def step(
    scope: Scope, w: GraphWeights, wkv: WKVForm, x: ir.Value, states: Values, position_after: ir.Value
) -> tuple[ir.Value, Values]:
    """x [1, 1, C], the embedded token, through all layers: x [1, 1, C] and the new values of all other states."""
    mediums = Mediums(scope / "mediums", w, states, position_after) if w.config.medium else None
    mixes = Mixes(scope / "mixes", w, states[names.SHIFT])
    sums = sums_of(wkv, scope / "wkv", w, states[names.WKV])
    x = scope.op("Concat", *[x] * mixes.rows, name="rows", axis=0)
    for index in range(w.config.num_layers):
        x = _layer(scope / f"blocks.{index}", w, index, x, mixes, sums, mediums)
    shift = mixes.shift(scope / "mixes")
    joined = {names.SHIFT: shift, names.WKV: sums.new(scope / "wkv")}
    x = scope.slice(x, 0, 1, 0, name="last_x")
    return x, joined | (mediums.new(scope / "mediums", shift) if mediums else {})


def _layer(
    scope: Scope, w: GraphWeights, index: int, x: ir.Value, mixes: Mixes, sums: Sums, mediums: Mediums | None
) -> ir.Value:
    """x [R, 1, C] to x [R, 1, C]."""
    block, M = f"blocks.{index}", None
    inner, mix = scope / "time_mix", mixes.of(scope, index, 0, x)
    if mediums:
        M = mediums.recall(scope / "medium", index, inner.slice(mix, 0, 1, 0, name="h"))
        mix = mixes.with_medium(inner, index, 0, inner.slice(mix, 1, mixes.rows, 0, name="kvr"), M)
    k, v, r = w.products(inner, mix, [(role, f"{block}.att.{role}.weight") for role in ("key", "value", "receptance")])
    found = sums.wkv(inner / "wkv", index, k, v)
    gated = inner.op("Mul", inner.op("Sigmoid", r, name="r"), found, name="gated")
    x = scope.op("Add", x, w.matmul(inner, gated, f"{block}.att.output.weight", name="output"), name="after_time_mix")

    inner, mix = scope / "channel_mix", mixes.of(scope, index, 1, x)
    if M is not None:
        mix = mixes.with_medium(inner, index, 1, mix, M)
    mix_k, mix_r, *_ = split(inner, w.lowered(inner, mix, "mix.half"), [f"mix.{i}" for i in range(mixes.rows)])
    return scope.op("Add", x, channel_gated(w, inner, block, mix_k, mix_r), name="after_channel_mix")
