"""What the kernels of rrwkv-native call the values that a graph's nodes read (see `runtimes/native`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import EMB, HEAD, Linear
from rrwkv_export.graph.names import INPUT_IDS, WKVForm

_IN_WHOLE_NUMBERS = 4  # MatMulNBits' accuracy_level
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
    "blocks.0.medium.clipped": ("", "least_significance", "most_significance"),
}
"""The same of values by their names in the graph."""
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


def step_names(
    graph: ir.Graph, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]
) -> dict[ir.Value, str] | None:
    """The kernel's names of what a decode graph's nodes read; None if a product is none of the kernel's, or if a value
    has two.
    """
    made = {str(value.name): value for node in graph for value in node.outputs}
    here = [
        linear for linear in linears if linear.role == HEAD or linear.node in made
    ]  # not what is made where a segment ends
    return _names(
        graph, config, form, made, [(linear, "logits" if linear.role == HEAD else linear.node) for linear in here]
    )


def main_names(
    graph: ir.Graph, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]
) -> dict[ir.Value, str] | None:
    """The same of a main graph's."""
    made = {str(value.name): value for node in graph for value in node.outputs}
    names = _names(graph, config, form, made, [(linear, linear.node) for linear in linears])
    if names and form == "plain":  # what the loops' bodies read
        for i in range(config.num_layers):
            names[graph.initializers[f"blocks.{i}.time_mix.wkv.exp_minus_d"]] = f"blocks.{i}.decay"
    return names


def _names(
    graph: ir.Graph,
    config: ModelConfig,
    form: WKVForm,
    made: Mapping[str, ir.Value],
    products: list[tuple[Linear, str]],
) -> dict[ir.Value, str] | None:
    """made: what nodes give, by name. products: the linears, and the names of what they give."""
    named: list[tuple[str, ir.Value]] = [(str(value.name), value) for value in graph.inputs if value.name != INPUT_IDS]
    named += _reads(made, _READS)
    for i in range(config.num_layers):
        named += _reads(made, _LAYER_READS | _WKV_WEIGHTS[form], f"blocks.{i}.")
        for mix in ("time_mix.before", "channel_mix.before"):
            named.append((f"blocks.{i}.{mix}", graph.initializers[f"blocks.{i}.{mix}.weight"]))
    for linear, result in products:
        if linear.role == EMB:
            continue  # only looked up
        found = next(filter(None, (form(made[result]) for form in _FORMS)), None)
        if found is None:
            return None
        named += [(f"{linear.name}.{part}", value) for part, value in found.items()]
    names = {value: name for name, value in named}
    return names if len(names) == len(named) else None


def wkv_names(graph: ir.Graph, values: Mapping[str, ir.Value], prefix: str, form: WKVForm) -> dict[ir.Value, str]:
    """The same for the wkv of a layer's time-mix; values: what its nodes make, by names without the prefix."""
    names = {value: name for name, value in _reads(values, _WKV_READS[form])}
    if form == "plain":  # what the loop's body reads
        names[graph.initializers[f"{prefix}wkv.exp_minus_d"]] = "decay"
    return names


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
    in_whole_numbers = product.attributes.get_int("accuracy_level", 0) == _IN_WHOLE_NUMBERS
    form = f"{'weight' if in_whole_numbers else 'float'}{bits}"
    if form == "float4":
        return None
    return _named((form, product.inputs[1]), ("scale", product.inputs[2]))


def _halves(result: ir.Value) -> dict[str, ir.Value] | None:
    """A product in float32 of a weight in float16: MatMul(x, Cast(weight))."""
    product = _made_by(result, "MatMul")
    cast = _made_by(product.inputs[1], "Cast") if product else None
    return _named(("half", cast.inputs[0])) if cast and _is(cast.inputs[0], "FLOAT16") else None


_FORMS = (_columns, _dynamic_columns, _blocks, _halves)


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
