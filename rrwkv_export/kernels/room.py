"""What the kernels know of an architecture: operators, and names of what a graph's nodes read and of what they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rrwkv_export.graph.names import WKVForm

Reads = Mapping[str, tuple[str, ...]]
"""Of the node that gives a value: the kernel's names of what it reads; "" is for what needs none."""

ANY_LAYER: dict[str, tuple[str, ...]] = {
    "ln1": ("", "ln1.weight", "ln1.bias"),
    "time_mix.now": ("", "time_mix.now"),
    "time_mix.recalled": ("", "time_mix.recalled"),
    "ln2": ("", "ln2.weight", "ln2.bias"),
    "channel_mix.now": ("", "channel_mix.now"),
    "channel_mix.recalled": ("", "channel_mix.recalled"),
    "medium.significance": ("", "medium.squeeze"),
}
ANY_GRAPH: dict[str, tuple[str, ...]] = {
    "blocks.0.ln1": ("x",),
    "states.medium.clipped": ("", "least_significance", "most_significance"),
    "head.ln_out": ("", "ln_out.weight", "ln_out.bias"),
    "blocks.0.medium.clipped": ("", "least_significance", "most_significance"),
}
MADE_IN_ANY_MAIN = ("medium.open", "medium.bank", "medium.bank_keys", "after_channel_mix")


@dataclass(frozen=True)
class Room:
    """step, main: the operators of one token and of many. recurrent: the output for what time-mix keeps.

    reads: of values by their names in the graph. layer_reads: of a layer's, without its prefix, by the form of wkv.
    captured: what the bodies of loops read, by the initializers' names. made_in_step, made_in_main: what others read of
    a layer; crossing: what they read of the first one too. attributes: of the operators, besides those that all have.
    """

    step: str
    main: str
    recurrent: str
    reads: Reads
    layer_reads: Mapping[WKVForm, Reads]
    made_in_step: Mapping[WKVForm, tuple[str, ...]]
    made_in_main: tuple[str, ...]
    captured: Mapping[WKVForm, Mapping[str, str]]
    crossing: str | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
