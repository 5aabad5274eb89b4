"""Checkpoint weights as graph initializers: matrices transposed to [in, out] and loaded lazily, vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import TensorError
from rrwkv_export.graph.names import WeightsDtype
from rrwkv_export.graph.scope import Array, LoadArray, Scope

Matrices = Mapping[str, ir.TensorProtocol]

_ROWS_AT_ONCE = 4096
_DTYPES = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}


@dataclass(frozen=True)
class GraphWeights:
    """load: canonical name to float32 array. dtype: what matrices are stored in; vectors stay float32. half_matmuls:
    multiply in float16. saved: matrices that lie in a file already.
    """

    config: ModelConfig
    load: LoadArray
    dtype: WeightsDtype
    half_matmuls: bool
    saved: Matrices

    def matmul(self, scope: Scope, x: ir.Value, weight: str, name: str, scale: float = 1.0) -> ir.Value:
        """x @ weightᵀ · scale: [..., in] to [..., out]."""
        rows, columns = self.config.shapes()[weight]
        root = scope.root

        def load() -> Array:
            matrix = self.load(weight).T
            return self._stored(weight, np.ascontiguousarray(matrix if scale == 1 else matrix * np.float32(scale)))

        matrix = self._matrix(root, load, (columns, rows), weight)
        if self.half_matmuls:
            half = scope.op("Cast", x, name=f"{name}.half", to=ir.DataType.FLOAT16)
            product = scope.op("MatMul", half, matrix, name=name)
            return scope.op("Cast", product, name=f"{name}.float", to=ir.DataType.FLOAT)
        return scope.op("MatMul", x, self._computed(root, matrix, f"{weight}.float32"), name=name)

    def embedding(self, scope: Scope, ids: ir.Value) -> ir.Value:
        """LN0 of the embedding rows of ids [T, 1]: [T, 1, C].

        In float32 LN0 is folded into the table. In float16 that would round values which most checkpoints hold exactly.
        """
        folded = self.dtype == "float32"
        load = self._normalized_embedding if folded else lambda: self._stored("emb.weight", self.load("emb.weight"))
        table = self._matrix(scope.root, load, self.config.shapes()["emb.weight"], "emb.weight")
        rows = self._computed(scope, scope.op("Gather", table, ids, name="emb"), "emb.float32")
        return rows if folded else self.norm(scope, rows, "blocks.0.ln0", name="ln0")

    def _matrix(self, root: Scope, load: Callable[[], Array], shape: tuple[int, ...], name: str) -> ir.Value:
        if name in self.saved:
            return root.tape.initializer(self.saved[name])
        return root.lazy(load, _DTYPES[self.dtype], shape, name)

    def norm(self, scope: Scope, x: ir.Value, weight: str, name: str) -> ir.Value:
        root = scope.root
        gain, bias = (root.const(self.load(f"{weight}.{p}"), np.float32, f"{weight}.{p}") for p in ("weight", "bias"))
        epsilon = float(self.config.layer_norm_epsilon)
        return scope.op("LayerNormalization", x, gain, bias, name=name, axis=-1, epsilon=epsilon)

    def _computed(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        """Compute stays float32; a runtime folds a constant's cast away when it loads the graph."""
        return x if self.dtype == "float32" else scope.op("Cast", x, name=name, to=ir.DataType.FLOAT)

    def _stored(self, name: str, value: Array) -> Array:
        if self.dtype == "float32":
            return value
        largest = float(np.abs(value).max())
        if largest > float(np.finfo(np.float16).max):
            raise TensorError(f"tensor {name} holds {largest:.3g}, which float16 cannot; export with --dtype float32")
        return value.astype(np.float16)

    def _normalized_embedding(self) -> Array:
        table = self.load("emb.weight")
        gain, bias = (self.load(f"blocks.0.ln0.{p}").astype(np.float64) for p in ("weight", "bias"))
        if not table.flags.writeable:
            table = table.copy()
        for start in range(0, len(table), _ROWS_AT_ONCE):
            rows = table[start : start + _ROWS_AT_ONCE].astype(np.float64)
            rows -= rows.mean(axis=1, keepdims=True)
            rows /= np.sqrt((rows**2).mean(axis=1, keepdims=True) + self.config.layer_norm_epsilon)
            table[start : start + _ROWS_AT_ONCE] = rows * gain + bias
        return table

    def mix(self, block: str, roles: str) -> tuple[Array, Array, Array | None]:
        """a, b, c [len(roles), C] with mix = h ⊙ a + h' ⊙ b + M ⊙ c; c is None without mediums."""
        a = np.stack([self.load(f"{block}.time_mix_{p}") for p in roles])
        if self.config.medium is None:
            return a, 1 - a, None
        return a, 1 - a, np.stack([self.load(f"{block}.medium_mix_{p}") for p in roles])
