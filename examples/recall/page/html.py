"""Sections of the page; what is put into them is escaped here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources

from matplotlib.figure import Figure

from examples.recall.page.tables import Table
from rrwkv_export.report.render.svg import to_svg


def page(title: str, parts: Iterable[str]) -> str:
    css = resources.files("rrwkv_export.report.render").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{css}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def plot(title: str, caption: str, drawn: Figure) -> str:
    return (
        f'<section>\n<h2>{escape(title)}</h2>\n<figure role="img" aria-label="{escape(title)}">\n'
        f'<div class="wide">{to_svg(drawn)}</div>\n<figcaption>{escape(caption)}</figcaption>\n</figure>\n</section>'
    )


def table(of: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in of.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in of.rows)
    body = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>"
    note = f'\n<p class="note">{escape(of.note)}</p>' if of.note else ""
    return f'<section>\n<h2>{escape(of.title)}</h2>\n<div class="wide">{body}</div>{note}\n</section>'
