"""`rrwkv perplexity`"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rrwkv_export.commands.shared.options import bundle_argument, json_option, provider_options, threads_option
from rrwkv_export.commands.shared.say import say
from rrwkv_export.commands.shared.texts import SeveralValues, chunk_option, text_option, tokens_option

if TYPE_CHECKING:
    from rich.table import Table

    from rrwkv_export.report.measure.perplexity import Perplexity


@click.command(cls=SeveralValues)
@bundle_argument
@text_option
@tokens_option
@chunk_option
@threads_option
@provider_options
@json_option
def perplexity(
    bundle: Path,
    texts: tuple[Path, ...],
    tokens: int,
    chunk: int,
    threads: int | None,
    provider: str,
    as_json: bool,
    **where: Any,
) -> None:
    """Say how well BUNDLE predicts texts, without a reference.

    That is exp of the mean of -log p, as `rrwkv report` has it, with the state carried through each text. Bits per byte
    compare models whose tokenizers differ.

    \b
    rrwkv perplexity BUNDLE
    rrwkv perplexity BUNDLE --text book.txt chat.jsonl --tokens 100000 --json
    """
    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.commands.shared.models import load_model
    from rrwkv_export.report.measure.perplexity import perplexity as run
    from rrwkv_export.report.shipped_text import shipped_text
    from rrwkv_export.texts import read_text

    read = [read_text(path, bundle) for path in texts] or [shipped_text(bundle)]
    model = load_model(bundle, provider, threads, **where)
    with progress_bars() as progress:
        found = [run(model, text, tokens=tokens, chunk=chunk, progress=progress) for text in read]
    if as_json:
        said = {"bundle": bundle.resolve().name, "bundle_id": model.manifest.bundle_id, "provider": model.provider}
        click.echo(json.dumps({**said, "chunk": chunk, "texts": [each.to_json() for each in found]}, indent=2))
        return
    console().print(_table(found))
    for each in found:
        if each.tokens < each.available:
            say(f"{each.name} has {each.available:,} predictions; --tokens {each.available} reads them all")
    if not texts:
        say(f"read {found[0].name}, which comes along; --text FILE reads another")


def _table(found: Sequence[Perplexity]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from rrwkv_export.human import count, number

    table = Table("text")
    for name in ("predictions", "nll, nats a token", "perplexity", "bits per byte"):
        table.add_column(name, justify="right")
    for each in found:
        error = each.perplexity_standard_error
        spread = "" if error is None else f" ± {number(error, 2)}"
        bits = number(each.bits_per_byte, 4)
        table.add_row(
            Text(each.name), count(each.tokens), number(each.nll, 5), f"{number(each.perplexity, 5)}{spread}", bits
        )
    return table
