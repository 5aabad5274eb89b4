"""Mediums as ONNX nodes: squeeze, excitation and the attention that reads them, T tokens at a time without a loop.

n segments end in the run. A one-hot matrix, shared by all layers, sums every segment in one product;
one mask, shared too, says which of the held and the new mediums each token may read. Both grow as T² / s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.config import MediumConfig
from rrwkv_export.graph.scope import Scope
from rrwkv_export.graph.weights import GraphWeights

SIGNIFICANCE_LIMIT = 60.0  # the squeeze's exponent is clipped to ± 60, as the model defines it


@dataclass(frozen=True)
class MediumClock:
    """What all layers share about segments, computed once a run.

    member [n + 1, T + 1] float32: one-hot, which segment a row belongs to; column 0 is the carried row. mask
    [T, 1, 1 + K + n] float32: 0 where a medium (or the empty slot in front) is visible, else -infinity. sizes: [n, 1],
    how many segments end, how many stay open. ones [T, 1, 1] float32.
    """

    member: ir.Value
    mask: ir.Value
    sizes: ir.Value
    ones: ir.Value


@dataclass
class MediumState:
    """One layer's share of the states: carry [1, 1, C + 1] S and G; bank [K, C]; key [K, R], oldest first."""

    carry: ir.Value
    bank: ir.Value
    key: ir.Value


def retrospect(
    w: GraphWeights,
    scope: Scope,
    block: str,
    h: ir.Value,
    medium: MediumConfig,
    clock: MediumClock,
    state: MediumState,
) -> ir.Value:
    """M [T, 1, C]: every token's reading of the held mediums and of those that segments of this run add."""
    K, R = medium.slots, medium.key_size
    m = _excite(w, scope, block, _squeeze(w, scope, block, h, medium, clock, state))
    new_keys = w.matmul(scope, m, f"{block}.medium.key.weight", name="key")
    # The empty slot is a row of zeros in front: its score is 0 and there is nothing in it.
    nothing = scope.common(np.zeros((1, w.config.hidden_size)), np.float32, "nothing")
    held = scope.op("Concat", nothing, state.bank, m, name="held", axis=0)
    no_key = scope.common(np.zeros((1, R)), np.float32, "no_key")
    keys = scope.op("Concat", no_key, state.key, new_keys, name="held_keys", axis=0)

    q = w.matmul(scope, h, f"{block}.medium.query.weight", name="query", scale=1 / math.sqrt(R))
    scores = scope.op("MatMul", q, scope.op("Transpose", keys, name="keys_t", perm=[1, 0]), name="scores")
    a = scope.op("Softmax", scope.op("Add", scores, clock.mask, name="visible_scores"), name="attention", axis=-1)

    newest = [scope.common([-K], np.int64, "minus_slots"), *(scope.common([v], np.int64, f"{v}") for v in (2**62, 0))]
    state.bank = scope.op("Slice", held, *newest, name="bank")
    state.key = scope.op("Slice", keys, *newest, name="bank_keys")
    return scope.op("MatMul", a, held, name="read")


def _squeeze(
    w: GraphWeights,
    scope: Scope,
    block: str,
    h: ir.Value,
    medium: MediumConfig,
    clock: MediumClock,
    state: MediumState,
) -> ir.Value:
    """z = S / G of each of the n segments that end in this run: [n, C]. The open segment's S, G are carried on."""
    C = w.config.hidden_size
    if medium.squeeze == "mean":
        weighted, g = h, clock.ones
    else:
        column = scope.const(w.load(f"{block}.medium.squeeze")[:, None], np.float32, "squeeze.weight")
        score = scope.op("MatMul", h, column, name="significance")
        g = scope.op("Exp", scope.clip(score, SIGNIFICANCE_LIMIT, name="clipped"), name="g")  # [T, 1, 1]
        weighted = scope.op("Mul", g, h, name="weighted")
    summands = scope.op("Concat", weighted, g, name="summands", axis=2)
    rows = scope.op("Concat", state.carry, summands, name="with_carried", axis=0)
    flat = scope.op("Reshape", rows, scope.common([-1, C + 1], np.int64, "summand_rows"), name="rows")
    sums = scope.op("MatMul", clock.member, flat, name="sums")
    ended, state.carry = scope.ops("Split", sums, clock.sizes, names=["ended", "open"], axis=0)
    S, G = scope.ops("Split", ended, scope.common([C, 1], np.int64, "S_and_G"), names=["S", "G"], axis=1)
    return scope.op("Div", S, G, name="squeeze")


