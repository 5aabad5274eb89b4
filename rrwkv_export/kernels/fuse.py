"""What one kernel can compute, as a call of a function: a whole graph, decode or main; else a WKV of the main graph.

A function's body is the nodes as they were, so a graph means the same, and runs where no such kernel is: then
onnxruntime puts the body in the call's place when it loads the graph. A call says which of its inputs is what, for the
kernel (see `runtimes/native`), which reads weights as they are: attribute `inputs`, names divided by commas, empty for
what only the body needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Linear
from rrwkv_export.graph.names import INPUT_IDS, POSITION, WKVForm, is_adaptive
from rrwkv_export.kernels.bindings import main_names, step_names, wkv_names
from rrwkv_export.kernels.room import Room
from rrwkv_export.kernels.rooms import room_of
from rrwkv_export.kernels.rwkv4 import RWKV4, WKV, WKV_OUTPUTS
from rrwkv_export.onnx.functions import Attributes, Part, shared

Names = Mapping[ir.Value, str]
DOMAIN = "rrwkv"


def fuse_wkv(model: ir.Model, config: ModelConfig, form: WKVForm) -> None:
    """Change a main graph in place, if its recurrence is RWKV-4's."""
    if room_of(config) is not RWKV4:
        return
    graph = model.graph
    made = {str(value.name): value for node in graph for value in node.outputs}
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        prefix = f"blocks.{index}.time_mix."
        values = {name.removeprefix(prefix): value for name, value in made.items() if name.startswith(prefix)}
        within = {value for name, value in values.items() if name.startswith("wkv.") or name in ("r", "gated")}
        part = Part(DOMAIN, graph, [values[name] for name in WKV_OUTPUTS[form]], within)
        names = wkv_names(graph, values, prefix, form)
        attributes: Attributes = {"inputs": ",".join(names.get(value, "") for value in part.inputs)}
        part.call(shared(part.function(WKV, prefix, attributes), functions), f"{prefix}gated_wkv", attributes)
    model.functions.update({function.identifier(): function for function in functions.values()})
    graph.sort()


def fuse_step(model: ir.Model, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]) -> bool:
    """Change a decode graph in place; False, and nothing is changed, where no kernel can compute what it says."""
    room = _room_of(config)
    names = step_names(model.graph, config, room, form, linears) if room else None
    if room is None or names is None:
        return False
    _fuse(model, config, room, names, _Kind(room.step, "step", "DecodeLayer", room.made_in_step[form]))
    return True


def fuse_main(model: ir.Model, config: ModelConfig, form: WKVForm, linears: Iterable[Linear]) -> bool:
    """The same of a main graph."""
    room = _room_of(config)
    names = main_names(model.graph, config, room, form, linears) if room else None
    if room is None or names is None:
        return False
    _count_apart(model.graph)
    _fuse(model, config, room, names, _Kind(room.main, "main", "PrefillLayer", room.made_in_main))
    return True


def _room_of(config: ModelConfig) -> Room | None:
    """What the kernels know of layers of this config: in theirs, attention is as wide as the rest, and segments are of
    as many tokens.
    """
    return room_of(config) if config.attention_width == config.hidden_size and not is_adaptive(config) else None


@dataclass(frozen=True)
class _Kind:
    """A function for a whole graph: its name, that of its call, that of a layer's, and what others read of a layer."""

    whole: str
    call: str
    layer: str
    made_in_layer: Sequence[str]


def _fuse(model: ir.Model, config: ModelConfig, room: Room, names: Names, kind: _Kind) -> None:
    """All between the embedded tokens and the outputs as one call.

    Within the function each layer is a call too, for layers of equal bodies share one.
    """
    graph = model.graph
    graph.opset_imports[DOMAIN] = 1
    functions: dict[bytes, ir.Function] = {}
    for index in range(config.num_layers):
        crossing = [room.crossing] if room.crossing and index == 0 and config.num_layers > 1 else []
        _fuse_layer(graph, f"blocks.{index}.", kind.layer, [*kind.made_in_layer, *crossing], functions)
    graph.sort()
    embedded = {value for value, name in names.items() if name == "x"}
    given = {str(value.name): value for value in graph.outputs}
    outputs = [given[name] for name in _outputs(room) if name in given]
    part = Part(DOMAIN, graph, outputs, {value for node in graph for value in node.outputs} - embedded)
    attributes: Attributes = {
        "inputs": ",".join(names.get(value, "") for value in part.inputs),
        "epsilon": float(config.layer_norm_epsilon),
        "layers": config.num_layers,
        "interval": config.medium.unit if config.medium else 0,
        **room.attributes,
    }
    whole = part.function(kind.whole, attributes=attributes)
    part.call(whole, kind.call, attributes)
    model.functions.update({function.identifier(): function for function in (*functions.values(), whole)})
    graph.sort()


def _outputs(room: Room) -> tuple[str, ...]:
    """Of a call, in their order, as far as a graph has them."""
    mediums = ("medium_sum_out", "medium_weight_out", "medium_bank_out", "medium_key_out")
    return ("logits", "shift_out", room.recurrent, *mediums)


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
