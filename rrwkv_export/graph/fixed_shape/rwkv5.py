"""RWKV-5's time-mix in fixed shapes; its channel-mix is RWKV-4's."""

from __future__ import annotations

from typing import cast

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.rwkv5 import RWKV5Config
from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.heads import group_norm, shaped, told_now
from rrwkv_export.graph.fixed_shape.heads import parts as parts
from rrwkv_export.graph.fixed_shape.making import Making, Values
from rrwkv_export.graph.fixed_shape.recurrences import linear
from rrwkv_export.graph.fixed_shape.rwkv4 import channel_mix as channel_mix
from rrwkv_export.graph.prefill.heads import heads
from rrwkv_export.onnx.scope import Array, Scope


def time_mix(m: Making, scope: Scope, index: int, mixed: list[ir.Value]) -> ir.Value:
    """Woutput (GN(y) ⊙ SiLU(Wgate mix(g))); 5.0 has no gate."""
    att = f"blocks.{index}.att"
    of = dict(zip(m.w.letters(att), mixed))
    ln_w, u = _rates(m, att)
    rows = np.broadcast_to(ln_w.reshape(1, 1, -1), (1, m.T, ln_w.size))
    return remembered(m, scope, index, {**of, "ln_w": scope.const(rows, np.float32, "ln_w")}, u)


def _rates(m: Making, att: str) -> tuple[Array, Array]:
    """ln w = -exp(time_decay) and u = time_faaaa, [H, N]; u = exp(time_first) in 5.1 and 5.0."""
    config = cast(RWKV5Config, m.config)
    ln_w = -np.exp(m.w.load(f"{att}.time_decay").astype(np.float64))
    u = m.w.load(f"{att}.{config.bonus}").astype(np.float64)
    if config.version != "5.2":
        ln_w, u = (np.broadcast_to(value[:, None], heads(m.w)) for value in (ln_w, np.exp(u)))
    return ln_w, u


def remembered(m: Making, scope: Scope, index: int, mixed: Values, u: Array) -> ir.Value:
    """What is added to x, of the mixes k, v, r and, where there is one, g, and of ln w: [1, T, C] each. u [H, N]."""
    att, w, (H, N), part = f"blocks.{index}.att", m.w, heads(m.w), f"{names.MATRIX}.{index}"
    linears = {"r": "receptance", "k": "key", "v": "value"}
    of = {q: w.matmul(scope, mixed[q], f"{att}.{name}.weight", name=name) for q, name in linears.items()}
    inner, given = scope / "recurrence", {**of, "ln_w": mixed["ln_w"]}
    if m.T == 1:
        y, m.after[part] = linear.one_token(inner, m.before[part], given, H, N)
    else:
        y, m.after[part] = linear.many_tokens(inner, m.before[part], given, m.T, H, N)
    now = shaped(scope, told_now(m, scope, u, of["r"], of["k"], of["v"]), [m.T, H, N], "told_now")
    o = group_norm(m, scope, att, scope.op("Add", y, now, name="y.sum"))
    if "g" in mixed:
        gate = w.matmul(scope, mixed["g"], f"{att}.gate.weight", name="gate")
        o = scope.op("Mul", o, scope.op("Mul", gate, scope.op("Sigmoid", gate, name="g.rate"), name="g"), name="gated")
    return w.matmul(scope, o, f"{att}.output.weight", name="output")
