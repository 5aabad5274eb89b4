"""What every float value of the graphs in fixed shapes was seen to be, over real text with its state carried on.

An engine that computes in integers needs a range for each value, not for the products' inputs alone. The graphs find
the extremes themselves (ReduceMin, ReduceMax), so that little leaves them. Most of the text is given in whole segments;
some segments token by token, for what only the one-token graph has. A value of the same name in both, and a state on
its way in and out, has one range: so a state is carried on from either graph to either without another rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from rrwkv_export.errors import RecipeError
from rrwkv_runtime.bundle.fixed_shape import FixedShape
from rrwkv_runtime.manifest import Manifest

Array = np.ndarray[Any, np.dtype[Any]]
Range = tuple[float, float]
TOKENS = 8192
_STEPS_EVERY = 16  # segments
# 16 bits are enough for some room above what was seen, and a value beyond its range costs more than a coarser step.
_MARGIN = 1.25
# Operators whose output onnxruntime's quantizer gives its input's grid.
_MOVING = frozenset({"Slice", "Split", "Transpose"})
# exp(-16) is half a step of 16 bits.
_USED_EXPONENT = -16.0


def observe_fixed_shape(
    models: Mapping[str, onnx.ModelProto],
    manifest: Manifest,
    passages: Sequence[Array],
    *,
    tokens: int = TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Range]:
    """(low, high), low <= 0 <= high, of every float value by name.

    models: the graphs in fixed shapes by name, weights in memory, shapes inferred. passages: int64 [n] each; the first
    `tokens` of them all are observed. Raises RecipeError for a text too short and for values that are not finite.
    """
    ids = np.concatenate([np.asarray(p) for p in passages])[:tokens]
    seen = [_Observed(models[name], shape) for name, shape in _shapes(manifest, models)]
    widest, step = seen[0], seen[-1]
    state = {spec.input: spec.initial() for spec in manifest.states}
    segments = len(ids) // widest.shape.tokens
    if segments < 3:
        raise RecipeError(
            f"the calibration text is too short for the graphs in fixed shapes; give {3 * widest.shape.tokens} tokens"
        )
    place = 0
    for segment in range(segments):
        in_steps = segment % _STEPS_EVERY == 1
        while place < (segment + 1) * widest.shape.tokens:
            graph = step if in_steps else widest
            # What stands for "nothing yet" in the first state is no value that would ever be computed.
            graph.run(ids[place : place + graph.shape.tokens], state, place, counted=segment > 0)
            place += graph.shape.tokens
        if progress:
            progress(place, segments * widest.shape.tokens)
    ranges = _together(seen)
    _require_finite(ranges)
    for one in seen:
        _bound_exponents(one.model, ranges)
        _bound_masked(one.model, ranges)
        for derived in one.shape.derived:
            ends = derived.otherwise, derived.then
            ranges[derived.input] = min(0.0, *ends), max(0.0, *ends)
    _share(ranges, [pair for one in seen for pair in one.same_numbers()])
    return ranges


def load_fixed_shape(bundle: Path, manifest: Manifest) -> dict[str, onnx.ModelProto]:
    """The bundle's graphs in fixed shapes with weights in memory and shapes inferred, the one of most tokens first."""
    found = {}
    for name, shape in _shapes(manifest, manifest.graphs):
        assert shape.tokens
        model = onnx.load(str(bundle / manifest.graphs[name].file), load_external_data=False)
        onnx.external_data_helper.load_external_data_for_model(model, str(bundle))
        found[name] = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return found


def _shapes(manifest: Manifest, names: Mapping[str, object]) -> list[tuple[str, FixedShape]]:
    shapes = [(name, manifest.graphs[name].fixed_shape) for name in names]
    found = [(name, shape) for name, shape in shapes if shape]
    return sorted(found, key=lambda item: -item[1].tokens)


