"""RWKV-4's time-mix and channel-mix as ONNX nodes, in the symbols of `rrwkv_export.architectures.reference.rwkv4`.

A layer's recurrent state is [2, D] A, B; in the stable form [2, D] aa, bb and [1, D] pp; with a leading 1 where the
recurrence wants rows. In blocks: A, B in either form, float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.layer import Crossing
from rrwkv_export.graph.prefill.rwkv4_chunked import Blocked
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import KEY_SCALE, GraphWeights
from rrwkv_export.graph.wkv import wkv
from rrwkv_export.onnx.scope import Scope


def time_mix(
    w: GraphWeights,
    scope: Scope,
    block: str,
    mixed: Sequence[ir.Value],
    over: Recurrence | Blocked,
    state: list[ir.Value],
    crossing: Crossing,
) -> tuple[ir.Value, list[ir.Value]]:
    """Woutput (r ⊙ wkv), and the new state of wkv."""
    mix_k, mix_v, mix_r = mixed
    k, v, r = (
        w.raised(scope, w.product(scope, mix, f"{block}.att.{name}.weight", name=name), f"{name}.float")
        for mix, name in ((mix_k, "key"), (mix_v, "value"), (mix_r, "receptance"))
    )
    r = scope.op("Sigmoid", r, name="r")
    u, d = w.load(f"{block}.att.time_first"), np.exp(w.load(f"{block}.att.time_decay").astype(np.float64))
    found, state = wkv(scope / "wkv", k, v, u, d, state, over)
    return w.matmul(scope, scope.op("Mul", r, found, name="gated"), f"{block}.att.output.weight", name="output"), state


def channel_mix(w: GraphWeights, scope: Scope, block: str, mixed: Sequence[ir.Value]) -> ir.Value:
    """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²)."""
    return channel_gated(w, scope, block, *mixed)


def channel_gated(w: GraphWeights, scope: Scope, block: str, mix_k: ir.Value, mix_r: ir.Value) -> ir.Value:
    """The same of mixes as they are multiplied; in float16 mix(k) is small, and what it comes to is made good."""
    k = scope.op("Relu", w.product(scope, mix_k, f"{block}.ffn.key.weight", name="key"), name="relu")
    v = w.product(scope, scope.op("Mul", k, k, name="square"), f"{block}.ffn.value.weight", name="value")
    if w.half_matmuls:
        v = scope.op("Mul", v, scope.common(1 / KEY_SCALE**2, np.float16, "key_scale"), name="value_scaled")
    r = w.product(scope, mix_r, f"{block}.ffn.receptance.weight", name="receptance")
    gated = scope.op("Mul", scope.op("Sigmoid", r, name="r"), v, name="gated")
    return w.raised(scope, gated, "gated.float")
