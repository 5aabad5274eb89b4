"""A graph beside the main one, edited as that was: the one that decodes, the one that makes mediums after it, and those
in fixed shapes. No matrix is read or written: all refer to the same data file, and to the same entries in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rrwkv_export.architectures.linears import EMB
from rrwkv_export.quantize.rewrite.edits import Edits, apply
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_before_splitting


def beside(graph: onnx.ModelProto, edits: Edits, main: onnx.ModelProto) -> ir.Model:
    """graph: float, is changed. main: the edited main graph, as it was saved. Neither has its large weights."""
    matrices = {edit.linear.weight for edit in edits.values()}
    # Weights are the main graph's, if it has them: scales may have been moved into those.
    saved = {tensor.name: tensor for tensor in main.graph.initializer if _is_weight(tensor)}
    left = [tensor for tensor in graph.graph.initializer if tensor.name not in matrices]
    own = [_as_saved(tensor, saved[tensor.name]) if tensor.name in saved else tensor for tensor in left]
    _edit(graph, edits, main, own)
    del graph.graph.value_info[:]
    round_before_splitting(graph)  # which the main graph need not have split
    return _tidy(graph)


def _as_saved(own: TensorProto, saved: TensorProto) -> TensorProto:
    """The saved weight in the shape that this graph has it in."""
    made = TensorProto()
    made.CopyFrom(saved)
    made.dims[:] = own.dims
    return made


def _is_weight(tensor: TensorProto) -> bool:
    """Or else a constant of this graph: nodes of a layer are in rooms of other names than its weights."""
    return bool(re.search(r"\.(weight|bias)$|^blocks\.\d+\.(att|ffn)\.\w+$", tensor.name))


def in_fixed_shapes(graph: onnx.ModelProto, edits: Edits, main: onnx.ModelProto, hidden_size: int) -> ir.Model:
    """The same of a graph in fixed shapes, whose sequences are [1, T, C] where the main graph's are [T, 1, C].

    graph: with what was moved into the main graph's vectors moved into its own, shapes inferred. Those of the products
    are kept, as engines need them and ONNX infers none past onnxruntime's own operators.
    """
    matrices = {edit.linear.weight for edit in edits.values()}
    results = {output for node in graph.graph.node if node.name in edits for output in node.output}
    emb = next(node.output[0] for node in graph.graph.node if node.name == EMB)
    own = [tensor for tensor in graph.graph.initializer if tensor.name not in matrices]
    own.append(numpy_helper.from_array(np.array([1, -1, hidden_size], np.int64), f"{emb}.shape"))
    shapes = [value for value in graph.graph.value_info if value.name in results]
    _edit(graph, edits, main, own)
    del graph.graph.value_info[:]
    graph.graph.value_info.extend(shapes)
    return _tidy(graph)


def _edit(graph: onnx.ModelProto, edits: Edits, main: onnx.ModelProto, own: Iterable[TensorProto]) -> None:
    """Its own initializers stay; all others are as in the main graph."""
    made = {output for node in graph.graph.node for output in node.output}  # what is a constant there may be none here
    found = {tensor.name: tensor for tensor in main.graph.initializer if tensor.name not in made}
    found |= {tensor.name: tensor for tensor in own}
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in found.values()]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(kept)
    apply(edits, graph)


def _tidy(made: onnx.ModelProto) -> ir.Model:
    tidy: ir.Model = ir.from_proto(made)
    tidy.graph.sort()
    RemoveUnusedNodesPass()(tidy)
    return tidy
