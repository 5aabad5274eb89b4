"""The model in fixed shapes for engines of phones: exactly T tokens, 1 or a whole segment of s from a segment's start.

No control flow, no int64, no Split into more than three, no Concat of more than two; Where is arithmetic. What an
engine cannot work out without whole numbers, the runtime gives it as float inputs, which the manifest describes (see
`parts`). States go in and out in parts, one for each layer and kind: each is a contiguous piece of a state, so a
runtime binds it in place, no node takes states apart, and each part has a range of its own when it is quantized.

    input_ids int32 [1, T], parts of states, visible, ended   ->   logits float32 [1, T, V], parts

Sequences are [1, T, C]; the mixes of a block are made two or three at once, as [roles, T, C]. What time-mix and
channel-mix make of them is drawn in a module for each generation (see `drawings`), without any value that a float16
does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph import names
from rrwkv_export.graph.build import IR_VERSION, OPSET
from rrwkv_export.graph.fixed_shape.drawings import fixed_drawing
from rrwkv_export.graph.fixed_shape.making import FixedDrawing, Making
from rrwkv_export.graph.fixed_shape.medium import retrospect
from rrwkv_export.graph.fixed_shape.parts import derived_inputs, state_parts
from rrwkv_export.graph.names import WeightsDtype
from rrwkv_export.graph.weights import GraphWeights, Matrices
from rrwkv_export.onnx.scope import LoadArray, Scope

_MOST_MIXES = 3  # of one Split


def build_fixed_shape(
    config: ModelConfig,
    load: LoadArray,
    tokens: int,
    dtype: WeightsDtype = "float32",
    *,
    matrices: Matrices | None = None,
) -> ir.Model:
    """The graph for exactly so many tokens: 1, or the medium interval. matrices: as for `build`."""
    scope, w = Scope(), GraphWeights(config, load, dtype, False, matrices or {})
    specs = state_parts(config, tokens)
    ids = _value(names.INPUT_IDS, ir.DataType.INT32, [1, tokens])
    parts = {part.input: _value(part.input, ir.DataType.FLOAT, part.shape) for part in specs}
    derived = {one.input: _value(one.input, ir.DataType.FLOAT, one.shape) for one in derived_inputs(config, tokens)}
    making, draw = Making(config, w, scope, tokens, {**parts, **derived}), fixed_drawing(config)

    x = w.embedding(scope, ids)
    for index in range(config.num_layers):
        x = _layer(making, draw, index, x)
    head = scope / "head"
    logits = w.matmul(head, w.norm(head, x, "ln_out", name="ln_out"), "head.weight", name="head")
    outputs = [_named(logits, names.LOGITS, [1, tokens, config.vocab_size])]
    outputs += [_named(making.after[part.input], part.output, part.shape) for part in specs]
    inputs = [ids, *parts.values(), *derived.values()]
    made = ir.Graph(
        inputs,
        outputs,
        nodes=scope.tape.nodes,
        initializers=scope.tape.initializers,
        opset_imports={"": OPSET},
        name=f"{config.architecture}-{tokens}",
    )
    return ir.Model(made, ir_version=IR_VERSION, producer_name="rrwkv-export")


def _value(name: str, dtype: ir.DataType, shape: Sequence[int]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def _named(value: ir.Value, name: str, shape: Sequence[int]) -> ir.Value:
    value.name, value.type, value.shape = name, ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    return value


def _layer(m: Making, draw: FixedDrawing, index: int, x: ir.Value) -> ir.Value:
    """x [1, T, C] to x [1, T, C]."""
    block, scope = f"blocks.{index}", m.scope / f"blocks.{index}"
    h, inner = m.w.norm(scope, x, f"{block}.ln1", name="ln1"), scope / "time_mix"
    M = retrospect(m, m.config.medium, scope / "medium", index, h) if m.config.medium else None
    mixed = draw.time_mix(m, inner, index, list(_mixes(m, inner, index, 0, h, M)))
    x = scope.op("Add", x, mixed, name="after_time_mix")
    h, inner = m.w.norm(scope, x, f"{block}.ln2", name="ln2"), scope / "channel_mix"
    mixed = draw.channel_mix(m, inner, index, list(_mixes(m, inner, index, 1, h, M)))
    return scope.op("Add", x, mixed, name="after_channel_mix")


def _mixes(m: Making, scope: Scope, index: int, part: int, h: ir.Value, M: ir.Value | None) -> Iterator[ir.Value]:
    """mix(q) = h ⊙ a + h' ⊙ b + M ⊙ c for every q of a block: [1, T, C] each."""
    block = f"blocks.{index}.{('att', 'ffn')[part]}"
    letters, h_prev = m.w.letters(block), _shifted(m, scope, f"{names.SHIFT}.{index}.{part}", h)
    for start in range(0, len(letters), _MOST_MIXES):
        some, of = letters[start : start + _MOST_MIXES], f"_{start}" if start else ""
        a, b, c = m.w.mix(block, some)
        now, before = _scaled(scope, h, a, f"now{of}"), _scaled(scope, h_prev, b, f"before{of}")
        mixed = scope.op("Add", now, before, name=f"mix{of}")
        if M is not None and c is not None:
            mixed = scope.op("Add", mixed, _scaled(scope, M, c, f"recalled{of}"), name=f"mix_with_medium{of}")
        if len(some) == 1:
            yield mixed
        else:  # Not by Slice: of one token, Qualcomm's HTP then multiplies the first one by every matrix.
            yield from scope.ops("Split", mixed, names=[f"mix_{q}" for q in some], axis=0, num_outputs=len(some))


def _scaled(scope: Scope, x: ir.Value, weight: np.ndarray, name: str) -> ir.Value:
    return scope.op("Mul", x, scope.const(weight[:, None, :], np.float32, f"{name}.weight"), name=name)


def _shifted(m: Making, scope: Scope, part: str, h: ir.Value) -> ir.Value:
    """h' [1, T, C]; the last row of h is carried on."""
    if m.T == 1:
        m.after[part] = h
        return m.before[part]
    m.after[part] = m.last(scope, h, "last")
    rest = scope.slice(h, 0, m.T - 1, 1, name="all_but_last")
    return scope.op("Concat", m.before[part], rest, name="previous", axis=1)
