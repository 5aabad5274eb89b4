"""The pairs of static quantization by optimum's ORTQuantizer, with the ranges observed here. An extra: [optimum]."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.recipe import Types
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_before_splitting
from rrwkv_export.quantize.rewrite.rewrite import Ranges, quant_type, tensors_data
from rrwkv_export.quiet import quiet
from rrwkv_runtime.common.install import hint

_HIDDEN = "HiddenScan"


def insert_pairs(model: onnx.ModelProto, nodes: Collection[str], ranges: Ranges, types: Types) -> onnx.ModelProto:
    """With the same result as `edits.Static`. Raises RecipeError where optimum is not installed."""
    try:
        from optimum.onnxruntime import ORTQuantizer
    except ImportError:
        raise RecipeError(
            f"--engine optimum needs optimum-onnx; {hint('rrwkv-export', 'optimum')}, or leave --engine out"
        ) from None
    config = replace(
        _preset(types),
        activations_dtype=quant_type(types.inputs),
        activations_symmetric=types.symmetric_inputs,
        weights_dtype=quant_type(types.weights),
        nodes_to_quantize=list(nodes),
        operators_to_quantize=["MatMul"],
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "model.onnx"
        _set_hidden(model, True)
        onnx.save(prepared(model, nodes), path, save_as_external_data=True, location="data", size_threshold=1024)
        quantizer = ORTQuantizer(path)
        quantizer.quantize(
            config,
            save_dir=folder,
            file_suffix="quantized",
            calibration_tensors_range=tensors_data(ranges),
            use_external_data_format=True,
        )
        done = onnx.load(str(Path(folder) / "model_quantized.onnx"))
    _set_hidden(done, False)
    give_back(done, nodes)
    round_before_splitting(done)
    return done


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


def give_back(model: onnx.ModelProto, products: Collection[str]) -> None:
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


def _preset(types: Types) -> Any:
    """optimum's own preset for the hardware."""
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    if types.symmetric_inputs:
        return AutoQuantizationConfig.arm64(is_static=True, use_symmetric_activations=True)
    if types.reduce_range:
        return AutoQuantizationConfig.avx2(is_static=True, per_channel=True, reduce_range=True)
    return AutoQuantizationConfig.avx512_vnni(is_static=True, per_channel=True)


def _set_hidden(model: onnx.ModelProto, hidden: bool) -> None:
    """optimum refuses static quantization of a graph with a Scan, though none of its values is to be rounded; under
    another name for the while, it does not see one.
    """
    for node in model.graph.node:
        if node.op_type == ("Scan" if hidden else _HIDDEN):
            node.op_type = _HIDDEN if hidden else "Scan"
