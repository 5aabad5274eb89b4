"""Mediums of one token, for `.decode`: one is made at every token, and kept where a segment ends."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.information import Told, shares
from rrwkv_export.graph.prefill.medium import mask_of_one, query, weight_of
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope
from rrwkv_export.onnx.split_concat import join, split

_Summands = tuple[ir.Value, ir.Value]


class Mediums:
    """The states of the mediums of all layers. An empty one, of score 0, is in front of those held."""

    def __init__(
        self, scope: Scope, w: GraphWeights, states: Values, position_after: ir.Value, told: Told | None
    ) -> None:
        """told: by the token, of an adaptive interval."""
        assert w.config.medium
        self._w, self._states, self._medium = w, states, w.config.medium
        self._shares = shares(scope, told, [1, 1, 1]) if told else None
        self._ended = self._shares.ends if self._shares else self._is_multiple(scope, position_after)  # [1, 1, 1]
        self._mask = mask_of_one(scope, self._medium, states[self._medium.counted])
        bank = self._behind_an_empty_one(scope, states[names.MEDIUM_BANK], "bank")
        key = self._behind_an_empty_one(scope, states[names.MEDIUM_KEY], "key")
        L = range(w.config.num_layers)
        self._banks = split(scope, bank, [f"bank.{i}" for i in L])
        keys_t = scope.op("Transpose", key, name="keys_t", perm=[0, 2, 1])
        self._keys = split(scope, keys_t, [f"key.{i}" for i in L])

    def _is_multiple(self, scope: Scope, position_after: ir.Value) -> ir.Value:
        interval = scope.common(self._medium.unit, np.int64, "interval")
        into = scope.op("Mod", position_after, interval, name="into_segment_after")
        return scope.op("Equal", into, scope.const([[[0]]], np.int64, "no_tokens"), name="ended")

    def recall(self, scope: Scope, index: int, h: ir.Value) -> ir.Value:
        """M [1, 1, C] of h [1, 1, C]."""
        q = query(self._w, scope, f"blocks.{index}", h)
        scores = scope.op("MatMul", q, self._keys[index], name="scores")
        scores = scope.op("Add", scores, self._mask, name="visible_scores")
        attention = scope.op("Softmax", scores, name="attention", axis=-1)
        return scope.op("MatMul", attention, self._banks[index], name="read")

    def new(self, scope: Scope, shift: ir.Value) -> Values:
        """The states after the token, whose h are the first of each layer's two rows in shift [L, 2, C]."""
        h = scope.slice(shift, 0, 1, 1, name="h")
        g = self._weight(scope, h)
        if self._medium.squeeze == "attention":
            h = scope.op("Mul", g, h, name="weighted")
        (h, g), (opening_h, opening_g) = self._shared_out(scope, h, g)
        S = scope.op("Add", self._states[names.MEDIUM_SUM], h, name="S")
        G = scope.op("Add", self._states[names.MEDIUM_WEIGHT], g, name="G")
        z = scope.op("Div", S, G, name="squeeze")
        down = scope.op("Relu", self._products(scope, z, "down"), name="relu")
        gate = scope.op("Sigmoid", self._products(scope, down, "up"), name="gate")
        m = scope.op("Mul", gate, z, name="excite")
        return {
            names.MEDIUM_SUM: scope.op("Where", self._ended, opening_h, S, name="new_S"),
            names.MEDIUM_WEIGHT: scope.op("Where", self._ended, opening_g, G, name="new_G"),
            names.MEDIUM_BANK: self._pushed(scope, names.MEDIUM_BANK, m),
            names.MEDIUM_KEY: self._pushed(scope, names.MEDIUM_KEY, self._products(scope, m, "key")),
        }

    def _shared_out(self, scope: Scope, h: ir.Value, g: ir.Value) -> tuple[_Summands, _Summands]:
        """g h and g of the open segment, and of the one that begins where it ends."""
        if self._shares is None:
            nothing = scope.const(np.zeros((1, 1, 1)), np.float32, "nothing")
            return (h, g), (nothing, nothing)
        parts = {"inside": self._shares.inside, "rest": self._shares.rest}
        inside, rest = (
            (scope.op("Mul", h, share, name=f"{name}_h"), scope.op("Mul", g, share, name=f"{name}_g"))
            for name, share in parts.items()
        )
        return inside, rest

    def _behind_an_empty_one(self, scope: Scope, held: ir.Value, name: str) -> ir.Value:
        pads = scope.common([0, 1, 0, 0, 0, 0], np.int64, "one_in_front")
        return scope.op("Pad", held, pads, name=f"{name}.with_empty")

    def _weight(self, scope: Scope, h: ir.Value) -> ir.Value:
        """g [L, 1, 1] of h [L, 1, C]."""
        if self._medium.squeeze == "mean":
            return scope.const(np.ones((1, 1, 1)), np.float32, "one")
        vectors = [self._w.load(f"blocks.{i}.medium.squeeze") for i in range(self._w.config.num_layers)]
        product = scope.op("Mul", h, scope.const(np.stack(vectors)[:, None], np.float32, "w"), name="h_w")
        axis = scope.common([2], np.int64, "axis_2")
        return weight_of(scope, scope.op("ReduceSum", product, axis, name="significance", keepdims=1))

    def _products(self, scope: Scope, x: ir.Value, which: str) -> ir.Value:
        """x [L, 1, in], every layer's row times the layer's matrix: [L, 1, out]."""
        layers = range(self._w.config.num_layers)
        products = self._w.products(
            scope.root, x, [(f"blocks.{i}.medium.{which}", f"blocks.{i}.medium.{which}.weight") for i in layers]
        )
        return join(scope, products, which)

    def _pushed(self, scope: Scope, name: str, newest: ir.Value) -> ir.Value:
        """Where a segment ends, the state without its first row and with newest [L, 1, n] as its last."""
        held = self._states[name]
        moved = scope.op("Pad", held, scope.common([0, -1, 0, 0, 1, 0], np.int64, "one_up"), name=f"{name}.moved")
        last = scope.common(np.arange(self._medium.slots)[None, :, None] == self._medium.slots - 1, np.bool_, "last")
        pushed = scope.op("Where", last, newest, moved, name=f"{name}.pushed")
        return scope.op("Where", self._ended, pushed, held, name=f"{name}.new")
