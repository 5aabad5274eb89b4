"""What one kernel can compute at once, as a call of a function: a whole decode graph; a layer's WKV in the main graph.

A function's body is the nodes as they were, so a graph means the same, and runs where no such kernel is: then
onnxruntime puts the body in the call's place when it loads the graph. A call says which of its inputs is what, for the
kernel (see `runtimes/native`), which reads weights as they are: attribute `inputs`, names divided by commas, empty for
what only the body needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from rrwkv_export.config import ModelConfig
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.quantize.sites import EMB, HEAD, Site

DOMAIN, STEP, LAYER, WKV = "rrwkv", "DecodeStep", "DecodeLayer", "GatedWKV"
Attributes = Mapping[str, str | float | int]
_IN_WHOLE_NUMBERS = 4  # MatMulNBits' accuracy_level
_FLOAT = ir.TensorType(ir.DataType.FLOAT)
_OUTPUTS = ("logits", "shift_out", "wkv_out", "medium_sum_out", "medium_weight_out")
_LAYER_OUTPUTS = {
    "plain": ("ln1", "ln2", "time_mix.wkv.summands", "after_channel_mix"),
    "stable": ("ln1", "ln2", "time_mix.wkv.last", "time_mix.wkv.maximum", "after_channel_mix"),
}
_LAYER_READS = {
    "ln1": ("", "ln1.weight", "ln1.bias"),
    "time_mix.now": ("", "time_mix.now"),
    "time_mix.recalled": ("", "time_mix.recalled"),
    "ln2": ("", "ln2.weight", "ln2.bias"),
    "channel_mix.now": ("", "channel_mix.now"),
    "channel_mix.recalled": ("", "channel_mix.recalled"),
    "medium.significance": ("", "medium.squeeze"),
}
"""Of the node that gives a value of a layer: the kernel's names of what it reads; "" is for what needs none."""
_WKV_WEIGHTS = {
    "plain": {"time_mix.wkv.now": ("", "bonus")},
    "stable": {"time_mix.wkv.key_with_bonus": ("", "bonus"), "time_mix.wkv.kept.exponent": ("", "decay")},
}
_READS = {
    "blocks.0.ln1": ("x",),
    "blocks.0.time_mix.wkv.exp_k": ("", "least_exp", "most_exp"),
    "states.decayed": ("", "decays"),
    "states.medium.clipped": ("", "least_significance", "most_significance"),
    "head.ln_out": ("", "ln_out.weight", "ln_out.bias"),
}


_WKV_READS = {
    "plain": {
        "wkv.exp": ("k",),
        "wkv.exp_k": ("", "least_exp", "most_exp"),
        "wkv.exp_k_v": ("", "v"),
        "wkv.last": ("sums",),
        "wkv.now": ("", "bonus"),
        "r": ("r",),
    },
    "stable": {
        "wkv.key_with_bonus": ("k", "bonus"),
        "wkv.kept.exponent": ("", "decay"),
        "wkv.summands.value": ("", "v"),
        "wkv.last": ("sums",),
        "wkv.maximum.last": ("exponent",),
        "r": ("r",),
    },
}
"""The same for the wkv of a layer's time-mix."""
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
        part = _Part(graph, [values[name] for name in _WKV_OUTPUTS[form]], within)
        names = {value: name for name, value in _reads(values, _WKV_READS[form])}
        if form == "plain":
            names[graph.initializers[f"{prefix}wkv.exp_minus_d"]] = "decay"
        attributes: Attributes = {"inputs": ",".join(names.get(value, "") for value in part.inputs)}
        part.call(_shared(part.function(WKV, prefix, attributes), functions), f"{prefix}gated_wkv", attributes)
    model.functions.update({function.identifier(): function for function in functions.values()})
    graph.sort()


def fuse_step(model: ir.Model, config: ModelConfig, form: WKVForm, sites: Iterable[Site]) -> bool:
    """Change a decode graph in place; False, and nothing is changed, where no kernel can compute what it says.

    Within the function each layer is a call too, for layers of equal bodies share one.
    """
    graph = model.graph
    names = _kernel_names(graph, config, form, sites)
    if names is None:
        return False
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        _fuse_layer(graph, f"blocks.{index}.", _LAYER_OUTPUTS[form], functions)
    graph.sort()
    embedded = {value for value, name in names.items() if name == "x"}
    outputs = [value for name in _OUTPUTS for value in graph.outputs if value.name == name]
    part = _Part(graph, outputs, {value for node in graph for value in node.outputs} - embedded)
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
    part = _Part(graph, outputs, set(made))
    known = _shared(part.function(LAYER, prefix), functions)
    part.call(known, prefix.removesuffix("."))


def _shared(function: ir.Function, functions: dict[bytes, ir.Function]) -> ir.Function:
    """The one with this body that there is; else this one, which then bears a number behind its name if others do."""
    known = functions.setdefault(ir.to_proto(function).SerializeToString(), function)
    if known is function and len(functions) > 1:
        function.name += str(len(functions))
    return known


