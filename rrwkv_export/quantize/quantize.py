"""From a float32 bundle to a quantized one: observe, equalize, observe again, round, rewrite, write."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from rrwkv_export.architectures.linears import EMB, Linear, folds
from rrwkv_export.atomic import new_directory, require_space
from rrwkv_export.bundle import (
    GRAPH_FILE,
    bundle_files,
    describe_graphs,
    file_entries,
    replaceable,
    save_beside,
    save_manifest,
    save_with_weights,
    versions,
)
from rrwkv_export.errors import OutputError, RecipeError
from rrwkv_export.kernels.fuse import fuse_main, fuse_step, fuse_wkv
from rrwkv_export.onnx.about import bundle_facts
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.fixed_shape import graphs as in_fixed_shapes
from rrwkv_export.quantize.observe.observe import Observation, observe
from rrwkv_export.quantize.recipe import Recipe, WeightSpec
from rrwkv_export.quantize.rewrite.beside import beside
from rrwkv_export.quantize.rewrite.edits import Edits
from rrwkv_export.quantize.rewrite.rewrite import Insert, Ranges, Rewriter
from rrwkv_export.quantize.source import Calibration, Source
from rrwkv_export.quantize.stages import ByGPTQ, Folds, Observe, equalize, inputs, ranges_of, round_to_nearest
from rrwkv_runtime.bundle.shared_weights import Weight
from rrwkv_runtime.manifest import Manifest

Array = np.ndarray[Any, np.dtype[Any]]
_WORTH_SHARING = 1 << 14  # bytes


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

    insert: what else puts in the pairs of static quantization. The same bundle, recipe, text and number of threads give
    the same bytes. Raises RecipeError, BundleError, OutputError.
    """
    source = Source.open(bundle, gpu=True)
    if out.resolve() == bundle.resolve():
        raise OutputError(f"{out} is the bundle that is quantized, and would be lost; choose another name")
    if source.for_gpu:
        recipe = _weights_only(recipe, source)
    if recipe.target == "qnn" and not source.in_fixed_shapes:
        raise RecipeError(
            f"{source.path}: has no graphs in fixed shapes, and Qualcomm's NPU takes no others; "
            "export the checkpoint with --target mobile"
        )
    require_space(out, source.manifest.parameters)
    with new_directory(
        out, replaceable(out) if overwrite else None
    ) as folder:  # first, as what stands there may be refused
        quantized = rewrite(source, recipe, calibration, insert=insert, progress=progress)
        save_with_weights(quantized.graph.to_ir(), folder, progress)
        for name in ("decode", "segment_end"):
            if name in source.manifest.graphs:
                _save_beside_main(source, name, quantized.graph.edits, folder)
        variants = in_fixed_shapes.save_variants(source, recipe, calibration, quantized, folder, progress)
        weights = _fuse_main(source, folder / GRAPH_FILE) if source.has_kernels else []
        if source.manifest.tokenizer:
            name = source.manifest.tokenizer.file
            shutil.copyfile(bundle / name, folder / name)
        graphs = source.manifest.graphs.items()
        kept = {name: graph for name, graph in graphs if not graph.fixed_shape or name in variants}
        kept = {name: replace(graph, dtype=recipe.scheme) for name, graph in kept.items()}
        kept |= {name: replace(kept[name], **said) for name, said in variants.items()}
        kept["main"] = replace(kept["main"], weights=tuple(weights))
        facts = {**bundle_facts(source.path / GRAPH_FILE), "model_id": source.manifest.model_id}
        facts |= {"scheme": recipe.scheme, "integers": recipe.target}
        describe_graphs(folder, source.config, kept, facts)
        files = [asdict(entry) for entry in file_entries(bundle_files(folder), "hashing the bundle", progress, folder)]
        fields = {
            **source.manifest.to_json(),
            "graphs": {name: asdict(graph) for name, graph in kept.items()},
            "states": _states(source.manifest, quantized.units),
            "quantization": {
                "scheme": recipe.scheme,
                **recipe.resolved(source.linears),
                "equalization": quantized.exponents,
                "calibration": calibration.to_json() if quantized.observed else None,
                "source": source.manifest.bundle_id,
                "versions": versions(),
            },
            "parity": None,
            "files": files,
        }
        return save_manifest(folder, fields)


def _weights_only(recipe: Recipe, source: Source) -> Recipe:
    """The recipe for a GPU, which multiplies rounded weights with floats; and so shall a CPU. Raises RecipeError."""
    rounds = ("static", "dynamic")
    if rounded := next((linear for linear in source.linears if recipe.choice(linear).kind in rounds), None):
        raise RecipeError(
            f"{source.path}: exported for CUDA, where only weights are rounded, and {recipe.scheme} rounds what "
            f"{rounded.name} is multiplied with too; take --scheme int8-weight or int4, or a bundle of --target cpu"
        )
    floats = {"compute": "float32"}
    layers = {i: {role: {**said, **floats} for role, said in roles.items()} for i, roles in recipe.layers.items()}
    return replace(recipe.with_role("*", **floats), layers=layers)


