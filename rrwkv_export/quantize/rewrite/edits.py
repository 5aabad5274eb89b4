"""What becomes of a product, as nodes: one edit a kind, applied alike to every graph that has the product.

    blocks     MatMul -> MatMulNBits: weights in 4 or 8 bits, a scale for every block of inputs, inputs float
    rows       Gather -> Gather (int8), Gather (scales), Cast, Mul, Reshape: the embedding, scales for blocks of a row
    half       the matrix in float16 and a Cast, which a runtime folds away when it loads the graph
    static     QuantizeLinear and DequantizeLinear around the inputs, with a range that was observed, and a scale for
               every output of the matrix
    dynamic    DynamicQuantizeLinear and MatMulInteger: each run's own range, over all its tokens

What a product gives keeps its name, whatever computes it. Names and levels are those of onnxruntime's quantizers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from rrwkv_export.architectures.linears import EMB, Linear
from rrwkv_export.quantize.recipe import Types
from rrwkv_export.quantize.round.rounding import GRIDS

Array = np.ndarray[Any, np.dtype[Any]]
_CONTRIB = "com.microsoft"
_ACCURACY_LEVELS = {"float32": 1, "int8": 4}  # as MatMulNBits numbers them


@dataclass(frozen=True)
class Edit(ABC):
    """value: what the product multiplies, by its name in the main graph; what is made for it is named after it."""

    linear: Linear
    value: str

    @abstractmethod
    def nodes(self, node: NodeProto) -> list[NodeProto]:
        """What takes the product's place in a graph."""


@dataclass(frozen=True)
class Blockwise(Edit):
    """compute: "int8" lets onnxruntime round x as it comes, each block of each token with a scale of its own."""

    bits: int
    block: int
    compute: str

    def nodes(self, node: NodeProto) -> list[NodeProto]:
        weight = self.linear.weight
        made = helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{weight}.q", f"{weight}.scale"],
            list(node.output),
            name=node.name,
            domain=_CONTRIB,
            K=self.linear.inputs,
            N=self.linear.outputs,
            bits=self.bits,
            block_size=self.block,
            accuracy_level=_ACCURACY_LEVELS[self.compute],
        )
        return [made]


@dataclass(frozen=True)
class Rows(Edit):
    def nodes(self, node: NodeProto) -> list[NodeProto]:
        weight, ids, out = self.linear.weight, node.input[1], node.output[0]
        return [
            helper.make_node("Gather", [f"{weight}.q", ids], [f"{out}.q"], name=f"{out}.q"),
            helper.make_node("Gather", [f"{weight}.scale", ids], [f"{out}.scale"], name=f"{out}.scale"),
            helper.make_node("Cast", [f"{out}.q"], [f"{out}.levels"], name=f"{out}.levels", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.levels", f"{out}.scale"], [f"{out}.blocks"], name=f"{out}.blocks"),
            helper.make_node("Reshape", [f"{out}.blocks", f"{out}.shape"], [out], name=node.name),
        ]


@dataclass(frozen=True)
class Half(Edit):
    """Of the embedding only the rows that are looked up become float32."""

    def nodes(self, node: NodeProto) -> list[NodeProto]:
        weight, out = self.linear.weight, node.output[0]
        half, to = f"{weight}.half", TensorProto.FLOAT
        if self.linear.role == EMB:
            rows = helper.make_node("Gather", [half, node.input[1]], [f"{out}.half"], name=f"{out}.half")
            return [rows, helper.make_node("Cast", [f"{out}.half"], [out], name=node.name, to=to)]
        return [helper.make_node("Cast", [half], [weight], name=f"{weight}.float32", to=to), node]


@dataclass(frozen=True)
class Static(Edit):
    inputs: str

    def nodes(self, node: NodeProto) -> list[NodeProto]:
        weight, x = self.linear.weight, self.value
        domain = _CONTRIB if self.inputs == "uint16" else None  # which ONNX's own knows from opset 21 on only
        grid, rounded, back = (f"{x}_scale", f"{x}_zero_point"), f"{x}_QuantizeLinear_Output", f"{x}_DequantizeLinear"
        own = [f"{weight}_quantized", f"{weight}_scale", f"{weight}_zero_point"]
        matrix = f"{weight}_DequantizeLinear"
        return [
            _node("QuantizeLinear", [node.input[0], *grid], rounded, f"{x}_QuantizeLinear", domain=domain),
            _node("DequantizeLinear", [rounded, *grid], f"{back}_Output", back, domain=domain),
            _node("DequantizeLinear", own, f"{matrix}_Output", matrix, domain=domain, axis=1),
            _node("MatMul", [f"{back}_Output", f"{matrix}_Output"], node.output[0], node.name),
        ]


@dataclass(frozen=True)
class Dynamic(Edit):
    def nodes(self, node: NodeProto) -> list[NodeProto]:
        weight, x, out, name = self.linear.weight, self.value, node.output[0], f"{self.linear.node}_quant"
        rounded, scale, zero = f"{x}_quantized", f"{x}_scale", f"{x}_zero_point"
        whole = f"{self.linear.node}_output_quantized"
        factors = [rounded, f"{weight}_quantized", zero, f"{weight}_zero_point"]
        scales = f"{name}_scales_mul"
        return [
            helper.make_node(
                "DynamicQuantizeLinear", [node.input[0]], [rounded, scale, zero], name=f"{x}_QuantizeLinear"
            ),
            _node("MatMulInteger", factors, whole, name),
            _node("Cast", [whole], f"{whole}_cast_output", f"{whole}_cast", to=TensorProto.FLOAT),
            _node("Mul", [scale, f"{weight}_scale"], f"{scales}:0", scales),
            _node("Mul", [f"{whole}_cast_output", f"{scales}:0"], out, f"{name}_output_scale_mul"),
        ]


Edits = Mapping[str, Edit]
"""By the products' names."""


def _node(operator: str, inputs: Sequence[str], output: str, name: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], name=name, **attributes)


