"""What the roles of one token multiply, for `rrwkv_export.graph.decode_gpu.decode`: mixes as rows of a LayerNorm."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph.decode_gpu.layers import Roles
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Array, Scope
from rrwkv_export.onnx.split_concat import join, split

_NORMS = ("ln1", "ln2")  # by row of a layer's shift


class Mixes:
    """The LayerNorms that give the mixes, and the rows that they leave for the next token.

    rows: R. Those of channel-mix are its roles over and over (RWKV-4's: k r k, or k r k r after h k v r).
    """

    def __init__(self, scope: Scope, w: GraphWeights, shift: ir.Value, roles: Roles) -> None:
        self._w, self._roles, self.rows = w, roles, roles.rows(w.config)
        self._seen: list[ir.Value] = []
        L, C = w.config.num_layers, w.config.hidden_size
        places = [(index, row) for index in range(L) for row in (0, 1)]
        biases, factors = (np.stack(part) for part in zip(*(self._bias_and_factor(*place) for place in places)))
        h_prev = scope.op("Reshape", shift, scope.const([2 * L, 1, C], np.int64, "rows_shape"), name="h_prev")
        before = scope.op("Mul", h_prev, scope.const(factors, np.float32, "b"), name="before")
        before = scope.op("Add", before, scope.const(biases, np.float32, "own"), name="biases")
        flat = scope.op("Reshape", before, scope.const([-1, 1, C], np.int64, "flat_shape"), name="biases_of_rows")
        self._biases = split(scope, flat, [f"bias.{i}.{row}" for i, row in places])

    def of(self, scope: Scope, index: int, row: int, x: ir.Value) -> ir.Value:
        """h ⊙ a + h' ⊙ b [R, 1, C] for every row's role, of x [R, 1, C]."""
        self._seen.append(x)
        norm, a = _NORMS[row], self._weights(index, row)[0]
        gain = self._w.load(f"blocks.{index}.{norm}.weight") * a
        weight = scope.const(gain[:, None], np.float32, f"{norm}.gain")
        return self._w.normalized(scope, x, weight, self._biases[2 * index + row], norm)

    def with_medium(self, scope: Scope, index: int, row: int, mix: ir.Value, M: ir.Value) -> ir.Value:
        """mix + M ⊙ c, of the rows that are roles."""
        c = self._weights(index, row)[2]
        assert c is not None
        weight = scope.const(c[:, None], np.float32, "recalled.c")
        return scope.op("Add", mix, scope.op("Mul", M, weight, name="recalled"), name="mix_with_medium")

    def shift(self, scope: Scope) -> ir.Value:
        """h of every LayerNorm: [L, 2, C]."""
        L, C = self._w.config.num_layers, self._w.config.hidden_size
        seen = join(scope, self._seen, "seen")
        seen = scope.op("Reshape", seen, scope.const([2 * L, -1, C], np.int64, "seen_shape"), name="seen_rows")
        x = scope.slice(seen, 0, 1, 1, name="x")
        gain = scope.const(self._of_norms("weight"), np.float32, "norm.gain")
        h = self._w.normalized(scope, x, gain, scope.const(self._of_norms("bias"), np.float32, "norm.offset"), "h")
        return scope.op("Reshape", h, scope.const([L, 2, C], np.int64, "shift_shape"), name="shift")

    def _of_norms(self, part: str) -> Array:
        """Their weights or biases: [2 L, 1, C]."""
        blocks = (f"blocks.{index}" for index in range(self._w.config.num_layers))
        return np.stack([self._w.load(f"{block}.{norm}.{part}") for block in blocks for norm in _NORMS])[:, None]

    def _weights(self, index: int, row: int) -> tuple[Array, Array, Array | None]:
        """a, b [R, C] of all rows; c of those that are roles, or None without mediums."""
        part = self._roles._fields[row]
        a, b, c = self._w.mix(f"blocks.{index}.{part}", self._roles[row])
        if row == 1:
            a, b = (np.resize(value, (self.rows, value.shape[1])) for value in (a, b))
            return a, b, None if c is None else np.resize(c, a.shape)
        if c is None:
            return a, b, None
        h = np.ones_like(a[:1])
        return np.concatenate([h, a]), np.concatenate([0 * h, b]), c

    def _bias_and_factor(self, index: int, row: int) -> tuple[Array, Array]:
        a, b, _ = self._weights(index, row)
        return self._w.load(f"blocks.{index}.{_NORMS[row]}.bias") * a, b
