"""What the kernels of rrwkv-native call the values that a graph's nodes read (see `runtimes/native`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import EMB, HEAD, Linear
from rrwkv_export.graph.names import INPUT_IDS, WKVForm
from rrwkv_export.kernels.products import parts_of
from rrwkv_export.kernels.room import Reads, Room
from rrwkv_export.kernels.rwkv4 import WKV_READS

Made = Mapping[str, ir.Value]
"""What nodes give, by name."""


def step_names(
    graph: ir.Graph, config: ModelConfig, room: Room, form: WKVForm, linears: Iterable[Linear]
) -> dict[ir.Value, str] | None:
    """The kernel's names of what a decode graph's nodes read; None if a product is none of the kernel's, or if a value
    has two.
    """
    made = {str(value.name): value for node in graph for value in node.outputs}
    here = [
        linear for linear in linears if linear.role == HEAD or linear.node in made
    ]  # not what is made where a segment ends
    return _names(
        graph, config, room, form, made, [(linear, "logits" if linear.role == HEAD else linear.node) for linear in here]
    )


def main_names(
    graph: ir.Graph, config: ModelConfig, room: Room, form: WKVForm, linears: Iterable[Linear]
) -> dict[ir.Value, str] | None:
    """The same of a main graph's."""
    made = {str(value.name): value for node in graph for value in node.outputs}
    names = _names(graph, config, room, form, made, [(linear, linear.node) for linear in linears])
    if names:  # what the loops' bodies read
        for i in range(config.num_layers):
            for value, name in room.captured[form].items():
                names[graph.initializers[f"blocks.{i}.{value}"]] = f"blocks.{i}.{name}"
    return names


def _names(
    graph: ir.Graph,
    config: ModelConfig,
    room: Room,
    form: WKVForm,
    made: Made,
    products: list[tuple[Linear, str]],
) -> dict[ir.Value, str] | None:
    """products: the linears, and the names of what they give."""
    named: list[tuple[str, ir.Value]] = [(str(value.name), value) for value in graph.inputs if value.name != INPUT_IDS]
    named += _reads(made, room.reads)
    for i in range(config.num_layers):
        named += _reads(made, room.layer_reads[form], f"blocks.{i}.")
        for mix in ("time_mix.before", "channel_mix.before"):
            named.append((f"blocks.{i}.{mix}", graph.initializers[f"blocks.{i}.{mix}.weight"]))
    for linear, result in products:
        if linear.role == EMB:
            continue  # only looked up
        found = parts_of(made[result])
        if found is None:
            return None
        named += [(f"{linear.name}.{part}", value) for part, value in found.items()]
    names = {value: name for name, value in named}
    return names if len(names) == len(named) else None


def wkv_names(graph: ir.Graph, values: Made, prefix: str, form: WKVForm) -> dict[ir.Value, str]:
    """The same for the wkv of a layer's time-mix; values: what its nodes make, by names without the prefix."""
    names = {value: name for name, value in _reads(values, WKV_READS[form])}
    if form == "plain":  # what the loop's body reads
        names[graph.initializers[f"{prefix}wkv.exp_minus_d"]] = "decay"
    return names


def _reads(made: Made, table: Reads, prefix: str = "") -> list[tuple[str, ir.Value]]:
    """By a table of what the nodes that make some values read: the kernel's names, and what bears them."""
    named = []
    for result, parts in table.items():
        node = made[prefix + result].producer() if prefix + result in made else None
        given = zip(parts, node.inputs) if node else ()
        named += [(prefix + name, value) for name, value in given if name and value is not None]
    return named
