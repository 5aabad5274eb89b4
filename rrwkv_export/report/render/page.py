"""A page of sections: one file that loads nothing and runs nothing. Its parts are escaped where they are made, here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib import resources

from rrwkv_export.report.render.table import Table
from rrwkv_runtime.common.printable import visible


@dataclass(frozen=True)
class Plot:
    """An inline SVG with its title and caption."""

    title: str
    caption: str
    svg: str


def page(title: str, body: Iterable[str]) -> str:
    """The whole of it. title: plain text. body: HTML, empty parts left out."""
    style = resources.files("rrwkv_export.report.render").joinpath("report.css").read_text(encoding="utf-8")
    # Escaped where it stands; and of the whole, no character hides or reorders others.
    return visible(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def plot_section(plot: Plot) -> str:
    return (
        f'<section>\n<h2>{escape(plot.title)}</h2>\n<figure role="img" aria-label="{escape(plot.title)}">\n'
        f'<div class="wide">{plot.svg}</div>\n<figcaption>{escape(plot.caption)}</figcaption>\n</figure>\n</section>'
    )


def table_section(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    header = f"<thead><tr>{head}</tr></thead>\n" if any(table.columns) else ""
    note = f'\n<p class="note">{escape(table.note)}</p>' if table.note else ""
    body = f"<table>\n{header}<tbody>\n{rows}\n</tbody></table>"
    return f'<section>\n<h2>{escape(table.title)}</h2>\n<div class="wide">{body}</div>{note}\n</section>'
