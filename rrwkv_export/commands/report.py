"""`rrwkv report`"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import basename, realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rrwkv_export.commands.shared.options import (
    PATH,
    Decorator,
    NumberFrom,
    bundle_argument,
    provider_options,
    threads_option,
)
from rrwkv_export.commands.shared.texts import SeveralValues, chunk_option, text_option, tokens_option

if TYPE_CHECKING:
    from rich.table import Table

    from rrwkv_export.report import Row


def _gate(name: str, text: str, ratio: bool = False) -> Decorator[Any]:
    option: Decorator[Any] = click.option(name, type=NumberFrom(ratio=ratio), metavar="X", help=text)
    return option


@click.command(cls=SeveralValues)
@bundle_argument
@click.option("--reference", type=PATH, required=True, metavar="BUNDLE", help="What BUNDLE was quantized from.")
@text_option
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The folder to write.  [default: ./NAME-report]")
@tokens_option
@chunk_option
@click.option(
    "--against",
    type=PATH,
    multiple=True,
    metavar="BUNDLE…",
    help="More bundles, to stand beside BUNDLE in a table.",
)
@click.option(
    "--tuned",
    is_flag=True,
    help="BUNDLE's weights were tuned for its recipe by `rrwkv train --qat`, and --reference is of the model before.",
)
@_gate("--max-kl", "Fail if the mean KL divergence is over X nats.")
@_gate("--max-ppl-ratio", "Fail if the perplexity is over X times the reference's.", ratio=True)
@_gate("--min-top1", "Fail if the share of predictions whose likeliest token is the same is under X, from 0 to 1.")
@_gate(
    "--max-drift",
    "Fail if the drift is over X: any state's relative error, mean over the last quarter of the text.",
)
@_gate(
    "--max-task-loss",
    "With --tasks: fail if a task's accuracy is under the reference's by more than X, from 0 to 1.",
)
@click.option(
    "--tasks",
    is_flag=True,
    help="Also ask both what the tasks that come along ask, in English: which reply a dialogue goes on with, and the "
    "last word of a turn.",
)
@click.option("--speed/--no-speed", default=True, show_default=True, help="Measure speed and memory.")
@threads_option
@provider_options
@click.option("--force", is_flag=True, help="Replace the report that is there.")
def report(
    bundle: Path,
    reference: Path,
    texts: tuple[Path, ...],
    output: Path | None,
    max_kl: float | None,
    max_ppl_ratio: float | None,
    min_top1: float | None,
    max_drift: float | None,
    max_task_loss: float | None,
    force: bool,
    **options: Any,
) -> None:
    """Say what quantizing BUNDLE cost.

    It writes a folder: report.html to look at, report.md, report.json. Both models read the texts side by side; the
    first text makes the headline. With limits given, the exit status is 1 if BUNDLE breaks one of them on any text; the
    report is written all the same.

    \b
    rrwkv report INT8 --reference FLOAT
    rrwkv report INT8 --reference FLOAT --text chat.jsonl book.txt -o report
    rrwkv report INT8 --reference FLOAT --tasks --against INT4 --max-task-loss 0.03
    rrwkv report INT8 --reference FLOAT --text chat.jsonl --against INT4 FP16 --max-kl 0.002
    """
    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.report import Gates, write_report

    target = output or Path(f"{basename(realpath(bundle))}-report")
    gates = Gates(max_kl, max_ppl_ratio, min_top1, max_drift, max_task_loss)
    with progress_bars() as progress:
        made = write_report(
            bundle, reference, texts, target, gates=gates, overwrite=force, progress=progress, **options
        )
    screen = console()
    screen.print(headline(made.reference.name, made.main.subject.name, made.headline()))
    if not texts:
        screen.print(f"read {made.main.first.text.name}, which comes along; --text FILE reads another", markup=False)
    for note in made.notes():
        screen.print(note, soft_wrap=True, markup=False)
    screen.print(f"wrote {target / 'report.html'}, report.md and report.json", soft_wrap=True, markup=False)
    made.require()


def headline(reference: str, bundle: str, rows: Sequence[Row]) -> Table:
    """The rows of a report's headline, as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for name in (reference, bundle):
        table.add_column(Text(name), justify="right", overflow="fold")
    table.add_column("", style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
