"""Mediums as ONNX nodes: squeeze, excitation and the attention that reads them, T tokens at a time without a loop.

n segments end in the run. A table of places, shared by all layers, lays the segments side by side to be summed; one
mask, shared too, says which of the held and the new mediums each token may read. The mask grows as T² / s.

Where a text is cut must not change a bit of the result: in a graph with rounded activations a last bit grows into
another rounding, and that into others. So a segment is summed token after token (ReduceSum over the first axis goes row
by row), as single steps sum it, and what is read is always computed for two rows or more, since onnxruntime multiplies
a single row in another order than several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import MediumConfig
from rrwkv_export.graph.information import Shares, Told, shares
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope

_END = 2**62
SIGNIFICANCE_LIMIT = 60.0  # the squeeze's exponent is clipped to ± 60, as the model defines it


@dataclass
class MediumState:
    """One layer's share of the states: carry [1, 1, C + 1] S and G; bank [K, C]; key [K, R], oldest first."""

    carry: ir.Value
    bank: ir.Value
    key: ir.Value


@dataclass(frozen=True)
class MediumClock:
    """What all layers share about segments, computed once a run.

    places [1 + P, n + 1] int64, P = min(T, s): a column for each segment, its tokens in their order, as rows of
    [nothing; carried sums; tokens]. mask [T + 1, 1, 1 + K + n] float32, for a row of nothing and the tokens: 0 where a
    medium (or the empty slot in front) is visible, else -infinity. sizes: [n, 1], how many segments end, how many stay
    open. ones [T, 1, 1] float32, where g is 1 (the mean squeeze), else None. shares: of an adaptive interval, of every
    token [T, 1, 1]; then each token has two rows, what lies in the segment that it found open, and behind all of these
    what lies in the next; the latter is the first of its segment.
    """

    config: MediumConfig
    places: ir.Value
    mask: ir.Value
    sizes: ir.Value
    ones: ir.Value | None
    shares: Shares | None = None

    def retrospect(self, w: GraphWeights, scope: Scope, block: str, h: ir.Value, state: MediumState) -> ir.Value:
        """M [T, 1, C]: every token's reading of the held mediums and of those that segments of this run add."""
        m = _excite(w, scope, block, self._squeeze(w, scope, block, h, state))
        new_keys = w.matmul(scope, m, f"{block}.medium.key.weight", name="key")
        held = scope.op("Concat", _nothing(w, scope, "C"), state.bank, m, name="held", axis=0)
        keys = scope.op("Concat", _nothing(w, scope, "R"), state.key, new_keys, name="held_keys", axis=0)
        nothing = scope.common(np.zeros((1, 1, self.config.key_size)), np.float32, "no_query")
        q = scope.op("Concat", nothing, query(w, scope, block, h), name="queries", axis=0)
        read = _read(scope, q, held, keys, self.mask, perm=[1, 0])
        newest = [scope.common([v], np.int64, f"{v}") for v in (-self.config.slots, _END, 0)]
        state.bank = scope.op("Slice", held, *newest, name="bank")
        state.key = scope.op("Slice", keys, *newest, name="bank_keys")
        return scope.op("Slice", read, *(scope.common([v], np.int64, f"{v}") for v in (1, _END, 0)), name="recalled")

    def _squeeze(self, w: GraphWeights, scope: Scope, block: str, h: ir.Value, state: MediumState) -> ir.Value:
        """z = S / G of each of the n segments that end in this run: [n, C]. The open segment's S, G are carried on."""
        C = w.config.hidden_size
        summands = _summands(w, scope, block, h, self.ones)
        nothing = scope.common(np.zeros((1, 1, C + 1)), np.float32, "no_summand")
        rows = scope.op("Concat", nothing, state.carry, *self._shared_out(scope, summands), name="with_carried", axis=0)
        flat = scope.op("Reshape", rows, scope.common([-1, C + 1], np.int64, "summand_rows"), name="rows")
        placed = scope.op("Gather", flat, self.places, name="placed", axis=0)
        sums = scope.op("ReduceSum", placed, scope.common([0], np.int64, "0"), name="sums", keepdims=0)
        ended, state.carry = scope.ops("Split", sums, self.sizes, names=["ended", "open"], axis=0)
        return _ratio(scope, ended, C, axis=1)

    def _shared_out(self, scope: Scope, summands: ir.Value) -> list[ir.Value]:
        if self.shares is None:
            return [summands]
        of = {"inside": self.shares.inside, "rest": self.shares.rest}
        return [scope.op("Mul", summands, share, name=f"summands_{name}") for name, share in of.items()]


