"""Checkpoint weights as graph initializers: matrices transposed to [in, out] and loaded lazily, vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import INFORMATION, INFORMATION_BIAS
from rrwkv_export.errors import TensorError
from rrwkv_export.graph.names import WeightsDtype
from rrwkv_export.onnx.scope import Array, LoadArray, Scope
from rrwkv_export.onnx.split_concat import join, split

Matrices = Mapping[str, ir.TensorProtocol]

# The square of a key over 256 is too large for float16: there it is taken of a sixteenth.
KEY_SCALE = 1 / 16
_ROWS_AT_ONCE = 4096
_DTYPES = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}


def mix_letters(config: ModelConfig, block: str) -> str:
    """The letters of the mixes of "att" or "ffn", in the order of their rows.

    RWKV-6's others are made of two more: x, which says how far each is moved, and d = h' - h, along which.
    """
    letters = config.mixes[block]
    shapes = config.time_mix_shapes(0) if block == "att" else config.channel_mix_shapes()
    return f"x{letters}d" if "time_maa_x" in shapes else letters


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

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of all weights, made once."""
        return self.config.shapes()

    def matmul(self, scope: Scope, x: ir.Value, weight: str, name: str, scale: float = 1.0) -> ir.Value:
        """x @ weightᵀ · scale: [..., in] to [..., out], both float32."""
        product = self.product(scope, self.lowered(scope, x, f"{name}.half"), weight, name, scale)
        return self.raised(scope, product, f"{name}.float")

    def product(self, scope: Scope, x: ir.Value, weight: str, name: str, scale: float = 1.0) -> ir.Value:
        """The same of x as `lowered` gives it."""
        root, matrix = scope.root, self._weight(scope.root, weight, scale)
        if not self.half_matmuls:
            matrix = self._computed(root, matrix, f"{weight}.float32")
        return scope.op("MatMul", x, matrix, name=name)

    def products(self, scope: Scope, rows: ir.Value, of: Sequence[tuple[str, str]]) -> list[ir.Value]:
        """rows [n, 1, in], each times its own matrix [out, in]: n of [1, 1, out], float32. of: (name, weight) of each.

        In float16 it is one product, of matrices that a runtime lays together when it loads the graph. In float32 each
        is one of its own, which can be quantized.
        """
        first = of[0][0]
        if not self.half_matmuls:
            parts = split(scope, rows, [f"{name}.row" for name, _ in of])
            return [self.matmul(scope, row, weight, name) for row, (name, weight) in zip(parts, of)]
        matrices = [self._weight(scope.root, weight) for _, weight in of]
        columns, outputs = self.shapes[of[0][1]][::-1]
        shape = scope.common([len(of), columns, outputs], np.int64, f"{len(of)}_{columns}_{outputs}")
        stacked = scope.op("Reshape", join(scope, matrices, f"{first}.matrices"), shape, name=f"{first}.stacked")
        product = scope.op("MatMul", self.lowered(scope, rows, f"{first}.half"), stacked, name=f"{first}.products")
        return split(scope, self.raised(scope, product, f"{first}.float"), [name for name, _ in of])

    def lowered(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        """x in what is multiplied."""
        return scope.op("Cast", x, name=name, to=ir.DataType.FLOAT16) if self.half_matmuls else x

    def raised(self, scope: Scope, x: ir.Value, name: str) -> ir.Value:
        """x, a product, in float32."""
        return scope.op("Cast", x, name=name, to=ir.DataType.FLOAT) if self.half_matmuls else x

    def _weight(self, root: Scope, weight: str, scale: float = 1.0) -> ir.Value:
        """weightᵀ · scale: [in, out], as it is stored."""
        rows, columns = self.shapes[weight]

        def load() -> Array:
            matrix = self.load(weight).T
            return self._stored(weight, np.ascontiguousarray(matrix if scale == 1 else matrix * np.float32(scale)))

        return self._matrix(root, load, (columns, rows), weight)

    def embedding(self, scope: Scope, ids: ir.Value) -> ir.Value:
        """LN0 of the embedding rows of ids [T, 1]: [T, 1, C].

        In float32 LN0 is folded into the table. In float16 that would round values which most checkpoints hold exactly.
        """
        folded = self.dtype == "float32"
        load = self._normalized_embedding if folded else lambda: self._stored("emb.weight", self.load("emb.weight"))
        table = self._matrix(scope.root, load, self.shapes["emb.weight"], "emb.weight")
        rows = self._computed(scope, scope.op("Gather", table, ids, name="emb"), "emb.float32")
        return rows if folded else self.norm(scope, rows, "blocks.0.ln0", name="ln0")

    def _matrix(
        self,
        root: Scope,
        load: Callable[[], Array],
        shape: tuple[int, ...],
        name: str,
        dtype: ir.DataType | None = None,
    ) -> ir.Value:
        """dtype: None where it is stored as matrices are."""
        if name in self.saved:
            return root.tape.initializer(self.saved[name])
        return root.lazy(load, dtype or _DTYPES[self.dtype], shape, name)

    def norm(self, scope: Scope, x: ir.Value, weight: str, name: str) -> ir.Value:
        root = scope.root
        gain, bias = (root.const(self.load(f"{weight}.{p}"), np.float32, f"{weight}.{p}") for p in ("weight", "bias"))
        return self.normalized(scope, x, gain, bias, name)

    def normalized(self, scope: Scope, x: ir.Value, gain: ir.Value, bias: ir.Value, name: str) -> ir.Value:
        """LayerNorm of x [..., C] with this gain and bias."""
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
        if not table.flags.writeable:
            table = table.copy()
        for start in range(0, len(table), _ROWS_AT_ONCE):
            rows = table[start : start + _ROWS_AT_ONCE].astype(np.float64)
            table[start : start + _ROWS_AT_ONCE] = self._exactly_normalized(rows, "blocks.0.ln0")
        return table

    def information(self, root: Scope) -> tuple[ir.Value, ir.Value]:
        """What a token adds to the argument of ι's sigmoid, and what the one before it does: float64 [V], [V + 1].

        The last row is that of no token before.
        """
        V = self.config.vocab_size
        tables = (f"{INFORMATION}.now", (V,), 0), (f"{INFORMATION}.before", (V + 1,), 1)
        now, before = (
            self._matrix(root, partial(self._information, size, row), size, name, ir.DataType.DOUBLE)
            for name, size, row in tables
        )
        return now, before

    def _information(self, size: tuple[int, ...], row: int) -> Array:
        """information_row · h⁰ of every token in float64, and the bias; h⁰ is LN1 of LN0."""
        table, gain = self.load("emb.weight"), self.load(INFORMATION)[row].astype(np.float64)
        found = np.zeros(size)
        for start in range(0, len(table), _ROWS_AT_ONCE):
            rows = table[start : start + _ROWS_AT_ONCE].astype(np.float64)
            for norm in ("blocks.0.ln0", "blocks.0.ln1"):
                rows = self._exactly_normalized(rows, norm)
            found[start : start + len(rows)] = rows @ gain
        return found + float(self.load(INFORMATION_BIAS)) if row == 0 else found

    def _exactly_normalized(self, rows: Array, norm: str) -> Array:
        gain, bias = (self.load(f"{norm}.{p}").astype(np.float64) for p in ("weight", "bias"))
        rows = rows - rows.mean(axis=1, keepdims=True)
        rows /= np.sqrt((rows**2).mean(axis=1, keepdims=True) + self.config.layer_norm_epsilon)
        return rows * gain + bias

    def letters(self, block: str) -> str:
        """The letters of the mixes of "blocks.3.att" or "blocks.3.ffn"."""
        return mix_letters(self.config, block.rpartition(".")[2])

    def mixes_are_lowered(self, block: str) -> bool:
        """RWKV-7's mixes of time-mix are read by low-rank matrices too, which multiply in float32."""
        return f"{block}.w1" not in self.shapes

    def mix(self, block: str, letters: str) -> tuple[Array, Array, Array | None]:
        """a, b, c [len(letters), C] with mix = h ⊙ a + h' ⊙ b + M ⊙ c; c is None without mediums.

        In float16 a mix for channel-mix's key is that times KEY_SCALE.
        """
        scaled = self.half_matmuls and block.endswith(".ffn")
        scale = np.array([[KEY_SCALE if scaled and q == "k" else 1] for q in letters], np.float32)
        a, b = (np.stack(rows) * scale for rows in zip(*(self._mix(block, q) for q in letters)))
        if self.config.medium is None:
            return a, b, None
        shapes, none = self.shapes, np.zeros(a.shape[1], np.float32)
        names = [f"{block}.medium_mix_{q}" for q in letters]
        return a, b, np.stack([self.load(name) if name in shapes else none for name in names]) * scale

    def _mix(self, block: str, q: str) -> tuple[Array, Array]:
        """a and b of one mix. Checkpoints have a as `time_mix_q`, or b as `time_maa_q` or `x_q`."""
        shapes = self.shapes
        if (name := f"{block}.time_mix_{q}") in shapes:
            a = self.load(name)
            return a, 1 - a
        if name := next((n for n in (f"{block}.time_maa_{q}", f"{block}.x_{q}") if n in shapes), ""):
            b = self.load(name)
            return 1 - b, b
        one = np.ones(self.config.hidden_size, np.float32)  # d = h' - h
        return -one, one

    def low(self, scope: Scope, x: ir.Value, weight: str, name: str) -> ir.Value:
        """x @ weight, a low-rank matrix; always float32."""
        return scope.op("MatMul", x, self.low_matrix(scope, weight), name=name)

    def low_matrix(self, scope: Scope, weight: str) -> ir.Value:
        """A low-rank matrix as it is: checkpoints have it as [in, out]. float32."""
        load = partial(self.load, weight)
        return self._matrix(scope.root, load, self.shapes[weight], weight, ir.DataType.FLOAT)

    def vector(self, scope: Scope, weight: str, shape: Sequence[int] | None = None) -> ir.Value:
        """A vector of the checkpoint as it is, float32, or in this shape."""
        value = self.load(weight)
        return scope.root.const(value if shape is None else value.reshape(shape), np.float32, weight)
