"""What commands show: bars and colours on a terminal, plain lines elsewhere. Results to stdout, the rest to stderr."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from rrwkv_runtime.common.printable import replaced

if TYPE_CHECKING:
    from rich.progress import TaskID

    from rrwkv_export.progress import Progress
    from rrwkv_export.verify import Parity
    from rrwkv_runtime.generate import Timing


class _Console(Console):
    """What it is given may be of strangers' files: no markup of theirs is followed, and no control character passes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(replaced(text), style)

    def on_broken_pipe(self) -> None:
        """The reader is gone, which is no failure; rich would exit with 1."""
        raise BrokenPipeError


def console(stderr: bool = False) -> Console:
    """Wide enough off a terminal that no line is cut."""
    made = _Console(stderr=stderr, highlight=False, markup=False, emoji=False)
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
        said = Text("ok", "green") if check.passed else Text("too large", "red")
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
