"""`rrwkv verify`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands._options import (
    PATH,
    bundle_argument,
    checkpoint_options,
    json_option,
    provider_option,
    verification_options,
)


@click.command()
@bundle_argument
@click.option("--against", type=PATH, required=True, metavar="CHECKPOINT", help="What the bundle was exported from.")
@checkpoint_options
@verification_options
@provider_option
@json_option
def verify(
    bundle: Path,
    against: Path,
    config: Path | None,
    tokenizer: Path | None,
    chat: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Compare BUNDLE with the checkpoint it came from, as `export` does.

    The bundle is not changed. Exit status 1 if they differ by more than --rtol.
    """
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.commands._console import console, print_parity, progress_bars
    from rrwkv_export.export import verify_against

    opened = open_checkpoint(against, config=config, tokenizer=tokenizer, chat=chat)
    with progress_bars() as progress:
        parity = verify_against(bundle, opened, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(parity.to_json(), indent=2))
    else:
        print_parity(console(), parity)
    parity.require()
