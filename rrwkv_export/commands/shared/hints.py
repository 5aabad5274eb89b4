"""Commands to be typed next, as a shell takes them."""

from __future__ import annotations

import shlex
from pathlib import Path


def command(*parts: str | Path) -> str:
    """`rrwkv …` with its parts quoted; a path that begins like an option is told from one."""
    return shlex.join(["rrwkv", *(_path(part) if isinstance(part, Path) else part for part in parts)])


def _path(path: Path) -> str:
    return f"./{path}" if str(path).startswith("-") else str(path)


def report_on(bundle: Path, reference: Path) -> str:
    """The `rrwkv report` that says what quantizing a bundle cost; it runs as printed where a text comes along."""
    from rrwkv_export.report import FILES
    from rrwkv_export.report.run import JSON
    from rrwkv_export.report.shipped_text import fits

    parts: list[str | Path] = ["report", bundle, "--reference", reference]
    earlier = Path(f"{bundle.resolve().name}-report")
    if (earlier / JSON).is_file() and {path.name for path in earlier.iterdir()} <= FILES:
        parts.append("--force")  # it would be in the way
    if fits(reference):
        return command(*parts)
    return f"{command(*parts)} --text FILE, where FILE is text of the kind that the model knows, or token ids (.ids)"
