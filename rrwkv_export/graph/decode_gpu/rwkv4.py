"""RWKV-4's layers of one token, for `.decode`.

With the mean a = A / B and l = ln B, wkv = a + (v - a) ⊙ σ(u + k - l): the definition, divided by B + exp(u + k), and
right for every key (see `.rwkv4_wkv`).
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.decode_gpu.layers import Roles
from rrwkv_export.graph.decode_gpu.rwkv4_wkv import sums_of
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill.rwkv4 import channel_gated
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope
from rrwkv_export.onnx.split_concat import split


class RWKV4Layers:
    """See `Layers`."""

    ROLES: ClassVar[Roles] = Roles("kvr", "kr")

    def __init__(self, scope: Scope, w: GraphWeights, form: WKVForm, states: Values) -> None:
        self._w, self._sums = w, sums_of(form, scope / "wkv", w, states[names.WKV])

    def time_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        w, att = self._w, f"blocks.{index}.att"
        k, v, r = w.products(scope, mix, [(role, f"{att}.{role}.weight") for role in ("key", "value", "receptance")])
        found = self._sums.wkv(scope / "wkv", index, k, v)
        gated = scope.op("Mul", scope.op("Sigmoid", r, name="r"), found, name="gated")
        return w.matmul(scope, gated, f"{att}.output.weight", name="output")

    def channel_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        w = self._w
        rows = [f"mix.{i}" for i in range(self.ROLES.rows(w.config))]
        mix_k, mix_r, *_ = split(scope, w.lowered(scope, mix, "mix.half"), rows)
        return channel_gated(w, scope, f"blocks.{index}", mix_k, mix_r)

    def new(self, scope: Scope) -> Values:
        return {names.WKV: self._sums.new(scope / "wkv")}