def _nothing(w: GraphWeights, scope: Scope, width: str) -> ir.Value:
    """The empty slot: a row of zeros in front of mediums (width "C") or keys ("R"), so its score is 0."""
    assert w.config.medium
    size = w.config.hidden_size if width == "C" else w.config.medium.key_size
    return scope.common(np.zeros((1, size)), np.float32, f"nothing_{width}")


def _read(scope: Scope, q: ir.Value, held: ir.Value, keys: ir.Value, mask: ir.Value, perm: Sequence[int]) -> ir.Value:
    """M = softmax(q · keys + mask) held: [T, 1, C]; q [T, 1, R], held [..., rows, C], keys [..., rows, R]."""
    keys_t = scope.op("Transpose", keys, name="keys_t", perm=perm)
    scores = scope.op("MatMul", q, keys_t, name="scores")
    attention = exact_softmax(scope, scope.op("Add", scores, mask, name="visible_scores"))
    return scope.op("MatMul", attention, held, name="read")


def query(w: GraphWeights, scope: Scope, block: str, h: ir.Value) -> ir.Value:
    """q / sqrt(R): [T, 1, R] of h [T, 1, C]."""
    assert w.config.medium
    scale = w.config.medium.query_scale
    return w.matmul(scope, h, f"{block}.medium.query.weight", name="query", scale=scale)


def exact_softmax(scope: Scope, scores: ir.Value) -> ir.Value:
    """In float64: the order of the sum, which depends on how many columns there are, does not reach the result."""
    exact = scope.op("Cast", scores, name="exact_scores", to=ir.DataType.DOUBLE)
    exact = scope.op("Softmax", exact, name="exact_attention", axis=-1)
    return scope.op("Cast", exact, name="attention", to=ir.DataType.FLOAT)


def _summands(w: GraphWeights, scope: Scope, block: str, h: ir.Value, ones: ir.Value | None) -> ir.Value:
    """g h and g of every token: [T, 1, C + 1]."""
    if ones:
        return scope.op("Concat", h, ones, name="summands", axis=2)
    g = weight_of(scope, significance(w, scope, block, h))
    return scope.op("Concat", scope.op("Mul", g, h, name="weighted"), g, name="summands", axis=2)


def summands(
    scope: Scope, shift: ir.Value, significances: Sequence[ir.Value], share: ir.Value | None
) -> tuple[ir.Value, ir.Value]:
    """g h [L, 1, C] and g [L, 1, 1] of one token in all layers, times its share if that is given.

    shift [L, 2, C]: h is the first of each layer's rows. significances: [1, 1, 1] of each layer; none where g is 1.
    """
    zero, one = (scope.common([v], np.int64, f"{v}") for v in (0, 1))
    h = scope.op("Slice", shift, zero, one, one, name="medium.h")
    g = scope.common(np.ones((1, 1, 1)), np.float32, "one")
    if significances:
        g = weight_of(scope / "medium", scope.op("Concat", *significances, name="medium.significance", axis=0))
        h = scope.op("Mul", g, h, name="medium.weighted")
    if share is None:
        return h, g
    return scope.op("Mul", h, share, name="medium.shared_h"), scope.op("Mul", g, share, name="medium.shared_g")


def significance(w: GraphWeights, scope: Scope, block: str, h: ir.Value) -> ir.Value:
    """squeeze · h: [T, 1, 1]."""
    column = scope.const(w.load(f"{block}.medium.squeeze")[:, None], np.float32, "squeeze.weight")
    return scope.op("MatMul", h, column, name="significance")


def weight_of(scope: Scope, significance: ir.Value) -> ir.Value:
    """g."""
    return scope.op("Exp", scope.clip(significance, SIGNIFICANCE_LIMIT, name="clipped"), name="g")


def _ratio(scope: Scope, sums: ir.Value, C: int, axis: int) -> ir.Value:
    """z = S / G from [..., C + 1]."""
    sizes = scope.common([C, 1], np.int64, "S_and_G")
    S, G = scope.ops("Split", sums, sizes, names=["S", "G"], axis=axis)
    return scope.op("Div", S, G, name="squeeze")


