"""Each role's exponent of equalization, found by what it costs: one role rounded at a time, on text not observed."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np

from rrwkv_export.architectures.linears import folds
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.quantize import rewrite
from rrwkv_export.quantize.recipe import Recipe, WeightSpec
from rrwkv_export.quantize.search.sensitivity import Scale
from rrwkv_export.quantize.source import Calibration, Source

CANDIDATES = (0.4, 0.55, 0.7, 0.85, 1.0)
GAIN = 0.1  # by which another exponent must be better than the recipe's own, or it is kept: less may be chance


def search_exponents(
    source: Source, calibration: Calibration, scale: Scale, recipe: Recipe, progress: Progress | None = None
) -> tuple[Recipe, dict[str, float]]:
    """The recipe with the exponent of least KL for every role whose inputs it rounds, and those exponents by role; its
    own exponent where that is about as good.

    calibration: what is observed; scale: what the KL is measured on. Trials round to nearest, as GPTQ would take a
    pass over the text for each. A layer that the recipe treats in its own way keeps what is said of it.
    """
    foldable = folds(source.config)
    roles = {linear.role: recipe.choice(linear) for linear in source.linears if linear.role in foldable}
    wanted = [(role, choice) for role, choice in roles.items() if choice.kind in ("static", "dynamic")]
    found: dict[str, float] = {}
    total = len(wanted) * len(CANDIDATES)
    for role, choice in wanted:
        costs: dict[float, float] = {}
        for exponent in CANDIDATES:
            trial = _trial(recipe, role, choice, exponent)
            costs[exponent] = scale.kl(rewrite(source, trial, calibration).graph)
            if progress:
                progress("searching exponents", len(found) * len(CANDIDATES) + len(costs), total)
        best = min(costs, key=lambda exponent: costs[exponent])
        own = costs.get(choice.equalize, np.inf) if choice.equalize != "search" else np.inf
        found[role] = best if costs[best] < (1 - GAIN) * own else float(choice.equalize)
    for role, exponent in found.items():
        recipe = recipe.with_role(role, equalize=exponent)
    return recipe, found


def _trial(recipe: Recipe, role: str, choice: WeightSpec, exponent: float) -> Recipe:
    """Nothing but this role is rounded."""
    left = replace(recipe.default, weights=32, equalize=0)
    return Recipe(
        recipe.scheme, recipe.target, left, {role: {**asdict(choice), "equalize": exponent, "rounding": "nearest"}}
    )
