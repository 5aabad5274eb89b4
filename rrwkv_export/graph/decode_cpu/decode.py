"""One token, in as few nodes as a CPU needs: what the runtime decodes with.

    input_ids int64 [1], position, shift, wkv, medium_sum, medium_weight, and of the mediums, which are only read, every
    layer's own medium_bank.i [K, C] and medium_key.i [K, R]   ->   logits float32 [1, V], the states that changed

The token that ends a segment is no other: it reads the mediums before it, and another graph makes the new one
afterwards (see `rrwkv_export.graph.segment_end`). What needs no layer's result is done for all layers
at once: h' ⊙ b before them; the decay of A and B, and S and G, after them. Logits and states are those of the main
graph to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.drawings import drawing
from rrwkv_export.graph.information import Told, shares
from rrwkv_export.graph.layer import Crossing, mixes
from rrwkv_export.graph.names import WKVForm, row_name
from rrwkv_export.graph.prefill.medium import exact_softmax, mask_of_one, query, significance, summands
from rrwkv_export.graph.recurrence import Postponed, Step
from rrwkv_export.graph.states import WKV_PARTS, Values, joined_matrices, split_matrices
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope

_MIXES = (("time_mix", "att"), ("channel_mix", "ffn"))  # by row of a layer's shift


@dataclass
class _Found:
    """What the layers give to be joined: two rows h, what time-mix keeps, and the mediums' significances [1, 1, 1]."""

    shifts: list[ir.Value] = field(default_factory=list)
    recurrent: list[ir.Value] = field(default_factory=list)
    significances: list[ir.Value] = field(default_factory=list)


def decode(
    scope: Scope, w: GraphWeights, wkv: WKVForm, x: ir.Value, states: Values, told: Told | None = None
) -> tuple[ir.Value, Values]:
    """x [1, 1, C], the embedded token, through all layers: x [1, 1, C] and the new values of the states that change.

    states: the graph's inputs by name, `medium_bank.i` and `medium_key.i` for layer i. told: by the token, of an
    adaptive interval.
    """
    medium = w.config.medium
    before = [_before(scope / "before", w, row, states[names.SHIFT]) for row in range(len(_MIXES))]
    draw, crossing = drawing(w.config), Crossing()
    recurrent = _recurrent(scope / "states", w.config, wkv, states)
    mask = mask_of_one(scope / "clock", medium, states[medium.counted]) if medium else None
    over, found = (Postponed() if wkv == "plain" else Step()), _Found()
    for i in range(w.config.num_layers):
        inner, block, M = scope / f"blocks.{i}", f"blocks.{i}", None
        h = w.norm(inner, x, f"{block}.ln1", name="ln1")
        if medium and mask:
            bank, key = (states[row_name(name, i)] for name in (names.MEDIUM_BANK, names.MEDIUM_KEY))
            M = _recall(w, inner / "medium", block, h, bank, key, mask)
            if medium.squeeze == "attention":
                found.significances.append(significance(w, inner / "medium", block, h))
        mixed = mixes(w, inner / "time_mix", f"{block}.att", h, before[0][i], M)
        added, kept = draw.time_mix(w, inner / "time_mix", block, mixed, over, recurrent[i], crossing)
        x = inner.op("Add", x, added, name="after_time_mix")
        h_2 = w.norm(inner, x, f"{block}.ln2", name="ln2")
        mixed = mixes(w, inner / "channel_mix", f"{block}.ffn", h_2, before[1][i], M)
        x = inner.op("Add", x, draw.channel_mix(w, inner / "channel_mix", block, mixed), name="after_channel_mix")
        found.shifts += [h, h_2]
        found.recurrent += kept
    joined = _joined(scope / "states", w.config, states, found, over)
    if medium:
        share = shares(scope / "clock", told, [1, 1, 1]).inside if told else None
        joined |= _sums(scope / "states", states, joined[names.SHIFT], found.significances, share)
    return x, joined


def _before(scope: Scope, w: GraphWeights, row: int, shift: ir.Value) -> list[ir.Value]:
    """h' ⊙ b [1, roles, C] of every layer, from shift [L, 2, C]."""
    part, block = _MIXES[row]
    L, C, roles = w.config.num_layers, w.config.hidden_size, w.letters(f"blocks.0.{block}")
    root = scope.root
    vectors = [
        root.const(w.mix(f"blocks.{i}.{block}", roles)[1], np.float32, f"blocks.{i}.{part}.before.weight")
        for i in range(L)
    ]
    b = scope.op("Concat", *vectors, name=f"{part}.weights", axis=0)  # a constant: folded when the graph is loaded
    b = scope.op("Reshape", b, scope.const([L, len(roles), C], np.int64, f"{part}.shape"), name=f"{part}.weight")
    which = [scope.common([v], np.int64, f"{v}") for v in (row, row + 1, 1)]
    rows = scope.op("Slice", shift, *which, name=f"{part}.h_prev")
    mixed = scope.op("Mul", rows, b, name=part)
    return list(scope.ops("Split", mixed, names=[f"{part}.{i}" for i in range(L)], axis=0, num_outputs=L))


