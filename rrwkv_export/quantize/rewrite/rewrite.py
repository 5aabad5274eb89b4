"""A float32 graph on its way to a quantized one: what becomes of each matrix, and the arrays that take its place.

The graph is read without its matrices. Each is read by itself when it is asked for, with the scales moved into it so
far, so that memory holds what is rounded already and little more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from rrwkv_export.architectures.linears import Linear
from rrwkv_export.onnx import external
from rrwkv_export.onnx.stateful_session import without_data
from rrwkv_export.quantize.recipe import Types
from rrwkv_export.quantize.rewrite.edits import (
    Blockwise,
    Dynamic,
    Edit,
    Half,
    Rows,
    Static,
    apply,
    grid_of,
    rounded_by_output,
)
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_before_splitting
from rrwkv_export.quantize.round.rounding import Blocks

Array = np.ndarray[Any, np.dtype[Any]]
Ranges = Mapping[str, tuple[float, float]]
Change = Callable[[Array], None]
Insert = Callable[[onnx.ModelProto, Sequence[str], Ranges, Types], onnx.ModelProto]
"""How pairs are put in by others: (model, names of the MatMuls, ranges, types) -> the model with them."""
_SMALL = 1024  # bytes of an array that goes into the graph itself
_ROWS_AT_ONCE = 4096


class Rewriter:
    """model: with its weights in memory, or in files of the folder. Linears are each rewritten once, by `finish`.

    edits: what becomes of the products, by their names. arrays: the large ones among the new weights, by name.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path | None = None) -> None:
        self._model, self.folder = model, folder
        self.edits: dict[str, Edit] = {}
        self.arrays: dict[str, Array] = {}
        self._index()

    def _index(self) -> None:
        self._nodes = {node.name: node for node in self._model.graph.node}
        self._weights = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self._changes: dict[str, list[Change]] = {}
        self._pending: dict[str, Edit] = {}

    def input_of(self, linear: Linear) -> str:
        """The name of the value that a linear multiplies its matrix with."""
        return str(self._nodes[linear.node].input[0])

    def has(self, name: str) -> bool:
        return name in self._weights

    def array(self, name: str) -> Array:
        """An initializer's value as it is now; a copy."""
        value = self._read(self._weights[name])
        for change in self._changes.get(name, ()):
            change(value)
        return value

    def _read(self, tensor: TensorProto) -> Array:
        if tensor.name in self.arrays:
            return self.arrays[tensor.name].copy()
        if tensor.data_location != TensorProto.EXTERNAL or self.folder is None:
            found: Array = numpy_helper.to_array(tensor).copy()
            return found
        return external.read(tensor, self.folder)

    def set_array(self, name: str, value: Array) -> None:
        self._changes.pop(name, None)
        self._weights[name].CopyFrom(numpy_helper.from_array(value, name))

    def change(self, name: str, change: Change) -> None:
        """An initializer, in place, when it is asked for."""
        self._changes.setdefault(name, []).append(change)

    def blocks(self, linear: Linear, rounded: Blocks, compute: str) -> None:
        """x @ W with W [inputs, outputs] rounded in blocks along the inputs."""
        N, groups = rounded.scale.shape
        packed = _packed(rounded.q, rounded.bits).reshape(N, groups, rounded.block * rounded.bits // 8)
        self._replace(linear, {"q": packed, "scale": rounded.scale.astype(np.float32).ravel()}, ".")
        self._edit(Blockwise(linear, self.input_of(linear), rounded.bits, rounded.block, compute))

    def blocks_of(self, linear: Linear, bits: int, block: int) -> Blocks:
        """What `blocks` was given for the linear."""
        packed, scale = (self.array(f"{linear.weight}.{name}") for name in ("q", "scale"))
        q = packed if bits == 8 else np.stack([packed & 15, packed >> 4], axis=-1)
        return Blocks(bits, block, linear.inputs, q.reshape(linear.outputs, -1), scale.reshape(linear.outputs, -1))

    def rows_of(self, linear: Linear) -> Array:
        """The embedding's values, float32 [V, C], after `rows`."""
        q, scale = (self.array(f"{linear.weight}.{name}") for name in ("q", "scale"))
        return np.reshape(q.astype(np.float32) * scale, (linear.inputs, linear.outputs))

    def rows(self, linear: Linear, block: int) -> None:
        """The embedding in int8: in each row a scale for so many channels, or for fewer that part it evenly."""
        table, block = self.array(linear.weight), math.gcd(linear.outputs, block)
        q = np.empty((linear.inputs, linear.outputs // block, block), np.int8)
        scale = np.empty((*q.shape[:2], 1), np.float32)
        for start in range(0, linear.inputs, _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            rows = table[some].reshape(-1, *q.shape[1:])
            largest = np.abs(rows).max(axis=2, keepdims=True)
            scale[some] = np.maximum(largest / 127, np.finfo(np.float32).tiny)
            q[some] = np.clip(np.rint(rows / scale[some]), -127, 127)
        self._replace(linear, {"q": q, "scale": scale}, ".")
        self._edit(Rows(linear, ""))
        self._add(f"{self._nodes[linear.node].output[0]}.shape", np.array([-1, 1, linear.outputs], np.int64))

    def half(self, linear: Linear) -> None:
        """The matrix stored in float16, computed with in float32."""
        self._replace(linear, {"half": self.array(linear.weight).astype(np.float16)}, ".")
        self._edit(Half(linear, ""))

    def static(self, linears: Sequence[Linear], ranges: Ranges, types: Types, insert: Insert | None = None) -> None:
        """Inputs rounded in the ranges that are given by their names; weights as `rounded_by_output` does.

        insert: what else puts the pairs into this graph, such as optimum; graphs beside it have them from here.
        """
        if insert and linears:
            self.edits |= {linear.node: Static(linear, self.input_of(linear), types.inputs) for linear in linears}
            self._model = insert(self.whole(), [linear.node for linear in linears], ranges, types)
            self.folder, self.arrays = None, {}
            self._index()
            return
        for linear in self._in_order(linears):
            value = self.input_of(linear)
            scale, zero = grid_of(*ranges[value], types)
            self._add(f"{value}_zero_point", zero)
            self._add(f"{value}_scale", scale)
            if self.has(linear.weight):
                self.by_output(linear, self.array(linear.weight), types)
            self._edit(Static(linear, value, types.inputs))

    def dynamic(self, linears: Sequence[Linear], types: Types) -> None:
        """Inputs rounded to uint8 with each run's own range."""
        for linear in self._in_order(linears):
            self.by_output(linear, self.array(linear.weight), types)
            self._edit(Dynamic(linear, self.input_of(linear)))

    def by_output(self, linear: Linear, W: Array, types: Types) -> None:
        """The linear's matrix, rounded with a scale an output, for a product that is to be static or dynamic."""
        levels, scale, zero = rounded_by_output(W, types)
        self._replace(linear, {"zero_point": zero, "scale": scale, "quantized": levels}, "_")

    def _in_order(self, linears: Sequence[Linear]) -> list[Linear]:
        """As they come in the graph."""
        places = {name: place for place, name in enumerate(self._nodes)}
        return sorted(linears, key=lambda linear: places[linear.node])

    def _edit(self, edit: Edit) -> None:
        self.edits[edit.linear.node] = self._pending[edit.linear.node] = edit

    def _replace(self, linear: Linear, arrays: Mapping[str, Array], between: str) -> None:
        self._model.graph.initializer.remove(self._weights.pop(linear.weight))
        self._changes.pop(linear.weight, None)
        for name, value in arrays.items():
            self._add(f"{linear.weight}{between}{name}", value)

    def _add(self, name: str, value: Array) -> None:
        """A new initializer; a large one is kept beside the graph."""
        if name in self._weights:
            return
        if value.nbytes < _SMALL:
            tensor = numpy_helper.from_array(value, name)
        else:
            self.arrays[name] = np.ascontiguousarray(value)
            tensor = without_data(TensorProto(name=name, data_type=_onnx_type(value), dims=value.shape))
        self._model.graph.initializer.append(tensor)
        self._weights[name] = self._model.graph.initializer[-1]

    def finish(self) -> None:
        """Put into the graph what is still to be done in it."""
        for name in self._changes:
            value, place = self.array(name), self._weights[name]
            if place.data_location == TensorProto.EXTERNAL:
                place.CopyFrom(without_data(place))
                self.arrays[name] = value
            else:
                place.CopyFrom(numpy_helper.from_array(value, name))
        apply(self._pending, self._model)
        round_before_splitting(self._model)
        self._index()

    @property
    def model(self) -> onnx.ModelProto:
        """The graph as it is now; large weights may be beside it, in `arrays` and in the folder."""
        self.finish()
        return self._model

    def whole(self) -> onnx.ModelProto:
        """The graph with all its weights in it."""
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        for tensor in made.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                tensor.CopyFrom(numpy_helper.from_array(self._read(tensor), tensor.name))
        return made

    def to_ir(self) -> ir.Model:
        """The same without a copy."""
        made: ir.Model = ir.from_proto(finished(self.model))
        for name, value in made.graph.initializers.items():
            if name in self.arrays:
                value.const_value = ir.tensor(self.arrays[name], name=name)
        if self.folder:
            ir.external_data.set_base_dir(made.graph, self.folder)
        return made


def _onnx_type(value: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _packed(q: Array, bits: int) -> Array:
    """Two 4-bit values a byte, the first in the low half."""
    return q if bits == 8 else q[..., 0::2] | (q[..., 1::2] << 4)


def finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the marks that quantizing left."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "rrwkv-export", ""
    return model


def quant_type(name: str) -> Any:
    """A type by onnxruntime's quantizers' name."""
    from onnxruntime.quantization import QuantType

    return {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8, "uint16": QuantType.QUInt16}[name]


def tensors_data(ranges: Ranges) -> dict[str, Any]:
    """Ranges as onnxruntime's quantizers take them."""
    from onnxruntime.quantization.calibrate import TensorData

    return {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}
