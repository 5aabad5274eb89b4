"""The plots of a report, each a figure of its own with one thing to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from rrwkv_export.architectures.linears import ROLES, Linear
from rrwkv_export.human import count, megabytes, number, percent, verdict
from rrwkv_export.report.measure.drift import StateDrift
from rrwkv_export.report.measure.metrics import EDGES
from rrwkv_export.report.render.page import Plot
from rrwkv_export.report.render.svg import FAINT, INK, LAYERS, MODEL, REFERENCE, figure, style, to_svg
from rrwkv_export.report.result import Measured, Report

_WIDTH = 9.0
_LOWEST = 1e-12  # what a logarithmic axis shows for zero


def plots(report: Report) -> list[Plot]:
    """All that have something to show, in the order of the page."""
    drawn: list[tuple[str, str, Callable[[Report], Figure] | None]] = [
        (
            "KL divergence of the predictions",
            "Each prediction of the next token is one count; the scale of KL is logarithmic, and its first bar also "
            "holds all that is less. Where the tail ends matters more than where the hump is.",
            _kl_histogram,
        ),
        (
            "Along the text",
            "A point sums up one stretch of the text. What rises to the right grows with the horizon.",
            _positions,
        ),
        (
            "Drift of the states",
            "Relative difference of each state from the reference's after every chunk; a thin line for each layer, "
            "from the first (blue) to the last (orange), their mean in bold. The bands are the second and the last "
            "quarter.",
            _drift if report.main.first.drift.states else None,
        ),
        (
            "Error by layer and role",
            f"Relative error of each product's output, in per cent. {_single_sites(report)}",
            _layers if _layered(report) else None,
        ),
        ("Size and speed", "Shorter is better.", _bars),
        (
            "Beside other bundles",
            "Mean KL divergence against the size of graph and weights: better is further down and to the left.",
            _against if report.against else None,
        ),
    ]
    with style():
        return [Plot(title, caption, to_svg(draw(report))) for title, caption, draw in drawn if draw]


def _kl_histogram(report: Report) -> Figure:
    first = report.main.first
    made = figure(_WIDTH, 3.0)
    axes = made.subplots()
    axes.stairs(first.histogram, EDGES, fill=True, color=MODEL, alpha=0.75)
    axes.set_xscale("log")
    filled = np.flatnonzero(first.histogram)
    if len(filled):
        axes.set_xlim(EDGES[max(0, filled[0] - 2)], EDGES[min(len(EDGES) - 1, filled[-1] + 4)])
    axes.set_ylim(0, max(1.0, 1.22 * float(first.histogram.max())))
    kl, (low, high) = first.figures.kl, axes.get_xlim()
    for level, (name, value) in enumerate((("median", kl.median), ("mean", kl.mean), ("p99", kl.p99))):
        if np.isfinite(value) and low < value < high:
            axes.axvline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)))
            place = (value, 0.97 - 0.1 * level)
            axes.annotate(f" {name} {number(value)}", place, xycoords=("data", "axes fraction"), va="top")
    axes.xaxis.set_major_formatter(powers())
    axes.set_xlabel("KL divergence, nats")
    axes.set_ylabel("predictions")
    axes.yaxis.set_major_formatter(_thousands())
    axes.grid(visible=False, axis="x")
    return made


def _positions(report: Report) -> Figure:
    places = report.main.first.places
    at = [place.start + place.figures.tokens / 2 for place in places]
    made = figure(_WIDTH, 5.2)
    upper, middle, lower = made.subplots(3, sharex=True)
    _line(upper, at, [p.figures.reference_perplexity for p in places], REFERENCE, "reference", linewidth=3)
    _line(upper, at, [p.figures.perplexity for p in places], MODEL, "bundle")
    upper.set_ylabel("perplexity")
    for name, colour, width in (("p99", INK, 0.8), ("p90", REFERENCE, 1.6), ("mean", MODEL, 1.6)):
        values = [max(getattr(p.figures.kl, name), _LOWEST) for p in places]
        _line(middle, at, values, colour, name, linewidth=width)
    middle.set_yscale("log")
    middle.yaxis.set_major_formatter(powers())
    middle.yaxis.set_minor_formatter(NullFormatter())
    middle.set_ylabel("KL, nats")
    _line(lower, at, [p.figures.top1_agreement for p in places], MODEL, "top-1")
    _line(lower, at, [p.figures.top5_agreement for p in places], REFERENCE, "top-5")
    lower.set_ylabel("agreement")
    lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_percent(value)))
    lower.set_xlabel("tokens read")
    lower.xaxis.set_major_formatter(_thousands())
    for axes in (upper, middle, lower):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    return made


def _line(axes: Any, x: Any, y: Any, colour: str, label: str, linewidth: float = 1.6) -> None:
    """A line, and a mark where there is but one point."""
    axes.plot(x, y, color=colour, label=label, linewidth=linewidth, marker="o" if len(x) == 1 else None)


def _drift(report: Report) -> Figure:
    states = report.main.first.drift.states
    columns = min(3, len(states))
    rows = -(-len(states) // columns)
    made = figure(_WIDTH, 0.4 + 2.1 * rows)
    grid = made.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, (name, state) in zip(grid, states.items()):
        _drift_panel(axes, name, state)
    for axes in grid[len(states) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(states) - columns) : len(states)]:
        axes.set_xlabel("tokens read")
        axes.tick_params(labelbottom=True)
    return made


def _drift_panel(axes: Any, name: str, state: StateDrift) -> None:
    for index, layer in enumerate(state.by_layer):
        colour = LAYERS(index / max(1, len(state.by_layer) - 1))
        axes.plot(state.positions, layer, color=colour, linewidth=0.8, alpha=0.8)
    _line(axes, state.positions, state.mean, INK, "mean", linewidth=2)
    if state.quarters:
        first, second, third, last = (part[-1] for part in np.array_split(np.array(state.positions), 4))
        for begin, end in ((first, second), (third, last)):
            axes.axvspan(begin, end, color=FAINT, alpha=0.25, linewidth=0)
    ratio = "" if state.ratio is None else f", {number(state.ratio)} ×"
    axes.set_title(f"{name}: {verdict(state.flat)}{ratio}", loc="left")
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=4)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_percent(value)))
    axes.xaxis.set_major_formatter(_thousands())


def _short_percent(value: float) -> str:
    return f"{100 * value:.3g} %"


def powers() -> FuncFormatter:
    """10⁻³, in plain letters."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return FuncFormatter(lambda value, _: f"10{str(round(float(np.log10(value)))).translate(raised)}")


