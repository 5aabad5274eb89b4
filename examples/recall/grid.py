"""The runs, in the order in which they matter: every model once, then from other seeds, then what mediums are like.

A model's learning rate is the better of the plan's for it on the task, by the first seed: the one with the most right
answers at trained distances, or the least loss on text. RRWKV's variants take that of RRWKV with the plan's mediums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from examples.recall.language import digest
from examples.recall.plan import MEDIUM, Plan
from examples.recall.tasks import TASKS
from examples.recall.training import Training
from rrwkv_export.runs import Finished, Run

TEXT = "text"
_RECALL, _LANGUAGE = "examples.recall.recalling:recall", "examples.recall.language:language"
_COST = "examples.recall.cost:cost"


@dataclass(frozen=True)
class Entry:
    """A model of the comparison. label: for people. nats: of an adaptive interval that follows surprisal."""

    label: str
    family: str
    medium: dict[str, Any] | None = None
    nats: float | None = None

    @property
    def variant(self) -> dict[str, Any]:
        return {"family": self.family, "medium": self.medium}


GENERATIONS = {"rwkv4": "RWKV-4", "rwkv7": "RWKV-7"}
PLAIN = (
    Entry("LSTM", "lstm"),
    Entry("GRU", "gru"),
    Entry("Transformer", "transformer"),
    Entry("RWKV-4", "rwkv4"),
    Entry("RWKV-7", "rwkv7"),
)
RRWKV = {family: Entry(f"RRWKV on {name}", family, MEDIUM) for family, name in GENERATIONS.items()}
BASES = (*PLAIN, *RRWKV.values())
_ADAPTIVE = {"interval": {"shortest": 8, "longest": 64}}


def axes(plan: Plan) -> dict[str, list[tuple[str, dict[str, Any], float | None]]]:
    """What is varied, one thing at a time: by axis, what variants are called, what they change, and their nats."""
    return {
        "squeeze": [("mean squeeze", {"squeeze": "mean"}, None)],
        "slots": [(f"{n} slot" + "s" * (n > 1), {"slots": n}, None) for n in plan.slots],
        "interval": [
            ("interval 64, 64 slots", {"interval": 64, "slots": 64}, None),
            (f"8 to 64, {plan.nats:g} nats each", _ADAPTIVE, plan.nats),
            ("8 to 64, by the task alone", _ADAPTIVE, None),
        ],
    }


def variants(plan: Plan, family: str) -> dict[str, list[Entry]]:
    """RRWKV's on a generation by axis."""
    name = GENERATIONS[family]
    return {
        axis: [
            Entry(f"RRWKV on {name}, {label}", family, {**MEDIUM, **changed}, nats) for label, changed, nats in listed
        ]
        for axis, listed in axes(plan).items()
    }


Phase = Callable[[Sequence[Finished]], list[Run]]
"""Runs, given what is finished: which learning rate is best is known only then."""


def phases(plan: Plan, text: Path | None) -> Iterator[tuple[str, int, Phase]]:
    """Of each its name, how many runs it has, and what they are. text: None leaves language modelling out. Raises
    TextError.
    """
    modelled = language_runs(plan, text) if text else None  # before hours are spent on what comes first
    later, make = range(1, plan.seeds), recall_runs(plan)
    once, varied = len(BASES), sum(len(listed) for listed in axes(plan).values()) * len(GENERATIONS)
    tasks, rates, others = len(TASKS), len(plan.rates), len(later)
    yield "every model once", once * tasks * rates, lambda _: _tried(make, BASES, TASKS, plan)
    yield "other seeds", once * tasks * others, lambda kept: _chosen(make, BASES, TASKS, plan, later, kept)
    if modelled:
        yield "text, once", once * rates, lambda _: _tried(modelled, BASES, [TEXT], plan)
    yield "variants, once", varied * tasks, partial(_varied, plan, range(1))
    if modelled:
        yield "text, other seeds", once * others, lambda kept: _chosen(modelled, BASES, [TEXT], plan, later, kept)
    yield "variants, other seeds", varied * tasks * others, partial(_varied, plan, later)


