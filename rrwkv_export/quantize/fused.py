"""What one kernel can compute, as a call of a function: a decode graph; in the main graph a WKV, a blockwise product.

A function's body is the nodes as they were, so a graph means the same, and runs where no such kernel is: then
onnxruntime puts the body in the call's place when it loads the graph. A call says which of its inputs is what, for the
kernel (see `runtimes/native`), which reads weights as they are: attribute `inputs`, names divided by commas, empty for
what only the body needs.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from rrwkv_export.config import ModelConfig
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.quantize.kernel_names import is_block_product, step_names, wkv_names
from rrwkv_export.quantize.outline import Attributes, Part, shared
from rrwkv_export.quantize.sites import Site

DOMAIN, STEP, LAYER, WKV, BLOCKS = "rrwkv", "DecodeStep", "DecodeLayer", "GatedWKV", "BlockProduct"
BLOCK_ATTRIBUTES = ("K", "N", "bits", "block_size", "accuracy_level")
_OUTPUTS = ("logits", "shift_out", "wkv_out", "medium_sum_out", "medium_weight_out")
_LAYER_OUTPUTS = {
    "plain": ("ln1", "ln2", "time_mix.wkv.summands", "after_channel_mix"),
    "stable": ("ln1", "ln2", "time_mix.wkv.last", "time_mix.wkv.maximum", "after_channel_mix"),
}
_WKV_OUTPUTS = {"plain": ("gated", "wkv.last"), "stable": ("gated", "wkv.last", "wkv.maximum.last")}


def fuse_wkv(model: ir.Model, config: ModelConfig, form: WKVForm) -> None:
    """Change a main graph in place."""
    graph = model.graph
    made = {str(value.name): value for node in graph for value in node.outputs}
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        prefix = f"blocks.{index}.time_mix."
        values = {name.removeprefix(prefix): value for name, value in made.items() if name.startswith(prefix)}
        within = {value for name, value in values.items() if name.startswith("wkv.") or name in ("r", "gated")}
        part = Part(DOMAIN, graph, [values[name] for name in _WKV_OUTPUTS[form]], within)
        names = wkv_names(graph, values, prefix, form)
        attributes: Attributes = {"inputs": ",".join(names.get(value, "") for value in part.inputs)}
        part.call(shared(part.function(WKV, prefix, attributes), functions), f"{prefix}gated_wkv", attributes)
    model.functions.update({function.identifier(): function for function in functions.values()})
    graph.sort()


def fuse_step(model: ir.Model, config: ModelConfig, form: WKVForm, sites: Iterable[Site]) -> bool:
    """Change a decode graph in place; False, and nothing is changed, where no kernel can compute what it says.

    Within the function each layer is a call too, for layers of equal bodies share one.
    """
    graph = model.graph
    names = step_names(graph, config, form, sites)
    if names is None:
        return False
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        _fuse_layer(graph, f"blocks.{index}.", _LAYER_OUTPUTS[form], functions)
    graph.sort()
    embedded = {value for value, name in names.items() if name == "x"}
    outputs = [value for name in _OUTPUTS for value in graph.outputs if value.name == name]
    part = Part(DOMAIN, graph, outputs, {value for node in graph for value in node.outputs} - embedded)
    attributes: Attributes = {
        "inputs": ",".join(names.get(value, "") for value in part.inputs),
        "epsilon": float(config.layer_norm_epsilon),
        "layers": config.num_layers,
        "interval": config.medium.interval if config.medium else 0,
    }
    step = part.function(STEP, attributes=attributes)
    part.call(step, "step", attributes)
    model.functions.update({function.identifier(): function for function in (*functions.values(), step)})
    graph.sort()
    return True


def _fuse_layer(graph: ir.Graph, prefix: str, given: Iterable[str], functions: dict[bytes, ir.Function]) -> None:
    made = [value for node in graph for value in node.outputs if str(value.name).startswith(prefix)]
    outputs = [value for name in given for value in made if value.name == prefix + name]
    part = Part(DOMAIN, graph, outputs, set(made))
    known = shared(part.function(LAYER, prefix), functions)
    part.call(known, prefix.removesuffix("."))


def fuse_blocks(model: ir.Model) -> None:
    """Change a main graph in place: its blockwise products in whole numbers, all of one function's body."""
    graph, function = model.graph, None
    for node in [node for node in graph if is_block_product(node)]:
        attributes = {name: node.attributes[name].as_int() for name in BLOCK_ATTRIBUTES}
        function = function or _block_function(node)
        x, weight, scale = node.inputs
        given = ir.Value(name=node.outputs[0].name, type=node.outputs[0].type, shape=node.outputs[0].shape)
        call = ir.node(
            BLOCKS,
            [x, weight, scale],
            {"inputs": "x,weight,scale", **attributes},
            domain=DOMAIN,
            outputs=[given],
            name=node.name,
        )
        graph.insert_after(node, call)
        ir.convenience.replace_all_uses_with(node.outputs[0], given, replace_graph_outputs=True)
        graph.remove(node, safe=True)
    if function:
        graph.opset_imports[DOMAIN] = 1
        model.functions[function.identifier()] = function


def _block_function(like: ir.Node) -> ir.Function:
    """MatMulNBits with the call's own attributes."""
    inputs = [ir.Value(name=name) for name in ("x", "weight", "scale")]
    references = [ir.RefAttr(name, name, ir.AttributeType.INT) for name in BLOCK_ATTRIBUTES]
    product = ir.Node(like.domain, like.op_type, inputs, references, name="product")
    product.outputs[0].name = "y"
    imports = {like.domain: like.version or 1}
    body = ir.Graph(inputs, product.outputs, nodes=[product], opset_imports=imports, name=BLOCKS)
    declared = [ir.Attr("inputs", ir.AttributeType.STRING, None)]
    declared += [ir.Attr(name, ir.AttributeType.INT, None) for name in BLOCK_ATTRIBUTES]
    return ir.Function(DOMAIN, BLOCKS, graph=body, attributes=declared)
