"""RWKV-4's wkv of one token from the mean and the level of what came before, for `.rwkv4`.

    a = A / B,  l = ln B      wkv = a + (v - a) ⊙ σ(u + k - l)

The states are taken apart before the layers and updated after them, for all layers at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.graph.wkv import clipped_exp
from rrwkv_export.onnx.scope import Array, Scope
from rrwkv_export.onnx.split_concat import join, split

_TINY = float(np.finfo(np.float32).tiny)


class Sums(ABC):
    """A and B of all layers."""

    def __init__(self, scope: Scope, w: GraphWeights) -> None:
        L = range(w.config.num_layers)
        u, decay = (np.stack([w.load(f"blocks.{i}.att.{name}") for i in L]) for name in ("time_first", "time_decay"))
        self._d: Array = np.exp(decay.astype(np.float64))[:, None]  # [L, 1, D]
        mean, level = self._mean_and_level(scope)
        bonus = scope.op("Sub", scope.const(u[:, None], np.float32, "u"), level, name="u_minus_l")
        self._means = split(scope, mean, [f"a.{i}" for i in L])
        self._bonuses = split(scope, bonus, [f"u_minus_l.{i}" for i in L])
        self._keys: list[ir.Value] = []
        self._values: list[ir.Value] = []

    def wkv(self, scope: Scope, index: int, k: ir.Value, v: ir.Value) -> ir.Value:
        """wkv [1, 1, D] of a layer's k, v [1, 1, D]."""
        self._keys.append(k)
        self._values.append(v)
        mean = self._means[index]
        share = scope.op("Sigmoid", scope.op("Add", k, self._bonuses[index], name="exponent"), name="share")
        difference = scope.op("Sub", v, mean, name="difference")
        return scope.op("Add", mean, scope.op("Mul", difference, share, name="moved"), name="wkv")

    def new(self, scope: Scope) -> ir.Value:
        """The state `wkv`, when all layers have been asked."""
        return self._updated(scope, join(scope, self._keys, "k"), join(scope, self._values, "v"))

    @abstractmethod
    def _mean_and_level(self, scope: Scope) -> tuple[ir.Value, ir.Value]:
        """a, l [L, 1, D]. Before the first token B is 0: there l only has to be low, and wkv is v for any a."""

    @abstractmethod
    def _updated(self, scope: Scope, k: ir.Value, v: ir.Value) -> ir.Value:
        """The state after k, v [L, 1, D]."""


class Plain(Sums):
    """A and B as they stand."""

    def __init__(self, scope: Scope, w: GraphWeights, wkv: ir.Value) -> None:
        self._sums = wkv
        super().__init__(scope, w)

    def _mean_and_level(self, scope: Scope) -> tuple[ir.Value, ir.Value]:
        A, B = scope.ops("Split", self._sums, names=["A", "B"], axis=1, num_outputs=2)
        some = _some(scope, B)
        return scope.op("Div", A, some, name="a"), scope.op("Log", some, name="l")

    def _updated(self, scope: Scope, k: ir.Value, v: ir.Value) -> ir.Value:
        ek = clipped_exp(scope, scope.op("Exp", k, name="exp"))
        x = scope.op("Concat", scope.op("Mul", ek, v, name="exp_k_v"), ek, name="summands", axis=1)
        kept = scope.op("Mul", self._sums, scope.const(np.exp(-self._d), np.float32, "exp_minus_d"), name="kept")
        return scope.op("Add", kept, x, name="new")


class Stable(Sums):
    """A = aa exp(pp), B = bb exp(pp)."""

    def __init__(self, scope: Scope, w: GraphWeights, wkv: ir.Value) -> None:
        self._parts = scope.ops("Split", wkv, names=["aa", "bb", "pp"], axis=1, num_outputs=3)
        super().__init__(scope, w)

    def _mean_and_level(self, scope: Scope) -> tuple[ir.Value, ir.Value]:
        aa, bb, pp = self._parts
        some = _some(scope, bb)
        level = scope.op("Add", pp, scope.op("Log", some, name="ln_bb"), name="l")
        return scope.op("Div", aa, some, name="a"), level

    def _updated(self, scope: Scope, k: ir.Value, v: ir.Value) -> ir.Value:
        aa, bb, pp = self._parts
        d = scope.const(self._d, np.float32, "d")
        p = scope.op("Max", scope.op("Sub", pp, d, name="decayed"), k, name="maximum")
        # In this order the rounding of p, exact in pp - p, is made good; otherwise it adds up over the tokens.
        exponent = scope.op("Sub", scope.op("Sub", pp, p, name="rise"), d, name="kept.exponent")
        kept = scope.op("Exp", exponent, name="kept")
        added = scope.op("Exp", scope.op("Sub", k, p, name="added.exponent"), name="added")
        value = scope.op("Mul", added, v, name="added_value")
        aa = scope.op("Add", scope.op("Mul", aa, kept, name="kept_aa"), value, name="new_aa")
        bb = scope.op("Add", scope.op("Mul", bb, kept, name="kept_bb"), added, name="new_bb")
        return scope.op("Concat", aa, bb, p, name="new", axis=1)


def sums_of(form: WKVForm, scope: Scope, w: GraphWeights, wkv: ir.Value) -> Sums:
    """Of the state `wkv`: [L, 2, D], or [L, 3, D] in the stable form."""
    return (Plain if form == "plain" else Stable)(scope, w, wkv)


def _some(scope: Scope, B: ir.Value) -> ir.Value:
    return scope.op("Max", B, scope.const(_TINY, np.float32, "tiny"), name="some_B")