def apply(edits: Edits, model: ModelProto) -> None:
    """Change a graph's nodes in place; products that it has not are left out."""
    made: dict[str, NodeProto] = {}
    for node in model.graph.node:
        edit = edits.get(node.name)
        for one in edit.nodes(node) if edit else [node]:
            made.setdefault(one.output[0] if one.output else one.name, one)  # products may round one value together
    nodes = list(made.values())
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if any(node.domain == _CONTRIB for node in nodes) and all(o.domain != _CONTRIB for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))


def rounded_by_output(W: Array, types: Types) -> tuple[Array, Array, Array]:
    """Levels [inputs, outputs], scales and zero points [outputs] of a matrix, with one scale an output."""
    span, dtype = GRIDS[types.weights, types.reduce_range].span, np.dtype(types.weights)
    largest = np.maximum(W.max(axis=0), -W.min(axis=0)).astype(np.float64)
    scale = _usable(largest / span)
    zero = np.full(len(scale), np.rint(span) if dtype.kind == "u" else 0, dtype)
    levels = np.divide(W, scale)
    np.rint(levels, out=levels)
    levels += zero.astype(np.float32)
    np.clip(levels, *_ends(dtype), out=levels)
    return levels.astype(dtype), scale, zero


def grid_of(low: float, high: float, types: Types) -> tuple[Array, Array]:
    """The scale, float32, and the zero point, both [], of inputs in the range low <= 0 <= high."""
    dtype = np.dtype(types.inputs)
    least, most = _ends(dtype)
    ends = np.array([low, high], np.float32).astype(np.float64)
    if types.symmetric_inputs:  # one level is not used, so that 0 is in the middle
        return _usable(2 * np.abs(ends).max() / (most - least - 1)), np.array(0, dtype)
    exact = (ends[1] - ends[0]) / (most - least)
    scale = _usable(exact)
    return scale, np.array(np.rint(least - ends[0] / exact) if scale == np.float32(exact) else 0, dtype)


def _usable(scale: Any) -> Array:
    """float32; 1 for values that are all but 0."""
    return np.where(scale < np.finfo(np.float32).tiny, 1, scale).astype(np.float32)


def _ends(dtype: np.dtype[Any]) -> tuple[int, int]:
    return np.iinfo(dtype).min, np.iinfo(dtype).max
