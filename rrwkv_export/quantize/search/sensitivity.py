"""What rounding one role, or one layer of it, costs by itself; and the recipe that a budget allows.

KL divergences of roles rounded alone very nearly add up, so a recipe is chosen by their sum and then measured whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rrwkv_export.architectures.linears import EMB, LOW_RANK, Linear
from rrwkv_export.divergence import log_softmax
from rrwkv_export.errors import RecipeError
from rrwkv_export.onnx.stateful_session import carried, chunks, exposed
from rrwkv_export.progress import Progress
from rrwkv_export.quantize.quantize import rewrite
from rrwkv_export.quantize.recipe import Recipe, WeightSpec
from rrwkv_export.quantize.rewrite.rewrite import Rewriter
from rrwkv_export.quantize.source import Calibration, Source

Array = np.ndarray[Any, np.dtype[Any]]
TOKENS, SAMPLES = 2048, 32  # measured on, and passages observed for a trial
_LARGEST = 2**26  # log-probabilities of the reference that are kept: tokens times vocabulary
# What a role may become, by name.
KINDS: dict[str, dict[str, Any]] = {
    "static 8": {"weights": 8, "inputs": "static"},
    "weight 8": {"weights": 8, "inputs": "float", "block": 64},
    "weight 4": {"weights": 4, "inputs": "float", "block": 32, "rounding": "gptq"},
    "float16": {"weights": 16, "equalize": 0},
}

# What a budget may make of a role.
BUDGET_KINDS = ("static 8", "weight 8", "weight 4")


@dataclass(frozen=True)
class Cost:
    """A role (of one layer, or of all: layer None) rounded one way, the rest float: mean KL in nats, bytes it takes."""

    role: str
    layer: int | None
    kind: str
    kl: float
    bytes: int


class Scale:
    """Weighs graphs: the mean KL divergence from the float model over a text, whose log-probabilities it keeps."""

    def __init__(self, source: Source, ids: Array, tokens: int = TOKENS) -> None:
        self._states = source.manifest.states
        self._ids = ids[: max(1, min(tokens, _LARGEST // source.manifest.vocab_size))]
        self._log_p = np.concatenate(list(self._run(source.rewriter())))
        self._p = np.exp(self._log_p)

    @property
    def tokens(self) -> int:
        return len(self._ids)

    def kl(self, graph: Rewriter) -> float:
        """Mean KL divergence, nats."""
        log_q = np.concatenate(list(self._run(graph)))
        return max(0.0, float((self._p * (self._log_p - log_q)).sum(axis=-1).mean()))

    def _run(self, graph: Rewriter) -> Iterator[Array]:
        outputs = ["logits", *(spec.output for spec in self._states)]
        with exposed(graph.model, outputs, graph.folder, arrays=graph.arrays) as session:
            for _, (logits,) in carried(session, self._states, ["logits"], chunks(self._ids)):
                yield log_softmax(logits).astype(np.float32)


def sensitivity(
    source: Source,
    calibration: Calibration,
    scale: Scale,
    *,
    kinds: Sequence[str] = ("static 8",),
    by_layer: bool = False,
    base: Recipe | None = None,
    progress: Progress | None = None,
) -> list[Cost]:
    """Every role, and with by_layer every layer of it too, rounded alone; the dearest first. base: what else a recipe
    says (ranges, exponents, target).
    """
    base = base or Recipe("sensitivity")
    groups: dict[tuple[str, int | None], list[Linear]] = {}
    for linear in source.linears:
        groups.setdefault((linear.role, None), []).append(linear)
        if by_layer and linear.layer is not None:
            groups.setdefault((linear.role, linear.layer), []).append(linear)
    wanted = [(key, kind) for key in groups for kind in kinds if allowed(key[0], kind)]
    costs = []
    for index, ((role, layer), kind) in enumerate(wanted):
        made = rewrite(source, only(base, role, layer, kind), calibration)
        costs.append(Cost(role, layer, kind, scale.kl(made.graph), size(groups[role, layer], kind)))
        if progress:
            progress("rounding one thing at a time", index + 1, len(wanted))
    return sorted(costs, key=lambda cost: -cost.kl)


def allowed(role: str, kind: str) -> bool:
    """The embedding is looked up: it has no inputs to round, and no 4 bits. Low-rank matrices are left their inputs."""
    return not (role == EMB or role.startswith(LOW_RANK)) or kind in ("weight 8", "float16")


def only(base: Recipe, role: str, layer: int | None, kind: str) -> Recipe:
    """The recipe that rounds nothing but this."""
    said = replace(base.default, weights=32, equalize=0)
    values = {"equalize": base.default.equalize, **dict(base.roles.get(role, {})), **KINDS[kind]}
    if layer is None:
        return Recipe(base.scheme, base.target, said, {role: values})
    return Recipe(base.scheme, base.target, said, {}, {layer: {role: values}})


def size(linears: Iterable[Linear], kind: str) -> int:
    """Bytes of weights and scales."""
    return sum(_size(linear, WeightSpec(**KINDS[kind])) for linear in linears)


def _size(linear: Linear, choice: WeightSpec) -> int:
    if choice.kind == "blocks" and linear.role != EMB:
        blocks = -(-linear.inputs // choice.block)
        return linear.outputs * blocks * (choice.block * choice.weights // 8 + 4)
    scales = linear.parameters // math.gcd(linear.outputs, choice.block) if linear.role == EMB else linear.outputs
    return linear.parameters * choice.weights // 8 + (4 * scales if choice.weights == 8 else 0)


def least_bytes(linears: Iterable[Linear], kinds: Sequence[str] = BUDGET_KINDS) -> int:
    """Bytes of all matrices in the smallest recipe of these kinds: known without rounding anything."""
    return sum(min(size([linear], kind) for kind in kinds if allowed(linear.role, kind)) for linear in linears)


def require_possible(linears: Iterable[Linear], *, max_kl: float | None = None, max_bytes: int | None = None) -> None:
    """Raises RecipeError for a budget that no recipe can keep, before anything is measured."""
    if max_kl is not None and not 0 < max_kl < math.inf:
        raise RecipeError(f"--max-kl {max_kl:g}: a mean KL divergence is a number above 0; 0.01 is little, for example")
    least = least_bytes(linears)
    if max_bytes is not None and max_bytes < least:
        raise RecipeError(
            f"--max-bytes {max_bytes:,}: the matrices of this model take {least:,} bytes at least; allow as many"
        )


@dataclass(frozen=True)
class Point:
    """One recipe of the trade-off curve: what each role becomes, the KL to expect, and the bytes of all matrices."""

    kinds: Mapping[str, str]
    kl: float
    bytes: int


def trade_off(costs: Sequence[Cost]) -> list[Point]:
    """From the most accurate recipe to the smallest, each step the one that saves most bytes for its KL."""
    options: dict[str, list[Cost]] = {}
    for cost in costs:
        if cost.layer is None:
            options.setdefault(cost.role, []).append(cost)
    chosen = {role: min(found, key=lambda c: (c.kl, c.bytes)) for role, found in options.items()}
    points = [_point(chosen)]
    while steps := [
        ((new.kl - old.kl) / (old.bytes - new.bytes), new)
        for role, old in chosen.items()
        for new in options[role]
        if new.bytes < old.bytes
    ]:
        best = min(steps, key=lambda step: (step[0], step[1].role))[1]
        chosen[best.role] = best
        points.append(_point(chosen))
    return points


def _point(chosen: Mapping[str, Cost]) -> Point:
    return Point(
        {role: cost.kind for role, cost in chosen.items()},
        sum(cost.kl for cost in chosen.values()),
        sum(cost.bytes for cost in chosen.values()),
    )


def recipe_of(point: Point, base: Recipe) -> Recipe:
    """The recipe that does what a point of the curve says."""
    roles = {role: {**dict(base.roles.get(role, {})), **KINDS[kind]} for role, kind in point.kinds.items()}
    return Recipe(base.scheme, base.target, base.default, roles)


def choose(
    source: Source,
    calibration: Calibration,
    scale: Scale,
    points: Sequence[Point],
    base: Recipe,
    *,
    max_kl: float | None = None,
    max_bytes: int | None = None,
) -> tuple[Recipe, float]:
    """The smallest recipe within max_kl, or the most accurate within max_bytes of matrices, and its measured KL.

    Raises RecipeError if there is none, saying the best that was found.
    """
    fitting = [p for p in points if max_bytes is None or p.bytes <= max_bytes]
    if not fitting:
        least = min(points, key=lambda p: p.bytes)
        raise RecipeError(
            f"no recipe takes as few as {max_bytes:,} bytes; the smallest takes {least.bytes:,}, at an expected KL of "
            f"{least.kl:.4f}"
        )
    if max_kl is None:
        best = recipe_of(min(fitting, key=lambda p: (p.kl, p.bytes)), base)
        return best, scale.kl(rewrite(source, best, calibration).graph)
    found = np.inf
    for point in sorted(fitting, key=lambda p: p.bytes):
        if point.kl > 1.3 * max_kl:  # the sum is not exact, but not that far off
            continue
        recipe = recipe_of(point, base)
        kl = scale.kl(rewrite(source, recipe, calibration).graph)
        if kl <= max_kl:
            return recipe, kl
        found = min(found, kl)
    best_kl = min(found, min(p.kl for p in fitting))
    raise RecipeError(f"no recipe within the budget has a KL of {max_kl:g} or less; the best found has {best_kl:.4g}")
