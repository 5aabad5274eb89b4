"""Tables in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from rrwkv_runtime.common.printable import one_line


def escaped(text: str) -> str:
    """Names and texts are strangers': one line, no HTML, no Markdown of theirs."""
    plain = html.escape(one_line(text), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", plain)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The lines of a table; cells are escaped."""
    lines = [[escaped(cell) for cell in line] for line in (columns, *rows)]
    lines.insert(1, ["---"] * len(columns))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
