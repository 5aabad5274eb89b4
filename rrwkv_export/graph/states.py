"""States enter and leave packed over layers; here they are split for the layers and joined again, once a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

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
    L, C, medium = config.num_layers, config.hidden_size, config.medium
    shift = _split(scope, "shift", states[names.SHIFT], [2 * L, 1, C], [1] * (2 * L))
    if names.WKV in states:
        recurrent = _split_wkv(scope, config, states[names.WKV], wkv, wkv_rows)
    else:
        recurrent = split_matrices(scope, config, states[names.MATRIX])
    layers = [LayerState(shift[2 * i : 2 * i + 2], parts) for i, parts in enumerate(recurrent)]
    if medium:
        K, R = medium.slots, medium.key_size
        opened = scope.op("Concat", states[names.MEDIUM_SUM], states[names.MEDIUM_WEIGHT], name="S_and_G", axis=2)
        carries = _split(scope, "carry", opened, [L, 1, C + 1], [1] * L)
        banks = _split(scope, "bank", states[names.MEDIUM_BANK], [L * K, C], [K] * L)
        keys = _split(scope, "key", states[names.MEDIUM_KEY], [L * K, R], [K] * L)
        for state, carry, bank, key in zip(layers, carries, banks, keys):
            state.medium = MediumState(carry, bank, key)
    return layers


def _split_wkv(scope: Scope, config: ModelConfig, wkv: ir.Value, form: WKVForm, rows: bool) -> list[list[ir.Value]]:
    L, D, parts = config.num_layers, config.attention_width, WKV_PARTS[form]
    shape, axis = ([1, -1, D], 1) if rows else ([-1, D], 0)
    values, n = _split(scope, "wkv", wkv, shape, parts * L, axis), len(parts)
    return [values[n * i : n * (i + 1)] for i in range(L)]


def split_matrices(scope: Scope, config: ModelConfig, S: ir.Value) -> list[list[ir.Value]]:
    """[H, N, N] of every layer."""
    _, H, N, _ = cast("ir.Shape", S.shape).numpy()
    return [[part] for part in _split(scope, "matrix", S, [-1, N, N], [H] * config.num_layers)]


def joined_matrices(scope: Scope, before: ir.Value, parts: Sequence[ir.Value]) -> ir.Value:
    """[L, H, N, N] again, as before."""
    shape = [int(n) for n in cast("ir.Shape", before.shape).numpy()]
    return _shaped(scope, names.MATRIX, joined_parts(scope, "matrix", parts), shape)


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
    recurrent = [part for state in layers for part in state.recurrent]
    joined = {names.SHIFT: joined_parts(scope, "shift", [part for state in layers for part in state.shift])}
    if any(layout.name == names.WKV for layout in layouts):
        joined[names.WKV] = joined_parts(scope, "wkv", recurrent, axis=-2)
    else:
        joined[names.MATRIX] = joined_parts(scope, "matrix", recurrent)
    if mediums := [state.medium for state in layers if state.medium]:
        opened = joined_parts(scope, "carry", [medium.carry for medium in mediums])
        sizes = scope.common([config.hidden_size, 1], np.int64, "S_and_G")
        joined[names.MEDIUM_SUM], joined[names.MEDIUM_WEIGHT] = scope.ops(
            "Split", opened, sizes, names=["S", "G"], axis=-1
        )
        joined[names.MEDIUM_BANK] = joined_parts(scope, "bank", [medium.bank for medium in mediums])
        joined[names.MEDIUM_KEY] = joined_parts(scope, "key", [medium.key for medium in mediums])
    shapes = {layout.name: layout.shape for layout in layouts}
    return {name: _shaped(scope, name, value, shapes[name]) for name, value in joined.items()}


def joined_parts(scope: Scope, name: str, parts: Sequence[ir.Value], axis: int = 0) -> ir.Value:
    return scope.op("Concat", *parts, name=f"{name}.joined", axis=axis)


def _shaped(scope: Scope, name: str, x: ir.Value, shape: Sequence[int]) -> ir.Value:
    return scope.op("Reshape", x, scope.const(shape, np.int64, f"{name}.out_shape"), name=f"{name}.out")
