"""RWKV-7's graphs, with mediums and without, as the kernels know them."""

from __future__ import annotations

from rrwkv_export.graph.prefill.heads import GROUP_NORM_EPSILON
from rrwkv_export.kernels.room import ANY_GRAPH, ANY_LAYER, MADE_IN_ANY_MAIN, Reads, Room

_LAYER_READS: Reads = ANY_LAYER | {
    "time_mix.w.sum": ("", "att.w0"),
    "time_mix.a.sum": ("", "att.a0"),
    "time_mix.v.sum": ("", "att.v0"),
    "time_mix.k_k": ("", "att.k_k"),
    "time_mix.k_a": ("", "att.k_a"),
    "time_mix.k_a.sum": ("", "att.k_a_rest"),
    "time_mix.r_k": ("", "att.r_k"),
    "time_mix.ln_x.gained": ("", "att.ln_x.weight"),
    "time_mix.ln_x.moved": ("", "att.ln_x.bias"),
}
# Operators of their own names: a library that does not know them leaves their bodies to onnxruntime.
RWKV7 = Room(
    step="DecodeStepRWKV7",
    main="PrefillRWKV7",
    recurrent="matrix_out",
    reads=ANY_GRAPH
    | {
        "blocks.0.time_mix.w.exponent": ("", "decay_scale"),
        "blocks.0.time_mix.kappa.divisor": ("", "shortest"),
    },
    layer_reads={"plain": _LAYER_READS},
    made_in_step={"plain": ("ln1", "ln2", "time_mix.recurrence.S_next", "after_channel_mix")},
    made_in_main=("time_mix.last", "channel_mix.last", "time_mix.recurrence.S_last", *MADE_IN_ANY_MAIN),
    captured={"plain": {}},
    crossing="time_mix.value",  # layer 0's is v_first
    attributes={"group_norm_epsilon": GROUP_NORM_EPSILON},
)
