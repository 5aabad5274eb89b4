"""Mediums in fixed shapes: what a run reads of the held ones, and the one that its tokens make.

As no token of a segment reads its own segment's medium, all read the same bank.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.making import Making
from rrwkv_export.graph.fixed_shape.parts import ENDED, VISIBLE
from rrwkv_export.graph.prefill.medium import SIGNIFICANCE_LIMIT
from rrwkv_export.onnx.scope import Scope


def retrospect(m: Making, medium: MediumConfig, scope: Scope, index: int, h: ir.Value) -> ir.Value:
    """M [1, T, C] of the held mediums; and the medium of this segment, held where it ends."""
    M = _read(m, medium, scope, index, h)
    squeeze = _squeeze_segment if m.T > 1 else _squeeze_on
    z = squeeze(m, medium, scope, index, h)
    down = m.w.matmul(scope, z, f"blocks.{index}.medium.down.weight", name="down")
    up = m.w.matmul(scope, scope.op("Relu", down, name="relu"), f"blocks.{index}.medium.up.weight", name="up")
    made = scope.op("Mul", scope.op("Sigmoid", up, name="gate"), z, name="excite")
    key = m.w.matmul(scope, made, f"blocks.{index}.medium.key.weight", name="key")
    _push(m, medium, scope, f"{names.MEDIUM_BANK}.{index}", made, "bank")
    _push(m, medium, scope, f"{names.MEDIUM_KEY}.{index}", key, "bank_keys")
    return M


def _read(m: Making, medium: MediumConfig, scope: Scope, index: int, h: ir.Value) -> ir.Value:
    """softmax([0, q · keys / sqrt(R)]) of the visible slots, times the bank."""
    q = m.w.matmul(scope, h, f"blocks.{index}.medium.query.weight", name="query", scale=medium.query_scale)
    keys = scope.op("Transpose", m.before[f"{names.MEDIUM_KEY}.{index}"], name="keys_t", perm=[0, 2, 1])
    scores = scope.op("Add", scope.op("MatMul", q, keys, name="scores"), m.before[VISIBLE], name="visible_scores")
    empty = scope.common(np.zeros((1, m.T, 1)), np.float32, "empty_slot")
    attention = scope.op("Softmax", scope.op("Concat", empty, scores, name="with_empty", axis=2), name="a", axis=2)
    held = scope.slice(attention, 1, 1 + medium.slots, 2, name="attention")
    return scope.op("MatMul", held, m.before[f"{names.MEDIUM_BANK}.{index}"], name="recalled")


def _significance(m: Making, scope: Scope, index: int, h: ir.Value) -> ir.Value:
    """The squeeze's exponent [1, T, 1]."""
    column = scope.const(m.w.load(f"blocks.{index}.medium.squeeze")[:, None], np.float32, "squeeze.weight")
    score = scope.op("MatMul", h, column, name="significance")
    return scope.clip(score, SIGNIFICANCE_LIMIT, name="clipped")


def _squeeze_segment(m: Making, medium: MediumConfig, scope: Scope, index: int, h: ir.Value) -> ir.Value:
    """z [1, 1, C] of a whole segment: S / G is a softmax over its tokens."""
    if medium.squeeze == "mean":
        share = scope.common(np.full((1, 1, m.T), 1 / m.T), np.float32, "share")
    else:
        row = scope.op("Transpose", _significance(m, scope, index, h), name="of_tokens", perm=[0, 2, 1])
        share = scope.op("Softmax", row, name="share", axis=2)
    return scope.op("MatMul", share, h, name="squeeze")


def _squeeze_on(m: Making, medium: MediumConfig, scope: Scope, index: int, h: ir.Value) -> ir.Value:
    """z [1, 1, C] of the open segment up to this token; S and G are carried on, or begin anew."""
    if medium.squeeze == "mean":
        g, weighted = scope.common(np.ones((1, 1, 1)), np.float32, "one_token"), h
    else:
        g = scope.op("Exp", _significance(m, scope, index, h), name="g")
        weighted = scope.op("Mul", g, h, name="weighted")
    sums = []
    for state, summand in ((names.MEDIUM_SUM, weighted), (names.MEDIUM_WEIGHT, g)):
        part = f"{state}.{index}"
        total = scope.op("Add", m.before[part], summand, name=state)
        m.after[part] = scope.op("Mul", total, _going_on(m), name=f"{state}.open")
        sums.append(total)
    return scope.op("Div", *sums, name="squeeze")


def _push(m: Making, medium: MediumConfig, scope: Scope, part: str, newest: ir.Value, name: str) -> None:
    """The newest row in, the oldest out; of a single token where it ends a segment."""
    bank, slots = m.before[part], medium.slots
    pushed = newest
    if slots > 1:
        kept = scope.slice(bank, 1, slots, 1, name=f"{name}.kept")
        pushed = scope.op("Concat", kept, newest, name=f"{name}.pushed", axis=1)
    if m.T == 1:
        new = scope.op("Mul", pushed, m.before[ENDED], name=f"{name}.new")
        old = scope.op("Mul", bank, _going_on(m), name=f"{name}.old")
        pushed = scope.op("Add", new, old, name=name)
    m.after[part] = pushed


def _going_on(m: Making) -> ir.Value:
    """1 where the segment goes on after this token, 0 where it ends; made once."""
    if "going_on" not in m.after:
        clock = m.scope / "clock"
        one = clock.common(np.ones((1, 1, 1)), np.float32, "one_token")
        m.after["going_on"] = clock.op("Sub", one, m.before[ENDED], name="going_on")
    return m.after["going_on"]
