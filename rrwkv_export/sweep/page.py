"""The frontier as one page, and the same as Markdown: what is best at its size and at its speed, bundle by bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from rrwkv_export.human import MISSING, count, megabytes, milliseconds, number, percent
from rrwkv_export.markdown import escaped
from rrwkv_export.report.render.markdown import table_section as markdown_section
from rrwkv_export.report.render.page import Plot, page, plot_section, table_section
from rrwkv_export.report.render.plots import powers
from rrwkv_export.report.render.svg import FAINT, MODEL, REFERENCE, figure, style, to_svg
from rrwkv_export.report.render.table import Table
from rrwkv_export.sweep.plan import BUNDLES
from rrwkv_export.sweep.points import FLOAT, Point, frontier, staircase
from rrwkv_runtime.common.printable import visible

if TYPE_CHECKING:
    from rrwkv_export.sweep.run import Swept

_TITLE = "Recipes by what they cost: accuracy, size, speed"
_LOWEST = 1e-7  # what the logarithmic axis shows for a KL divergence of nothing
_NEAR, _ABOVE = 0.3, 2.5  # of a point, in x and y, where its name would be over that of another
_NOTE = (
    "Mean and p99 KL divergence from the float32 bundle's predictions, in nats; top-1: predictions whose likeliest "
    "token is the same; drift: the relative error of the state farthest off, mean over the last quarter of the text; "
    "decode: one token a run; prefill: 256 tokens in one. Marked ✓ is the frontier: no other is as good in KL, size "
    "and decode, and better in one of them."
)


def render_html(swept: Swept) -> str:
    head = f'<header>\n<p class="what">{escape(_what(swept))}</p>\n<h1>{escape(_TITLE)}</h1>\n</header>'
    notes = [f'<p class="note">{escape(note)}</p>' for note in _notes(swept)]
    with style():
        sections = [
            part for group in _groups(swept) for part in (plot_section(_plot(group)), table_section(_table(group)))
        ]
    return page(_TITLE, [head, *notes, *sections, *(table_section(table) for table in _about(swept) if table.rows)])


def render_markdown(swept: Swept) -> str:
    parts = [f"# {_TITLE}", escaped(_what(swept)), *(f"> {escaped(note)}" for note in _notes(swept))]
    parts += [markdown_section(_table(group)) for group in _groups(swept)]
    parts += [markdown_section(table) for table in _about(swept) if table.rows]
    return visible("\n\n".join(parts)) + "\n"


def _what(swept: Swept) -> str:
    plan = swept.plan
    sizes = (len(plan.bundles), len(plan.recipes), len(plan.texts))
    words = ("bundle", "recipe", "text")
    return " × ".join(f"{size} {word}{'s' if size > 1 else ''}" for size, word in zip(sizes, words))


def _notes(swept: Swept) -> list[str]:
    notes = []
    if swept.disturbed > 0.1:
        notes.append(f"Other work disturbed {percent(swept.disturbed)} of the timings: speeds are of little worth.")
    if swept.failed:
        notes.append("Runs that failed are left out; they are listed below.")
    return notes


def _groups(swept: Swept) -> list[list[Point]]:
    """Points of one bundle on one text, in the order of the plan."""
    places = dict.fromkeys((point.bundle, point.text) for point in swept.points)
    return [[p for p in swept.points if (p.bundle, p.text) == place] for place in places]


def _table(points: Sequence[Point]) -> Table:
    best = frontier(points)
    rows = [
        (
            point.recipe,
            megabytes(point.bytes),
            number(point.perplexity, 5),
            number(point.kl),
            number(point.kl_p99),
            percent(point.top1),
            percent(point.drift),
            milliseconds(point.speed.decode_ms) if point.speed else MISSING,
            f"{count(point.speed.prefill)}/s" if point.speed else MISSING,
            "✓" if point in best else "",
        )
        for point in sorted(points, key=lambda point: point.bytes)
    ]
    columns = (
        "recipe", "graph and weights", "perplexity", "mean KL", "p99 KL", "top-1", "drift", "decode", "prefill",
        "frontier",
    )  # fmt: skip
    return Table(f"{points[0].bundle} on {points[0].text}", columns, rows, _NOTE)


def _plot(points: Sequence[Point]) -> Plot:
    caption = (
        "Better is further down and to the left. The line is the frontier of each panel; a hollow point is beaten by "
        f"another there. {FLOAT} has a KL divergence of 0, and stands at the bottom."
    )
    return Plot(f"The frontier of {points[0].bundle} on {points[0].text}", caption, to_svg(_drawn(points)))


def _drawn(points: Sequence[Point]) -> Figure:
    panels: list[tuple[str, Callable[[Point], float]]] = [("graph and weights, MB", lambda point: point.bytes / 1e6)]
    if all(point.speed for point in points):
        panels.append(("decode, ms a token", lambda point: point.speed.decode_ms if point.speed else 0.0))
    made = figure(9.0, 3.9)
    for axes, (label, x) in zip(made.subplots(1, len(panels), squeeze=False, sharey=True).ravel(), panels):
        _panel(axes, label, [(x(point), point.kl, point.recipe) for point in points if point.kl is not None])
    return made


def _panel(axes: Any, label: str, places: Sequence[tuple[float, float, str]]) -> None:
    best = staircase([(x, kl) for x, kl, _ in places])
    line = [(x, max(kl, _LOWEST)) for x, kl in best]
    axes.step(*zip(*line), where="post", color=FAINT, linewidth=1.2, zorder=2)
    shown: list[tuple[float, float]] = []
    for x, kl, name in sorted(places, key=lambda place: place[1]):
        colour, at = REFERENCE if name == FLOAT else MODEL, (x, max(kl, _LOWEST))
        axes.scatter(*at, s=44, zorder=3, edgecolors=colour, facecolors=colour if (x, kl) in best else "none")
        crowded = any(abs(at[0] - other[0]) < _NEAR * x and at[1] / other[1] < _ABOVE for other in shown)
        right = {"xytext": (-7, 4), "ha": "right"} if crowded else {"xytext": (7, 4)}
        axes.annotate(name[:40], at, textcoords="offset points", **right)
        if not crowded:
            shown.append(at)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(powers())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.3, y=0.15)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel("mean KL divergence, nats")


def _about(swept: Swept) -> list[Table]:
    """What failed, and what was swept, by hash."""
    plan, settings = swept.plan, swept.plan.settings
    failed = Table("Failed", ("run", "why"), list(swept.failed.items()))
    rows = [("bundle", bundle.name, f"bundle id {bundle.id}") for bundle in plan.bundles]
    made = {each.name: f"{BUNDLES}/{each.folder.name}, bundle id {known}" for each, known in swept.made.items()}
    rows += [("quantized", name, where) for name, where in made.items()]
    rows += [("text", text.name, f"sha256 {text.id}") for text in plan.texts]
    rows += [("calibration", text.name, f"sha256 {text.id}") for text in plan.calibration]
    rows.append(("read", "", f"{count(settings.tokens)} predictions, in chunks of {settings.chunk} tokens"))
    if swept.machine:
        rows.append(("speed", "", f"measured in alternation, medians; {swept.machine}"))
    return [failed, Table("What was measured", ("", "", ""), rows)]
