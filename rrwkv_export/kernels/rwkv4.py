"""RWKV-4's graphs, with mediums and without, as the kernels know them; and its recurrence by itself."""

from __future__ import annotations

from rrwkv_export.graph.names import WKVForm
from rrwkv_export.kernels.room import ANY_GRAPH, ANY_LAYER, MADE_IN_ANY_MAIN, Reads, Room

RWKV4 = Room(
    step="DecodeStep",
    main="Prefill",
    recurrent="wkv_out",
    reads=ANY_GRAPH | {"blocks.0.time_mix.wkv.exp_k": ("", "least_exp", "most_exp"), "states.decayed": ("", "decays")},
    layer_reads={
        "plain": ANY_LAYER | {"time_mix.wkv.now": ("", "bonus")},
        "stable": ANY_LAYER
        | {"time_mix.wkv.key_with_bonus": ("", "bonus"), "time_mix.wkv.kept.exponent": ("", "decay")},
    },
    made_in_step={
        "plain": ("ln1", "ln2", "time_mix.wkv.summands", "after_channel_mix"),
        "stable": ("ln1", "ln2", "time_mix.wkv.last", "time_mix.wkv.maximum", "after_channel_mix"),
    },
    made_in_main=(
        *("time_mix.last", "channel_mix.last", "time_mix.wkv.last", "time_mix.wkv.maximum.last"),
        *MADE_IN_ANY_MAIN,
    ),
    captured={"plain": {"time_mix.wkv.exp_minus_d": "decay"}, "stable": {}},
)
WKV, WKV_OUTPUTS = "GatedWKV", {"plain": ("gated", "wkv.last"), "stable": ("gated", "wkv.last", "wkv.maximum.last")}
WKV_READS: dict[WKVForm, Reads] = {
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
"""For the wkv of a layer's time-mix by itself."""