Make = Callable[[Entry, str, float, int], Run]
"""A run of a model on a task, with a learning rate and a seed."""


def _tried(make: Make, entries: Sequence[Entry], tasks: Sequence[str] | Any, plan: Plan) -> list[Run]:
    return [make(entry, task, rate, 0) for rate, task, entry in product(plan.rates, tasks, entries)]


def _chosen(
    make: Make, entries: Sequence[Entry], tasks: Any, plan: Plan, seeds: range, kept: Sequence[Finished]
) -> list[Run]:
    """At each model's best learning rate; none of those that finished at no rate."""
    return [
        make(entry, task, rate, seed)
        for seed, task, entry in product(seeds, tasks, entries)
        if (rate := best_rate(make, entry, task, plan, kept)) is not None
    ]


def _varied(plan: Plan, seeds: range, kept: Sequence[Finished]) -> list[Run]:
    make, found = recall_runs(plan), list[Run]()
    for seed, task, family in product(seeds, TASKS, GENERATIONS):
        rate = best_rate(make, RRWKV[family], task, plan, kept)
        if rate is not None:
            found += [make(entry, task, rate, seed) for listed in variants(plan, family).values() for entry in listed]
    return found


def best_rate(make: Make, entry: Entry, task: str, plan: Plan, kept: Sequence[Finished]) -> float | None:
    """None where no rate has finished."""
    by_key = {finished.key: finished for finished in kept}
    tried = {rate: by_key.get(make(entry, task, rate, 0).key) for rate in plan.rates}
    scores = {rate: score(finished.result, plan) for rate, finished in tried.items() if finished}
    return max(scores, key=lambda rate: scores[rate]) if scores else None


def score(result: dict[str, Any], plan: Plan) -> float:
    """What a learning rate is chosen by: the more the better."""
    if "loss" in result:
        return -float(result["loss"]["trained"])
    trained = [float(result["accuracy"][str(distance)]) for distance in plan.distances if distance <= plan.longest]
    return sum(trained) / max(1, len(trained))


def recall_runs(plan: Plan) -> Make:
    shapes = {"associative recall": {"pairs": plan.pairs}, "passkey": {"digits": plan.digits}}

    def make(entry: Entry, task: str, rate: float, seed: int) -> Run:
        training = Training(plan.steps, plan.tokens, plan.longest, rate, nats=entry.nats)
        parameters = {
            "task": task,
            "shape": shapes[task],
            "variant": entry.variant,
            "parameters": plan.parameters,
            "training": asdict(training),
            "distances": list(plan.distances),
            "tested": plan.tested,
            "seed": seed,
        }
        return Run(_name(task, entry, rate, seed), _RECALL, parameters)

    return make


def language_runs(plan: Plan, text: Path) -> Make:
    sha256 = digest(text)

    def make(entry: Entry, task: str, rate: float, seed: int) -> Run:
        training = Training(plan.text_steps, plan.tokens, plan.text_length, rate, nats=entry.nats)
        parameters = {
            "sha256": sha256,
            "variant": entry.variant,
            "parameters": plan.text_parameters,
            "training": asdict(training),
            "measured": plan.text_measured,
            "rows": plan.text_rows,
            "seed": seed,
        }
        return Run(_name(task, entry, rate, seed), _LANGUAGE, parameters, {"text": str(text.absolute())})

    return make


def costs(plan: Plan) -> list[Run]:
    """What a token costs, of every model."""
    sizes = {
        "vocabulary": plan.cost_vocabulary,
        "layers": plan.cost_layers,
        "channels": plan.cost_channels,
        "head": plan.cost_head,
        "parameters": plan.cost_parameters,
    }
    where = {"positions": list(plan.cost_positions), "window": plan.cost_window, "seed": 0}
    return [Run(f"cost: {e.label}", _COST, {"variant": e.variant, "sizes": sizes, **where}) for e in BASES]


def _name(task: str, entry: Entry, rate: float, seed: int) -> str:
    return f"{task}: {entry.label}, learning rate {rate:g}, seed {seed}"
