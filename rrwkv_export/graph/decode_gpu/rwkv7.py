"""RWKV-7's layers of one token, for `.decode`, in the symbols of `rrwkv_export.architectures.reference.rwkv7`.

    s = S κ;   S ← S ⊙ w + [s, v] told;   y = S r              told = [-κ ⊙ a; k ⊙ (1 + (a - 1) ⊙ k_a)]
    o = GN(y) + [s, v] (told ⊙ [0; r_k]) r                     the second is (Σ_j r_j k_j r_k[j]) v

A vector of heads is a column [H, N, 1] or a row [H, 1, N] without a kernel. What keeps the others few:

low rank   one product of the mixes of v, w, a and g, and one of what is between (see `.rwkv7_low_rank`).
κ, GN      a LayerNorm each (see `rrwkv_export.graph.prefill.fewer_kernels`).
told       -κ ⊙ a and the new k are [κ; k] times something linear in a.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.decode_gpu.layers import Roles
from rrwkv_export.graph.decode_gpu.rwkv7_low_rank import low_ranks
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.prefill import fewer_kernels, rwkv7
from rrwkv_export.graph.prefill.heads import heads
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Array, Scope
from rrwkv_export.onnx.split_concat import join, split

_LINEARS = ("receptance", "key", "value")


class RWKV7Layers:
    """See `Layers`. S [L, H, N, N] is taken apart before the layers and joined after them."""

    ROLES: ClassVar[Roles] = Roles("rkvwag", "k")

    def __init__(self, scope: Scope, w: GraphWeights, form: WKVForm, states: Values) -> None:
        self._w, self._scope = w, scope / "states"
        self._H, self._N = heads(w)
        L, H, N = w.config.num_layers, self._H, self._N
        rows = _shaped(self._scope, states[names.MATRIX], [L * H, N, N], "S")
        self._S = split(self._scope, rows, [f"S.{i}" for i in range(L)])
        self._v_first: ir.Value | None = None

    def time_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        w, att = self._w, f"blocks.{index}.att"
        r, k, v = self._products(scope, att, mix)
        low = low_ranks(w, scope, att, mix, self.ROLES.att)
        κ, told = self._told(scope, att, k, low["a"])
        v = self._column(scope, self._value(scope, v, low.get("v")), "v")
        r = self._column(scope, r, "r")
        s = scope.op("MatMul", self._S[index], self._column(scope, κ, "kappa"), name="s")
        s_and_v = scope.op("Concat", s, v, name="s_and_v", axis=2)
        S = self._S[index] = self._next(scope, self._S[index], low["w"], s_and_v, told)
        y = self._row(scope, scope.op("MatMul", S, r, name="y"), "y")
        y = fewer_kernels.group_norm(w, scope, att, y, [self._H, 1, self._N])
        o = scope.op("Add", y, self._bonus(scope, att, r, s_and_v, told), name="o")
        gated = scope.op("Mul", _shaped(scope, o, [1, 1, self._H * self._N], "o.flat"), low["g"], name="gated")
        return w.matmul(scope, gated, f"{att}.output.weight", name="output")

    def channel_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        mix_k = self._w.lowered(scope, scope.slice(mix, 0, 1, 0, name="mix_k"), "mix_k.half")
        return rwkv7.channel_mix(self._w, scope, f"blocks.{index}", [mix_k])

    def new(self, scope: Scope) -> Values:
        L, H, N = self._w.config.num_layers, self._H, self._N
        return {names.MATRIX: _shaped(self._scope, join(self._scope, self._S, "S.joined"), [L, H, N, N], "S_out")}

    def _products(self, scope: Scope, att: str, mix: ir.Value) -> list[ir.Value]:
        """r, k, v [1, 1, C], of their rows, which are the first."""
        w, of = self._w, [(name, f"{att}.{name}.weight") for name in _LINEARS]
        if w.half_matmuls:
            return w.products(scope, scope.slice(mix, 0, len(of), 0, name="mix_rkv"), of)
        rows = split(scope, mix, [f"mix_{q}" for q in self.ROLES.att])
        return [w.matmul(scope, row, weight, name) for row, (name, weight) in zip(rows, of)]

    def _told(self, scope: Scope, att: str, k: ir.Value, a: ir.Value) -> tuple[ir.Value, ir.Value]:
        """κ [H, 1, N], and -κ ⊙ a and the new k: [H, 2, N]. Of k and a [1, 1, C]."""
        k_a = self._w.load(f"{att}.k_a")
        κ = self._row(scope, fewer_kernels.unit(self._w, scope, att, k), "kappa")
        k, a = self._row(scope, k, "k"), self._row(scope, a, "a")
        rate = scope.op("Mul", a, self._rows(scope, -np.ones_like(k_a), k_a, "of_a"), name="rate_of_a")
        rate = scope.op("Add", rate, self._rows(scope, np.zeros_like(k_a), 1 - k_a, "without_a"), name="rate")
        return κ, scope.op("Mul", scope.op("Concat", κ, k, name="kappa_and_k", axis=1), rate, name="told")

    def _value(self, scope: Scope, v: ir.Value, rate: ir.Value | None) -> ir.Value:
        """v + (v_first - v) ⊙ rate; layer 0's own v, which has no rate, is v_first."""
        if rate is None or self._v_first is None:
            self._v_first = v
            return v
        away = scope.op("Sub", self._v_first, v, name="v.away")
        return scope.op("Add", v, scope.op("Mul", away, rate, name="v.moved"), name="v")

    def _next(self, scope: Scope, S: ir.Value, rate: ir.Value, s_and_v: ir.Value, told: ir.Value) -> ir.Value:
        """S ⊙ w + [s, v] told: [H, N, N], w = exp(-e^(-1/2) rate)"""
        base = scope.common(math.exp(-math.exp(-0.5)), np.float32, "fastest_decay")
        w = self._row(scope, scope.op("Pow", base, rate, name="w"), "w")
        change = scope.op("MatMul", s_and_v, told, name="change")
        return scope.op("Add", scope.op("Mul", S, w, name="kept"), change, name="S")

    def _bonus(self, scope: Scope, att: str, r: ir.Value, s_and_v: ir.Value, told: ir.Value) -> ir.Value:
        """(Σ_j r_j k_j r_k[j]) v: [H, 1, N]"""
        r_k = self._w.load(f"{att}.r_k")
        by_r_k = scope.op("Mul", told, self._rows(scope, np.zeros_like(r_k), r_k, "r_k"), name="told_r_k")
        bonus = scope.op("MatMul", by_r_k, r, name="bonus")  # [H, 2, 1], the first 0
        return self._row(scope, scope.op("MatMul", s_and_v, bonus, name="bonus_v"), "bonus_v")

    def _rows(self, scope: Scope, first: Array, second: Array, name: str) -> ir.Value:
        """Two constants for every channel, as [H, 2, N]."""
        rows = np.stack([v.reshape(self._H, self._N) for v in (first, second)], axis=1)
        return scope.const(rows, np.float32, f"{name}.weight")

    def _row(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        return _shaped(scope, x, [self._H, 1, self._N], f"{name}.row")

    def _column(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        return _shaped(scope, x, [self._H, self._N, 1], f"{name}.column")


def _shaped(scope: Scope, x: ir.Value, shape: list[int], name: str) -> ir.Value:
    label = "_".join(str(n) for n in shape)
    return scope.op("Reshape", x, scope.common(shape, np.int64, f"shape_{label}"), name=name)
