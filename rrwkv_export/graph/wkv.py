"""The recurrence of RWKV-4 in two forms; everything but the recurrence itself is computed for all T tokens at once,
of D channels each, the width of attention.

plain   A, B as they stand, keys clipped to ± 75. Right where no token's key can leave that range.
stable  aa, bb, pp with A = aa exp(pp), B = bb exp(pp): RWKV-4's own inference form. Right for every key. Its running
        maximum pp is a recurrence of its own, so that no exponential is left inside one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.prefill.rwkv4_chunked import LARGEST_KEY, Blocked
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.onnx.scope import Array, Scope

KEY_LIMIT = LARGEST_KEY["plain"]


def wkv(
    scope: Scope, k: ir.Value, v: ir.Value, u: Array, d: Array, state: Sequence[ir.Value], over: Recurrence | Blocked
) -> tuple[ir.Value, list[ir.Value]]:
    """wkv [T, 1, D] and the new state, in the form of the state given."""
    if isinstance(over, Blocked):
        found, new = over.wkv(scope, k, v, u, d, *state)
        return found, [new]
    return (plain_wkv if len(state) == 1 else stable_wkv)(scope, k, v, u, d, state, over)


def plain_wkv(
    scope: Scope, k: ir.Value, v: ir.Value, u: Array, d: Array, state: Sequence[ir.Value], over: Recurrence
) -> tuple[ir.Value, list[ir.Value]]:
    """wkv = (A + exp(u + k) ⊙ v) / (B + exp(u + k)).

    k, v [T, 1, D]; u, d [D]; state: A, B [2, D]. Gives wkv [T, 1, D] and the new state.
    """
    # Clipped after the exponential, which is the same: a product that a Clip reads is left in float by onnxruntime when
    # its inputs are rounded.
    ek = clipped_exp(scope, scope.op("Exp", k, name="exp"))
    x = scope.op("Concat", scope.op("Mul", ek, v, name="exp_k_v"), ek, name="summands", axis=1)  # [T, 2, D]
    last, before = over.decay(scope, state[0], x, d)
    now = scope.op("Mul", x, scope.const(np.exp(u.astype(np.float64)), np.float32, "exp_u"), name="now")
    return _ratio(scope, scope.op("Add", before, now, name="sums")), [last]


def stable_wkv(
    scope: Scope, k: ir.Value, v: ir.Value, u: Array, d: Array, state: Sequence[ir.Value], over: Recurrence
) -> tuple[ir.Value, list[ir.Value]]:
    """The same from aa, bb [2, D] and pp [1, D], with the larger exponent taken out at every step."""
    decay = scope.const(d, np.float32, "d")
    pp, p, p_next = over.maximum(scope, state[1], k, d)
    # In this order the rounding of p_next, exact in p - p_next, is made good; otherwise it adds up over the tokens.
    kept = _exp_of_difference(scope, scope.op("Sub", p, p_next, name="rise"), decay, "kept")
    x = _value_and_one(scope, _exp_of_difference(scope, k, p_next, "added"), v, "summands")
    last, before = over.keep(scope, state[0], x, kept)

    uk = scope.op("Add", k, scope.const(u, np.float32, "u"), name="key_with_bonus")
    q = scope.op("Max", p, uk, name="exponent")
    held = scope.op("Mul", before, _exp_of_difference(scope, p, q, "held.scale"), name="held")
    now = _value_and_one(scope, _exp_of_difference(scope, uk, q, "now.scale"), v, "now")
    return _ratio(scope, scope.op("Add", held, now, name="sums")), [last, pp]


def clipped_exp(scope: Scope, e: ir.Value) -> ir.Value:
    """e = exp(k) for k within ± KEY_LIMIT, else exp(± KEY_LIMIT)."""
    ends = (scope.common(np.exp(s * KEY_LIMIT), np.float32, f"exp_{n}_limit") for s, n in ((-1, "minus"), (1, "plus")))
    return scope.op("Clip", e, *ends, name="exp_k")


def _exp_of_difference(scope: Scope, a: ir.Value, b: ir.Value, name: str) -> ir.Value:
    return scope.op("Exp", scope.op("Sub", a, b, name=f"{name}.exponent"), name=name)


def _value_and_one(scope: Scope, scale: ir.Value, v: ir.Value, name: str) -> ir.Value:
    """[scale ⊙ v; scale]: [T, 2, D]."""
    return scope.op("Concat", scope.op("Mul", scale, v, name=f"{name}.value"), scale, name=name, axis=1)


def _ratio(scope: Scope, sums: ir.Value) -> ir.Value:
    numerator, denominator = scope.ops("Split", sums, names=["numerator", "denominator"], axis=1, num_outputs=2)
    return scope.op("Div", numerator, denominator, name="ratio")
