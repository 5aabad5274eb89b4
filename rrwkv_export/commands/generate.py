"""`rrwkv generate`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands._options import (
    PATH,
    bundle_argument,
    given,
    native_option,
    provider_options,
    sampling_options,
    spin_option,
    threads_option,
)


@click.command()
@bundle_argument
@click.option("-p", "--prompt", metavar="TEXT", help="What to continue; standard input if none is given.")
@click.option(
    "-f",
    "--prompt-file",
    type=PATH,
    metavar="FILE",
    help="Read the prompt from a file, less its last line end.",
)
@click.option("--ids", metavar="1,2,3", help="The prompt as token ids.")
@click.option("-n", "--max-tokens", type=int, default=256, show_default=True, metavar="N", help="0 or -1: no limit.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End before TEXT; may be given several times.")
@click.option(
    "--escape/--no-escape",
    "-e/ ",
    default=True,
    show_default=True,
    help=r"Whether \n, \t, \xHH and the like in --prompt and --stop stand for what they do in C.",
)
@click.option("--ignore-eos", is_flag=True, help="Go on after the model's end token.")
@click.option("--stats", is_flag=True, help="Show tokens and speed at the end, on standard error.")
@sampling_options
@threads_option
@spin_option
@native_option
@provider_options
def generate(
    bundle: Path,
    prompt: str | None,
    prompt_file: Path | None,
    ids: str | None,
    max_tokens: int,
    stop: tuple[str, ...],
    escape: bool,
    ignore_eos: bool,
    stats: bool,
    threads: int | None,
    spin: bool,
    native: bool | None,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    **sampling: Any,
) -> None:
    """Continue a text with BUNDLE, streaming.

    \b
    rrwkv generate BUNDLE -p "Once upon a time" -n 64
    echo "Once upon a time" | rrwkv generate BUNDLE
    """
    from rrwkv_export.commands._models import load_model
    from rrwkv_runtime.console import ReadingLine
    from rrwkv_runtime.prompt import read_prompt, token_limit, typed

    if sum(source is not None for source in (prompt, prompt_file, ids)) > 1:
        raise click.UsageError("give one of --prompt, --prompt-file and --ids")
    text = read_prompt(prompt, prompt_file, ids, escape)
    where: dict[str, Any] = {"provider_options": provider_options, "strict": strict, "spin": spin, "native": native}
    model = load_model(bundle, provider, threads, **where)
    reading = ReadingLine()
    stops = [typed(text, escape) for text in stop]
    options = {**given(sampling), "max_tokens": token_limit(max_tokens), "stop": stops, "ignore_eos": ignore_eos}
    tokens = model.generate(text, progress=reading, **options)
    try:
        timing = _stream(tokens, ids_only=model.tokenizer is None)
    finally:
        reading.erase()
    if stats:
        click.echo(timing, err=True)


def _stream(tokens: Any, ids_only: bool) -> str:
    """Write tokens as they come; one line on speed."""
    from time import perf_counter

    from rrwkv_runtime.printable import shown

    started, first, count = perf_counter(), 0.0, 0
    for token in tokens:
        count += 1
        first = first or perf_counter() - started
        sys.stdout.write(f"{token.id} " if ids_only else shown(token.text, sys.stdout))
        sys.stdout.flush()
    sys.stdout.write("\n")
    rest = perf_counter() - started - first
    return f"first token after {first:.3f} s, then {(count - 1) / rest if rest and count > 1 else 0:,.0f} tokens/s"
