"""`rrwkv sensitivity`"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from rrwkv_export.commands.shared.options import PATH, bundle_argument, json_option
from rrwkv_export.commands.shared.say import note

KINDS = ("static 8", "weight 8", "weight 4", "float16")


@click.command()
@bundle_argument
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="What to try: 8-bit weights and inputs, 8-bit or 4-bit weights, float16; may be given several times.  "
    "[default: static 8]",
)
@click.option("--layers", is_flag=True, help="Also try every layer of a role by itself.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Text to observe, as `rrwkv quantize` takes it; may be given several times.  [default: as there]",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=32, show_default=True, metavar="N", help="Passages to observe."
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    metavar="N",
    help="Predictions to measure on.",
)
@json_option
def sensitivity(
    bundle: Path,
    kinds: tuple[str, ...],
    layers: bool,
    calibration: tuple[Path, ...],
    samples: int,
    tokens: int,
    as_json: bool,
) -> None:
    """Rank the roles of matrices by what rounding each alone costs.

    The cost is the mean KL divergence from the float model, on a part of the text that is not observed.

    \b
    rrwkv sensitivity BUNDLE
    rrwkv sensitivity BUNDLE --kind "weight 4" --layers
    """
    from rich.table import Column, Table

    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.quantize.calibration import choose_calibration
    from rrwkv_export.quantize.recipes import shipped_recipe
    from rrwkv_export.quantize.search.sensitivity import Scale
    from rrwkv_export.quantize.search.sensitivity import sensitivity as run
    from rrwkv_export.quantize.source import Source

    source = Source.open(bundle)
    read = choose_calibration(calibration, bundle, say=note)
    observed, ids = read.split(tokens, samples)
    with progress_bars() as progress:
        scale = Scale(source, ids, tokens)
        costs = run(
            source,
            observed,
            scale,
            kinds=kinds or KINDS[:1],
            by_layer=layers,
            base=shipped_recipe("int8-static", source.config.architecture),
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps([asdict(cost) for cost in costs], indent=1))
        return
    numbers = [Column(name, justify="right") for name in ("layer", "mean KL", "bytes")]
    table = Table("role", numbers[0], "kind", *numbers[1:])
    for cost in costs:
        layer = "all" if cost.layer is None else str(cost.layer)
        table.add_row(cost.role, layer, cost.kind, f"{cost.kl:.6f}", f"{cost.bytes:,}")
    console().print(table)
    click.echo(f"measured on {scale.tokens:,} tokens; observed {observed.tokens:,} others")
