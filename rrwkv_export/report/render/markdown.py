"""report.md: the same figures as the page's, for where Markdown is read."""

from __future__ import annotations

import json

from rrwkv_export.markdown import escaped
from rrwkv_export.markdown import table as markdown_table
from rrwkv_export.report.render.table import Table
from rrwkv_export.report.render.tables import gates, headline, tables
from rrwkv_export.report.result import Report
from rrwkv_runtime.common.printable import visible


def render_markdown(report: Report) -> str:
    parts = [
        f"# {escaped(report.main.subject.name)}: what quantization cost",
        f"**{escaped(report.verdict())}**",
        *(table_section(table) for table in (headline(report), gates(report)) if table.rows),
        *(f"> {escaped(note)}" for note in report.notes()),
        *(table_section(table) for table in tables(report)),
        _continuations(report),
    ]
    if report.main.subject.recipe is not None:
        parts.append(f"## The whole recipe\n\n{_indented(json.dumps(report.main.subject.recipe, indent=2))}")
    return visible("\n\n".join(part for part in parts if part)) + "\n"


def table_section(table: Table) -> str:
    note = f"\n\n{escaped(table.note)}" if table.note else ""
    return f"## {escaped(table.title)}\n\n{markdown_table(table.columns, table.rows)}{note}"


def _continuations(report: Report) -> str:
    parts = []
    for each in report.continuations:
        where = "the same throughout" if each.parts_at is None else f"they part at token {each.parts_at}"
        texts = (("prompt", each.prompt), ("reference", each.reference), ("bundle", each.other))
        shown = "\n".join(f"- {name}: {escaped(json.dumps(text, ensure_ascii=False))}" for name, text in texts)
        parts.append(f"{each.tokens} tokens, {where}:\n\n{shown}")
    return "\n\n".join(["## Greedy continuations", *parts]) if parts else ""


def _indented(text: str) -> str:
    """A code block that nothing inside can end."""
    return "\n".join(f"    {line}" for line in text.splitlines())
