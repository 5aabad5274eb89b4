"""`rrwkv export`"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rrwkv_export.commands.shared.options import PATH, checkpoint_options, verification_options
from rrwkv_export.commands.shared.say import note

if TYPE_CHECKING:
    from rrwkv_export.verify import Parity


@click.command()
@click.argument("checkpoint", type=PATH)
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The folder to write.  [default: ./NAME-bundle]")
@checkpoint_options
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="What matrices are stored in; compute stays float32.",
)
@click.option(
    "--wkv",
    type=click.Choice(["auto", "plain", "stable"]),
    default="auto",
    show_default=True,
    help="The form of wkv, for models with several: plain is a little faster, stable is right for keys of any size; "
    "auto takes plain where the weights prove it right for every token.",
)
@click.option(
    "--target",
    type=click.Choice(["cpu", "cuda", "mobile"]),
    default="cpu",
    show_default=True,
    help="The kind of machine that the graphs are made for; all of them run on a CPU too. cuda: no control flow, and a "
    "graph for one token that can be captured. mobile: as cpu, and besides graphs in fixed shapes for phones' engines, "
    "in variants/.",
)
@click.option(
    "--ort/--no-ort",
    default=True,
    show_default=True,
    help="With --target mobile: those graphs also in onnxruntime's own format, each with its weights, and the "
    "list of operators for a reduced build.",
)
@verification_options
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
def export(
    checkpoint: Path,
    output: Path | None,
    config: Path | None,
    tokenizer: str | None,
    chat: str | None,
    adapters: tuple[Path, ...],
    adapter_alphas: tuple[float, ...],
    force: bool,
    **options: Any,
) -> None:
    """Export CHECKPOINT to a bundle, and verify it.

    CHECKPOINT is a file with BlinkDL's names (.pth or safetensors, under any name), a folder of Hugging Face's, or a
    folder of this project's (config.json, model.safetensors). Its generation of RWKV is told by its tensors.

    The bundle is compared with the checkpoint in every way a text can be split; if they differ, nothing is left behind
    and the exit status is 1. The last lines say what ends a text, and how a model thinks that was taught to.

    \b
    rrwkv export model.pth -o my-bundle
    rrwkv export model.pth --tokenizer world
    rrwkv export my-model --adapter my-lora --dtype float16
    """
    if options["target"] != "mobile" and not options["ort"]:
        raise click.UsageError("--no-ort is for --target mobile; other targets write none")
    from rrwkv_export.checkpoint import open_checkpoint, spelled
    from rrwkv_export.commands.shared.console import console, megabytes, print_parity, progress_bars
    from rrwkv_export.commands.shared.endings import describe_ending, describe_thinking
    from rrwkv_export.errors import ParityError
    from rrwkv_export.export import export as export_checkpoint
    from rrwkv_export.verify import Parity

    opened = open_checkpoint(
        checkpoint, config=config, tokenizer=tokenizer, chat=chat, adapters=adapters, adapter_alphas=adapter_alphas
    )
    target, screen = output or Path(f"{_name(checkpoint)}-bundle"), console()
    for line in opened.notes:
        note(f"rrwkv: {line}")
    try:
        with progress_bars() as progress:
            manifest, parity = export_checkpoint(opened, target, overwrite=force, progress=progress, **options)
    except ParityError as error:
        if isinstance(error.parity, Parity):
            print_parity(screen, error.parity)
        raise
    print_parity(screen, parity)
    size = megabytes(sum(entry.bytes for entry in manifest.files))
    tokens = "no tokenizer: it works on token ids" if manifest.tokenizer is None else manifest.tokenizer.type
    screen.print(
        f"{target}: {manifest.config['architecture']}, {manifest.parameters:,} parameters, {manifest.main.dtype}, "
        f"{_recurrence(manifest.form, parity)}{tokens}, {size}",
        soft_wrap=True,
        markup=False,
    )
    ending = describe_ending(manifest.chat, lambda token_id: spelled(opened.tokenizer, token_id))
    screen.print(ending, soft_wrap=True, markup=False)
    if thought := describe_thinking(manifest.chat):
        screen.print(
            f"it may think first (--think), {thought}; --chat world is without that", soft_wrap=True, markup=False
        )
    if options["target"] == "mobile":
        from rrwkv_export.ort_format import usability_report

        screen.print(f"\n{usability_report(target)}", soft_wrap=True, markup=False)


def _name(checkpoint: Path) -> str:
    """What a checkpoint is called; a dot in the name of a file without a suffix (RWKV-4-0.4B) begins none."""
    if not checkpoint.is_file():
        return checkpoint.resolve().name
    return checkpoint.stem if re.fullmatch(r"\.[A-Za-z]{2,12}", checkpoint.suffix) else checkpoint.name


def _recurrence(form: str | None, parity: Parity) -> str:
    """The form of wkv and what decided it, where there is a choice of forms."""
    if math.isnan(parity.possible_key):
        return ""
    return f"{form} wkv (largest key {parity.largest_key:.1f}, possible {parity.possible_key:.1f}), "
