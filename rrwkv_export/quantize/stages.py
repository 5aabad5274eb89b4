"""What becomes of the matrices, stage by stage: scales moved, weights rounded in blocks, or with ranges for pairs.

All is observed in the float model, in as few passes over the text as memory allows: second moments for GPTQ take as
much as the weights themselves, and each pass keeps some of them beside what else it is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rrwkv_export.architectures.linears import Site
from rrwkv_export.errors import RecipeError
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.equalize import SIGNED_ROLES, UNIT_ROLES, Seen, best_exponent, fold, scales, turned
from rrwkv_export.quantize.observe.moments import moment_bytes
from rrwkv_export.quantize.observe.observe import Observation
from rrwkv_export.quantize.observe.ranges import range_of
from rrwkv_export.quantize.parallel import side_by_side
from rrwkv_export.quantize.recipe import Choice, Types
from rrwkv_export.quantize.rewrite.rewrite import Ranges, Rewriter
from rrwkv_export.quantize.round.rounding import GRIDS, Blocks, gptq, gptq_by_output, nearest
from rrwkv_runtime.execution.cores import usable

Array = np.ndarray[Any, np.dtype[Any]]
Choices = Mapping[Site, Choice]
Folds = list[tuple[Site, Array]]
"""Sites and the scales moved into their matrices, in the order in which they were."""
_MOMENTS, _ROUNDING = 0.25, 0.5  # of the weights' bytes: moments kept at once; matrices rounded side by side
_LEAST = 64 * 2**20  # bytes; so much of either is allowed however small the model is
_OUTPUTS = 8 * 1024  # floats for each input of a matrix that is rounded, besides three of its moments


class Observe(Protocol):
    """A pass over the text: observations of what the sites read, by its name; `what` is what a progress bar says."""

    def __call__(
        self,
        wanted: Sequence[Site],
        what: str,
        *,
        moments: Sequence[str] = (),
        channels: bool = False,
        histograms: bool = False,
        divisors: Mapping[str, Array] | None = None,
    ) -> dict[str, Observation]: ...


def equalize(
    graph: Rewriter, equalized: Sequence[Site], choices: Choices, seen: Mapping[str, Observation], types: Types
) -> tuple[dict[str, list[float]], dict[int, Array], Folds]:
    """Fold scales into the graph: their exponents by role, layer after layer; A's units [C] by layer, in log 2; all."""
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
    folds: Folds = []
    for site in equalized:
        observed = seen.get(graph.input_of(site))
        if observed is None or not observed.rows:
            continue
        choice, W = choices[site], graph.array(site.weight)
        what = Seen(observed.low, observed.high, observed.square)
        unit = site.role in UNIT_ROLES
        exponent = choice.equalize
        if exponent == "search":
            exponent = best_exponent(W, what, choice.weights, choice.inputs != "float", choice.block, unit)
        s = scales(W, what, exponent, unit)
        if choice.kind == "static" and site.role in SIGNED_ROLES and not types.symmetric_inputs:
            s = turned(W, what, s)
        fold(graph, site, s)
        folds.append((site, s))
        exponents.setdefault(site.role, []).append(round(float(exponent), 3))
        if unit and site.layer is not None:
            units[site.layer] = np.rint(4 * np.log2(s)) / 4
    return exponents, units, folds


@dataclass
class ByGPTQ:
    """Sites whose weights GPTQ rounds, some after each pass over the text.

    weights: bytes of the whole model, in float32. floats: those of static products are left as floats, at the levels
    that were found, for others to round them.
    """

    graph: Rewriter
    left: Sequence[Site]
    choices: Choices
    types: Types
    weights: int
    floats: bool = False
    progress: Progress | None = None
    divisors: Mapping[str, Array] = field(default_factory=dict)

    def next(self) -> Sequence[Site]:
        """Those whose second moments the next pass keeps: one at least, unless none is left."""
        total = 0
        for count, site in enumerate(self.left):
            total += moment_bytes(site.inputs)
            if total > max(_MOMENTS * self.weights, _LEAST) and count:
                return self.left[:count]
        return self.left

    def round(self, sites: Sequence[Site], seen: Mapping[str, Observation]) -> None:
        """The next ones, with what a pass has seen."""
        rounded = side_by_side(lambda one: self._rounded(*one), self._wanted(sites, seen), self._at_once(sites))
        for done, (site, found) in enumerate(zip(sites, rounded)):
            if isinstance(found, Blocks):
                self.graph.blocks(site, found, self.choices[site].compute)
            elif self.floats:
                self.graph.set_array(site.weight, found)
            else:
                self.graph.by_output(site, found, self.types)
            if self.progress:
                self.progress("rounding", done + 1, len(sites))
        self.left = self.left[len(sites) :]

    def _wanted(
        self, sites: Sequence[Site], seen: Mapping[str, Observation]
    ) -> Iterator[tuple[Array, Choice, Observation | None]]:
        for site in sites:
            name = self.graph.input_of(site)
            observed = seen.get(name)
            if observed:
                observed.divisor = self.divisors.get(name)
            yield self.graph.array(site.weight), self.choices[site], observed

    def _at_once(self, sites: Sequence[Site]) -> int:
        largest = max((site.inputs for site in sites), default=1)
        each = 4 * largest * (3 * largest + _OUTPUTS)
        return max(1, min(int(max(_ROUNDING * self.weights, _LEAST) / each), usable() + 1))

    def _rounded(self, W: Array, choice: Choice, observed: Observation | None) -> Blocks | Array:
        moments = observed.moments if observed and observed.rows else None
        if choice.kind != "blocks":
            grid = GRIDS[self.types.weights, self.types.reduce_range]
            return W if moments is None else gptq_by_output(W, moments, grid)
        if moments is None:
            return nearest(W, choice.weights, choice.block)
        return gptq(W, moments, choice.weights, choice.block)


def round_to_nearest(graph: Rewriter, sites: Sequence[Site], choices: Choices) -> None:
    """Those of the sites whose weights are to be in blocks, each on its own."""
    for site in sites:
        if choices[site].kind == "blocks" and choices[site].rounding == "nearest":
            rounded = nearest(graph.array(site.weight), choices[site].weights, choices[site].block)
            graph.blocks(site, rounded, choices[site].compute)


def inputs(graph: Rewriter, wanted: Sequence[Site]) -> list[str]:
    """The names of what they read."""
    return sorted({graph.input_of(site) for site in wanted})


def ranges_of(
    graph: Rewriter, static: Sequence[Site], choices: Choices, seen: Mapping[str, Observation], types: Types
) -> Ranges:
    """The ranges of the static sites' inputs. Raises RecipeError for a site that the text never reached."""
    found = {}
    bits = 16 if types.inputs == "uint16" else 8
    for site in static:
        name, choice = graph.input_of(site), choices[site]
        observed = seen.get(name)
        if observed is None or not observed.rows:
            raise RecipeError(
                f'calibration never reached {site.name} (no medium was made?); give a longer text, or inputs = "float"'
            )
        found[name] = range_of(
            observed.histogram,
            choice.range,
            bits=bits,
            symmetric=types.symmetric_inputs,
            percentile=choice.percentile,
        )
    return found
