"""The page: one HTML file that loads nothing, of what is finished. And its words and tables, for a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from examples.recall.grid import BASES, GENERATIONS, axes
from examples.recall.page import plots, tables
from examples.recall.page.results import Results
from examples.recall.paths import shortest_path
from examples.recall.plan import MEDIUM, Plan
from examples.recall.tasks import LEAD, TASKS
from rrwkv_export.atomic import new_file
from rrwkv_export.errors import OutputError, RunError
from rrwkv_export.markdown import between, escaped
from rrwkv_export.report.render.markdown import table_section as markdown_section
from rrwkv_export.report.render.page import Plot, page, plot_section, table_section
from rrwkv_export.report.render.svg import style, to_svg
from rrwkv_export.report.render.table import Table
from rrwkv_export.runs import Store

_AXES = {
    "squeeze": "How a segment is squeezed",
    "slots": "How many slots",
    "interval": "How long a segment is, fixed or adaptive",
}
_LAYERS = 2
_BEGIN = b"<!doctype html"


def write_page(store: Store, plan: Plan, text: Path | None, output: Path, readme: Path | None = None) -> None:
    """readme: a page in Markdown, which gets the words and tables between its marks "results". Raises RunError where
    nothing is finished that could be shown, TextError, OutputError.
    """
    _require_a_page(output)
    results = Results(store, plan, text)
    if not any(results.bases(task) for task in TASKS):
        raise RunError(f"{store.path}: no run of this plan is finished; begin with `run`")
    with style():
        made = page("What mediums buy", list(_parts(results)))
    with new_file(output) as temporary:
        temporary.write_text(made, encoding="utf-8")
    if readme:
        _write_tables(results, readme)


def _write_tables(results: Results, readme: Path) -> None:
    """Raises OutputError where the page has no marks."""
    (changed, words), (text_table, text_words) = tables.mediums(results), tables.losses(results)
    listed = [
        changed,
        tables.variants(results),
        *(tables.accuracies(results, task) for task in TASKS),
        text_table,
        tables.intervals(results),
        tables.costs(results),
    ]
    said = "\n".join(f"- {escaped(each)}" for each in words + text_words)
    parts = [f"{_finished(results)}\n\n{said}", *(f"#{markdown_section(each)}" for each in listed if each.rows)]
    try:
        made = between(readme.read_text(encoding="utf-8"), "results", "\n\n".join(parts))
    except (OSError, UnicodeError, ValueError) as error:
        raise OutputError(f"{readme}: {error}") from error
    with new_file(readme) as temporary:
        temporary.write_text(made, encoding="utf-8")


def _require_a_page(output: Path) -> None:
    """Raises OutputError where something else would be lost."""
    if output.is_file():
        with output.open("rb") as there:
            if not there.read(len(_BEGIN)).lower().startswith(_BEGIN):
                raise OutputError(f"{output} is there already, and no page; give another name")


def _parts(results: Results) -> Iterator[str]:
    changed, words = tables.mediums(results)
    text, text_words = tables.losses(results)
    yield _header(results, words + text_words)
    yield _drawn("Recall by distance", _recall_caption(results.plan), plots.accuracy(results))
    if changed.rows:
        yield table_section(changed)
    for name, title in _AXES.items():
        for family, generation in GENERATIONS.items():
            if drawn := plots.axis(results, family, name):
                yield _drawn(f"{title}, on {generation}", _axis_caption(results.plan, name), drawn)
    listed = (tables.variants(results), tables.intervals(results), text)
    yield from (table_section(each) for each in listed if each.rows)
    if costs := results.costs():
        drawn = plots.costs(costs, results.plan.cost_positions)
        yield _drawn("What a token costs, and what is carried", _cost_caption(results.plan, costs[0][1]), drawn)
        yield table_section(tables.costs(results))
    yield _drawn("The shortest path from a token to one so far back", _PATHS, _paths(results.plan))
    yield from (table_section(tables.accuracies(results, task)) for task in TASKS)
    yield table_section(_progress(results))


def _header(results: Results, words: list[str]) -> str:
    words = words or ["Nothing yet: no model is finished both with mediums and without."]
    said = "\n".join(f"<li>{escape(each)}</li>" for each in words)
    return (
        '<header>\n<p class="what">LSTM, GRU, Transformer, RWKV-4, RWKV-7 and RRWKV on both, of '
        f"{results.plan.parameters:,} parameters each, trained alike</p>\n<h1>What mediums buy</h1>\n"
        f'<p class="note">{_finished(results)}</p>\n'
        f"</header>\n<section>\n<h2>In words</h2>\n<ul>\n{said}\n</ul>\n"
        '<p class="note">Helps, hurts: all seeds with mediums are above, below all seeds without, two of each at '
        "least. Everything else does not help.</p>\n</section>"
    )


def _finished(results: Results) -> str:
    progress = results.progress()
    done, planned = sum(done for _, done, _ in progress), sum(planned for *_, planned in progress)
    return f"{done:,} of {planned:,} runs are finished; every figure says of how many seeds it is."


def _recall_caption(plan: Plan) -> str:
    return (
        f"Distances that were trained on, up to {plan.longest}, are shaded; beyond them nothing was. {plan.steps:,} "
        f"steps of about {plan.tokens:,} tokens. Lines are means over the seeds that are finished, bands go from the "
        "lowest to the highest; the dotted line is chance. Broken lines: without mediums."
    )


def _axis_caption(plan: Plan, axis: str) -> str:
    listed = ", ".join(label for label, _, _ in axes(plan)[axis])
    planned = f"a medium every {MEDIUM['interval']} tokens, by {MEDIUM['squeeze']}, {MEDIUM['slots']} slots"
    said = f"As planned: {planned}. Varied, all else alike: {listed}."
    if axis != "slots":
        return said
    most = (plan.longest + LEAD) // MEDIUM["interval"]
    return (
        f"{said} A row of training has {most} mediums or so at most: models with as many slots, or more, are the same "
        "ones after it, and only read further back where they are tested."
    )


def _cost_caption(plan: Plan, measured: dict[str, Any]) -> str:
    where = measured["machine"]
    return (
        f"Decoding a token at a time with larger models of the same kinds, about {plan.cost_parameters / 1e6:.1f} "
        f"million parameters in {plan.cost_layers} layers, as ONNX graphs on onnxruntime {where['onnxruntime']}, one "
        f"thread of {where['processor']}; means over {plan.cost_window} tokens. RWKV and RRWKV are this package's "
        "bundles, the others are exported by torch.onnx; the Transformer's graph gives its keys and values anew with "
        "every token. Carried is what a conversation needs to go on, in float32."
    )


_PATHS = (
    "A step is one time that what a token said is weighed, gated or transformed on its way to a later token: by a "
    "recurrence once for each token that it passes, by attention once over any distance, by mediums twice, squeezed "
    "and read. Mediums reach as far as slots times interval, and as far again in the next layer; what is beyond goes "
    "on by recurrence. Means over the places in a segment; computed from the models' structure."
)


def _paths(plan: Plan) -> Figure:
    distances, planned = [2**i for i in range(13)], BASES[-1]
    slots = [(label, {**MEDIUM, **changed}) for label, changed, _ in axes(plan)["slots"]]
    far = {**MEDIUM, "interval": 64, "slots": 64}
    shown = [
        ("LSTM, GRU, RWKV", "lstm", None),
        ("Transformer", "transformer", None),
        *((f"RRWKV, {label}", "rwkv7", medium) for label, medium in slots),
        ("RRWKV as planned", planned.family, planned.medium),
        ("RRWKV, interval 64, 64 slots", "rwkv7", far),
    ]
    return plots.paths(
        [
            (label, distances, [shortest_path(family, medium, _LAYERS, distance) for distance in distances])
            for label, family, medium in shown
        ]
    )


def _drawn(title: str, caption: str, figure: Figure) -> str:
    return plot_section(Plot(title, caption, to_svg(figure)))


def _progress(results: Results) -> Table:
    rows: list[tuple[str, ...]] = [(name, str(done), str(planned)) for name, done, planned in results.progress()]
    return Table("How much of the grid is finished", ("", "finished", "planned"), rows)
