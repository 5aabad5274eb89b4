"""What is finished of the grid, by model: a figure of each seed, at the model's best learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.recall.grid import (
    BASES,
    GENERATIONS,
    RRWKV,
    TEXT,
    Entry,
    Make,
    best_rate,
    costs,
    language_runs,
    phases,
    recall_runs,
    variants,
)
from examples.recall.plan import Plan
from examples.recall.tasks import TASKS
from rrwkv_export.runs import Finished, Run, Store


@dataclass(frozen=True)
class Spread:
    """A figure over seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Model:
    """An entry of the grid on one task. rate: the learning rate. runs: what its seeds gave, one or more."""

    entry: Entry
    rate: float
    runs: tuple[Finished, ...]

    def spread(self, value: Callable[[dict[str, Any]], float]) -> Spread:
        return Spread(tuple(value(run.result) for run in self.runs))

    def accuracy(self, distance: int) -> Spread:
        return self.spread(lambda result: float(result["accuracy"][str(distance)]))

    def loss(self, positions: str) -> Spread:
        return self.spread(lambda result: float(result["loss"][positions]))


class Results:
    """kept: of any grid; what this plan and text ask for is found in it. text: None where none was modelled."""

    def __init__(self, store: Store, plan: Plan, text: Path | None) -> None:
        self.plan, self.text = plan, text
        self.kept = store.finished()
        self._by_key = {finished.key: finished for finished in self.kept}
        self.failed = store.failed()

    def progress(self) -> list[tuple[str, int, int]]:
        """Of each phase of the grid: its name, how many runs are finished, how many there will be."""
        return [
            (name, sum(run.key in self._by_key for run in runs_of(self.kept)), planned)
            for name, planned, runs_of in phases(self.plan, self.text)
        ]

    def bases(self, task: str) -> list[Model]:
        return self._models(task, BASES)

    def variants(self, task: str, family: str) -> dict[str, list[Model]]:
        """By axis, RRWKV with the plan's mediums first; axes of which nothing else is finished are left out."""
        found = {}
        for axis, entries in variants(self.plan, family).items():
            if models := self._models(task, entries, RRWKV[family]):
                found[axis] = self._models(task, [RRWKV[family]]) + models
        return found

    def pairs(self, task: str) -> list[tuple[Model, Model]]:
        """Each generation without mediums, and with the plan's."""
        by_label = {model.entry.label: model for model in self.bases(task)}
        plain = {entry.family: entry for entry in BASES if entry.medium is None}
        both = [(by_label.get(plain[family].label), by_label.get(RRWKV[family].label)) for family in GENERATIONS]
        return [(one, other) for one, other in both if one and other]

    def costs(self) -> list[tuple[Entry, dict[str, Any]]]:
        """What was measured of each model."""
        runs = zip(BASES, costs(self.plan), strict=True)
        return [(entry, self._by_key[run.key].result) for entry, run in runs if run.key in self._by_key]

    def _models(self, task: str, entries: Sequence[Entry], like: Entry | None = None) -> list[Model]:
        """like: whose learning rate they have; their own without it."""
        make, found = self._make(task), []
        for entry in entries:
            rate = best_rate(make, like or entry, task, self.plan, self.kept) if make else None
            if make and rate is not None and (runs := self._finished(make, entry, task, rate)):
                found.append(Model(entry, rate, runs))
        return found

    def _make(self, task: str) -> Make | None:
        if task in TASKS:
            return recall_runs(self.plan)
        assert task == TEXT
        return language_runs(self.plan, self.text) if self.text else None

    def _finished(self, make: Make, entry: Entry, task: str, rate: float) -> tuple[Finished, ...]:
        runs: list[Run] = [make(entry, task, rate, seed) for seed in range(self.plan.seeds)]
        return tuple(self._by_key[run.key] for run in runs if run.key in self._by_key)
