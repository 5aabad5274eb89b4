"""One token for accelerators: fixed shapes, no control flow, and as few kernels as it takes.

    input_ids int64 [1], states   ->   logits float32 [1, V], states

A GPU takes longer to start a kernel than to run it here, so the nodes of a layer are what decoding costs. Two things
keep them few, whatever the generation; what a generation does besides is said in the module that bears its name:

mixes   x is carried in R equal rows [R, 1, C]. A LayerNorm with a gain for each, g ⊙ a_p, and a bias for each,
        β ⊙ a_p + h' ⊙ b_p, gives what all roles p multiply, but for M.
states  What needs no layer's result is done for all layers at once, before them; what no layer needs, after them.
"""

from __future__ import annotations

import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.decode_gpu.layers import Layers
from rrwkv_export.graph.decode_gpu.medium import Mediums
from rrwkv_export.graph.decode_gpu.mixes import Mixes
from rrwkv_export.graph.drawings import step_layers
from rrwkv_export.graph.information import Told
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope


def step(
    scope: Scope,
    w: GraphWeights,
    wkv: WKVForm,
    x: ir.Value,
    states: Values,
    position_after: ir.Value,
    told: Told | None = None,
) -> tuple[ir.Value, Values]:
    """x [1, 1, C], the embedded token, through all layers: x [1, 1, C] and the new values of all states that are not
    counted. told: by the token, of an adaptive interval.
    """
    drawn = step_layers(w.config)
    mediums = Mediums(scope / "mediums", w, states, position_after, told) if w.config.medium else None
    mixes = Mixes(scope / "mixes", w, states[names.SHIFT], drawn.ROLES)
    layers = drawn(scope, w, wkv, states)
    x = scope.op("Concat", *[x] * mixes.rows, name="rows", axis=0)
    for index in range(w.config.num_layers):
        x = _layer(scope / f"blocks.{index}", index, x, mixes, layers, mediums)
    shift = mixes.shift(scope / "mixes")
    joined = {names.SHIFT: shift, **layers.new(scope)}
    x = scope.slice(x, 0, 1, 0, name="last_x")
    return x, joined | (mediums.new(scope / "mediums", shift) if mediums else {})


def _layer(scope: Scope, index: int, x: ir.Value, mixes: Mixes, layers: Layers, mediums: Mediums | None) -> ir.Value:
    """x [R, 1, C] to x [R, 1, C]."""
    M, inner, mix = None, scope / "time_mix", mixes.of(scope, index, 0, x)
    if mediums:
        M = mediums.recall(scope / "medium", index, inner.slice(mix, 0, 1, 0, name="h"))
        mix = mixes.with_medium(inner, index, 0, inner.slice(mix, 1, mixes.rows, 0, name=layers.ROLES.att), M)
    x = scope.op("Add", x, layers.time_mix(inner, index, mix), name="after_time_mix")

    inner, mix = scope / "channel_mix", mixes.of(scope, index, 1, x)
    if M is not None:
        mix = mixes.with_medium(inner, index, 1, mix, M)
    return scope.op("Add", x, layers.channel_mix(inner, index, mix), name="after_channel_mix")
