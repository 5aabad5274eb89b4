"""`rrwkv verify`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands.shared.options import (
    PATH,
    bundle_argument,
    checkpoint_options,
    json_option,
    provider_options,
    verification_options,
)


@click.command()
@bundle_argument
@click.option(
    "--against",
    type=PATH,
    metavar="CHECKPOINT",
    help="What the bundle was exported from. Without it, what --provider computes is compared with what the CPU "
    "does, of quantized bundles too.",
)
@checkpoint_options
@verification_options
@provider_options
@json_option
def verify(
    bundle: Path,
    against: Path | None,
    config: Path | None,
    tokenizer: str | None,
    chat: str | None,
    adapters: tuple[Path, ...],
    adapter_alphas: tuple[float, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Compare BUNDLE with its checkpoint, or with itself on a CPU.

    The first is what `rrwkv export` does at its end; with --provider it is done there. The bundle is not changed. Exit
    status 1 if they differ by more than --rtol.

    \b
    rrwkv verify BUNDLE --against CHECKPOINT
    rrwkv verify BUNDLE --against CHECKPOINT --provider openvino
    rrwkv verify BUNDLE --provider openvino --strict
    """
    if against is None and options["provider"] == "cpu":
        raise click.UsageError("give --against CHECKPOINT, or a --provider other than cpu to compare with the CPU")
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.commands.shared.console import console, print_parity, progress_bars
    from rrwkv_export.export import verify_against, verify_against_cpu

    with progress_bars() as progress:
        if against is None:
            parity = verify_against_cpu(bundle, progress=progress, **options)
        else:
            opened = open_checkpoint(
                against,
                config=config,
                tokenizer=tokenizer,
                chat=chat,
                adapters=adapters,
                adapter_alphas=adapter_alphas,
            )
            parity = verify_against(bundle, opened, progress=progress, **options)
    if as_json:
        click.echo(json.dumps(parity.to_json(), indent=2))
    else:
        print_parity(console(), parity)
    parity.require()
