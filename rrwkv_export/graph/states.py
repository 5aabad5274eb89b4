"""States enter and leave packed over layers; here they are split for the layers and joined again, once a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.layer import LayerState
from rrwkv_export.graph.names import StateLayout, WKVForm
from rrwkv_export.graph.prefill.medium import MediumState
from rrwkv_export.onnx.scope import Scope

Values = dict[str, ir.Value]
WKV_PARTS = {"plain": [2], "stable": [2, 1]}  # rows of each value that a layer keeps in `wkv`


def split_states(scope: Scope, config: ModelConfig, states: Values, wkv: WKVForm, wkv_rows: bool) -> list[LayerState]:
    """One LayerState a layer. wkv_rows: whether those values keep a leading 1."""
    L, C, D = config.num_layers, config.hidden_size, config.attention_width
    medium, parts = config.medium, WKV_PARTS[wkv]
    shift = _split(scope, "shift", states[names.SHIFT], [2 * L, 1, C], [1] * (2 * L))
    wkv_shape, wkv_axis = ([1, -1, D], 1) if wkv_rows else ([-1, D], 0)
    recurrent = _split(scope, "wkv", states[names.WKV], wkv_shape, parts * L, wkv_axis)
    n = len(parts)
    layers = [LayerState(shift[2 * i : 2 * i + 2], recurrent[n * i : n * (i + 1)]) for i in range(L)]
    if medium:
        K, R = medium.slots, medium.key_size
        opened = scope.op("Concat", states[names.MEDIUM_SUM], states[names.MEDIUM_WEIGHT], name="S_and_G", axis=2)
        carries = _split(scope, "carry", opened, [L, 1, C + 1], [1] * L)
        banks = _split(scope, "bank", states[names.MEDIUM_BANK], [L * K, C], [K] * L)
        keys = _split(scope, "key", states[names.MEDIUM_KEY], [L * K, R], [K] * L)
        for state, carry, bank, key in zip(layers, carries, banks, keys):
            state.medium = MediumState(carry, bank, key)
    return layers


def _split(
    scope: Scope, name: str, x: ir.Value, shape: Sequence[int], sizes: Sequence[int], axis: int = 0
) -> list[ir.Value]:
    flat = scope.op("Reshape", x, scope.const(shape, np.int64, f"{name}.shape"), name=f"{name}.flat")
    parts = [f"{name}.{i}" for i in range(len(sizes))]
    return list(scope.ops("Split", flat, scope.const(sizes, np.int64, f"{name}.sizes"), names=parts, axis=axis))


def join_states(
    scope: Scope, config: ModelConfig, layers: Sequence[LayerState], layouts: Sequence[StateLayout]
) -> Values:
    """The states after the run, by the names of their inputs; the position is not among them."""
    wkv_parts = [part for state in layers for part in state.wkv]
    joined = {
        names.SHIFT: _joined(scope, "shift", [part for state in layers for part in state.shift]),
        names.WKV: _joined(scope, "wkv", wkv_parts, axis=-2),
    }
    if mediums := [state.medium for state in layers if state.medium]:
        opened = _joined(scope, "carry", [medium.carry for medium in mediums])
        sizes = scope.common([config.hidden_size, 1], np.int64, "S_and_G")
        joined[names.MEDIUM_SUM], joined[names.MEDIUM_WEIGHT] = scope.ops(
            "Split", opened, sizes, names=["S", "G"], axis=-1
        )
        joined[names.MEDIUM_BANK] = _joined(scope, "bank", [medium.bank for medium in mediums])
        joined[names.MEDIUM_KEY] = _joined(scope, "key", [medium.key for medium in mediums])
    shapes = {layout.name: layout.shape for layout in layouts}
    return {name: _shaped(scope, name, value, shapes[name]) for name, value in joined.items()}


def _joined(scope: Scope, name: str, parts: Sequence[ir.Value], axis: int = 0) -> ir.Value:
    return scope.op("Concat", *parts, name=f"{name}.joined", axis=axis)


def _shaped(scope: Scope, name: str, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    return scope.op("Reshape", x, scope.const(shape, np.int64, f"{name}.out_shape"), name=f"{name}.out")