class _Part:
    """The nodes that make some outputs, as far as they make values of a set; inputs: what these read from elsewhere."""

    def __init__(self, graph: ir.Graph, outputs: list[ir.Value], within: set[ir.Value]) -> None:
        self.graph, self.outputs, self.nodes = graph, outputs, set[ir.Node]()
        read: dict[ir.Value, None] = {}
        waiting = list(reversed(outputs))
        while waiting:
            value = waiting.pop()
            node = value.producer()
            if value not in within or node is None:
                read[value] = None
            elif node not in self.nodes:
                self.nodes.add(node)
                waiting += [given for given in reversed([*node.inputs, *_captured(graph, node)]) if given is not None]
        self.inputs = list(read)

    def function(self, name: str, prefix: str = "", attributes: Attributes | None = None) -> ir.Function:
        """The nodes as a function's body, with nothing in their names of the prefix."""
        body = ir.convenience.extract(self.graph, self.inputs, self.outputs)
        for place, value in enumerate(body.inputs):
            value.name, value.type, value.shape = f"given.{place}", None, None
        _strip(body, prefix)
        for value in (value for node in body for value in node.outputs):
            value.type, value.shape = None, None
        given = ir.convenience.convert_attributes(attributes or {})
        declared = [ir.Attr(attribute.name, attribute.type, None) for attribute in given]
        return ir.Function(DOMAIN, name, graph=body, attributes=declared)

    def call(self, function: ir.Function, name: str, attributes: Attributes | None = None) -> None:
        """Put a call of the function in the place of the nodes."""
        # The type is said, for bodies with operators that ONNX itself does not know infer none.
        given = [ir.Value(name=value.name, type=_FLOAT, shape=value.shape) for value in self.outputs]
        self.graph.append(ir.node(function.name, self.inputs, attributes, domain=DOMAIN, outputs=given, name=name))
        for old, new in zip(self.outputs, given):
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.graph.remove(self.nodes, safe=True)


def _captured(graph: ir.Graph, node: ir.Node) -> list[ir.Value]:
    """What the body of a loop reads from the graph around it."""
    read = [value for body in _bodies(node) for inner in body for value in inner.inputs]
    return [value for value in read if value is not None and value.graph is graph]


def _bodies(node: ir.Node) -> list[ir.Graph]:
    return [attribute.as_graph() for attribute in node.attributes.values() if attribute.type == ir.AttributeType.GRAPH]


def _strip(graph: ir.Graph, prefix: str) -> None:
    """Take the prefix from all names in a graph, and in the bodies of its loops."""
    for node in graph:
        for inner in _bodies(node):
            inner.name = str(inner.name).removeprefix(prefix)
            for value in inner.inputs:
                value.name = str(value.name).removeprefix(prefix)
            _strip(inner, prefix)
        node.name = str(node.name).removeprefix(prefix)
        for value in node.outputs:
            value.name = str(value.name).removeprefix(prefix)


def _reads(
    made: Mapping[str, ir.Value], table: Mapping[str, tuple[str, ...]], prefix: str = ""
) -> list[tuple[str, ir.Value]]:
    """By a table of what the nodes that make some values read: the kernel's names, and what bears them."""
    named = []
    for result, parts in table.items():
        node = made[prefix + result].producer() if prefix + result in made else None
        given = zip(parts, node.inputs) if node else ()
        named += [(prefix + name, value) for name, value in given if name and value is not None]
    return named


def _kernel_names(
    graph: ir.Graph, config: ModelConfig, form: WKVForm, sites: Iterable[Site]
) -> dict[ir.Value, str] | None:
    """The kernel's names of what the nodes read; None if a product is none of the kernel's, or if a value has two."""
    made = {str(value.name): value for node in graph for value in node.outputs}
    named: list[tuple[str, ir.Value]] = [
        (str(value.name), value) for value in graph.inputs if value.name != "input_ids"
    ]
    named += _reads(made, _READS)
    for i in range(config.num_layers):
        named += _reads(made, _LAYER_READS | _WKV_WEIGHTS[form], f"blocks.{i}.")
        for mix in ("time_mix.before", "channel_mix.before"):
            named.append((f"blocks.{i}.{mix}", graph.initializers[f"blocks.{i}.{mix}.weight"]))
    for site in sites:
        product = made.get("logits" if site.role == HEAD else site.node)
        if site.role == EMB or product is None:
            continue  # what is looked up, and what is only made where a segment ends
        found = _columns(product) or _dynamic_columns(product) or _blocks(product)
        if found is None:
            return None
        named += [(f"{site.name}.{part}", value) for part, value in found.items()]
    names = {value: name for name, value in named}
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
    """A blockwise product, its zeros in the middle: in whole numbers, or of 8 bits with activations as they are."""
    product = _made_by(result, "MatMulNBits")
    if product is None or len(product.inputs) != 3:
        return None
    bits = product.attributes["bits"].as_int()
    form = f"weight{bits}" if product.attributes.get_int("accuracy_level", 0) == _IN_WHOLE_NUMBERS else f"float{bits}"
    if form == "float4":
        return None
    return _named((form, product.inputs[1]), ("scale", product.inputs[2]))


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
