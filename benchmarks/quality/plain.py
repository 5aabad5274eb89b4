"""onnxruntime's own quantizers, without any care: what `rrwkv quantize` is held against."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import onnx
import onnx_ir as ir
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from rrwkv_export.bundle import DATA_FILE, GRAPH_FILE, file_entries, save_manifest, save_with_weights
from rrwkv_export.quantize.observe.observe import observe
from rrwkv_export.quantize.recipe import TARGETS
from rrwkv_export.quantize.rewrite.optimum import give_back, prepared
from rrwkv_export.quantize.rewrite.rewrite import Ranges, finished, quant_type, tensors_data
from rrwkv_export.quantize.source import Calibration, Source
from rrwkv_export.quiet import quiet


def static_min_max(reference: Path, folder: Path, calibration: Calibration) -> Path:
    """Static int8: the extremes seen of every product's inputs, as they are; embedding and mediums in float."""
    source = Source.open(reference)
    graph, wanted = source.rewriter(), [linear for linear in source.linears if _is_plain(linear.role)]
    seen = observe(reference / GRAPH_FILE, source.manifest.states, wanted, calibration.passages)
    ranges = {name: (value.histogram.low, value.histogram.high) for name, value in seen.items()}
    model = _with_pairs(graph.whole(), [linear.node for linear in wanted], ranges)
    return _bundle(source, finished(model), folder / "plain-static")


def _with_pairs(model: onnx.ModelProto, nodes: list[str], ranges: Ranges) -> onnx.ModelProto:
    """By onnxruntime's QDQQuantizer: weights with a scale for every output, inputs with one, outputs left float."""
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    types = TARGETS["x86-vnni"]
    options = {"WeightSymmetric": True, "QDQOpTypePerChannelSupportToAxis": {"MatMul": 1}}
    with quiet():
        quantizer = QDQQuantizer(
            prepared(model, nodes),
            True,
            False,
            quant_type(types.weights),
            quant_type(types.inputs),
            tensors_data(ranges),
            nodes,
            [],
            ["MatMul"],
            options,
        )
        done: onnx.ModelProto = quantizer.quantize_model()
    give_back(done, nodes)
    return done


def round_to_nearest(reference: Path, folder: Path, block: int) -> Path:
    """4-bit weights in blocks, rounded to nearest, symmetric; embedding and mediums in float."""
    source = Source.open(reference)
    left = [linear.node for linear in source.linears if not _is_plain(linear.role)]
    others = [n.name for n in source.rewriter().model.graph.node if n.op_type == "MatMul"]
    products = {linear.node for linear in source.linears}
    with quiet():
        quantizer = MatMulNBitsQuantizer(
            source.rewriter().whole(),
            block_size=block,
            is_symmetric=True,
            accuracy_level=4,
            nodes_to_exclude=[*left, *(name for name in others if name not in products)],
        )
        quantizer.process()
    return _bundle(source, finished(quantizer.model.model), folder / f"plain-nearest-{block}")


def _is_plain(role: str) -> bool:
    return role != "emb" and not role.startswith("medium")


def _bundle(source: Source, model: onnx.ModelProto, out: Path) -> Path:
    """A bundle with this graph alone."""
    out.mkdir()
    save_with_weights(ir.from_proto(model), out)
    if source.manifest.tokenizer:
        shutil.copyfile(source.path / source.manifest.tokenizer.file, out / source.manifest.tokenizer.file)
    graph = {**asdict(source.manifest.main), "file": GRAPH_FILE, "data": [DATA_FILE], "dtype": out.name}
    save_manifest(
        out,
        {
            **source.manifest.to_json(),
            "graphs": {"main": graph},
            "quantization": {"scheme": out.name},
            "parity": None,
            "files": [asdict(entry) for entry in file_entries(sorted(out.iterdir()), "hashing")],
        },
    )
    return out
