"""From a float32 bundle to a quantized one: observe, equalize, observe again, round, rewrite, write."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from rrwkv_export.bundle import (
    FILES,
    GRAPH_FILE,
    file_entries,
    save_beside,
    save_manifest,
    save_with_weights,
    versions,
)
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import RecipeError, TextError
from rrwkv_export.output import new_directory, require_space
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.equalize import (
    EQUALIZED_ROLES,
    SIGNED_ROLES,
    UNIT_ROLES,
    Seen,
    best_exponent,
    fold,
    scales,
    turned,
)
from rrwkv_export.quantize.follow import follow
from rrwkv_export.quantize.observe import Observation, observe
from rrwkv_export.quantize.ranges import range_of
from rrwkv_export.quantize.recipe import Choice, Recipe
from rrwkv_export.quantize.rewrite import Insert, Ranges, Rewriter, finished
from rrwkv_export.quantize.rounding import GRIDS, Blocks, gptq, gptq_by_output, nearest
from rrwkv_export.quantize.sites import Site, sites
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.manifest import Manifest, verify_files

Array = np.ndarray[Any, np.dtype[Any]]
Choices = Mapping[Site, Choice]
_MOMENT_BYTES = 2**30  # of second moments that are kept at once; more take another pass over the text


@dataclass(frozen=True)
class Source:
    """A float32 bundle that can be quantized: its manifest, graph and sites."""

    path: Path
    manifest: Manifest
    sites: tuple[Site, ...]

    @classmethod
    def open(cls, path: Path) -> Source:
        """Raises BundleError, and RecipeError for a bundle that is quantized already or not float32 for CPU."""
        manifest = Manifest.load(path)
        if manifest.quantization is not None:
            scheme = manifest.quantization.get("scheme")
            raise RecipeError(f"{path}: already quantized ({scheme}); give the float32 bundle that it was made from")
        if manifest.graphs["main"].over != "loop":
            raise RecipeError(f"{path}: exported for CUDA; quantize a bundle exported with --target cpu")
        if (dtype := manifest.graphs["main"].dtype) != "float32":
            raise RecipeError(f"{path}: its weights are {dtype}; quantize a bundle exported with --dtype float32")
        verify_files(path, manifest)
        return cls(path, manifest, sites(ModelConfig.from_json(manifest.config)))

    def rewriter(self) -> Rewriter:
        """The graph with its weights in memory."""
        return Rewriter(onnx.load(str(self.path / GRAPH_FILE)))


@dataclass(frozen=True)
class Calibration:
    """What is observed: texts as passages, and how they were drawn."""

    texts: tuple[Text, ...]
    samples: int | None
    seed: int

    @classmethod
    def read(cls, paths: Sequence[Path], bundle: Path, samples: int | None = None, seed: int = 0) -> Calibration:
        """Raises TextError. samples: so many passages of each text, drawn with the seed; None takes all."""
        texts = [read_text(path, bundle) for path in paths]
        return cls(tuple(text if samples is None else text.sample(samples, seed) for text in texts), samples, seed)

    @property
    def passages(self) -> list[Array]:
        return [ids for text in self.texts for ids in text.passages]

    @property
    def tokens(self) -> int:
        return sum(len(ids) for ids in self.passages)

    def require(self) -> None:
        """Raises TextError if there is nothing to observe."""
        if not self.texts:
            raise TextError("a text is needed, and none comes along for a bundle without a tokenizer; give a .ids file")

    def split(self, tokens: int, samples: int) -> tuple[Calibration, Array]:
        """For trials: at most `samples` passages to observe, and others, of so many tokens in all, to measure on.

        What is measured on is the end of the last text, and never observed; unless there is but one passage.
        """
        self.require()
        *others, last = self.texts
        kept = list(last.passages)
        held: list[Array] = []
        while len(kept) > 1 and sum(len(ids) for ids in held) < tokens:
            held.insert(0, kept.pop())
        first = Text(last.name, last.sha256, tuple(kept))
        observed = tuple(text.sample(samples, self.seed) for text in (*others, first))
        return Calibration(observed, samples, self.seed), np.concatenate(held or kept)[:tokens]

    def to_json(self) -> dict[str, Any]:
        files = [{"name": text.name, "sha256": text.sha256, "passages": len(text.passages)} for text in self.texts]
        return {"files": files, "tokens": self.tokens, "samples": self.samples, "seed": self.seed}


def quantize(
    bundle: Path,
    out: Path,
    recipe: Recipe,
    calibration: Calibration,
    *,
    insert: Insert | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """Write the bundle, quantized as the recipe says; nothing is left behind if anything fails.

    insert: what puts in the pairs of static quantization (by default onnxruntime's quantizer). The same bundle, recipe,
    text and number of threads give the same bytes. Raises RecipeError, BundleError, OutputError.
    """
    source = Source.open(bundle)
    require_space(out, source.manifest.parameters)
    quantized = rewrite(source, recipe, calibration, insert=insert, progress=progress)
    with new_directory(out, FILES if overwrite else None) as folder:
        save_with_weights(quantized.model, folder, progress)
        if "step" in source.manifest.graphs:
            _save_step(source, folder)
        if source.manifest.tokenizer:
            name = source.manifest.tokenizer.file
            shutil.copyfile(bundle / name, folder / name)
        files = [asdict(entry) for entry in file_entries(sorted(folder.iterdir()), "hashing the bundle", progress)]
        fields = {
            **source.manifest.to_json(),
            "graphs": {k: {**asdict(graph), "dtype": recipe.scheme} for k, graph in source.manifest.graphs.items()},
            "states": _states(source.manifest, quantized.units),
            "quantization": {
                "scheme": recipe.scheme,
                **recipe.resolved(source.sites),
                "equalization": quantized.exponents,
                "calibration": calibration.to_json() if quantized.observed else None,
                "source": source.manifest.bundle_id,
                "versions": versions(),
            },
            "parity": None,
            "files": files,
        }
        return save_manifest(folder, fields)


def _save_step(source: Source, folder: Path) -> None:
    """step.onnx, rounded as the main graph that is in the folder."""
    files = {name: source.path / graph.file for name, graph in source.manifest.graphs.items()}
    step, main, rounded = (
        onnx.load(str(path), load_external_data=False) for path in (files["step"], files["main"], folder / GRAPH_FILE)
    )
    save_beside(follow(step, main, rounded, source.sites), folder / files["step"].name)


@dataclass(frozen=True)
class Quantized:
    """A quantized graph. exponents: of equalization, by role, a layer after the other. units: of A by layer [C], as
    exponents of two. observed: whether a text was needed.
    """

    model: onnx.ModelProto
    exponents: dict[str, list[float]]
    units: dict[int, Array]
    observed: bool


def rewrite(
    source: Source,
    recipe: Recipe,
    calibration: Calibration,
    *,
    insert: Insert | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """The quantized graph of a bundle, in memory."""
    choices = {site: recipe.choice(site) for site in source.sites}
    graph = source.rewriter()
    equalized = [s for s in source.sites if s.role in EQUALIZED_ROLES and _is_equalized(choices[s])]
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
    if equalized:
        seen = _observe(source, graph, equalized, calibration, "observing the float model", progress)
        exponents, units = _equalize(graph, equalized, choices, seen, recipe.types.symmetric_inputs)
    _round_to_blocks(source, graph, choices, calibration, progress)
    for site in source.sites:
        if choices[site].kind == "float16":
            graph.half(site)
        elif site.role == "emb" and choices[site].weights == 8:
            graph.rows(site, choices[site].block)
    static = [site for site in source.sites if choices[site].kind == "static"]
    if static:
        ranges = _calibrated(source, graph, static, choices, calibration, recipe, progress)
        graph.static(static, ranges, recipe.types, insert)
    graph.dynamic([site for site in source.sites if choices[site].kind == "dynamic"], recipe.types)
    observed = bool(equalized or static) or any(choice.rounding == "gptq" for choice in choices.values())
    return Quantized(finished(graph.model), exponents, units, observed)


def _is_equalized(choice: Choice) -> bool:
    return choice.equalize != 0 and choice.weights <= 8


def _observe(
    source: Source,
    graph: Rewriter,
    wanted: Sequence[Site],
    calibration: Calibration,
    what: str,
    progress: Progress | None,
    moments: Sequence[str] = (),
) -> dict[str, Observation]:
    def told(done: int, total: int) -> None:
        if progress:
            progress(what, done, total)

    calibration.require()
    return observe(graph.model, source.manifest.states, wanted, calibration.passages, moments=moments, progress=told)


def _equalize(
    graph: Rewriter, equalized: Sequence[Site], choices: Choices, seen: Mapping[str, Observation], symmetric: bool
) -> tuple[dict[str, list[float]], dict[int, Array]]:
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
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
        if choice.kind == "static" and site.role in SIGNED_ROLES and not symmetric:
            s = turned(W, what, s)
        fold(graph, site, s)
        exponents.setdefault(site.role, []).append(round(float(exponent), 3))
        if unit and site.layer is not None:
            units[site.layer] = np.rint(4 * np.log2(s)) / 4
    return exponents, units


def _round_to_blocks(
    source: Source, graph: Rewriter, choices: Choices, calibration: Calibration, progress: Progress | None
) -> None:
    """Weights in blocks; those by GPTQ in passes over the text, each with as many second moments as may be kept."""
    blocks = [site for site in source.sites if site.role != "emb" and choices[site].kind == "blocks"]
    for site in blocks:
        if choices[site].rounding == "nearest":
            rounded = nearest(graph.array(site.weight), choices[site].weights, choices[site].block)
            graph.blocks(site, rounded, choices[site].compute)
    left = [site for site in blocks if choices[site].rounding == "gptq"]
    while left:
        now = _within(left, _MOMENT_BYTES)
        seen = _observe(source, graph, now, calibration, "observing second moments", progress, _inputs(graph, now))
        for index, site in enumerate(now):
            graph.blocks(site, _by_gptq(graph, site, choices[site], seen), choices[site].compute)
            if progress:
                progress("rounding", index + 1, len(now))
        left = left[len(now) :]


def _within(wanted: Sequence[Site], limit: int) -> Sequence[Site]:
    total = 0
    for count, site in enumerate(wanted):
        total += 4 * site.inputs**2
        if total > limit and count:
            return wanted[:count]
    return wanted


def _by_gptq(graph: Rewriter, site: Site, choice: Choice, seen: Mapping[str, Observation]) -> Blocks:
    observed, W = seen.get(graph.input_of(site)), graph.array(site.weight)
    if observed is None or not observed.rows or observed.moments is None:
        return nearest(W, choice.weights, choice.block)
    return gptq(W, observed.moments, choice.weights, choice.block)


def _calibrated(
    source: Source,
    graph: Rewriter,
    static: Sequence[Site],
    choices: Choices,
    calibration: Calibration,
    recipe: Recipe,
    progress: Progress | None,
) -> Ranges:
    """The ranges of the static sites' inputs; weights that GPTQ is to round are left at the levels that it found."""
    left = [site for site in static if choices[site].rounding == "gptq"]
    now = _within(left, _MOMENT_BYTES)
    seen = _observe(source, graph, static, calibration, "observing ranges", progress, _inputs(graph, now))
    ranges = _ranges(graph, static, choices, seen, recipe)
    grid = GRIDS[recipe.types.weights, recipe.types.reduce_range]
    while now:
        for index, site in enumerate(now):
            observed = seen[graph.input_of(site)]
            assert observed.moments is not None
            graph.set_array(site.weight, gptq_by_output(graph.array(site.weight), observed.moments, grid))
            if progress:
                progress("rounding", index + 1, len(now))
        left = left[len(now) :]
        if now := _within(left, _MOMENT_BYTES):
            seen = _observe(source, graph, now, calibration, "observing second moments", progress, _inputs(graph, now))
    return ranges


def _inputs(graph: Rewriter, wanted: Sequence[Site]) -> list[str]:
    return sorted({graph.input_of(site) for site in wanted})


def _ranges(
    graph: Rewriter, static: Sequence[Site], choices: Choices, seen: Mapping[str, Observation], recipe: Recipe
) -> Ranges:
    found = {}
    bits = 16 if recipe.types.inputs == "uint16" else 8
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
            symmetric=recipe.types.symmetric_inputs,
            percentile=choice.percentile,
        )
    return found


def _states(manifest: Manifest, units: Mapping[int, Array]) -> list[dict[str, Any]]:
    """The states, wkv's numerator in its new units."""
    states = [asdict(spec) for spec in manifest.states]
    for state in states:
        if state["input"] == "wkv" and units:
            layers, rows, C = state["shape"]
            exponents = np.zeros((layers, rows, C))
            for layer, powers in units.items():
                exponents[layer, 0] = powers
            state["exponents"] = exponents.tolist()
    return states
