"""What the end of a segment brings, beside the graph that decodes: new mediums from the segment's sums.

    medium_sum, medium_weight, medium_bank, medium_key   ->   the same four, whole, as the next segment begins with them

Where the interval is adaptive, medium_information and shift besides, which say what of the last token is the next's.

It takes no tokens: the runtime runs it after the token that ends a segment, which itself reads the mediums before. All
layers are one array wherever they can be, so that only the three products are nodes of each layer's own. The values
are those of the main graph to the last bit.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.mediums import UNIT
from rrwkv_export.graph import names
from rrwkv_export.graph.information import part
from rrwkv_export.graph.prefill.medium import significance, summands
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope

_END = 2**62


def segment_end(scope: Scope, w: GraphWeights, states: Values) -> Values:
    """The new values of names.MADE_AT_END: S and G are 0, but for the rest of a token that two segments share; the
    newest medium and its key are last, the oldest gone.
    """
    inner = scope / "mediums"
    S, G = states[names.MEDIUM_SUM], states[names.MEDIUM_WEIGHT]
    z = inner.op("Div", S, G, name="squeeze")
    down = inner.op("Relu", _products(scope, w, z, "squeeze", "down"), name="relu")
    gate = inner.op("Sigmoid", _products(scope, w, down, "relu", "up"), name="gate")
    m = inner.op("Mul", gate, z, name="excite")
    key = _products(scope, w, m, "excite", "key")
    return {
        **_opened(scope, w, states),
        names.MEDIUM_BANK: _pushed(inner, states[names.MEDIUM_BANK], m, "bank"),
        names.MEDIUM_KEY: _pushed(inner, states[names.MEDIUM_KEY], key, "bank_keys"),
    }


def _opened(scope: Scope, w: GraphWeights, states: Values) -> Values:
    """The new medium_sum and medium_weight."""
    inner, L, C = scope / "mediums", w.config.num_layers, w.config.hidden_size
    if not names.is_adaptive(w.config):
        return {names.MEDIUM_SUM: _zeros(inner, [L, 1, C], "S"), names.MEDIUM_WEIGHT: _zeros(inner, [L, 1, 1], "G")}
    opened = scope / "opened"
    rest = opened.op("Mod", states[names.MEDIUM_INFORMATION], scope.common(UNIT, np.int64, "UNIT"), name="rest")
    significances, shift = [], states[names.SHIFT]
    if "blocks.0.medium.squeeze" in w.shapes:
        h = opened.slice(shift, 0, 1, 1, name="h")
        rows = opened.ops("Split", h, names=[f"h.{i}" for i in range(L)], axis=0, num_outputs=L)
        blocks = [f"blocks.{i}" for i in range(L)]
        significances = [significance(w, scope / block / "opened", block, row) for block, row in zip(blocks, rows)]
    weighted, g = summands(opened, shift, significances, part(opened, rest))
    sizes = scope.const([L, 1, 1], np.int64, "opened.weight_shape")
    return {names.MEDIUM_SUM: weighted, names.MEDIUM_WEIGHT: opened.op("Expand", g, sizes, name="G")}


def _products(scope: Scope, w: GraphWeights, x: ir.Value, read: str, which: str) -> ir.Value:
    """x [L, 1, in], every layer's row times the layer's matrix: [L, 1, out]. read: the main graph's name of a row."""
    blocks = [f"blocks.{i}.medium" for i in range(w.config.num_layers)]
    rows = scope.ops("Split", x, names=[f"{block}.{read}" for block in blocks], axis=0, num_outputs=len(blocks))
    found = [w.matmul(scope / block, row, f"{block}.{which}.weight", name=which) for block, row in zip(blocks, rows)]
    return scope.op("Concat", *found, name=f"mediums.{which}", axis=0)


def _pushed(scope: Scope, held: ir.Value, newest: ir.Value, name: str) -> ir.Value:
    """held [L, K, n] without its first row and with a newest [L, 1, n] as its last."""
    kept = scope.op("Slice", held, *(scope.common([v], np.int64, f"{v}") for v in (1, _END, 1)), name=f"{name}.kept")
    return scope.op("Concat", kept, newest, name=name, axis=1)


def _zeros(scope: Scope, shape: list[int], name: str) -> ir.Value:
    """Whatever was there: a product with 0 is no 0 if it was not finite."""
    return scope.op("ConstantOfShape", scope.const(shape, np.int64, f"{name}.shape"), name=name)
