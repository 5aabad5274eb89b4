"""RWKV-6's time-mix in fixed shapes; its channel-mix is RWKV-4's."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.graph.fixed_shape.heads import apart, number, shaped
from rrwkv_export.graph.fixed_shape.heads import parts as parts
from rrwkv_export.graph.fixed_shape.making import Making
from rrwkv_export.graph.fixed_shape.rwkv4 import channel_mix as channel_mix
from rrwkv_export.graph.fixed_shape.rwkv5 import remembered
from rrwkv_export.onnx.scope import Scope

# Beyond, exp of it is nothing beside 1, or leaves nothing of the state; and a float16 holds it.
_RATES = {"least": -30.0, "most": 8.0}


def time_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """Woutput (GN(y) ⊙ SiLU(Wgate x_g))"""
    att = f"blocks.{index}.att"
    moved = dict(zip(m.config.mixes["att"], _moved(m, scope, att, mixed)))
    ln_w = _ln_decay(m, scope, att, moved.pop("w"))
    return remembered(m, scope, index, {**moved, "ln_w": ln_w}, m.w.load(f"{att}.time_faaaa"))


def _moved(m: Making, scope: Scope, att: str, found: list[ir.Value]) -> list[ir.Value]:
    """x_q = mix(q) + d ⊙ M_q, for q in w, k, v, r, g

    m = tanh(mix(x) time_maa_w1)  as [5, rank];   M_q = m_q time_maa_w2[q]
    """
    x, *mixed, d = found
    letters, rank = m.config.mixes["att"], cast(RWKV6Config, m.config).mix_rank
    low = scope.op("Tanh", m.w.low(scope, x, f"{att}.time_maa_w1", "time_maa_w1"), name="m")
    low = shaped(scope, low, [m.T, len(letters), rank], "m.rows")
    low = scope.op("Transpose", low, name="m.of_mixes", perm=[1, 0, 2])
    away = scope.op("Mul", m.w.low(scope, low, f"{att}.time_maa_w2", "time_maa_w2"), d, name="away")
    parts = apart(scope, away, len(letters), "away")
    return [scope.op("Add", mix, part, name=f"x_{q}") for q, mix, part in zip(letters, mixed, parts)]


def _ln_decay(m: Making, scope: Scope, att: str, x_w: ir.Value) -> ir.Value:
    """ln w = -exp(time_decay + tanh(x_w time_decay_w1) time_decay_w2): [1, T, C]"""
    low = scope.op("Tanh", m.w.low(scope, x_w, f"{att}.time_decay_w1", "time_decay_w1"), name="w.between")
    low = m.w.low(scope, low, f"{att}.time_decay_w2", "time_decay_w2")
    rate = scope.op("Add", low, m.w.vector(scope, f"{att}.time_decay"), name="w.sum")
    ends = (scope.common(value, np.float32, f"rate_{name}") for name, value in _RATES.items())
    rate = scope.op("Clip", rate, *ends, name="w.bounded")
    return scope.op("Mul", scope.op("Exp", rate, name="w.rate"), number(scope, -1.0, "minus_one"), name="ln_w")