def _excite(w: GraphWeights, scope: Scope, block: str, z: ir.Value) -> ir.Value:
    """m = σ(Wup relu(Wdown z)) ⊙ z: [n, C]."""
    down = scope.op("Relu", w.matmul(scope, z, f"{block}.medium.down.weight", name="down"), name="relu")
    gate = scope.op("Sigmoid", w.matmul(scope, down, f"{block}.medium.up.weight", name="up"), name="gate")
    return scope.op("Mul", gate, z, name="excite")


def medium_clock(scope: Scope, medium: MediumConfig, position: ir.Value, T: ir.Value, count: ir.Value) -> MediumClock:
    """Of a fixed interval, from the position [] and the number of tokens, as T [1] and as count []."""
    zero, one = scope.common(0, np.int64, "scalar_0"), scope.common(1, np.int64, "scalar_1")
    interval = scope.common(medium.unit, np.int64, "interval")
    into = scope.op("Mod", position, interval, name="into_segment")
    token = scope.op("Add", scope.op("Range", zero, count, one, name="tokens"), into, name="token")
    segment = scope.op("Div", token, interval, name="segment")  # [T]; 0 is the segment open when the run begins
    n = scope.op("Div", scope.op("Add", into, count, name="reach"), interval, name="n")
    return _clock(scope, medium, _places(scope / "places", into, n, count, interval), position, segment, n, T)


def adaptive_clock(
    scope: Scope, medium: MediumConfig, told: Told, I: ir.Value, T: ir.Value, count: ir.Value
) -> MediumClock:
    """The same of an adaptive interval. I []: before the tokens."""
    unit = scope.common(medium.unit, np.int64, "UNIT")
    before = scope.op("Div", I, unit, name="ended_before")
    segment = scope.op("Sub", scope.op("Div", told.before, unit, name="segments"), before, name="segment")
    n = scope.op("Sub", scope.op("Div", told.after, unit, name="ended_after"), before, name="n")
    clock = _clock(scope, medium, _adaptive_places(scope / "places", medium, segment, n, count), I, segment, n, T)
    return replace(clock, shares=shares(scope / "shares", told, [-1, 1, 1]))


def _clock(
    scope: Scope,
    medium: MediumConfig,
    places: ir.Value,
    counted: ir.Value,
    segment: ir.Value,
    n: ir.Value,
    T: ir.Value,
) -> MediumClock:
    """counted []: the state that says where segments end. segment [T]: of every token. n []: segments that end."""
    first, axis = scope.common([0], np.int64, "0"), scope.common([1], np.int64, "1")
    return MediumClock(
        medium,
        places,
        mask=_mask(scope / "mask", medium, counted, scope.op("Concat", first, segment, name="of_row", axis=0), n),
        sizes=scope.op("Concat", scope.op("Reshape", n, axis, name="ended"), axis, name="sizes", axis=0),
        ones=_ones(scope, medium, T),
    )


def _ones(scope: Scope, medium: MediumConfig, T: ir.Value) -> ir.Value | None:
    if medium.squeeze != "mean":
        return None
    axis = scope.common([1], np.int64, "1")
    shape = scope.op("Concat", T, axis, axis, name="ones_shape", axis=0)
    return scope.op("ConstantOfShape", shape, name="ones", value=ir.tensor(np.ones(1, np.float32)))


def _places(scope: Scope, into: ir.Value, n: ir.Value, count: ir.Value, interval: ir.Value) -> ir.Value:
    """[1 + P, n + 1]: the carried sums (row 1) on top of segment 0, every segment's tokens (from row 2) below, and
    nothing (row 0) elsewhere. into []: tokens before this run in segment 0.
    """
    zero, one = (scope.common(v, np.int64, f"scalar_{v}") for v in (0, 1))
    segments = scope.op("Range", zero, scope.op("Add", n, one, name="n_plus_1"), one, name="segments")
    begin = scope.op("Sub", scope.op("Mul", segments, interval, name="tokens_before"), into, name="begin")
    end = scope.op("Min", scope.op("Add", begin, interval, name="next_begin"), count, name="end")
    places = scope.op("Range", zero, scope.op("Min", count, interval, name="P"), one, name="places")
    on_top = scope.op("Cast", scope.op("Equal", segments, zero, name="is_first"), name="carried", to=ir.DataType.INT64)
    return _table(scope, on_top, places, scope.op("Max", begin, zero, name="first"), end)


