"""The graphs in fixed shapes: rounded as the main graph is, over its weights, or in integers throughout.

For a phone's CPU they take from the main graph what became of each product. For Qualcomm's HTP the recipe's roles are
of no use: it takes a graph whole or leaves parts of it to the CPU, so every value is rounded to uint16 (weights to
uint8), with the ranges of `.ranges` and what onnxruntime's preset for QNN asks of each operator. What
equalization moved in the main graph is moved in these too, as they share its states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.bundle import DATA_FILE, GRAPH_FILE, VARIANTS, VARIANTS_DATA, save_variant
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.equalize import fold
from rrwkv_export.quantize.fixed_shape.ranges import Range, load_fixed_shape, observe_fixed_shape
from rrwkv_export.quantize.recipe import Recipe, Types
from rrwkv_export.quantize.rewrite.beside import in_fixed_shapes
from rrwkv_export.quantize.rewrite.rewrite import Rewriter, finished, quant_type, tensors_data
from rrwkv_export.quantize.stages import Folds
from rrwkv_export.quiet import quiet

if TYPE_CHECKING:
    from rrwkv_export.quantize.quantize import Quantized
    from rrwkv_export.quantize.source import Calibration, Source

Array = np.ndarray[Any, np.dtype[Any]]
_EXTERNAL_FROM_BYTES, _PAGE = 4096, 4096


def save_variants(
    source: Source,
    recipe: Recipe,
    calibration: Calibration,
    quantized: Quantized,
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """The source's graphs in fixed shapes beside the rounded main one that is in the folder; and what the manifest says
    of each that it did not say before, by its name. Raises RecipeError.
    """
    if not source.in_fixed_shapes:
        return {}
    if recipe.target == "qnn":
        save_sharing(_in_integers(source, recipe, calibration, quantized.folds, progress), folder)
        dtype = f"{recipe.types.inputs}-{recipe.types.weights}"
        return {name: {"data": (VARIANTS_DATA,), "dtype": dtype} for name in source.in_fixed_shapes}
    main = onnx.load(str(folder / GRAPH_FILE), load_external_data=False)
    (folder / VARIANTS).mkdir()
    for name in source.in_fixed_shapes:
        graph = onnx.load(str(source.path / source.manifest.graphs[name].file), load_external_data=False)
        beside = folded(without_matrices(onnx.shape_inference.infer_shapes(graph)), source.config, quantized.folds)
        made = in_fixed_shapes(beside, quantized.graph.edits, main, source.config.hidden_size)
        ir.external_data.set_base_dir(made.graph, folder)
        save_variant(made, folder, name)
    return {name: {"data": (DATA_FILE,), "dtype": recipe.scheme} for name in source.in_fixed_shapes}


def _in_integers(
    source: Source, recipe: Recipe, calibration: Calibration, folds: Folds, progress: Progress | None
) -> dict[str, onnx.ModelProto]:
    calibration.require()
    models = {
        name: folded(model, source.config, folds)
        for name, model in load_fixed_shape(source.path, source.manifest).items()
    }

    def told(done: int, total: int) -> None:
        if progress:
            progress("observing the graphs in fixed shapes", done, total)

    ranges = observe_fixed_shape(models, source.manifest, calibration.passages, progress=told)
    return {name: insert_all_pairs(model, ranges, recipe.types) for name, model in models.items()}


def without_matrices(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph less what it reads from the data file."""
    kept = [t for t in model.graph.initializer if t.data_location != TensorProto.EXTERNAL]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def folded(model: onnx.ModelProto, config: ModelConfig, folds: Folds) -> onnx.ModelProto:
    """The graph with the scales moved that equalization moved in the main one."""
    graph = Rewriter(model)
    for linear, s in folds:
        fold(graph, config, linear, s)
    return graph.model


def insert_all_pairs(model: onnx.ModelProto, ranges: Mapping[str, Range], types: Types) -> onnx.ModelProto:
    """QuantizeLinear and DequantizeLinear pairs around every value and weight. model: shapes inferred, not kept."""
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    # The mark says that shapes are inferred already.
    model.metadata_props.add(key="onnx.infer", value="onnxruntime.quant")
    with quiet():
        inputs, weights = quant_type(types.inputs), quant_type(types.weights)
        config = get_qnn_qdq_config(model, None, activation_type=inputs, weight_type=weights)
        quantizer = QDQQuantizer(
            model,
            config.per_channel,
            config.reduce_range,
            config.weight_type,
            config.activation_type,
            tensors_data(ranges),
            [],
            [],
            config.op_types_to_quantize,
            {
                **config.extra_options,
                "TensorQuantOverrides": {
                    **config.extra_options.get("TensorQuantOverrides", {}),
                    **_signed(model, inputs),
                },
                "ForceQuantizeNoInputCheck": True,
            },
        )
        done = ir.from_proto(quantizer.quantize_model())
    RemoveUnusedNodesPass()(done)
    done.graph.sort()  # the quantizer leaves the weights' nodes at the end
    return finished(ir.to_proto(done))


def _signed(model: onnx.ModelProto, inputs: Any) -> dict[str, list[dict[str, Any]]]:
    """What the quantizer is told of values by which the heads' values are multiplied: there they are int16 around 0.

    Of two values in uint16 Qualcomm's HTP multiplies as if one had 8 bits. Mediums' products stay as they are measured.
    """
    from onnxruntime.quantization import QuantType

    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*model.graph.value_info, *model.graph.input)}
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and ranks.get(node.input[1]) == 4:
            readers.setdefault(node.input[1], set()).add(node.name)
    signed = {"quant_type": QuantType.QInt16, "symmetric": True}
    return {
        name: [{"quant_type": inputs, "convert": {**signed, "recv_nodes": nodes}}] for name, nodes in readers.items()
    }


def save_sharing(models: Mapping[str, onnx.ModelProto], folder: Path) -> None:
    """The graphs in VARIANTS and their large weights in VARIANTS_DATA beside the main graph; equal ones once."""
    (folder / VARIANTS).mkdir(exist_ok=True)
    places: dict[bytes, tuple[int, int]] = {}
    with (folder / VARIANTS_DATA).open("wb") as data:
        for tensor in _large(models.values()):
            raw = tensor.raw_data
            key = hashlib.sha256(raw).digest()
            if key not in places:
                data.write(b"\0" * (-data.tell() % _PAGE))
                places[key] = data.tell(), len(raw)
                data.write(raw)
            _refer(tensor, *places[key])
    for name, model in models.items():
        onnx.save(model, str(folder / VARIANTS / f"{name}.onnx"))


def _large(models: Iterable[onnx.ModelProto]) -> Iterable[TensorProto]:
    for model in models:
        yield from (t for t in model.graph.initializer if len(t.raw_data) >= _EXTERNAL_FROM_BYTES)


def _refer(tensor: TensorProto, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": VARIANTS_DATA, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=str(value))
