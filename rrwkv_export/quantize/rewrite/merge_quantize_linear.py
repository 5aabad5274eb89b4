"""Fewer nodes for the same numbers, where products of one split are rounded."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper


def round_before_splitting(model: onnx.ModelProto) -> None:
    """Split, then a QuantizeLinear for each part   ->   one QuantizeLinear with a scale for each part, then Split.

    The mixes of a block are computed together and multiplied apart, so this saves a node for all but one of them.
    """
    nodes = model.graph.node
    readers: dict[str, list[NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for split in [node for node in nodes if node.op_type == "Split" and len(node.input) == 1]:
        parts = [readers.get(name, []) for name in split.output]
        if any(len(part) != 1 or part[0].op_type != "QuantizeLinear" for part in parts):
            continue
        rounded = [part[0] for part in parts]
        if len({constants[node.input[2]].data_type for node in rounded}) == 1:
            _merge(model, split, rounded, constants)


def _merge(
    model: onnx.ModelProto, split: NodeProto, rounded: list[NodeProto], constants: dict[str, TensorProto]
) -> None:
    name, axis = split.input[0], next(a.i for a in split.attribute if a.name == "axis")
    stacked = []
    for which, label in ((1, "scale"), (2, "zero_point")):
        values = [numpy_helper.to_array(constants[node.input[which]]).reshape(1) for node in rounded]
        tensor = numpy_helper.from_array(np.concatenate(values), f"{name}_{label}")
        model.graph.initializer.append(tensor)
        stacked.append(tensor.name)
    once = helper.make_node("QuantizeLinear", [name, *stacked], [f"{name}_quantized"], name=f"{name}_QuantizeLinear")
    once.domain = rounded[0].domain
    once.attribute.append(helper.make_attribute("axis", axis))
    at = list(model.graph.node).index(split)
    split.input[0] = once.output[0]
    split.output[:] = [node.output[0] for node in rounded]
    for node in rounded:
        model.graph.node.remove(node)
    model.graph.node.insert(at, once)
