"""What the end of a segment brings, beside the graph that decodes: new mediums from the segment's sums.

    medium_sum, medium_weight, medium_bank, medium_key   ->   the same four, whole, as the next segment begins with them

It takes no tokens: the runtime runs it after the token that ends a segment, which itself reads the mediums before. All
layers are one array wherever they can be, so that only the three products are nodes of each layer's own. The values
are those of the main graph to the last bit.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from rrwkv_export.graph import names
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope

_END = 2**62


def segment_end(scope: Scope, w: GraphWeights, states: Values) -> Values:
    """The new values of names.MADE_AT_END: S and G are 0, the newest medium and its key are last, the oldest gone."""
    inner = scope / "mediums"
    S, G = states[names.MEDIUM_SUM], states[names.MEDIUM_WEIGHT]
    z = inner.op("Div", S, G, name="squeeze")
    down = inner.op("Relu", _products(scope, w, z, "squeeze", "down"), name="relu")
    gate = inner.op("Sigmoid", _products(scope, w, down, "relu", "up"), name="gate")
    m = inner.op("Mul", gate, z, name="excite")
    key = _products(scope, w, m, "excite", "key")
    return {
        names.MEDIUM_SUM: _zeros(inner, [w.config.num_layers, 1, w.config.hidden_size], "S"),
        names.MEDIUM_WEIGHT: _zeros(inner, [w.config.num_layers, 1, 1], "G"),
        names.MEDIUM_BANK: _pushed(inner, states[names.MEDIUM_BANK], m, "bank"),
        names.MEDIUM_KEY: _pushed(inner, states[names.MEDIUM_KEY], key, "bank_keys"),
    }


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