class _Observed:
    """A graph that runs and keeps the extremes of its values."""

    def __init__(self, model: onnx.ModelProto, shape: FixedShape) -> None:
        import onnxruntime as ort

        self.model, self.shape = model, shape
        graph = model.graph
        weights = {tensor.name for tensor in graph.initializer}
        values = [v for v in (*graph.input, *graph.value_info, *graph.output) if v.name not in weights]
        self.names = [v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT]
        self.low, self.high = (np.zeros(len(self.names), np.float32) for _ in range(2))
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors come back as exceptions
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # it would merge values
        self._session = ort.InferenceSession(self._with_extremes().SerializeToString(), options)
        self._outputs = [part.output for part in shape.parts] + [f"{n}:{w}" for w in ("Min", "Max") for n in self.names]

    def _with_extremes(self) -> onnx.ModelProto:
        made = onnx.ModelProto()
        made.CopyFrom(self.model)
        for which in ("Min", "Max"):
            for name in self.names:
                out = f"{name}:{which}"
                made.graph.node.append(helper.make_node(f"Reduce{which}", [name], [out], keepdims=0))
                made.graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, []))
        return made

    def same_numbers(self) -> list[tuple[str, str]]:
        """Values that hold the same numbers: a state coming and going, and what is only moved."""
        moved = [n for n in self.model.graph.node if n.op_type in _MOVING and n.input[0] in self.names]
        states = [(part.input, part.output) for part in self.shape.parts]
        return states + [(node.input[0], output) for node in moved for output in node.output]

    def run(self, ids: Array, state: dict[str, Array], position: int, counted: bool) -> None:
        """Run tokens of the text, and carry the state on in place."""
        feed: dict[str, Array] = {"input_ids": np.asarray(ids, np.int32)[None]}
        feed |= {one.input: one.at(position) for one in self.shape.derived}
        places = [slice(part.offset, part.offset + prod(part.shape)) for part in self.shape.parts]
        for part, place in zip(self.shape.parts, places):
            feed[part.input] = state[part.state].reshape(-1)[place].reshape(part.shape)
        values = self._session.run(self._outputs, feed)
        for part, place, value in zip(self.shape.parts, places, values):
            state[part.state].reshape(-1)[place] = value.ravel()
        if counted:
            low, high = np.array(values[len(places) :], np.float32).reshape(2, -1)
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)


def _together(seen: Sequence[_Observed]) -> dict[str, Range]:
    ranges: dict[str, Range] = {}
    for one in seen:
        for name, low, high in zip(one.names, one.low.tolist(), one.high.tolist()):
            before = ranges.get(name, (0.0, 0.0))
            ranges[name] = min(before[0], _MARGIN * low), max(before[1], _MARGIN * high)
    return ranges


def _share(ranges: dict[str, Range], pairs: Sequence[tuple[str, str]]) -> None:
    """One range for all values that the pairs join, the widest of them."""
    joined = {name: {name} for name in ranges}
    for a, b in pairs:
        if joined[a] is not joined[b]:
            joined[a] |= joined[b]
            for name in joined[b]:
                joined[name] = joined[a]
    for names in {id(group): group for group in joined.values()}.values():
        lows, highs = zip(*(ranges[name] for name in names))
        ranges.update(dict.fromkeys(names, (min(lows), max(highs))))


def _require_finite(ranges: Mapping[str, Range]) -> None:
    for name, ends in ranges.items():
        if not np.isfinite(ends).all():
            remedy = "`rrwkv verify BUNDLE --against CHECKPOINT` says more"
            raise RecipeError(f"{name}: a value is not finite in the float model; {remedy}")


def _bound_exponents(model: onnx.ModelProto, ranges: dict[str, Range]) -> None:
    """No exponent of the recurrence is over 0, nor does it matter how far one is below the last that is not nothing."""
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        bounded = makers.get(node.input[0]) if node.op_type == "Exp" else None
        if bounded is not None and bounded.op_type == "Max":
            for name in (bounded.output[0], bounded.input[0]):
                ranges[name] = _USED_EXPONENT, 0.0


def _bound_masked(model: onnx.ModelProto, ranges: dict[str, Range]) -> None:
    """A product that is only read through masks of 0 and 1 needs the range of what they leave of it."""
    factors = {name for node in model.graph.node if node.op_type == "Mul" for name in node.input}
    masks = {t.name for t in model.graph.initializer if t.name in factors and _is_mask(t)}
    products = {node.output[0] for node in model.graph.node if node.op_type == "MatMul"}
    for product in products:
        readers = [node for node in model.graph.node if product in node.input]
        if readers and all(node.op_type == "Mul" and masks & set(node.input) for node in readers):
            lows, highs = zip(*(ranges[node.output[0]] for node in readers))
            ranges[product] = min(lows), max(highs)


def _is_mask(tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT or prod(tensor.dims) < 2:
        return False
    return set(np.unique(onnx.numpy_helper.to_array(tensor)).tolist()) == {0.0, 1.0}
