"""The whole stateful graph: inputs, what all layers share, the layers, the head, the states.

    input_ids int64 [T], num_logits int64 [1], states   ->   logits float32 [N, V], states

Any T >= 1, from any position. `num_logits` N keeps the last N rows before the head. The same graph comes in two ways
of running over the tokens: by a loop (see `rrwkv_export.graph.recurrence`) and in chunks (`.prefill.rwkv4_chunked`,
`.prefill.rwkv7_chunked`). Graphs of their own have T = 1, N = 1 and no `num_logits`: for a CPU (`.decode_cpu`) and for
accelerators (`.decode_gpu`). One takes states only (`.segment_end`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.decode_cpu.decode import decode
from rrwkv_export.graph.decode_gpu.decode import step
from rrwkv_export.graph.drawings import drawing, in_chunks
from rrwkv_export.graph.information import told_by, told_by_one
from rrwkv_export.graph.layer import Clock, Crossing, layer
from rrwkv_export.graph.names import READ_ONLY, Over, StateLayout, WeightsDtype, WKVForm, is_adaptive, taken_at_end
from rrwkv_export.graph.prefill.medium import adaptive_clock, medium_clock
from rrwkv_export.graph.prefill.rwkv4_chunked import state_of_sums, sums_of_state
from rrwkv_export.graph.recurrence import Loop
from rrwkv_export.graph.segment_end import segment_end
from rrwkv_export.graph.states import Values, join_states, split_states
from rrwkv_export.graph.weights import GraphWeights, Matrices
from rrwkv_export.onnx.scope import LoadArray, Scope

OPSET = 18
IR_VERSION = 10
_DTYPES = {"float32": ir.DataType.FLOAT, "int64": ir.DataType.INT64}


def build(
    config: ModelConfig,
    load: LoadArray,
    wkv: WKVForm,
    dtype: WeightsDtype = "float32",
    over: Over = "loop",
    *,
    half_matmuls: bool = False,
    matrices: Matrices | None = None,
) -> ir.Model:
    """The graph of a model; `load` gives each weight as float32, matrices only when the model is saved.

    over: how it runs over the tokens. half_matmuls: multiply in float16, not only store in it. matrices: those of a
    graph saved before, to share its file.
    """
    scope, w = Scope(), GraphWeights(config, load, dtype, half_matmuls, matrices or {})
    layouts = names.state_layout(config, wkv)
    if over == "segment_end":
        taken = _state_inputs(config, [s for s in layouts if s.name in taken_at_end(config)])
        return _model(config, scope, taken.values(), _state_outputs(layouts, segment_end(scope, w, taken)))
    one_token = over in ("decode_cpu", "decode_gpu")
    ids = _input(names.INPUT_IDS, "int64", [1] if one_token else ["T"])
    num_logits = _input(names.NUM_LOGITS, "int64", [1])
    states = _state_inputs(config, layouts, apart=READ_ONLY if over == "decode_cpu" else ())
    x = w.embedding(scope, scope.op("Unsqueeze", ids, scope.common([1], np.int64, "1"), name="ids"))
    if one_token:
        after = _next_position(scope / "clock", states[names.POSITION])
        told = told_by_one(scope / "clock" / "told", w, ids, states) if is_adaptive(config) else None
        given = (scope, w, wkv, x, states)
        x, changed = decode(*given, told) if over == "decode_cpu" else step(*given, after, told)
        joined = {names.POSITION: after, **(told.states if told else {}), **changed}
    else:
        x, joined = _layers(scope, w, wkv, over, ids, x, states)
    head = scope / "head"
    logits = _step_logits(w, head, x) if one_token else _logits(w, head, _last_rows(head, x, ids, num_logits))

    outputs = [_output(logits, names.LOGITS, "float32", [1 if one_token else "N", config.vocab_size])]
    outputs += _state_outputs(layouts, joined)
    return _model(config, scope, [ids, *([] if one_token else [num_logits]), *states.values()], outputs)


def _model(config: ModelConfig, scope: Scope, inputs: Iterable[ir.Value], outputs: Iterable[ir.Value]) -> ir.Model:
    graph = ir.Graph(
        list(inputs),
        list(outputs),
        nodes=scope.tape.nodes,
        initializers=scope.tape.initializers,
        opset_imports={"": OPSET},
        name=config.architecture,
    )
    return ir.Model(graph, ir_version=IR_VERSION, producer_name="rrwkv-export")


def _layers(
    scope: Scope,
    w: GraphWeights,
    wkv: WKVForm,
    over: Over,
    ids: ir.Value,
    x: ir.Value,
    states: Values,
) -> tuple[ir.Value, Values]:
    """x [T, 1, C], the embedded tokens, through all layers: x [T, 1, C] and the new values of all states."""
    clock, counted = _clock(scope / "clock", w, ids, states, wkv, over)
    inner, form = scope / "states", wkv
    draw, crossing = drawing(w.config), Crossing()
    as_sums = over == "chunked" and names.WKV in states
    if as_sums:
        states, form = states | {names.WKV: sums_of_state(inner, wkv, states[names.WKV])}, "plain"
    layers = split_states(inner, w.config, states, form, clock.recurrence.states_are_rows)
    for index, state in enumerate(layers):
        x = layer(draw, w, scope / f"blocks.{index}", index, x, clock, state, crossing)
    joined = join_states(inner, w.config, layers, names.state_layout(w.config, form))
    if as_sums:
        joined[names.WKV] = state_of_sums(inner, wkv, joined[names.WKV])
    return x, {**counted, **joined}


def _state_inputs(config: ModelConfig, layouts: Sequence[StateLayout], apart: Collection[str] = ()) -> Values:
    """The states' inputs by name; of those in `apart` one for every layer."""
    found: Values = {}
    for layout in layouts:
        if layout.name in apart:
            rows = [names.row_name(layout.name, i) for i in range(config.num_layers)]
            found |= {row: _input(row, layout.dtype, layout.shape[1:]) for row in rows}
        else:
            found[layout.name] = _input(layout.name, layout.dtype, layout.shape)
    return found


