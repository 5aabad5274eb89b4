"""`rrwkv sweep`"""

from __future__ import annotations

from pathlib import Path

import click

from rrwkv_export.commands.shared.options import PATH, SEED
from rrwkv_export.commands.shared.say import note, say
from rrwkv_export.commands.shared.texts import SeveralValues, chunk_option, text_option, tokens_option


@click.command(cls=SeveralValues)
@click.argument("bundles", type=PATH, nargs=-1, required=True, metavar="BUNDLE…")
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    required=True,
    metavar="NAME|FILE…",
    help="Schemes of `rrwkv quantize`, or recipes of your own in TOML; may be given several times.",
)
@text_option
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to write, or to go on in.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    metavar="FILE…",
    help="Text to observe, as `rrwkv quantize` takes it; may be given several times.  [default: as there]",
)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Observe N passages of each text, not all.")
@click.option("--seed", type=SEED, default=0, show_default=True, metavar="N", help="Which ones --samples takes.")
@tokens_option
@chunk_option
@click.option("--speed/--no-speed", default=True, show_default=True, help="Measure speed, on this machine.")
@click.option(
    "--ray",
    metavar="ADDRESS|local",
    help="Quantize and measure on a Ray cluster whose machines see the same files, or on one of this machine's cores.  "
    "[default: in this process]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --ray local: so many at a time.  [default: one a core]",
)
def sweep(
    bundles: tuple[Path, ...],
    recipes: tuple[str, ...],
    texts: tuple[Path, ...],
    output: Path,
    calibration: tuple[Path, ...],
    samples: int | None,
    seed: int,
    tokens: int,
    chunk: int,
    speed: bool,
    ray: str | None,
    workers: int | None,
) -> None:
    """Weigh recipes by accuracy, size and speed.

    Every BUNDLE is quantized by every recipe, and measured on every text. DIR/sweep.html has the frontier of the three,
    DIR/bundles what was made. What is finished is kept in DIR: after a kill, or for more bundles, recipes or texts, the
    same command goes on. Figures are those of `rrwkv report`; bundles are timed in alternation, by this process, once
    the rest is done.

    \b
    rrwkv sweep BUNDLE --recipe int8 int4 float16 -o SWEEP
    rrwkv sweep BUNDLE OTHER --recipe int8 mine.toml --text chat.jsonl book.txt -o SWEEP --ray local
    """
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.sweep import Settings, make_plan
    from rrwkv_export.sweep import sweep as run

    if workers and ray != "local":
        raise click.UsageError("--workers is for --ray local; a cluster has its own")
    plan = make_plan(bundles, recipes, texts, calibration, Settings(tokens, chunk, samples, seed))
    with progress_bars() as progress:
        swept = run(plan, output, speed=speed, ray=ray, workers=workers, progress=progress, say=note)
    say(f"wrote {output / 'sweep.html'} and sweep.md; what was made is in {output / 'bundles'}")
    swept.require()