def _thousands() -> FuncFormatter:
    return FuncFormatter(lambda value, _: count(value))


def _layered(report: Report) -> dict[Linear, float]:
    return {linear: error for linear, error in report.layers.errors.items() if linear.layer is not None}


def _single_sites(report: Report) -> str:
    """The embedding's and the head's errors, which have no layer."""
    found = [f"{s.role} {percent(e)}" for s, e in report.layers.errors.items() if s.layer is None]
    return f"Without a layer: {', '.join(found)}." if found else ""


def _layers(report: Report) -> Figure:
    errors = _layered(report)
    roles = [role for role in ROLES if any(linear.role == role for linear in errors)]
    depth = 1 + max(linear.layer or 0 for linear in errors)
    finite = [error for error in errors.values() if np.isfinite(error)]
    most = max(finite, default=0.0) or 1.0
    made = figure(_WIDTH, 0.85 + 0.27 * depth)
    axes = made.subplots()
    for linear, error in errors.items():
        x, y, strength = roles.index(linear.role), linear.layer or 0, min(1.0, error / most)
        axes.fill([x, x + 0.96, x + 0.96, x], [y, y, y + 0.94, y + 0.94], color=MODEL, alpha=0.06 + 0.7 * strength)
        cell = axes.text(x + 0.48, y + 0.5, number(100 * error, 2), ha="center", va="center", fontsize=8.5)
        cell.set_in_layout(False)  # it is inside the axes: measuring it would only take time
    axes.set_xlim(0, len(roles))
    axes.set_ylim(depth, 0)
    axes.set_xticks([i + 0.48 for i in range(len(roles))], [role.replace(".", "\n") for role in roles])
    axes.set_yticks([i + 0.48 for i in range(depth)], [str(i) for i in range(depth)])
    axes.set_ylabel("layer")
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return made


def _bars(report: Report) -> Figure:
    """A small panel for each measure: the reference above, the bundle below."""
    theirs, mine, speed = report.reference.size, report.main.subject.size, report.main.speed
    panels: list[tuple[str, float, float, Callable[[float], str]]] = [
        ("graph and weights", theirs.graphs, mine.graphs, megabytes)
    ]
    if theirs.peak is not None and mine.peak is not None:
        panels.append(("peak memory", theirs.peak, mine.peak, megabytes))
    if speed:
        panels.append(("decode, a token", speed[0].decode_ms, speed[1].decode_ms, lambda v: f"{v:.2f} ms"))
        before, after = (256e3 / each.prefill for each in speed)
        panels.append(("prefill of 256 tokens", before, after, lambda v: f"{v:.1f} ms"))
    made = figure(_WIDTH, 1.5)
    for axes, (title, before, after, shown) in zip(made.subplots(1, len(panels), squeeze=False).ravel(), panels):
        axes.barh([1, 0], [before, after], color=[REFERENCE, MODEL], height=0.62)
        for y, value in ((1, before), (0, after)):
            axes.annotate(
                shown(value), (value, y), (4, 0), textcoords="offset points", va="center", annotation_clip=False
            )
        axes.set_xlim(0, 1.75 * max(before, after))
        axes.set_title(title, loc="left")
        axes.set_xticks([])
        axes.set_yticks([1, 0], ["reference", "bundle"] if axes.get_subplotspec().is_first_col() else ["", ""])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
    return made


def _against(report: Report) -> Figure:
    made = figure(_WIDTH, 3.4)
    axes = made.subplots()
    _point(axes, report.main, MODEL)
    for measured in report.against:
        _point(axes, measured, REFERENCE)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(powers())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=0)
    axes.margins(x=0.3, y=0.2)
    axes.set_xlabel("graph and weights, MB")
    axes.set_ylabel("mean KL divergence, nats")
    return made


def _point(axes: Any, measured: Measured, colour: str) -> None:
    x, y = measured.subject.size.graphs / 1e6, max(measured.first.figures.kl.mean, _LOWEST)
    if np.isfinite(y):
        axes.scatter([x], [y], color=colour, s=44, zorder=3)
        axes.annotate(measured.subject.name[:40], (x, y), (7, 4), textcoords="offset points")
