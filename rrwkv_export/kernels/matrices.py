"""RWKV-5's, 6's and 7's graphs, with mediums and without, as the kernels know them."""

from __future__ import annotations

from collections.abc import Mapping

from rrwkv_export.graph.prefill.heads import GROUP_NORM_EPSILON
from rrwkv_export.kernels.room import ANY_GRAPH, ANY_LAYER, MADE_IN_ANY_MAIN, Reads, Room

_ANY_HEADS: Reads = {
    "time_mix.ln_x.gained": ("", "att.ln_x.weight"),
    "time_mix.ln_x.moved": ("", "att.ln_x.bias"),
}
_WITH_BONUS: Reads = {"time_mix.recurrence.r_u_k": ("", "att.u")}


def _room(
    name: str,
    layer_reads: Reads,
    reads: Reads | None = None,
    captured: Mapping[str, str] | None = None,
    crossing: str | None = None,
) -> Room:
    """Its operators have names of their own: a library that does not know them leaves their bodies to onnxruntime."""
    return Room(
        step=f"DecodeStep{name}",
        main=f"Prefill{name}",
        recurrent="matrix_out",
        reads={**ANY_GRAPH, **(reads or {})},
        layer_reads={"plain": {**ANY_LAYER, **_ANY_HEADS, **layer_reads}},
        made_in_step={"plain": ("ln1", "ln2", "time_mix.recurrence.S_next", "after_channel_mix")},
        made_in_main=("time_mix.last", "channel_mix.last", "time_mix.recurrence.S_last", *MADE_IN_ANY_MAIN),
        captured={"plain": captured or {}},
        crossing=crossing,
        attributes={"group_norm_epsilon": GROUP_NORM_EPSILON},
    )


RWKV5 = _room(
    "RWKV5",
    {**_WITH_BONUS, "time_mix.recurrence.kept": ("", "att.w")},
    captured={"time_mix.recurrence.w.column": "att.w"},
)
RWKV6 = _room(
    "RWKV6",
    {**_WITH_BONUS, "time_mix.w.sum": ("", "att.w0"), "time_mix.time_maa_w2": ("", "att.time_maa_w2")},
)
RWKV7 = _room(
    "RWKV7",
    {
        "time_mix.w.sum": ("", "att.w0"),
        "time_mix.a.sum": ("", "att.a0"),
        "time_mix.v.sum": ("", "att.v0"),
        "time_mix.k_k": ("", "att.k_k"),
        "time_mix.k_a": ("", "att.k_a"),
        "time_mix.k_a.sum": ("", "att.k_a_rest"),
        "time_mix.r_k": ("", "att.r_k"),
    },
    reads={"blocks.0.time_mix.w.exponent": ("", "decay_scale"), "blocks.0.time_mix.kappa.divisor": ("", "shortest")},
    crossing="time_mix.value",  # layer 0's is v_first
)
