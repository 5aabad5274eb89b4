"""report.html: one file that loads nothing and runs nothing. What comes from files is escaped, all of it, here."""

from __future__ import annotations

import json
from html import escape

from rrwkv_export.report.measure.continuations import Continuation
from rrwkv_export.report.render.page import page, plot_section, table_section
from rrwkv_export.report.render.plots import plots
from rrwkv_export.report.render.tables import gates, tables
from rrwkv_export.report.result import Report


def render_html(report: Report) -> str:
    body = [
        _header(report),
        _cards(report),
        *(f'<p class="note">{escape(note)}</p>' for note in report.notes()),
        *(plot_section(plot) for plot in plots(report)),
        _continuations(report),
        *(table_section(table) for table in tables(report)),
        _recipe(report),
    ]
    return page(f"{report.main.subject.name}: what quantization cost", body)


def _header(report: Report) -> str:
    subject, reference = report.main.subject, report.reference
    badges = "".join(
        f'<span class="gate {"passed" if gate.passed else "broken"}">{"✓" if gate.passed else "✗"} '
        f"{escape(gate.what)} {'≥' if gate.least else '≤'} {gate.limit:g}</span>"
        for gate in report.gates
    )
    return (
        f'<header>\n<p class="what">What quantization cost: <b>{escape(subject.name)}</b> ({escape(subject.scheme)}) '
        f"beside <b>{escape(reference.name)}</b> ({escape(reference.scheme)})</p>\n"
        f"<h1>{escape(report.verdict())}</h1>\n"
        + (f'<p class="gates">{badges}</p>\n' if badges else "")
        + "</header>"
        + (table_section(gates(report)) if not all(gate.passed for gate in report.gates) else "")
    )


def _cards(report: Report) -> str:
    cards = "\n".join(
        f'<div class="card"><span>{escape(row.name)}</span><b>{escape(row.value)}</b>'
        + (f"<small>reference {escape(row.reference)}</small>" if row.reference != "–" else "")
        + (f"<small>{escape(row.what)}</small>" if row.what else "")
        + "</div>"
        for row in report.headline()
    )
    return f'<section class="cards">\n{cards}\n</section>'


def _continuations(report: Report) -> str:
    if not report.continuations:
        return ""
    shown = "\n".join(_continuation(each) for each in report.continuations)
    return (
        '<section>\n<h2>Greedy continuations</h2>\n<p class="note">Both always take the likeliest token; marked is '
        f"what comes after they part.</p>\n{shown}\n</section>"
    )


def _continuation(each: Continuation) -> str:
    common = len(each.common)
    where = "the same throughout" if each.parts_at is None else f"part at token {each.parts_at}"
    texts = "".join(
        f'<div><h3>{name}</h3><p class="text">{escape(text[:common])}<mark>{escape(text[common:])}</mark></p></div>'
        for name, text in (("reference", each.reference), ("bundle", each.other))
    )
    return (
        f'<article>\n<p class="text prompt">{escape(each.prompt)}</p>\n<div class="pair">{texts}</div>\n'
        f'<p class="note">{each.tokens} tokens, {where}</p>\n</article>'
    )


def _recipe(report: Report) -> str:
    if report.main.subject.recipe is None:
        return ""
    whole = json.dumps(report.main.subject.recipe, indent=2, ensure_ascii=False)
    return f"<details>\n<summary>The whole recipe</summary>\n<pre>{escape(whole)}</pre>\n</details>"
