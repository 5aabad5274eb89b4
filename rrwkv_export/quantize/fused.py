"""The layers and the head of a decode graph as calls of functions, each of which one kernel can take the place of.

A function's body is the nodes as they were, so a graph means the same, and runs where no such kernel is: then
onnxruntime puts the body in the call's place when it loads the graph. Layers of equal bodies share one function. A call
says which of its inputs is what, for the kernel, which reads weights as they are and computes what `graph.decode`
builds (see `runtimes/native`): attribute `inputs`, names divided by commas, empty for what only the body needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from rrwkv_export.quantize.sites import HEAD, Site

DOMAIN, LAYER_FUNCTION, HEAD_FUNCTION = "rrwkv", "DecodeLayer", "DecodeHead"
KINDS = 64  # as many functions for layers the kernel answers to: "DecodeLayer", "DecodeLayer1", …
FLOAT = ir.TensorType(ir.DataType.FLOAT)
_LAYER_OUTPUTS = ("ln1", "ln2", "time_mix.wkv.summands", "after_channel_mix")
_READ = {
    "ln1": ("x", "ln1.weight", "ln1.bias"),
    "medium.keys_t": ("key",),
    "medium.visible_scores": ("", "mask"),
    "medium.read": ("", "bank"),
    "time_mix.now": ("", "time_mix.now"),
    "time_mix.mix": ("", "time_mix.before"),
    "time_mix.recalled": ("", "time_mix.recalled"),
    "time_mix.wkv.exp_k": ("", "least_exp", "most_exp"),
    "time_mix.wkv.now": ("", "exp_u"),
    "time_mix.wkv.sums": ("wkv",),
    "ln2": ("", "ln2.weight", "ln2.bias"),
    "channel_mix.now": ("", "channel_mix.now"),
    "channel_mix.mix": ("", "channel_mix.before"),
    "channel_mix.recalled": ("", "channel_mix.recalled"),
    "flat": ("x",),
    "ln_out": ("", "ln_out.weight", "ln_out.bias"),
}
"""The kernel's names of what is read, by what the reading node gives; "" is for what comes from within the layer."""


@dataclass(frozen=True)
class _Part:
    """Nodes to become a call: what they make, by its name within the part, and which of it is for others."""

    name: str
    values: Mapping[str, ir.Value]
    outputs: tuple[ir.Value, ...]
    products: Mapping[str, ir.Value]  # by role

    @classmethod
    def layer(cls, graph: ir.Graph, index: int, sites: Iterable[Site]) -> _Part | None:
        prefix = f"blocks.{index}."
        values = _made(graph, prefix)
        results = {site.role: values.get(site.node.removeprefix(prefix)) for site in sites if site.layer == index}
        # A product that is not here is one that is only made where a segment ends.
        products = {role: value for role, value in results.items() if value is not None}
        if not all(name in values for name in _LAYER_OUTPUTS):
            return None
        return cls(f"blocks.{index}", values, tuple(values[name] for name in _LAYER_OUTPUTS), products)

    @classmethod
    def head(cls, graph: ir.Graph) -> _Part:
        logits = next(value for value in graph.outputs if value.name == "logits")
        return cls(HEAD, {**_made(graph, "head."), "logits": logits}, (logits,), {HEAD: logits})


def fuse(model: ir.Model, sites: Iterable[Site]) -> int:
    """Change a decode graph in place; how many calls it has now. What no kernel can compute stays as it is."""
    sites, graph = list(sites), model.graph
    layers = {site.layer for site in sites if site.layer is not None}
    functions: dict[bytes, ir.Function] = {}
    calls = 0
    for part in (_Part.layer(graph, index, sites) for index in sorted(layers)):
        calls += part is not None and _fuse(graph, part, LAYER_FUNCTION, functions)
    head: dict[bytes, ir.Function] = {}
    calls += _fuse(graph, _Part.head(graph), HEAD_FUNCTION, head)
    for function in (*functions.values(), *head.values()):
        model.functions[function.identifier()] = function
    if calls:
        graph.opset_imports[DOMAIN] = 1
        graph.sort()
    return calls


def _made(graph: ir.Graph, prefix: str) -> dict[str, ir.Value]:
    values = [value for node in graph for value in node.outputs]
    return {str(v.name).removeprefix(prefix): v for v in values if (v.name or "").startswith(prefix)}


def _fuse(graph: ir.Graph, part: _Part, function_name: str, functions: dict[bytes, ir.Function]) -> bool:
    names = _kernel_names(part)
    if names is None:
        return False
    nodes, inputs = _reached(part.outputs, set(part.values.values()))
    inner = [value for node in nodes for value in node.outputs if value not in part.outputs]
    if any(use.node not in nodes for value in inner for use in value.uses()):
        return False
    function = _function(graph, part, inputs, names)
    body = ir.to_proto(function).SerializeToString()
    if body not in functions:
        if len(functions) == KINDS:
            return False
        function.name = function_name + (str(len(functions)) if functions else "")
        functions[body] = function
    _call(graph, part, functions[body].name, nodes, inputs, names)
    return True


