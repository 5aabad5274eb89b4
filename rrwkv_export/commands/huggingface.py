"""`rrwkv huggingface`"""

from __future__ import annotations

from pathlib import Path

import click

from rrwkv_export.commands.shared.options import PATH, checkpoint_options
from rrwkv_export.commands.shared.say import note, say


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@checkpoint_options
@click.option("--force", is_flag=True, help="Replace the folder that is there, if it is one that this command wrote.")
def huggingface(
    checkpoint: Path,
    output: Path,
    config: Path | None,
    tokenizer: str | None,
    chat: str | None,
    adapters: tuple[Path, ...],
    adapter_alphas: tuple[float, ...],
    force: bool,
) -> None:
    """Make CHECKPOINT, an RWKV-4 or RWKV-7, a model of transformers'.

    DIR is a checkpoint as before, with mediums or without, and besides what AutoModelForCausalLM and AutoTokenizer load
    with trust_remote_code=True where this project is not installed: its code, and a chat template. Weights stay as they
    are, under their names. What `rrwkv train` and `rrwkv retrofit` write is such a folder already.

    \b
    rrwkv huggingface model.pth --tokenizer world -o my-model
    """
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.huggingface import convert

    opened = open_checkpoint(
        checkpoint, config=config, tokenizer=tokenizer, chat=chat, adapters=adapters, adapter_alphas=adapter_alphas
    )
    for line in opened.notes:
        note(f"rrwkv: {line}")
    with progress_bars() as progress:
        convert(opened, output, overwrite=force, progress=progress)
    say(f"{output}: {opened.config.architecture}, {opened.config.parameters():,} parameters")
    say(f'in Python: transformers.AutoModelForCausalLM.from_pretrained("{output}", trust_remote_code=True)')
