"""The whole stateful graph: inputs, what all layers share, the layers, the head, the states.

    input_ids int64 [T], num_logits int64 [1], states   ->   logits float32 [N, V], states

Any T >= 1, from any position. `num_logits` N keeps the last N rows before the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.blocks import Clock, layer
from rrwkv_export.graph.medium import medium_clock
from rrwkv_export.graph.names import WeightsDtype, WKVForm
from rrwkv_export.graph.scope import LoadArray, Scope
from rrwkv_export.graph.states import join_states, split_states
from rrwkv_export.graph.weights import GraphWeights

OPSET = 18
IR_VERSION = 10
_DTYPES = {"float32": ir.DataType.FLOAT, "int64": ir.DataType.INT64}
_WKV_PARTS = {"plain": [2], "stable": [2, 1]}


def build(config: ModelConfig, load: LoadArray, wkv: WKVForm, dtype: WeightsDtype = "float32") -> ir.Model:
    """The graph of a model; `load` gives each weight as float32, matrices only when the model is saved."""
    scope, w = Scope(), GraphWeights(config, load, dtype)
    ids, num_logits = _input(names.INPUT_IDS, "int64", ["T"]), _input(names.NUM_LOGITS, "int64", [1])
    layouts = names.state_layout(config, wkv)
    states = {layout.name: _input(layout.name, layout.dtype, layout.shape) for layout in layouts}

    clock, position = _clock(scope / "clock", config, ids, states[names.POSITION])
    layers = split_states(scope / "states", config, states, _WKV_PARTS[wkv])
    x = w.embedding(scope, scope.op("Unsqueeze", ids, scope.common([1], np.int64, "1"), name="ids"))
    for index, state in enumerate(layers):
        x = layer(w, scope / f"blocks.{index}", index, x, clock, state)
    logits = _head(w, scope / "head", x, ids, num_logits)

    after = {names.POSITION: position, **join_states(scope / "states", config, layers, layouts)}
    outputs = [_output(logits, names.LOGITS, "float32", ["N", config.vocab_size])]
    outputs += [_output(after[layout.name], layout.output, layout.dtype, layout.shape) for layout in layouts]
    graph = ir.Graph(
        [ids, num_logits, *states.values()],
        outputs,
        nodes=scope.tape.nodes,
        initializers=scope.tape.initializers,
        opset_imports={"": OPSET},
        name=config.architecture,
    )
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="rrwkv-export")


def _input(name: str, dtype: str, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(_DTYPES[dtype]), shape=ir.Shape(shape))


def _output(value: ir.Value, name: str, dtype: str, shape: Sequence[int | str]) -> ir.Value:
    value.name, value.type, value.shape = name, ir.TensorType(_DTYPES[dtype]), ir.Shape(shape)
    return value


def _clock(scope: Scope, config: ModelConfig, ids: ir.Value, position: ir.Value) -> tuple[Clock, ir.Value]:
    """What all layers share, and the position after the run."""
    T = scope.op("Shape", ids, name="T")
    count = scope.op("Squeeze", T, name="count")
    shift_sizes = scope.op("Concat", T, scope.common([1], np.int64, "1"), name="shift_sizes", axis=0)
    medium = medium_clock(scope / "medium", config.medium, position, T, count) if config.medium else None
    return Clock(shift_sizes, medium), scope.op("Add", position, count, name="position_after")


def _head(w: GraphWeights, scope: Scope, x: ir.Value, ids: ir.Value, num_logits: ir.Value) -> ir.Value:
    """Logits [N, V] of the last N rows.

    A Split accepts the sizes [T - N, N - 1, 1] exactly when 1 <= N <= T, so a wrong N is an error and not a guess.
    """
    one = scope.common([1], np.int64, "1")
    dropped = scope.op("Sub", scope.op("Shape", ids, name="T"), num_logits, name="dropped")
    sizes = scope.op("Concat", dropped, scope.op("Sub", num_logits, one, name="earlier"), one, name="sizes", axis=0)
    _, earlier, last = scope.ops("Split", x, sizes, names=["rows_dropped", "rows_earlier", "rows_last"], axis=0)
    rows = w.norm(scope, scope.op("Concat", earlier, last, name="rows", axis=0), "ln_out", name="ln_out")
    logits = w.matmul(scope, rows, "head.weight", name="head")
    return scope.op("Reshape", logits, scope.const([-1, w.config.vocab_size], np.int64, "shape"), name="flat")