def _recurrent(scope: Scope, config: ModelConfig, form: WKVForm, states: Values) -> list[list[ir.Value]]:
    """What each layer keeps: its share of `wkv`, or its matrices [H, N, N]."""
    if names.WKV in states:
        return _wkv_parts(scope, config, form, states[names.WKV])
    return split_matrices(scope, config, states[names.MATRIX])


def _wkv_parts(scope: Scope, config: ModelConfig, form: WKVForm, wkv: ir.Value) -> list[list[ir.Value]]:
    """What each layer keeps in `wkv`: [1, 2, D], and [1, 1, D] in the stable form."""
    parts, L = WKV_PARTS[form], config.num_layers
    rows = scope.op(
        "Reshape", wkv, scope.const([1, -1, config.attention_width], np.int64, "wkv.shape"), name="wkv.rows"
    )
    labels = [f"wkv.{i}" for i in range(len(parts) * L)]
    values = scope.ops("Split", rows, scope.const(parts * L, np.int64, "wkv.sizes"), names=labels, axis=1)
    return [list(values[i : i + len(parts)]) for i in range(0, len(values), len(parts))]


def _recall(
    w: GraphWeights, scope: Scope, block: str, h: ir.Value, bank: ir.Value, key: ir.Value, mask: ir.Value
) -> ir.Value:
    """M [1, 1, C]. Two rows are computed, equal ones: onnxruntime multiplies a single one in another order."""
    q = query(w, scope, block, h)
    twice = scope.op("Concat", q, q, name="twice", axis=0)
    keys_t = scope.op("Transpose", key, name="keys_t", perm=[1, 0])
    nothing = scope.common(np.zeros((2, 1, 1)), np.float32, "no_score")
    scores = scope.op("Concat", nothing, scope.op("MatMul", twice, keys_t, name="scores"), name="all_scores", axis=2)
    attention = exact_softmax(scope, scope.op("Add", scores, mask, name="visible_scores"))
    zero, one, two = (scope.common([v], np.int64, f"{v}") for v in (0, 1, 2))
    end = scope.common([2**62], np.int64, f"{2**62}")
    held = scope.op("Slice", attention, one, end, two, name="attention_held")
    read = scope.op("MatMul", held, bank, name="read")
    return scope.op("Slice", read, zero, one, zero, name="recalled")


def _joined(scope: Scope, config: ModelConfig, states: Values, found: _Found, over: Step) -> Values:
    """The new values of shift and of what time-mix keeps."""
    L, C = config.num_layers, config.hidden_size
    shift = scope.op("Concat", *found.shifts, name="shift.joined", axis=1)
    shift = scope.op("Reshape", shift, scope.const([L, 2, C], np.int64, "shift.out_shape"), name="shift.out")
    joined = {names.SHIFT: shift}
    if names.WKV in states:
        joined[names.WKV] = _joined_wkv(scope, config, states[names.WKV], found.recurrent, over)
    else:
        joined[names.MATRIX] = joined_matrices(scope, states[names.MATRIX], found.recurrent)
    return joined


def _sums(
    scope: Scope,
    states: Values,
    shift: ir.Value,
    significances: Sequence[ir.Value],
    share: ir.Value | None,
) -> Values:
    """The new medium_sum and medium_weight. share: how much of the token lies in the open segment; None for all."""
    weighted, g = summands(scope, shift, significances, share)
    return {
        names.MEDIUM_SUM: scope.op("Add", states[names.MEDIUM_SUM], weighted, name="medium.S"),
        names.MEDIUM_WEIGHT: scope.op("Add", states[names.MEDIUM_WEIGHT], g, name="medium.G"),
    }


def _joined_wkv(scope: Scope, config: ModelConfig, before: ir.Value, parts: Sequence[ir.Value], over: Step) -> ir.Value:
    L, D = config.num_layers, config.attention_width
    wkv = scope.op("Concat", *parts, name="wkv.joined", axis=1)
    wkv = scope.op("Reshape", wkv, scope.const([L, -1, D], np.int64, "wkv.out_shape"), name="wkv.out")
    return over.finish(scope, before, wkv) if isinstance(over, Postponed) else wkv
