"""RWKV-6's time-mix as ONNX nodes, in the symbols of `rrwkv_export.architectures.reference.rwkv6`; its channel-mix is
RWKV-4's. A layer's recurrent state is S [H, N, N], i of the key, j of the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.graph.layer import Crossing
from rrwkv_export.graph.prefill.heads import by_head, gated, projected, recurrence
from rrwkv_export.graph.prefill.rwkv4 import channel_mix as channel_mix
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope


def time_mix(
    w: GraphWeights,
    scope: Scope,
    block: str,
    mixed: Sequence[ir.Value],
    over: Recurrence,
    state: list[ir.Value],
    _: Crossing,
) -> tuple[ir.Value, list[ir.Value]]:
    """Woutput (GN(y) ⊙ SiLU(Wgate x_g)), and the new S."""
    att = f"{block}.att"
    moved = dict(zip("wkvrg", _moved(w, scope, att, mixed)))
    of = projected(w, scope, att, moved)
    decay = by_head(w, scope, _decay(w, scope, att, moved["w"]), "w.heads")
    y, S = recurrence(w, scope / "recurrence", over, state[0], of, w.load(f"{att}.time_faaaa"), decay)
    return gated(w, scope, att, y, moved["g"]), [S]


def _moved(w: GraphWeights, scope: Scope, att: str, found: Sequence[ir.Value]) -> list[ir.Value]:
    """x_q = mix(q) + d ⊙ M_q, for q in w, k, v, r, g

    m = tanh(mix(x) time_maa_w1)  as [5, rank];   M_q = m_q time_maa_w2[q]
    """
    x, *mixed, d = found
    letters, rank = w.config.mixes["att"], cast(RWKV6Config, w.config).mix_rank
    m = scope.op("Tanh", w.low(scope, x, f"{att}.time_maa_w1", "time_maa_w1"), name="m")
    m = scope.op("Reshape", m, scope.common([-1, len(letters), 1, rank], np.int64, "m_shape"), name="m.rows")
    away = scope.op("Mul", w.low(scope, m, f"{att}.time_maa_w2", "time_maa_w2"), _unsqueezed(scope, d), name="away")
    parts = scope.ops("Split", away, names=[f"away_{q}" for q in letters], axis=1, num_outputs=len(letters))
    axis = scope.common([1], np.int64, "1")
    return [
        scope.op("Add", mix, scope.op("Squeeze", part, axis, name=f"away_{q}.row"), name=f"x_{q}")
        for q, mix, part in zip(letters, mixed, parts)
    ]


def _unsqueezed(scope: Scope, d: ir.Value) -> ir.Value:
    """[T, 1, C] to [T, 1, 1, C]"""
    return scope.op("Unsqueeze", d, scope.common([1], np.int64, "1"), name="d.row")


def _decay(w: GraphWeights, scope: Scope, att: str, x_w: ir.Value) -> ir.Value:
    """w = exp(-exp(time_decay + tanh(x_w time_decay_w1) time_decay_w2)): [T, 1, C]"""
    low = scope.op("Tanh", w.low(scope, x_w, f"{att}.time_decay_w1", "time_decay_w1"), name="w.between")
    low = w.low(scope, low, f"{att}.time_decay_w2", "time_decay_w2")
    rate = scope.op("Exp", scope.op("Add", low, w.vector(scope, f"{att}.time_decay"), name="w.sum"), name="w.rate")
    return scope.op("Exp", scope.op("Neg", rate, name="w.exponent"), name="w")
