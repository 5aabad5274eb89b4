"""The plots of the page. Lines are means over seeds; bands go from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from examples.recall.grid import Entry
from examples.recall.page.results import Model, Results
from examples.recall.tasks import TASKS
from rrwkv_export.human import count
from rrwkv_export.report.render.svg import FAINT, INK, figure

_WIDTH = 9.0
# Of middling lightness, to be seen on white and on black. A generation has one colour, broken where it has no mediums.
_COLOURS = {"lstm": "#9a8c3a", "gru": "#5f9e6e", "transformer": "#8b6fd6", "rwkv4": "#4a86d8", "rwkv7": "#e0662b"}
_VARIANTS = ("#7f8894", "#4a86d8", "#e0662b", "#5f9e6e", "#c2559b", "#9a8c3a", "#8b6fd6")
Look = dict[str, Any]


def look(entry: Entry) -> Look:
    broken = entry.family.startswith("rwkv") and entry.medium is None
    return {"color": _COLOURS[entry.family], "linestyle": (0, (3, 2)) if broken else "-"}


def accuracy(results: Results) -> Figure:
    """A panel a task: every model's accuracy by distance."""
    return _panels(results, {task: [(m, m.entry.label, look(m.entry)) for m in results.bases(task)] for task in TASKS})


def axis(results: Results, family: str, name: str) -> Figure | None:
    """A panel a task: RRWKV on a generation as the plan has it, and its variants along one axis. None without any."""
    shown = {}
    for task in TASKS:
        models = results.variants(task, family).get(name, [])
        labels = ["as planned", *(model.entry.label.partition(", ")[2] for model in models[1:])]
        looks: list[Look] = [{"color": colour} for colour in _VARIANTS]
        shown[task] = [(model, label, look) for model, label, look in zip(models, labels, looks)]
    return _panels(results, shown) if any(shown.values()) else None


def paths(lines: Sequence[tuple[str, Sequence[int], Sequence[float]]]) -> Figure:
    """Steps by distance."""
    made = figure(_WIDTH, 3.2)
    axes = made.subplots()
    for colour, (label, distances, steps) in zip(cycle(_VARIANTS), lines):
        axes.plot(distances, steps, label=label, color=colour)
    _distances(axes, lines[0][1])
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.set_ylabel("steps")
    _legend(made)
    return made


def costs(found: Sequence[tuple[Entry, dict[str, Any]]], positions: Sequence[int]) -> Figure:
    """Milliseconds a token, and kilobytes that are carried, by position."""
    made = figure(_WIDTH, 3.2)
    left, right = made.subplots(1, 2)
    for entry, result in found:
        seconds, carried = ([result[what][str(p)] for p in positions] for what in ("seconds", "bytes"))
        left.plot(positions, [1e3 * each for each in seconds], label=entry.label, **look(entry))
        right.plot(positions, [each / 1e3 for each in carried], label=entry.label, **look(entry))
    for axes, what in ((left, "ms a token"), (right, "kB carried")):
        _distances(axes, positions, "position")
        axes.set_ylabel(what)
    left.set_ylim(bottom=0)
    right.set_yscale("log")
    right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    _legend(made)
    return made


def _panels(results: Results, shown: dict[str, list[tuple[Model, str, Look]]]) -> Figure:
    made = figure(_WIDTH, 3.4)
    grid = made.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    distances = results.plan.distances
    for axes, (task, models) in zip(grid, shown.items()):
        for model, label, drawn in models:
            spreads = [model.accuracy(distance) for distance in distances]
            axes.plot(distances, [each.mean for each in spreads], label=label, marker="o", markersize=3, **drawn)
            low, high = [each.low for each in spreads], [each.high for each in spreads]
            axes.fill_between(distances, low, high, color=drawn["color"], alpha=0.15, linewidth=0)
        chance = TASKS[task]().chance
        axes.axhline(chance, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.axvspan(distances[0], max(results.plan.longest, distances[0]), color=FAINT, alpha=0.25, linewidth=0)
        axes.set_title(task, loc="left")
        axes.set_ylim(0, 1.02)
        _distances(axes, distances)
    grid[0].set_ylabel("right answers")
    _legend(made)
    return made


def _distances(axes: Any, distances: Sequence[int], what: str = "distance, tokens") -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(distances))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.set_xlabel(what)


def _legend(made: Figure) -> None:
    """Of all panels, each label once."""
    lines = {str(line.get_label()): line for axes in made.axes for line in axes.get_lines()}
    named = {label: line for label, line in lines.items() if not label.startswith("_")}
    made.legend(list(named.values()), list(named), loc="outside lower center", ncols=4, handlelength=1.8)
