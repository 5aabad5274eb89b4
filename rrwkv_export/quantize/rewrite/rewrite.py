"""Graph surgery, one case a function. What a site computes keeps its value's name, whatever computes it.

blocks     MatMul -> MatMulNBits: weights in 4 or 8 bits, a scale for every block of inputs, inputs float
rows       Gather -> Gather (int8), Gather (scales), Cast, Mul, Reshape: the embedding, scales for blocks of every row
half       the matrix in float16 and a Cast, which a runtime folds away when it loads the graph
static     QuantizeLinear and DequantizeLinear pairs, put in by onnxruntime's quantizer with the ranges given
dynamic    DynamicQuantizeLinear and MatMulInteger, by onnxruntime's quantizer
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rrwkv_export.architectures.linears import Site
from rrwkv_export.quantize.recipe import Types
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_before_splitting
from rrwkv_export.quantize.round.rounding import Blocks
from rrwkv_export.quiet import quiet

Array = np.ndarray[Any, np.dtype[Any]]
Ranges = Mapping[str, tuple[float, float]]
_CONTRIB = "com.microsoft"
_ACCURACY_LEVELS = {"float32": 1, "int8": 4}  # as MatMulNBits numbers them


class Rewriter:
    """A float32 graph in memory, on its way to a quantized one. Sites are each rewritten once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self._nodes = {node.name: node for node in model.graph.node}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def input_of(self, site: Site) -> str:
        """The name of the value that a site multiplies its matrix with."""
        return str(self._nodes[site.node].input[0])

    def array(self, name: str) -> Array:
        """An initializer's value; a copy."""
        found: Array = numpy_helper.to_array(self._weights[name]).copy()
        return found

    def set_array(self, name: str, value: Array) -> None:
        self._weights[name].CopyFrom(numpy_helper.from_array(value, name))

    def has(self, name: str) -> bool:
        return name in self._weights

    def blocks(self, site: Site, rounded: Blocks, compute: str) -> None:
        """x @ W with W [inputs, outputs] rounded in blocks along the inputs.

        compute: "int8" lets onnxruntime round x as it comes, each block of each token with a scale of its own.
        """
        node, name = self._nodes[site.node], site.weight
        N, groups = rounded.scale.shape
        packed = _packed(rounded.q, rounded.bits).reshape(N, groups, rounded.block * rounded.bits // 8)
        self._replace_weight(name, {f"{name}.q": packed, f"{name}.scale": rounded.scale.astype(np.float32).ravel()})
        made = helper.make_node(
            "MatMulNBits",
            [node.input[0], f"{name}.q", f"{name}.scale"],
            list(node.output),
            name=node.name,
            domain=_CONTRIB,
            K=site.inputs,
            N=N,
            bits=rounded.bits,
            block_size=rounded.block,
            accuracy_level=_ACCURACY_LEVELS[compute],
        )
        node.CopyFrom(made)
        self._use_contrib()

    def rows(self, site: Site, block: int) -> None:
        """The embedding in int8: in each row a scale for so many channels, or for fewer that part it evenly."""
        node, name = self._nodes[site.node], site.weight
        block = math.gcd(site.outputs, block)
        table = self.array(name).reshape(site.inputs, -1, block)
        scale = np.maximum(np.abs(table).max(axis=2, keepdims=True) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        q = np.clip(np.rint(table / scale), -127, 127).astype(np.int8)
        self._replace_weight(name, {f"{name}.q": q, f"{name}.scale": scale})
        ids, out = node.input[1], node.output[0]
        shape = numpy_helper.from_array(np.array([-1, 1, site.outputs], np.int64), f"{out}.shape")
        self.model.graph.initializer.append(shape)
        at = list(self.model.graph.node).index(node)
        made = [
            helper.make_node("Gather", [f"{name}.q", ids], [f"{out}.q"], name=f"{out}.q"),
            helper.make_node("Gather", [f"{name}.scale", ids], [f"{out}.scale"], name=f"{out}.scale"),
            helper.make_node("Cast", [f"{out}.q"], [f"{out}.levels"], name=f"{out}.levels", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.levels", f"{out}.scale"], [f"{out}.blocks"], name=f"{out}.blocks"),
            helper.make_node("Reshape", [f"{out}.blocks", shape.name], [out], name=node.name),
        ]
        self.model.graph.node.remove(node)
        for offset, one in enumerate(made):
            self.model.graph.node.insert(at + offset, one)

    def half(self, site: Site) -> None:
        """The matrix stored in float16, computed with in float32; of the embedding only the rows that are looked up."""
        node, name = self._nodes[site.node], site.weight
        value, half = self.array(name).astype(np.float16), f"{name}.half"
        self._replace_weight(name, {half: value})
        at = list(self.model.graph.node).index(node)
        if node.op_type == "Gather":
            out = node.output[0]
            rows = helper.make_node("Gather", [half, node.input[1]], [f"{out}.half"], name=f"{out}.half")
            node.CopyFrom(helper.make_node("Cast", [f"{out}.half"], [out], name=node.name, to=TensorProto.FLOAT))
            self.model.graph.node.insert(at, rows)
        else:
            cast = helper.make_node("Cast", [half], [name], name=f"{name}.float32", to=TensorProto.FLOAT)
            self.model.graph.node.insert(at, cast)

    def static(self, sites: Sequence[Site], ranges: Ranges, types: Types, insert: Insert | None = None) -> None:
        """Pairs around the inputs of the sites' products (ranges by the value's name) and on their weights."""
        nodes = [site.node for site in sites]
        self._take((insert or insert_pairs)(self.model, nodes, ranges, types))
        _give_back(self.model, nodes)
        round_before_splitting(self.model)

    def dynamic(self, sites: Sequence[Site], types: Types) -> None:
        """Inputs rounded to uint8 with each run's own range, over all its tokens."""
        if not sites:
            return
        from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
        from onnxruntime.quantization.quant_utils import QuantizationMode

        with quiet():
            quantizer = ONNXQuantizer(
                prepared(self.model, [site.node for site in sites]),
                True,
                types.reduce_range,
                QuantizationMode.IntegerOps,
                False,
                quant_type(types.weights),
                quant_type("uint8"),
                None,
                [site.node for site in sites],
                [],
                ["MatMul"],
                {"MatMulConstBOnly": True},
            )
            quantizer.quantize_model()
        self._take(quantizer.model.model)

    def _take(self, model: onnx.ModelProto) -> None:
        self.__init__(model)  # type: ignore[misc]

    def _replace_weight(self, old: str, new: Mapping[str, Array]) -> None:
        self.model.graph.initializer.remove(self._weights.pop(old))
        for name, value in new.items():
            self.model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
            self._weights[name] = self.model.graph.initializer[-1]

    def _use_contrib(self) -> None:
        if all(opset.domain != _CONTRIB for opset in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid(_CONTRIB, 1))


Insert = Callable[[onnx.ModelProto, Sequence[str], Ranges, Types], onnx.ModelProto]
"""How pairs are put in: (model, names of the MatMuls, ranges, types) -> the model with them."""


def insert_pairs(model: onnx.ModelProto, nodes: Collection[str], ranges: Ranges, types: Types) -> onnx.ModelProto:
    """By onnxruntime's QDQQuantizer: weights with a scale for every output, inputs with one, outputs left float."""
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    with quiet():
        quantizer = QDQQuantizer(
            prepared(model, nodes),
            True,
            types.reduce_range,
            quant_type(types.weights),
            quant_type(types.inputs),
            tensors_data(ranges),
            list(nodes),
            [],
            ["MatMul"],
            qdq_options(types),
        )
        done: onnx.ModelProto = quantizer.quantize_model()
    return done


def qdq_options(types: Types) -> dict[str, Any]:
    """What onnxruntime's quantizer is told besides."""
    return {
        "ActivationSymmetric": types.symmetric_inputs,
        "WeightSymmetric": True,
        "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1},
    }


def tensors_data(ranges: Ranges) -> dict[str, Any]:
    """Ranges as onnxruntime's quantizers take them."""
    from onnxruntime.quantization.calibrate import TensorData

    return {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in ranges.items()}


def _give_back(model: onnx.ModelProto, products: Collection[str]) -> None:
    """Everything but the products reads the float value again: onnxruntime's quantizer gives all of a value's readers
    the rounded one, though it costs them accuracy and gains nothing.
    """
    rounded = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    pairs = {
        node.output[0]: rounded[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for node in model.graph.node:
        if node.name not in products:
            for i, name in enumerate(node.input):
                node.input[i] = pairs.get(name, name)


def _packed(q: Array, bits: int) -> Array:
    """Two 4-bit values a byte, the first in the low half."""
    return q if bits == 8 else q[..., 0::2] | (q[..., 1::2] << 4)


def quant_type(name: str) -> Any:
    from onnxruntime.quantization import QuantType

    return {
        "uint8": QuantType.QUInt8,
        "int8": QuantType.QInt8,
        "uint16": QuantType.QUInt16,
    }[name]


def prepared(model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
    """With the types of what these products read, which is rounded, and not of what they give, which is not.

    The mark says that types are inferred already: onnxruntime's quantizers round every value of known type.
    """
    known = {value.name for value in model.graph.value_info}
    if not any(prop.key == "onnx.infer" for prop in model.metadata_props):
        model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    for node in model.graph.node:
        if node.name in nodes and node.input[0] not in known:
            known.add(node.input[0])
            model.graph.value_info.append(helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None))
    return model


def finished(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the marks that quantizing left."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "rrwkv-export", ""
    return model
