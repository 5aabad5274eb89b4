"""`rrwkv bench`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands.shared.options import PATH, native_option, provider_options
from rrwkv_export.commands.shared.say import note

FORMATS = ("md", "csv", "json", "jsonl")
_MOST = 10**6


def _numbers(least: int) -> Callable[..., tuple[int, ...] | None]:
    """An option's callback: whole numbers from `least`, separated by commas."""

    def parse(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
        if value is None:
            return None
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdecimal() and least <= int(part) <= _MOST for part in parts):
            raise click.BadParameter(f"{value!r} is no list of whole numbers from {least} to {_MOST:,}, such as 1,2")
        return tuple(map(int, parts))

    return parse


@click.command()
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE…")
@click.option(
    "-p",
    "--n-prompt",
    "prompts",
    metavar="N,…",
    callback=_numbers(0),
    default="256",
    show_default=True,
    help="Tokens read in one run, a test for each number; 0: none.",
)
@click.option(
    "-n",
    "--n-gen",
    "generated",
    metavar="N,…",
    callback=_numbers(0),
    default="128",
    show_default=True,
    help="Tokens decoded one by one, a test for each number; 0: none.",
)
@click.option(
    "-t",
    "--threads",
    metavar="N,…",
    callback=_numbers(1),
    help="Threads, each number in turn; by default one a usable core.",
)
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="N",
    help="Runs of each test, after one that warms up.",
)
@click.option(
    "-o", "--format", "form", type=click.Choice(FORMATS), default="md", show_default=True, help="What to print."
)
@click.option("--output", type=PATH, metavar="FILE", help="Write to this file instead; one that is there is replaced.")
@click.option("--compare", type=PATH, metavar="FILE", help="An earlier result (json, jsonl), to give the ratios to it.")
@native_option
@provider_options
def bench(
    bundles: tuple[Path, ...],
    threads: tuple[int, ...] | None,
    form: str,
    output: Path | None,
    compare: Path | None,
    **options: Any,
) -> None:
    """Measure the speed of BUNDLEs, as llama-bench does.

    They run in alternation. Also measured: the bandwidth of this machine's memory, and how near to it decoding comes;
    the time to load; the memory that a process takes; how much of the machine others used.

    \b
    rrwkv bench FLOAT INT8 -t 1,2
    rrwkv bench INT8 -o json --output before.json
    rrwkv bench INT8 --compare before.json
    """
    from contextlib import nullcontext

    from rrwkv_export.atomic import new_file
    from rrwkv_export.bench import RENDERERS, Options, measure, read_earlier, subjects
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_runtime.common.printable import visible

    how = Options(threads=threads or (None,), **options)
    earlier = read_earlier(compare) if compare else None
    chosen = subjects(bundles, how.threads, how.fused)
    if earlier:
        earlier.require([(s.name, how.provider, s.threads, test.name) for s in chosen for test in how.tests])
    with new_file(output) if output else nullcontext() as path:
        with progress_bars() as progress:
            records = measure(chosen, how, progress)
        text = RENDERERS[form](earlier.compared(records) if earlier else records, earlier)
        if path:
            path.write_text(text, encoding="utf-8")
    if output:
        note(f"wrote {output}")  # not among the results, which may go to /dev/stdout
    else:
        click.echo(visible(text), nl=False)
