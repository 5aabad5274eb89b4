"""What one kernel can compute, as a call of a function: a whole graph, decode or main; else a WKV of the main graph.

A function's body is the nodes as they were, so a graph means the same, and runs where no such kernel is: then
onnxruntime puts the body in the call's place when it loads the graph. A call says which of its inputs is what, for the
kernel (see `runtimes/native`), which reads weights as they are: attribute `inputs`, names divided by commas, empty for
what only the body needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Linear
from rrwkv_export.graph.names import INPUT_IDS, POSITION, WKVForm
from rrwkv_export.kernels.bindings import main_names, step_names, wkv_names
from rrwkv_export.onnx.functions import Attributes, Part, shared

Names = Mapping[ir.Value, str]
DOMAIN, STEP, MAIN, WKV = "rrwkv", "DecodeStep", "Prefill", "GatedWKV"
_LAYERS = {STEP: "DecodeLayer", MAIN: "PrefillLayer"}
_OUTPUTS = (
    *("logits", "shift_out", "wkv_out", "medium_sum_out", "medium_weight_out"),
    *("medium_bank_out", "medium_key_out"),
)
_MADE_IN_STEP = {
    "plain": ("ln1", "ln2", "time_mix.wkv.summands", "after_channel_mix"),
    "stable": ("ln1", "ln2", "time_mix.wkv.last", "time_mix.wkv.maximum", "after_channel_mix"),
}
"""What others read of a layer, where there is one token; and where there are several:"""
_MADE_IN_MAIN = (
    *("time_mix.last", "channel_mix.last", "time_mix.wkv.last", "time_mix.wkv.maximum.last"),
    *("medium.open", "medium.bank", "medium.bank_keys", "after_channel_mix"),
)
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


def fuse_step(model: ir.Model, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]) -> bool:
    """Change a decode graph in place; False, and nothing is changed, where no kernel can compute what it says."""
    names = step_names(model.graph, config, form, linears) if _is_known(config) else None
    if names is not None:
        _fuse(model, config, STEP, names, _MADE_IN_STEP[form])
    return names is not None


def fuse_main(model: ir.Model, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]) -> bool:
    """The same of a main graph."""
    names = main_names(model.graph, config, form, linears) if _is_known(config) else None
    if names is not None:
        _count_apart(model.graph)
        _fuse(model, config, MAIN, names, _MADE_IN_MAIN)
    return names is not None


def _is_known(config: ModelConfig) -> bool:
    """Whether the kernels know layers of this config: in theirs, attention is as wide as the rest."""
    return config.attention_width == config.hidden_size


def _fuse(model: ir.Model, config: ModelConfig, kind: str, names: Names, made_in_layer: Sequence[str]) -> None:
    """All between the embedded tokens and the outputs as one call.

    Within the function each layer is a call too, for layers of equal bodies share one.
    """
    graph = model.graph
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        _fuse_layer(graph, f"blocks.{index}.", _LAYERS[kind], made_in_layer, functions)
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
    whole = part.function(kind, attributes=attributes)
    part.call(whole, {STEP: "step", MAIN: "main"}[kind], attributes)
    model.functions.update({function.identifier(): function for function in (*functions.values(), whole)})
    graph.sort()


def _fuse_layer(
    graph: ir.Graph, prefix: str, kind: str, given: Iterable[str], functions: dict[bytes, ir.Function]
) -> None:
    made = {str(value.name): value for node in graph for value in node.outputs if str(value.name).startswith(prefix)}
    outputs = [made[prefix + name] for name in given if prefix + name in made]
    part = Part(DOMAIN, graph, outputs, set(made.values()))
    known = shared(part.function(kind, prefix), functions)
    part.call(known, prefix.removesuffix("."))


def _count_apart(graph: ir.Graph) -> None:
    """Let the position that is given share no node with the rest: no kernel gives whole numbers."""
    old = next(value for value in graph.outputs if value.name == f"{POSITION}_out")
    inputs = {value.name: value for value in graph.inputs}
    count = ir.node("Size", [inputs[INPUT_IDS]], name="clock.seen")
    count.outputs[0].name = count.name
    given = ir.Value(name=old.name, type=old.type, shape=old.shape)
    after = ir.node("Add", [inputs[POSITION], count.outputs[0]], outputs=[given], name="clock.position_after")
    graph.extend([count, after])
    ir.convenience.replace_all_uses_with(old, given, replace_graph_outputs=True)
    while (node := old.producer()) and not any(value.uses() for value in node.outputs):
        old = next(value for value in reversed(node.inputs) if value is not None)
        graph.remove(node, safe=True)
