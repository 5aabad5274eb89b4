"""One layer as ONNX nodes, in the symbols of `rrwkv_export.architectures.reference.rwkv4`.

Sequences are [T, 1, C]: time first, so that a scan and the shift need no transpose; rank three, so that the two or
three mixes of a block are one broadcast [T, 3, C].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.prefill.chunked import Blocked
from rrwkv_export.graph.prefill.medium import MediumClock, MediumState
from rrwkv_export.graph.recurrence import Recurrence
from rrwkv_export.graph.weights import KEY_SCALE, GraphWeights
from rrwkv_export.graph.wkv import wkv
from rrwkv_export.onnx.scope import Scope


@dataclass(frozen=True)
class Clock:
    """What all layers share about the place in the text, and how they run over the tokens.

    shift_sizes: [T, 1] splits T + 1 rows into a shifted sequence and the row to carry. medium: None for RWKV-4.
    """

    recurrence: Recurrence | Blocked
    shift_sizes: ir.Value
    medium: MediumClock | None


@dataclass
class LayerState:
    """One layer's share of the states, replaced by the new values as the layer is built.

    shift: two of [1, 1, C]. wkv: [2, D] A, B; in the stable form [2, D] aa, bb and [1, D] pp; with a leading 1 where
    the recurrence wants rows. In blocks: A, B in either form, float64.
    """

    shift: list[ir.Value]
    wkv: list[ir.Value]
    medium: MediumState | None = None


def layer(w: GraphWeights, scope: Scope, index: int, x: ir.Value, clock: Clock, state: LayerState) -> ir.Value:
    """x [T, 1, C] to x [T, 1, C]."""
    block, M = f"blocks.{index}", None
    h, inner = w.norm(scope, x, f"{block}.ln1", name="ln1"), scope / "time_mix"
    if clock.medium and state.medium:
        M = clock.medium.retrospect(w, scope / "medium", block, h, state.medium)
    before = _before(w, inner, f"{block}.att", "kvr", _shifted(inner, h, clock, state, 0))
    mixed, state.wkv = time_mix(w, inner, block, h, before, M, clock.recurrence, state.wkv)
    x = scope.op("Add", x, mixed, name="after_time_mix")
    h, inner = w.norm(scope, x, f"{block}.ln2", name="ln2"), scope / "channel_mix"
    before = _before(w, inner, f"{block}.ffn", "kr", _shifted(inner, h, clock, state, 1))
    mixed = channel_mix(w, inner, block, h, before, M)
    return scope.op("Add", x, mixed, name="after_channel_mix")


def _mixes(
    w: GraphWeights, scope: Scope, block: str, roles: str, h: ir.Value, before: ir.Value, M: ir.Value | None
) -> list[ir.Value]:
    """mix(p) = h ⊙ a + h' ⊙ b + M ⊙ c for every role p at once [T, roles, C], then one [T, 1, C] for each, lowered."""
    a, _, c = w.mix(block, roles)
    mixed = scope.op("Add", _scaled(scope, h, a, "now"), before, name="mix")
    if M is not None and c is not None:
        mixed = scope.op("Add", mixed, _scaled(scope, M, c, "recalled"), name="mix_with_medium")
    names, mixed = [f"mix_{p}" for p in roles], w.lowered(scope, mixed, "mix.half")
    return list(scope.ops("Split", mixed, names=names, axis=1, num_outputs=len(roles)))


def _before(w: GraphWeights, scope: Scope, block: str, roles: str, h_prev: ir.Value) -> ir.Value:
    """h' ⊙ b: [T, roles, C]."""
    return _scaled(scope, h_prev, w.mix(block, roles)[1], "before")


def _scaled(scope: Scope, x: ir.Value, weight: np.ndarray, name: str) -> ir.Value:
    return scope.op("Mul", x, scope.const(weight, np.float32, f"{name}.weight"), name=name)


def _shifted(scope: Scope, h: ir.Value, clock: Clock, state: LayerState, block: int) -> ir.Value:
    """h': the carried row, then all rows but the last, which is carried on."""
    rows = scope.op("Concat", state.shift[block], h, name="shift", axis=0)
    h_prev, state.shift[block] = scope.ops("Split", rows, clock.shift_sizes, names=["previous", "last"], axis=0)
    return h_prev


def time_mix(
    w: GraphWeights,
    scope: Scope,
    block: str,
    h: ir.Value,
    before: ir.Value,
    M: ir.Value | None,
    over: Recurrence | Blocked,
    state: list[ir.Value],
) -> tuple[ir.Value, list[ir.Value]]:
    """Woutput (r ⊙ wkv), and the new state of wkv. before: h' ⊙ b [T, 3, C]."""
    mix_k, mix_v, mix_r = _mixes(w, scope, f"{block}.att", "kvr", h, before, M)
    k, v, r = (
        w.raised(scope, w.product(scope, mix, f"{block}.att.{name}.weight", name=name), f"{name}.float")
        for mix, name in ((mix_k, "key"), (mix_v, "value"), (mix_r, "receptance"))
    )
    r = scope.op("Sigmoid", r, name="r")
    u, d = w.load(f"{block}.att.time_first"), np.exp(w.load(f"{block}.att.time_decay").astype(np.float64))
    found, state = wkv(scope / "wkv", k, v, u, d, state, over)
    return w.matmul(scope, scope.op("Mul", r, found, name="gated"), f"{block}.att.output.weight", name="output"), state


def channel_mix(
    w: GraphWeights, scope: Scope, block: str, h: ir.Value, before: ir.Value, M: ir.Value | None
) -> ir.Value:
    """σ(Wreceptance mix(r)) ⊙ (Wvalue relu(Wkey mix(k))²). before: h' ⊙ b [T, 2, C]."""
    return channel_gated(w, scope, block, *_mixes(w, scope, f"{block}.ffn", "kr", h, before, M))


def channel_gated(w: GraphWeights, scope: Scope, block: str, mix_k: ir.Value, mix_r: ir.Value) -> ir.Value:
    """The same of mixes as they are multiplied; in float16 mix(k) is small, and what it comes to is made good."""
    k = scope.op("Relu", w.product(scope, mix_k, f"{block}.ffn.key.weight", name="key"), name="relu")
    v = w.product(scope, scope.op("Mul", k, k, name="square"), f"{block}.ffn.value.weight", name="value")
    if w.half_matmuls:
        v = scope.op("Mul", v, scope.common(1 / KEY_SCALE**2, np.float16, "key_scale"), name="value_scaled")
    r = w.product(scope, mix_r, f"{block}.ffn.receptance.weight", name="receptance")
    gated = scope.op("Mul", scope.op("Sigmoid", r, name="r"), v, name="gated")
    return w.raised(scope, gated, "gated.float")