def _adaptive_places(scope: Scope, medium: MediumConfig, segment: ir.Value, n: ir.Value, count: ir.Value) -> ir.Value:
    """The same of segments of any length; what another one than the first begins with is the rest of a token."""
    zero, one = (scope.common(v, np.int64, f"scalar_{v}") for v in (0, 1))
    last, first, axis = (scope.common([v], np.int64, f"{v}") for v in (_END, 0, 1))
    segments = scope.op("Range", zero, scope.op("Add", n, one, name="n_plus_1"), one, name="segments")
    earlier = scope.op("Less", scope.op("Unsqueeze", segment, axis, name="of_token"), segments, name="earlier")
    begin = scope.op("Cast", earlier, name="earlier_tokens", to=ir.DataType.INT64)
    begin = scope.op("ReduceSum", begin, first, name="begin", keepdims=0)
    all_tokens = scope.op("Unsqueeze", count, first, name="count")
    end = scope.op(
        "Slice", scope.op("Concat", begin, all_tokens, name="borders", axis=0), axis, last, first, name="end"
    )
    longest = scope.common(medium.longest, np.int64, "longest")
    places = scope.op("Range", zero, scope.op("Min", count, longest, name="P"), one, name="places")
    rest = scope.op("Add", scope.op("Add", begin, count, name="rests_before"), one, name="rest")
    is_first = scope.op("Equal", segments, zero, name="is_first")
    return _table(scope, scope.op("Where", is_first, one, rest, name="opening"), places, begin, end)


def _table(scope: Scope, opening: ir.Value, places: ir.Value, begin: ir.Value, end: ir.Value) -> ir.Value:
    """Of each segment the row that it opens with, and below it those of its tokens, from `begin` to `end`."""
    zero, two = (scope.common(v, np.int64, f"scalar_{v}") for v in (0, 2))
    column = scope.op("Unsqueeze", places, scope.common([1], np.int64, "1"), name="column")
    token = scope.op("Add", column, begin, name="token")
    within = scope.op("Less", token, end, name="within")
    tokens = scope.op("Where", within, scope.op("Add", token, two, name="row"), zero, name="tokens")
    top = scope.op("Unsqueeze", opening, scope.common([0], np.int64, "0"), name="top")
    return scope.op("Concat", top, tokens, name="table", axis=0)


def _mask(scope: Scope, medium: MediumConfig, counted: ir.Value, segment: ir.Value, n: ir.Value) -> ir.Value:
    """[rows, 1, 1 + K + n] for tokens of these segments j: 0 at the empty slot (row -1) and where
    max(j, K - filled) <= row < j + K, else -infinity. counted []: the state that says where segments end.
    """
    K = scope.common(medium.slots, np.int64, "slots")
    minus_one, one = scope.common(-1, np.int64, "scalar_minus_1"), scope.common(1, np.int64, "scalar_1")
    row = scope.op("Range", minus_one, scope.op("Add", K, n, name="rows"), one, name="row")
    ended = scope.op("Div", counted, scope.common(medium.unit, np.int64, "interval"), name="ended_before")
    unfilled = scope.op("Sub", K, scope.op("Min", ended, K, name="filled"), name="unfilled")
    j = scope.op("Unsqueeze", segment, scope.const([1, 2], np.int64, "axes"), name="segment")  # [rows, 1, 1]
    not_too_old = scope.op("GreaterOrEqual", row, scope.op("Max", j, unfilled, name="oldest"), name="not_too_old")
    not_too_new = scope.op("Less", row, scope.op("Add", j, K, name="newest"), name="not_too_new")
    empty_slot = scope.op("Equal", row, minus_one, name="empty_slot")
    visible = scope.op("And", not_too_old, not_too_new, name="visible_medium")
    shown, hidden = scope.const(0, np.float32, "shown"), scope.const(-np.inf, np.float32, "hidden")
    return scope.op("Where", scope.op("Or", visible, empty_slot, name="visible"), shown, hidden, name="mask")


def mask_of_one(scope: Scope, medium: MediumConfig, counted: ir.Value) -> ir.Value:
    """The same of one token, [1, 1, 1 + K]: 0 at the empty slot and at the filled ones, which are the last."""
    filled = scope.op("Div", counted, scope.common(medium.unit, np.int64, "interval"), name="filled")
    # Slot i of 0 .. K - 1 is filled from the (K - i)-th medium on, the empty one from the start.
    K = medium.slots
    needed = scope.const([[[0, *range(K, 0, -1)]]], np.int64, "needed")
    shown, hidden = scope.const(0, np.float32, "shown"), scope.const(-np.inf, np.float32, "hidden")
    return scope.op("Where", scope.op("GreaterOrEqual", filled, needed, name="visible"), shown, hidden, name="mask")
