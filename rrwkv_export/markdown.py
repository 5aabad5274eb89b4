"""Tables in Markdown, and parts of a page that a program writes."""

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


def between(page: str, name: str, text: str) -> str:
    """The page with the text between its marks of that name, comments on lines of their own.

    The first begins `<!-- NAME: `, the second is `<!-- end of NAME -->`. Raises ValueError for a page without them.
    """
    marks = re.compile(rf"(^<!-- {re.escape(name)}: .*-->\n).*(^<!-- end of {re.escape(name)} -->$)", re.M | re.S)
    if not marks.search(page):
        raise ValueError(f"the page has no marks <!-- {name}: … --> and <!-- end of {name} -->")
    return marks.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page)
