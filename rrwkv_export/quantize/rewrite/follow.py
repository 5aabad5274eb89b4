"""A graph beside the main one, rounded as that was: what became of a product there is copied, node by node.

Such are the graph that decodes, the one that makes mediums after it, and those in static shapes. No matrix is read or
written: all graphs refer to the same data file, and to the same entries in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import NodeProto, TensorProto, numpy_helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from rrwkv_export.architectures.linears import EMB, Site
from rrwkv_export.quantize.rewrite.merge_quantize_linear import round_after_splitting, round_before_splitting


def follow(
    beside: onnx.ModelProto, source: onnx.ModelProto, rounded: onnx.ModelProto, sites: Iterable[Site]
) -> ir.Model:
    """`beside`, a float graph, changed as `source`, the float main graph, was changed into `rounded`.

    Any of them may be without its weights' data. Sites that `beside` does not have are left out.
    """
    made = _followed(beside, source, rounded, sites)
    # Weights are the main graph's, where scales may have been moved into them.
    made.graph.initializer.extend(_initializers(rounded, (t for t in beside.graph.initializer if not _is_weight(t))))
    round_before_splitting(made)  # which the main graph need not have split
    return _tidy(made)


def _is_weight(tensor: TensorProto) -> bool:
    """Or else a constant of this graph: nodes of a layer are in rooms of other names than its weights."""
    return bool(re.search(r"\.(weight|bias)$|^blocks\.\d+\.(att|ffn)\.\w+$", tensor.name))


def follow_in_static_shapes(
    beside: onnx.ModelProto, source: onnx.ModelProto, rounded: onnx.ModelProto, sites: Iterable[Site], hidden_size: int
) -> ir.Model:
    """The same of a graph in static shapes, whose sequences are [1, T, C] where the main graph's are [T, 1, C].

    beside: with what was moved into the main graph's vectors moved into its own, without its matrices, shapes inferred.
    Those of the products are kept, as engines need them and ONNX infers none past onnxruntime's own operators.
    """
    made, sites = _followed(beside, source, rounded, sites), tuple(sites)
    matrices = {site.weight for site in sites}
    own = [t for t in beside.graph.initializer if t.name not in matrices]
    emb = next(node.output[0] for node in beside.graph.node if node.name == EMB)
    results = {node.output[0] for node in beside.graph.node if node.name in {site.node for site in sites}}
    made.graph.value_info.extend(value for value in beside.graph.value_info if value.name in results)
    own.append(numpy_helper.from_array(np.array([1, -1, hidden_size], np.int64), f"{emb}.shape"))
    made.graph.initializer.extend(_initializers(rounded, own))
    round_after_splitting(made)
    return _tidy(made)


def _followed(
    beside: onnx.ModelProto, source: onnx.ModelProto, rounded: onnx.ModelProto, sites: Iterable[Site]
) -> onnx.ModelProto:
    """Without initializers."""
    here, there = _by_name(beside), _by_name(source)
    shared = [site for site in sites if site.node in here]
    # What a product reads, or gives, may bear another name in the main graph.
    read = {_read_by(site, there): _read_by(site, here) for site in shared}
    given = {there[site.node].output[0]: here[site.node].output[0] for site in shared}
    known = {output for node in beside.graph.node for output in node.output}
    known |= {value.name for value in beside.graph.input}
    makers = {output: node for node in rounded.graph.node for output in node.output}
    copied: dict[str, NodeProto] = {}
    for result in given:
        _copy_chain(result, makers, known | read.keys(), read | given, copied)
    made = onnx.ModelProto()
    made.CopyFrom(beside)
    for parts in (made.graph.node, made.graph.initializer, made.graph.value_info, made.opset_import):
        del parts[:]
    made.opset_import.extend(rounded.opset_import)
    made.graph.node.extend(node for node in beside.graph.node if node.name not in {site.node for site in shared})
    made.graph.node.extend(copied.values())
    return made


def _tidy(made: onnx.ModelProto) -> ir.Model:
    tidy: ir.Model = ir.from_proto(made)
    tidy.graph.sort()
    RemoveUnusedNodesPass()(tidy)
    return tidy


def _read_by(site: Site, nodes: Mapping[str, NodeProto]) -> str:
    """What is multiplied with the matrix, or looked up in it."""
    return str(nodes[site.node].input[1 if site.role == EMB else 0])


def _by_name(model: onnx.ModelProto) -> dict[str, NodeProto]:
    return {node.name: node for node in model.graph.node}


def _initializers(rounded: onnx.ModelProto, own: Iterable[TensorProto]) -> Iterable[TensorProto]:
    """A graph's own, and all others as they are in the rounded one."""
    return ({tensor.name: tensor for tensor in rounded.graph.initializer} | {t.name: t for t in own}).values()


def _copy_chain(
    result: str,
    makers: Mapping[str, NodeProto],
    known: Collection[str],
    names: Mapping[str, str],
    copied: dict[str, NodeProto],
) -> None:
    """Copy the node that makes `result`, and those that make what it reads, as far as it is not known."""
    node = makers[result]
    if node.name in copied:
        return
    copy = copied[node.name] = NodeProto()
    copy.CopyFrom(node)
    copy.output[:] = [names.get(name, name) for name in node.output]
    copy.input[:] = [names.get(name, name) for name in node.input]
    for name in node.input:
        if name in makers and name not in known:
            _copy_chain(name, makers, known, names, copied)
