"""`rrwkv retrofit`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rrwkv_export.commands.shared.options import PATH, checkpoint_options
from rrwkv_export.commands.shared.say import note
from rrwkv_export.commands.shared.training import (
    kept_settings,
    medium_config,
    medium_options,
    number,
    require_extra,
    run_options,
    tell,
    texts_argument,
)


@click.command()
@click.argument("checkpoint", type=PATH)
@texts_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to write, a checkpoint.")
@medium_options(32)
@number("--base-learning-rate", 1e-4, "The highest of the model's own weights; --learning-rate is the mediums'.")
@number("--mediums-first", 0.5, "The share of the run, 0 to 1, in which mediums alone are trained; then everything is.")
@click.option("--freeze-base", is_flag=True, help="Train mediums alone to the end.")
@checkpoint_options
@run_options
def retrofit(
    checkpoint: Path,
    texts: tuple[Path, ...],
    output: Path,
    base_learning_rate: float,
    mediums_first: float,
    freeze_base: bool,
    force: bool,
    config: Path | None,
    tokenizer: str | None,
    chat: str | None,
    adapters: tuple[Path, ...],
    adapter_alphas: tuple[float, ...],
    **said: Any,
) -> None:
    """Give CHECKPOINT, an RWKV-4 or RWKV-7, mediums, and train them.

    They are not mixed in at first, so that it is the same function, which is checked to the bit; then mediums alone are
    trained, then everything. DIR is as `rrwkv train` writes it, and `rrwkv train -o DIR --resume` goes on with it.

    \b
    rrwkv retrofit my-model chats.jsonl -o with-mediums --steps 400
    rrwkv retrofit model.pth chats.jsonl -o with-mediums --minutes 10 --freeze-base
    """
    require_extra()
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.train.begin import check_run
    from rrwkv_export.train.beginnings.found import described
    from rrwkv_export.train.beginnings.retrofit import retrofit as make
    from rrwkv_export.train.run import train as run
    from rrwkv_export.train.settings import Settings

    medium = medium_config(said)
    assert medium is not None
    said |= {"mediums_first": 1.0 if freeze_base else mediums_first}
    said |= {"base_rate": base_learning_rate / (said["learning_rate"] or 1)}
    settings = Settings(**kept_settings(texts, **said), retrofit=True)
    opened = open_checkpoint(
        checkpoint, config=config, tokenizer=tokenizer, chat=chat, adapters=adapters, adapter_alphas=adapter_alphas
    )
    check_run(output, force)
    with progress_bars() as progress:
        result = run(
            output,
            lambda: make(opened, medium, settings),
            described(settings, opened),
            overwrite=force,
            progress=progress,
            say=note,
        )
    tell(result, output, "without mediums")
