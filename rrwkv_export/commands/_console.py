"""What commands show: bars and colours on a terminal, plain lines elsewhere. Results to stdout, the rest to stderr."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.progress import TaskID

    from rrwkv_export.graph.verify import Parity
    from rrwkv_export.progress import Progress
    from rrwkv_runtime.generate import Timing


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader is gone, which is no failure; rich would exit with 1."""
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """Wide enough off a terminal that no line is cut."""
    made = _Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = 160
    return made


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A callback progress(what, done, total) that draws one bar for each `what`; silent off a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=screen, disable=not screen.is_terminal, transient=True) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show


def print_parity(screen: Console, parity: Parity) -> None:
    """What was compared, and by how much it differs."""
    text = f"{parity.sample}" + (f" and {parity.mediums} mediums" if parity.mediums else "")
    where = "" if parity.provider == "cpu" else f"{parity.provider} "
    screen.print(f"{where}compared with {parity.against} over {text}; largest error over the largest value:".strip())
    table = Table("run", *(Column(name, justify="right") for name in ("error", "float32 itself", "allowed")), "")
    for check in parity.checks:
        itself = f"{check.float32:.2e}" if math.isfinite(check.float32) else "–"
        said = "[green]ok[/]" if check.passed else "[red]too large[/]"
        table.add_row(check.name, f"{check.error:.2e}", itself, f"{check.rtol:.1e}", said)
    screen.print(table)
    if parity.tolerance:
        screen.print(f"{parity.rtol:.1e} is allowed: {parity.tolerance}")
    for note in parity.notes:
        screen.print(note)


def speed_line(timing: Timing) -> str:
    return (
        f"prefill {timing.prompt_tokens} tokens, {timing.prompt_rate:,.0f} tokens/s; "
        f"decode {timing.generated_tokens} tokens, {timing.generated_rate:,.0f} tokens/s"
    )


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
