"""A model that is tuned for a recipe: the float model, and what the recipe's own quantizer makes of its matrices."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.linears import EMB, Linear, linears
from rrwkv_export.checkpoint import Checkpoint
from rrwkv_export.errors import RecipeError
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.calibration import Say, choose_calibration
from rrwkv_export.quantize.quantize import rewrite
from rrwkv_export.quantize.recipe import Recipe, WeightSpec
from rrwkv_export.quantize.rewrite.rewrite import Rewriter
from rrwkv_export.quantize.source import Source
from rrwkv_export.train.begin import Beginning, try_export
from rrwkv_export.train.beginnings.found import found
from rrwkv_export.train.models.rounded import Start


def tuned(checkpoint: Checkpoint, recipe: Recipe, *, say: Say, progress: Progress | None = None) -> Beginning:
    """The checkpoint's model, rounded as `rrwkv quantize` would round a bundle of it, without a --calibration.

    Raises TrainingError for an architecture that is not trained here; RecipeError for a recipe that does more than
    rounding weights.
    """
    beginning = found(checkpoint)
    choices = {linear: recipe.choice(linear) for linear in linears(checkpoint.config)}
    for linear, choice in choices.items():
        _require_weights_alone(recipe, linear, choice)
    with tempfile.TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        try_export(checkpoint, bundle, "tuned", progress)
        graph = rewrite(Source.open(bundle), recipe, choose_calibration([], bundle, say=say), progress=progress).graph
        in_blocks = {one: how for one, how in choices.items() if how.kind == "blocks" and one.role != EMB}
        start = Start(
            _table(graph, choices),
            {one.weight: _blocks(graph, one, how, _factor(checkpoint.config, one)) for one, how in in_blocks.items()},
        )
    return dataclasses.replace(beginning, recipe=recipe, start=start)


def _require_weights_alone(recipe: Recipe, linear: Linear, choice: WeightSpec) -> None:
    """Raises RecipeError: what else it does depends on a text, and would not be found again to the bit."""
    if choice.kind in ("static", "dynamic"):
        raise RecipeError(
            f"{recipe.scheme}: {linear.name} is multiplied with rounded inputs, {choice.kind}, and a model is tuned "
            "for the rounding of weights alone; give int4, int8-weight, float16, or a recipe of your own whose inputs "
            'are "float"'
        )
    if choice.kind == "blocks" and choice.equalize != 0:
        raise RecipeError(
            f"{recipe.scheme}: {linear.name} is equalized, by what a text says, so it would not be rounded to what was "
            "tuned; give a recipe with equalize = 0"
        )


def _factor(config: ModelConfig, linear: Linear) -> float:
    """What a graph's matrix is over the checkpoint's."""
    return config.medium.query_scale if config.medium and linear.role == "medium.query" else 1.0


def _blocks(graph: Rewriter, linear: Linear, choice: WeightSpec, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    rounded = graph.blocks_of(linear, choice.weights, choice.block)
    return torch.from_numpy(rounded.scale) / factor, torch.from_numpy(rounded.dequantized().T) / factor


def _table(graph: Rewriter, choices: dict[Linear, WeightSpec]) -> torch.Tensor:
    """float32 [V, C]"""
    emb, choice = next((linear, choice) for linear, choice in choices.items() if linear.role == EMB)
    if choice.kind == "blocks":
        return torch.from_numpy(graph.rows_of(emb))
    stored = graph.array(f"{emb.weight}.half" if choice.kind == "float16" else emb.weight)
    return torch.from_numpy(stored).float()