def _save_beside_main(source: Source, name: str, edits: Edits, folder: Path) -> None:
    """The source's graph of this name, edited as the main graph that is in the folder; a step as one call."""
    file = source.path / source.manifest.graphs[name].file
    graph, main = (onnx.load(str(path), load_external_data=False) for path in (file, folder / GRAPH_FILE))
    made = beside(graph, edits, main)
    if name == "decode" and source.has_kernels:
        ir.external_data.set_base_dir(made.graph, folder)
        fuse_step(made, source.config, source.wkv, source.linears)
    save_beside(made, folder / file.name)


def _fuse_main(source: Source, path: Path) -> list[Weight]:
    """When the others are made: as one call, or else its wkv as calls. Gives the weights of the one call."""
    model = ir.load(path)
    whole = fuse_main(model, source.config, source.wkv, source.linears)
    if not whole:
        fuse_wkv(model, source.config, source.wkv)
    save_beside(model, path)
    return _worth_sharing(model) if whole else []


def _worth_sharing(model: ir.Model) -> list[Weight]:
    """Weights in the data file, but those so small that a session's own cost nothing."""
    found = []
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes >= _WORTH_SHARING:
            shape = tuple(int(n) for n in tensor.shape.numpy())
            found.append(Weight(name, str(tensor.dtype.numpy()), shape, tensor.offset or 0))
    return found


@dataclass(frozen=True)
class Quantized:
    """A quantized graph. exponents: of equalization, by role, a layer after the other. units: of A by layer [C], as
    exponents of two. folds: what equalization moved. observed: whether a text was needed.
    """

    graph: Rewriter
    exponents: dict[str, list[float]]
    units: dict[int, Array]
    folds: Folds
    observed: bool


def rewrite(
    source: Source,
    recipe: Recipe,
    calibration: Calibration,
    *,
    insert: Insert | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """The quantized graph of a bundle, its new weights in memory, the others where they are."""
    choices = {linear: recipe.choice(linear) for linear in source.linears}
    graph, observed, types = source.rewriter(), _observer(source, calibration, progress), recipe.types
    static = [linear for linear in source.linears if choices[linear].kind == "static"]
    by_gptq = [s for s in source.linears if choices[s].rounding == "gptq" and choices[s].kind in ("blocks", "static")]
    weights = 4 * source.manifest.parameters
    rounding = ByGPTQ(graph, by_gptq, choices, types, weights, insert is not None, progress)
    foldable = folds(source.config)
    equalized = [s for s in source.linears if s.role in foldable and _is_equalized(choices[s])]
    exponents: dict[str, list[float]] = {}
    units: dict[int, Array] = {}
    moved: Folds = []
    if equalized:
        now = rounding.next()
        seen = observed([*equalized, *now], "observing the float model", moments=inputs(graph, now), channels=True)
        exponents, units, moved = equalize(graph, source.config, equalized, choices, seen, types)
        rounding.divisors = {graph.input_of(linear): s for linear, s in moved}
        rounding.round(now, seen)
    round_to_nearest(graph, [linear for linear in source.linears if linear.role != EMB], choices)
    ranges: Ranges = {}
    if static:
        now, by = rounding.next(), rounding.divisors
        kept = inputs(graph, now)
        seen = observed([*static, *now], "observing ranges", moments=kept, histograms=True, divisors=by)
        ranges = ranges_of(graph, static, choices, seen, types)
        rounding.round(now, seen)
    while now := rounding.next():
        rounding.round(now, observed(now, "observing second moments", moments=inputs(graph, now)))
    for linear in source.linears:
        if choices[linear].kind == "float16":
            graph.half(linear)
        elif linear.role == EMB and choices[linear].weights == 8:
            graph.rows(linear, choices[linear].block)
    graph.static(static, ranges, types, insert)
    graph.dynamic([linear for linear in source.linears if choices[linear].kind == "dynamic"], types)
    return Quantized(graph, exponents, units, moved, bool(equalized or static or by_gptq))


def _is_equalized(choice: WeightSpec) -> bool:
    return choice.equalize != 0 and choice.weights <= 8


def _observer(source: Source, calibration: Calibration, progress: Progress | None) -> Observe:
    def observed(
        wanted: Sequence[Linear],
        what: str,
        *,
        moments: Sequence[str] = (),
        channels: bool = False,
        histograms: bool = False,
        divisors: Mapping[str, Array] | None = None,
    ) -> dict[str, Observation]:
        def told(done: int, total: int) -> None:
            if progress:
                progress(what, done, total)

        calibration.require()
        graph, states = source.path / GRAPH_FILE, source.manifest.states
        kept: dict[str, Any] = {"moments": moments, "channels": channels, "histograms": histograms}
        return observe(graph, states, wanted, calibration.passages, divisors=divisors, progress=told, **kept)

    return observed


def _states(manifest: Manifest, units: Mapping[int, Array]) -> list[dict[str, Any]]:
    """The states, wkv's numerator in its new units."""
    states = [asdict(spec) for spec in manifest.states]
    for state in states:
        if state["role"] == "wkv" and units:
            layers, rows, C = state["shape"]
            exponents = np.zeros((layers, rows, C))
            for layer, powers in units.items():
                exponents[layer, 0] = powers
            state["exponents"] = exponents.tolist()
    return states