def _reached(outputs: Iterable[ir.Value], within: set[ir.Value]) -> tuple[set[ir.Node], list[ir.Value]]:
    """The nodes that make the outputs, as far as they make values of the set, and what these read from elsewhere."""
    nodes: set[ir.Node] = set()
    read: dict[ir.Value, None] = {}
    waiting = list(outputs)
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value not in within or node is None:
            read[value] = None
        elif node not in nodes:
            nodes.add(node)
            waiting += [given for given in node.inputs if given is not None]
    return nodes, list(read)


def _function(graph: ir.Graph, part: _Part, inputs: list[ir.Value], names: Mapping[ir.Value, str]) -> ir.Function:
    """The part's nodes, with nothing in their names of which layer it is."""
    prefix = f"{part.name}."
    body = ir.convenience.extract(graph, inputs, part.outputs)
    for place, (value, given) in enumerate(zip(body.inputs, inputs)):
        value.name, value.type, value.shape = f"given.{names.get(given, place)}", None, None
    for node in body:
        node.name = str(node.name).removeprefix(prefix)
        for value in node.outputs:
            value.name, value.type, value.shape = str(value.name).removeprefix(prefix), None, None
    attributes = [ir.Attr("inputs", ir.AttributeType.STRING, None), ir.Attr("epsilon", ir.AttributeType.FLOAT, None)]
    return ir.Function(DOMAIN, "", graph=body, attributes=attributes)


def _call(
    graph: ir.Graph,
    part: _Part,
    function: str,
    nodes: set[ir.Node],
    inputs: list[ir.Value],
    names: Mapping[ir.Value, str],
) -> None:
    """Put a call of the function in the place of the nodes."""
    norm = next(node for node in nodes if node.op_type == "LayerNormalization")
    attributes = {
        "inputs": ",".join(names.get(value, "") for value in inputs),
        "epsilon": norm.attributes["epsilon"].as_float(),
    }
    # The type is said, for bodies with operators that ONNX itself does not know infer none.
    given = [ir.Value(name=value.name, type=FLOAT, shape=value.shape) for value in part.outputs]
    graph.append(ir.node(function, inputs, attributes, domain=DOMAIN, outputs=given, name=part.name))
    for old, new in zip(part.outputs, given):
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    graph.remove(nodes, safe=True)


def _kernel_names(part: _Part) -> dict[ir.Value, str] | None:
    """The kernel's names of what the nodes read; None if a product is not in whole numbers, or if a value has two."""
    named: list[tuple[str, ir.Value | None]] = []
    for made, parts in _READ.items():
        node = part.values[made].producer() if made in part.values else None
        named += [] if node is None else [(name, value) for name, value in zip(parts, node.inputs) if name]
    for role, result in part.products.items():
        found = _columns(result) or _dynamic_columns(result) or _blocks(result)
        if found is None:
            return None
        named += [(f"{role}.{which}", value) for which, value in found.items()]
    names = {value: name for name, value in named if value is not None}
    return names if len(names) == len(named) else None


def _columns(result: ir.Value) -> dict[str, ir.Value] | None:
    """A static product: MatMul(DequantizeLinear(x), DequantizeLinear(weight))."""
    product = _made_by(result, "MatMul")
    x, weight = (_made_by(value, "DequantizeLinear") for value in (product.inputs if product else (None, None)))
    if x is None or weight is None or not (_is(weight.inputs[0], "INT8") and _is(x.inputs[2], "UINT8")):
        return None
    if not _is_zero(weight.inputs[2]):
        return None
    scale, zero_point = x.inputs[1:3]
    own = _named(("weight", weight.inputs[0]), ("scale", weight.inputs[1]))
    return own | _named(("input_scale", scale), ("input_zero_point", zero_point))


def _dynamic_columns(result: ir.Value) -> dict[str, ir.Value] | None:
    """A dynamic product: Mul(Cast(MatMulInteger(x, weight)), Mul(x's scale, weight's scale))."""
    scaled = _made_by(result, "Mul")
    cast, scales = (_made_by(v, op) for v, op in zip(scaled.inputs, ("Cast", "Mul"))) if scaled else (None, None)
    product = _made_by(cast.inputs[0], "MatMulInteger") if cast else None
    if product is None or scales is None or not (_is(product.inputs[1], "INT8") and _is_zero(product.inputs[3])):
        return None
    return _named(("weight", product.inputs[1]), ("scale", scales.inputs[1]))


def _blocks(result: ir.Value) -> dict[str, ir.Value] | None:
    """A blockwise product that is computed in whole numbers, its zeros in the middle."""
    product = _made_by(result, "MatMulNBits")
    if product is None or len(product.inputs) != 3 or product.attributes.get_int("accuracy_level", 0) != 4:
        return None
    return _named((f"weight{product.attributes['bits'].as_int()}", product.inputs[1]), ("scale", product.inputs[2]))


def _made_by(value: ir.Value | None, op_type: str) -> ir.Node | None:
    node = value.producer() if value is not None else None
    return node if node is not None and node.op_type == op_type else None


def _is(value: ir.Value | None, dtype: str) -> bool:
    """Whether it is a constant of this type."""
    return value is not None and value.const_value is not None and value.const_value.dtype == ir.DataType[dtype]


def _is_zero(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None and not value.const_value.numpy().any()


def _named(*parts: tuple[str, ir.Value | None]) -> dict[str, ir.Value]:
    return {name: value for name, value in parts if value is not None}
