"""`rrwkv report`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands._options import (
    PATH,
    TEXT_FILES,
    Decorator,
    bundle_argument,
    provider_options,
    threads_option,
)


class _SeveralValues(click.Command):
    """Lets `--text A B` stand for `--text A --text B`, for every option that may be given several times."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        return super().parse_args(ctx, _repeated(args, several))


def _repeated(arguments: Sequence[str], several: set[str]) -> list[str]:
    """The arguments with an option of `several` before each of its values, which end with the next option."""
    made: list[str] = []
    option, values = None, 0
    for index, argument in enumerate([*arguments, "--"]):
        if argument.startswith("-") and argument != "-":
            if option and not values:
                raise click.BadOptionUsage(option, f"Option {option!r} requires an argument.")
            if argument == "--":
                return [*made, *arguments[index:]]
            name, given, value = argument.partition("=")
            option, values = (name if name in several else None), len(given)
            made += [name, value] if option and given else [] if option else [argument]
        else:
            made += [option, argument] if option else [argument]
            values += 1
    return made


def _gate(name: str, text: str) -> Decorator[Any]:
    option: Decorator[Any] = click.option(name, type=click.FloatRange(min=0), metavar="X", help=text)
    return option


@click.command(cls=_SeveralValues)
@bundle_argument
@click.option("--reference", type=PATH, required=True, metavar="BUNDLE", help="What it was quantized from.")
@click.option(
    "--text",
    "texts",
    type=PATH,
    multiple=True,
    required=True,
    metavar="FILE…",
    help=f"Texts to read: {TEXT_FILES}. The first makes the headline.",
)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The folder to write.  [default: ./NAME-report]")
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=16384,
    show_default=True,
    metavar="N",
    help="Predictions of each text that count.",
)
@click.option(
    "--chunk", type=click.IntRange(min=1), default=256, show_default=True, metavar="N", help="Tokens read at once."
)
@click.option(
    "--against", type=PATH, multiple=True, metavar="BUNDLE…", help="More bundles for a table beside this one."
)
@_gate("--max-kl", "Most mean KL divergence allowed, in nats.")
@_gate("--max-ppl-ratio", "Most perplexity allowed, over the reference's.")
@_gate("--min-top1", "Least share of equal likeliest tokens allowed, from 0 to 1.")
@_gate("--max-drift", "Most drift allowed: the relative error of any state, mean over the last quarter of the text.")
@click.option("--speed/--no-speed", default=True, show_default=True, help="Measure speed and memory.")
@threads_option
@provider_options
@click.option("--force", is_flag=True, help="Replace the report if there is one.")
def report(
    bundle: Path,
    reference: Path,
    texts: tuple[Path, ...],
    output: Path | None,
    max_kl: float | None,
    max_ppl_ratio: float | None,
    min_top1: float | None,
    max_drift: float | None,
    force: bool,
    **options: Any,
) -> None:
    """Say what quantizing BUNDLE cost: report.html to look at, report.md, report.json.

    Both models read the texts side by side. With limits given, the exit status is 1 if BUNDLE breaks one of them on any
    text; the report is written all the same.

    \b
    rrwkv report INT8 --reference FLOAT --text chat.jsonl book.txt -o report
    rrwkv report INT8 --reference FLOAT --text chat.jsonl --against INT4 FP16 --max-kl 0.002
    """
    from rrwkv_export.commands._console import console, progress_bars
    from rrwkv_export.report import Gates, write_report

    target = output or Path(f"{bundle.resolve().name}-report")
    gates = Gates(max_kl, max_ppl_ratio, min_top1, max_drift)
    with progress_bars() as progress:
        made = write_report(
            bundle, reference, texts, target, gates=gates, overwrite=force, progress=progress, **options
        )
    screen = console()
    screen.print(headline(made))
    for note in made.notes():
        screen.print(note, soft_wrap=True, markup=False)
    screen.print(f"wrote {target / 'report.html'}, report.md and report.json", soft_wrap=True, markup=False)
    made.require()


def headline(made: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for name in (made.reference.name, made.main.subject.name):
        table.add_column(Text(name), justify="right", overflow="fold")
    for row in made.headline():
        table.add_row(row.name, row.reference, row.value)
    return table
