"""What becomes of the matrices, stage by stage: scales moved, weights rounded in blocks, or with ranges for pairs.

All is observed in the float model, in as few passes over the text as memory allows: second moments for GPTQ take as
much as the weights themselves, and each pass keeps some of them beside what else it is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Linear, folds
from rrwkv_export.errors import RecipeError
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.equalize import Seen, best_exponent, fold, scales, turned
from rrwkv_export.quantize.observe.moments import moment_bytes
from rrwkv_export.quantize.observe.observe import Observation
from rrwkv_export.quantize.observe.ranges import range_of
from rrwkv_export.quantize.parallel import side_by_side
from rrwkv_export.quantize.recipe import Types, WeightSpec
from rrwkv_export.quantize.rewrite.rewrite import Ranges, Rewriter
from rrwkv_export.quantize.round.rounding import GRIDS, Blocks, gptq, gptq_by_output, nearest
from rrwkv_runtime.execution.cores import usable

Array = np.ndarray[Any, np.dtype[Any]]
Choices = Mapping[Linear, WeightSpec]
Folds = list[tuple[Linear, Array]]
"""Linears and the scales moved into their matrices, in the order in which they were."""
_MOMENTS, _ROUNDING = 0.25, 0.5  # of the weights' bytes: moments kept at once; matrices rounded side by side
_LEAST = 64 * 2**20  # bytes; so much of either is allowed however small the model is
_OUTPUTS = 8 * 1024  # floats for each input of a matrix that is rounded, besides three of its moments


class Observe(Protocol):
    """A pass over the text: observations of what the linears read, by its name; `what` is what a progress bar says."""

    def __call__(
        self,
        wanted: Sequence[Linear],
        what: str,
        *,
        moments: Sequence[str] = (),
        channels: bool = False,
        histograms: bool = False,
        divisors: Mapping[str, Array] | None = None,
    ) -> dict[str, Observation]: ...


def equalize(
    graph: Rewriter,
    config: ModelConfig,
    equalized: Sequence[Linear],
    choices: Choices,
    seen: Mapping[str, Observation],
    types: Types,
) -> tuple[dict[str, list[float]], dict[int, Array], Folds]:
    """Fold scales into the graph: their exponents by role, layer after layer; A's units [C] by layer, in log 2; all."""
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
    moved: Folds = []
    for linear in equalized:
        observed = seen.get(graph.input_of(linear))
        if observed is None or not observed.rows:
            continue
        choice, W = choices[linear], graph.array(linear.weight)
        what = Seen(observed.low, observed.high, observed.square)
        how = folds(config)[linear.role]
        exponent = choice.equalize
        if exponent == "search":
            exponent = best_exponent(W, what, choice.weights, choice.inputs != "float", choice.block, how.unit)
        s = scales(W, what, exponent, how.unit)
        if choice.kind == "static" and how.signed and not types.symmetric_inputs:
            s = turned(W, what, s)
        fold(graph, config, linear, s)
        moved.append((linear, s))
        exponents.setdefault(linear.role, []).append(round(float(exponent), 3))
        if how.unit and linear.layer is not None:
            units[linear.layer] = np.rint(4 * np.log2(s)) / 4
    return exponents, units, moved


@dataclass
class ByGPTQ:
    """Linears whose weights GPTQ rounds, some after each pass over the text.

    weights: bytes of the whole model, in float32. floats: those of static products are left as floats, at the levels
    that were found, for others to round them.
    """

    graph: Rewriter
    left: Sequence[Linear]
    choices: Choices
    types: Types
    weights: int
    floats: bool = False
    progress: Progress | None = None
    divisors: Mapping[str, Array] = field(default_factory=dict)

    def next(self) -> Sequence[Linear]:
        """Those whose second moments the next pass keeps: one at least, unless none is left."""
        total = 0
        for count, linear in enumerate(self.left):
            total += moment_bytes(linear.inputs)
            if total > max(_MOMENTS * self.weights, _LEAST) and count:
                return self.left[:count]
        return self.left

    def round(self, linears: Sequence[Linear], seen: Mapping[str, Observation]) -> None:
        """The next ones, with what a pass has seen."""
        rounded = side_by_side(lambda one: self._rounded(*one), self._wanted(linears, seen), self._at_once(linears))
        for done, (linear, found) in enumerate(zip(linears, rounded)):
            if isinstance(found, Blocks):
                self.graph.blocks(linear, found, self.choices[linear].compute)
            elif self.floats:
                self.graph.set_array(linear.weight, found)
            else:
                self.graph.by_output(linear, found, self.types)
            if self.progress:
                self.progress("rounding", done + 1, len(linears))
        self.left = self.left[len(linears) :]

    def _wanted(
        self, linears: Sequence[Linear], seen: Mapping[str, Observation]
    ) -> Iterator[tuple[Array, WeightSpec, Observation | None]]:
        for linear in linears:
            name = self.graph.input_of(linear)
            observed = seen.get(name)
            if observed:
                observed.divisor = self.divisors.get(name)
            yield self.graph.array(linear.weight), self.choices[linear], observed

    def _at_once(self, linears: Sequence[Linear]) -> int:
        largest = max((linear.inputs for linear in linears), default=1)
        each = 4 * largest * (3 * largest + _OUTPUTS)
        return max(1, min(int(max(_ROUNDING * self.weights, _LEAST) / each), usable() + 1))

    def _rounded(self, W: Array, choice: WeightSpec, observed: Observation | None) -> Blocks | Array:
        moments = observed.moments if observed and observed.rows else None
        if choice.kind != "blocks":
            grid = GRIDS[self.types.weights, self.types.reduce_range]
            return W if moments is None else gptq_by_output(W, moments, grid)
        if moments is None:
            return nearest(W, choice.weights, choice.block)
        return gptq(W, moments, choice.weights, choice.block)


def round_to_nearest(graph: Rewriter, linears: Sequence[Linear], choices: Choices) -> None:
    """Those of the linears whose weights are to be in blocks, each on its own."""
    for linear in linears:
        if choices[linear].kind == "blocks" and choices[linear].rounding == "nearest":
            rounded = nearest(graph.array(linear.weight), choices[linear].weights, choices[linear].block)
            graph.blocks(linear, rounded, choices[linear].compute)


def inputs(graph: Rewriter, wanted: Sequence[Linear]) -> list[str]:
    """The names of what they read."""
    return sorted({graph.input_of(linear) for linear in wanted})


def ranges_of(
    graph: Rewriter, static: Sequence[Linear], choices: Choices, seen: Mapping[str, Observation], types: Types
) -> Ranges:
    """The ranges of the static linears' inputs. Raises RecipeError for a linear that the text never reached."""
    found = {}
    bits = 16 if types.inputs == "uint16" else 8
    for linear in static:
        name, choice = graph.input_of(linear), choices[linear]
        observed = seen.get(name)
        if observed is None or not observed.rows:
            raise RecipeError(
                f"calibration never reached {linear.name} (no medium was made?); give a longer text, "
                'or inputs = "float"'
            )
        found[name] = range_of(
            observed.histogram,
            choice.range,
            bits=bits,
            symmetric=types.symmetric_inputs,
            percentile=choice.percentile,
        )
    return found