def _excite(w: GraphWeights, scope: Scope, block: str, z: ir.Value) -> ir.Value:
    """m = σ(Wup relu(Wdown z)) ⊙ z: [n, C]."""
    down = scope.op("Relu", w.matmul(scope, z, f"{block}.medium.down.weight", name="down"), name="relu")
    gate = scope.op("Sigmoid", w.matmul(scope, down, f"{block}.medium.up.weight", name="up"), name="gate")
    return scope.op("Mul", gate, z, name="excite")


def medium_clock(scope: Scope, medium: MediumConfig, position: ir.Value, T: ir.Value, count: ir.Value) -> MediumClock:
    """From the position [] and the number of tokens, as T [1] and as count []."""
    zero, one = scope.common(0, np.int64, "scalar_0"), scope.common(1, np.int64, "scalar_1")
    first, axis = scope.common([0], np.int64, "0"), scope.common([1], np.int64, "1")
    interval = scope.common(medium.interval, np.int64, "interval")
    into = scope.op("Mod", position, interval, name="into_segment")
    token = scope.op("Add", scope.op("Range", zero, count, one, name="tokens"), into, name="token")
    segment = scope.op("Div", token, interval, name="segment")  # [T]; 0 is the segment open when the run begins
    n = scope.op("Div", scope.op("Add", into, count, name="reach"), interval, name="n")

    rows = scope.op("Range", zero, scope.op("Add", n, one, name="n_plus_1"), one, name="segments")
    of_row = scope.op("Concat", first, segment, name="segment_of_row", axis=0)
    is_member = scope.op("Equal", scope.op("Unsqueeze", rows, axis, name="row"), of_row, name="is_member")
    ones_shape = scope.op("Concat", T, axis, axis, name="ones_shape", axis=0)
    return MediumClock(
        member=scope.op("Cast", is_member, name="member", to=ir.DataType.FLOAT),
        mask=_mask(scope / "mask", medium, position, segment, n),
        sizes=scope.op("Concat", scope.op("Reshape", n, axis, name="ended"), axis, name="sizes", axis=0),
        ones=scope.op("ConstantOfShape", ones_shape, name="ones", value=ir.tensor(np.ones(1, np.float32))),
    )


def _mask(scope: Scope, medium: MediumConfig, position: ir.Value, segment: ir.Value, n: ir.Value) -> ir.Value:
    """[T, 1, 1 + K + n]: 0 at the empty slot (row -1) and where max(j, K - filled) <= row < j + K, else -infinity."""
    K = scope.common(medium.slots, np.int64, "slots")
    minus_one, one = scope.common(-1, np.int64, "scalar_minus_1"), scope.common(1, np.int64, "scalar_1")
    row = scope.op("Range", minus_one, scope.op("Add", K, n, name="rows"), one, name="row")
    ended = scope.op("Div", position, scope.common(medium.interval, np.int64, "interval"), name="ended_before")
    unfilled = scope.op("Sub", K, scope.op("Min", ended, K, name="filled"), name="unfilled")
    j = scope.op("Unsqueeze", segment, scope.const([1, 2], np.int64, "axes"), name="segment")  # [T, 1, 1]
    not_too_old = scope.op("GreaterOrEqual", row, scope.op("Max", j, unfilled, name="oldest"), name="not_too_old")
    not_too_new = scope.op("Less", row, scope.op("Add", j, K, name="newest"), name="not_too_new")
    empty_slot = scope.op("Equal", row, minus_one, name="empty_slot")
    visible = scope.op("And", not_too_old, not_too_new, name="visible_medium")
    shown, hidden = scope.const(0, np.float32, "shown"), scope.const(-np.inf, np.float32, "hidden")
    return scope.op("Where", scope.op("Or", visible, empty_slot, name="visible"), shown, hidden, name="mask")
