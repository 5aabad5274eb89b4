"""What becomes of the matrices, stage by stage: scales moved, weights rounded in blocks, or with ranges for pairs.

Second moments for GPTQ are observed in passes over the text, each with as many as may be kept at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import Site, folds
from rrwkv_export.errors import RecipeError
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.equalize import Seen, best_exponent, fold, scales, turned
from rrwkv_export.quantize.observe.moments import moment_bytes
from rrwkv_export.quantize.observe.observe import Observation
from rrwkv_export.quantize.observe.ranges import range_of
from rrwkv_export.quantize.parallel import side_by_side
from rrwkv_export.quantize.recipe import Choice, Types
from rrwkv_export.quantize.rewrite.rewrite import Ranges, Rewriter
from rrwkv_export.quantize.round.rounding import GRIDS, Blocks, Grid, gptq, gptq_by_output, nearest

Array = np.ndarray[Any, np.dtype[Any]]
Choices = Mapping[Site, Choice]
Folds = list[tuple[Site, Array]]
"""Sites and the scales moved into their matrices, in the order in which they were."""
_MOMENT_BYTES = 5 * 2**28
_ROUNDED_AT_ONCE = 4  # each takes up to some 200 MB of a model of 430M parameters


class Observe(Protocol):
    """A pass over the text: observations of what the sites read, by its name; `what` is what a progress bar says."""

    def __call__(
        self, graph: Rewriter, wanted: Sequence[Site], what: str, moments: Sequence[str] = (), ranges: bool = True
    ) -> dict[str, Observation]: ...


def equalize(
    graph: Rewriter,
    config: ModelConfig,
    equalized: Sequence[Site],
    choices: Choices,
    seen: Mapping[str, Observation],
    types: Types,
) -> tuple[dict[str, list[float]], dict[int, Array], Folds]:
    """Fold scales into the graph: their exponents by role, layer after layer; A's units [C] by layer, in log 2; all."""
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
    moved: Folds = []
    for site in equalized:
        observed = seen.get(graph.input_of(site))
        if observed is None or not observed.rows:
            continue
        choice, W = choices[site], graph.array(site.weight)
        what = Seen(observed.low, observed.high, observed.square)
        how = folds(config)[site.role]
        exponent = choice.equalize
        if exponent == "search":
            exponent = best_exponent(W, what, choice.weights, choice.inputs != "float", choice.block, how.unit)
        s = scales(W, what, exponent, how.unit)
        if choice.kind == "static" and how.signed and not types.symmetric_inputs:
            s = turned(W, what, s)
        fold(graph, config, site, s)
        moved.append((site, s))
        exponents.setdefault(site.role, []).append(round(float(exponent), 3))
        if how.unit and site.layer is not None:
            units[site.layer] = np.rint(4 * np.log2(s)) / 4
    return exponents, units, moved


def round_to_blocks(
    graph: Rewriter, sites: Sequence[Site], choices: Choices, observed: Observe, progress: Progress | None
) -> None:
    """Those of the sites whose weights are to be in blocks."""
    blocks = [site for site in sites if choices[site].kind == "blocks"]
    for site in blocks:
        if choices[site].rounding == "nearest":
            rounded = nearest(graph.array(site.weight), choices[site].weights, choices[site].block)
            graph.blocks(site, rounded, choices[site].compute)
    left = [site for site in blocks if choices[site].rounding == "gptq"]
    while now := _within(left):
        seen = observed(graph, now, "observing second moments", _inputs(graph, now), False)
        wanted = ((graph.array(site.weight), choices[site], seen.get(graph.input_of(site))) for site in now)
        found = side_by_side(lambda one: _by_gptq(*one), wanted, _ROUNDED_AT_ONCE)
        for site, rounded in zip(_told(now, progress), found):
            graph.blocks(site, rounded, choices[site].compute)
        left = left[len(now) :]


def calibrated(
    graph: Rewriter,
    static: Sequence[Site],
    choices: Choices,
    types: Types,
    observed: Observe,
    progress: Progress | None,
) -> Ranges:
    """The ranges of the static sites' inputs; weights that GPTQ is to round are left at the levels that it found.

    Raises RecipeError for a site that the text never reached.
    """
    left = [site for site in static if choices[site].rounding == "gptq"]
    now = _within(left)
    seen = observed(graph, static, "observing ranges", _inputs(graph, now))
    ranges = _ranges(graph, static, choices, seen, types)
    grid = GRIDS[types.weights, types.reduce_range]
    while now:
        wanted = ((graph.array(site.weight), seen[graph.input_of(site)], grid) for site in now)
        found = side_by_side(lambda one: _by_gptq_by_output(*one), wanted, _ROUNDED_AT_ONCE)
        for site, rounded in zip(_told(now, progress), found):
            graph.set_array(site.weight, rounded)
        left = left[len(now) :]
        if now := _within(left):
            seen = observed(graph, now, "observing second moments", _inputs(graph, now), False)
    return ranges


def _told(now: Sequence[Site], progress: Progress | None) -> Iterator[Site]:
    for index, site in enumerate(now):
        yield site
        if progress:
            progress("rounding", index + 1, len(now))


def _inputs(graph: Rewriter, wanted: Sequence[Site]) -> list[str]:
    return sorted({graph.input_of(site) for site in wanted})


def _within(wanted: Sequence[Site]) -> Sequence[Site]:
    """The first of them whose second moments may be kept at once: one at least."""
    total = 0
    for count, site in enumerate(wanted):
        total += moment_bytes(site.inputs)
        if total > _MOMENT_BYTES and count:
            return wanted[:count]
    return wanted


def _by_gptq(W: Array, choice: Choice, observed: Observation | None) -> Blocks:
    moments = observed.moments if observed and observed.rows else None
    if moments is None:
        return nearest(W, choice.weights, choice.block)
    return gptq(W, moments, choice.weights, choice.block)


def _by_gptq_by_output(W: Array, observed: Observation, grid: Grid) -> Array:
    moments = observed.moments
    return W if moments is None else gptq_by_output(W, moments, grid)


def _ranges(
    graph: Rewriter, static: Sequence[Site], choices: Choices, seen: Mapping[str, Observation], types: Types
) -> Ranges:
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