def _state_outputs(layouts: Sequence[StateLayout], joined: Mapping[str, ir.Value]) -> list[ir.Value]:
    return [_output(joined[s.name], s.output, s.dtype, s.shape) for s in layouts if s.name in joined]


def _input(name: str, dtype: str, shape: Sequence[int | str]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(_DTYPES[dtype]), shape=ir.Shape(shape))


def _output(value: ir.Value, name: str, dtype: str, shape: Sequence[int | str]) -> ir.Value:
    value.name, value.type, value.shape = name, ir.TensorType(_DTYPES[dtype]), ir.Shape(shape)
    return value


def _clock(
    scope: Scope, w: GraphWeights, ids: ir.Value, states: Values, wkv: WKVForm, over: Over
) -> tuple[Clock, Values]:
    """What all layers share, and the position after the run; with it the others that are counted."""
    config, position = w.config, states[names.POSITION]
    T, one = scope.op("Shape", ids, name="T"), scope.common([1], np.int64, "1")
    count = scope.op("Squeeze", T, name="count")
    shift_sizes = scope.op("Concat", T, one, name="shift_sizes", axis=0)
    medium, counted = None, {names.POSITION: scope.op("Add", position, count, name="position_after")}
    if config.medium and config.medium.adaptive:
        told, I = told_by(scope / "told", w, ids, states), states[names.MEDIUM_INFORMATION]
        medium = adaptive_clock(scope / "medium", config.medium, told, I, T, count)
        counted |= told.states
    elif config.medium:
        medium = medium_clock(scope / "medium", config.medium, position, T, count)
    recurrence = Loop() if over == "loop" else in_chunks(config)(scope / "wkv", config, T, wkv)
    return Clock(recurrence, shift_sizes, medium), counted


def _next_position(scope: Scope, position: ir.Value) -> ir.Value:
    return scope.op("Add", position, scope.common(1, np.int64, "scalar_1"), name="position_after")


def _last_rows(scope: Scope, x: ir.Value, ids: ir.Value, num_logits: ir.Value) -> ir.Value:
    """The last N rows of x [T, 1, C].

    A Split accepts the sizes [T - N, N - 1, 1] exactly when 1 <= N <= T, so a wrong N is an error and not a guess.
    """
    one = scope.common([1], np.int64, "1")
    dropped = scope.op("Sub", scope.op("Shape", ids, name="T"), num_logits, name="dropped")
    sizes = scope.op("Concat", dropped, scope.op("Sub", num_logits, one, name="earlier"), one, name="sizes", axis=0)
    _, earlier, last = scope.ops("Split", x, sizes, names=["rows_dropped", "rows_earlier", "rows_last"], axis=0)
    return scope.op("Concat", earlier, last, name="rows", axis=0)


def _logits(w: GraphWeights, scope: Scope, rows: ir.Value) -> ir.Value:
    """Logits [N, V] of rows [N, 1, C]."""
    logits = w.matmul(scope, w.norm(scope, rows, "ln_out", name="ln_out"), "head.weight", name="head")
    return scope.op("Reshape", logits, scope.const([-1, w.config.vocab_size], np.int64, "shape"), name="flat")


def _step_logits(w: GraphWeights, scope: Scope, row: ir.Value) -> ir.Value:
    """Logits [1, V] of a row [1, 1, C].

    Flattened first: onnxruntime would fuse a norm that follows a sum, and round the fused one in another way.
    """
    flat = scope.op("Reshape", row, scope.const([-1, w.config.hidden_size], np.int64, "shape"), name="flat")
    return w.matmul(scope, w.norm(scope, flat, "ln_out", name="ln_out"), "head.weight", name="head")
