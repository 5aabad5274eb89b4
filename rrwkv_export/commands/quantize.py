"""`rrwkv quantize`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rrwkv_export.commands.shared.options import PATH, SEED, TEXT_FILES, Number, bundle_argument
from rrwkv_export.commands.shared.say import note
from rrwkv_runtime.common import install

if TYPE_CHECKING:
    from rrwkv_export.quantize.recipe import Recipe
    from rrwkv_export.quantize.rewrite.rewrite import Insert
    from rrwkv_export.quantize.source import Calibration

SCHEMES = ("int8", "int8-static", "int8-dynamic", "int8-weight", "int4", "float16", "float32", "qnn")
TARGETS = ("x86-vnni", "x86", "arm64", "qnn")


@click.command()
@bundle_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to write.")
@click.option("--scheme", type=click.Choice(SCHEMES), help="One of the recipes that come along.  [default: int8]")
@click.option("--recipe", type=PATH, metavar="FILE", help="A recipe of your own, in TOML, in place of --scheme.")
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="Whose integer types are taken, for weights and what they are multiplied with.  [default: as the recipe says]",
)
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help=f"Text to observe: {TEXT_FILES}; may be given several times.  [default: the one that comes along, 256 "
    "dialogues; where the tokenizer knows no English, or there is none, one that the model writes itself]",
)
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Observe N passages of each text, not all.")
@click.option("--seed", type=SEED, default=0, show_default=True, metavar="N", help="Which ones --samples takes.")
@click.option(
    "--engine",
    type=click.Choice(["rrwkv", "optimum"]),
    default="rrwkv",
    show_default=True,
    help=f"Whose quantizer inserts the nodes of static quantization. For optimum, "
    f"{install.hint('rrwkv-export', 'optimum')}.",
)
@click.option(
    "--max-kl",
    type=Number(),
    metavar="X",
    help="Choose the smallest recipe of at most this mean KL divergence.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    metavar="N",
    help="Choose the best recipe whose matrices take at most N bytes.",
)
@click.option(
    "--search-exponents",
    is_flag=True,
    help="Choose each role's exponent of equalization by the KL divergence it costs; takes some minutes.",
)
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
def quantize(
    bundle: Path,
    output: Path,
    scheme: str | None,
    recipe: Path | None,
    target: str | None,
    calibration: tuple[Path, ...],
    samples: int | None,
    seed: int,
    engine: str,
    max_kl: float | None,
    max_bytes: int | None,
    search_exponents: bool,
    force: bool,
) -> None:
    """Quantize BUNDLE, which is in float32, to 8 or 4 bits.

    What it takes from text (ranges, and what rounding costs) it observes with the state carried through the text.
    `rrwkv report` says what it cost.

    With --max-kl or --max-bytes what becomes of each role is chosen by its sensitivity. KL divergence is from the float
    model, in nats, on a part of the text that is not observed.

    \b
    rrwkv quantize BUNDLE -o SMALL
    rrwkv quantize BUNDLE -o SMALL --scheme int4 --calibration chats.jsonl
    rrwkv quantize BUNDLE -o SMALL --max-kl 0.002
    """
    from dataclasses import replace

    from rrwkv_export.architectures.config import ModelConfig
    from rrwkv_export.architectures.linears import linears
    from rrwkv_export.atomic import check_target
    from rrwkv_export.bench.plan import graph_bytes
    from rrwkv_export.bundle import replaceable
    from rrwkv_export.commands.shared.console import console, megabytes, progress_bars
    from rrwkv_export.commands.shared.hints import report_on
    from rrwkv_export.quantize.calibration import choose_calibration
    from rrwkv_export.quantize.quantize import quantize as run
    from rrwkv_export.quantize.recipe import load_recipe
    from rrwkv_export.quantize.recipes import shipped_recipe
    from rrwkv_export.quantize.search.sensitivity import require_possible
    from rrwkv_runtime.manifest import Manifest

    if scheme and recipe:
        raise click.UsageError("give --scheme or --recipe, not both")
    given = load_recipe(recipe) if recipe else None  # before the bundle is read, as it is the sooner mended
    source = Manifest.load(bundle)
    chosen = given or shipped_recipe(scheme or "int8", str(source.config["architecture"]))
    chosen = replace(chosen, target=target) if target else chosen
    if max_kl is not None or max_bytes is not None:
        require_possible(linears(ModelConfig.from_json(source.config)), max_kl=max_kl, max_bytes=max_bytes)
    if output.resolve() != bundle.resolve():  # which `run` refuses in its own words
        check_target(output, replaceable(output) if force else None)  # what follows may take minutes
    insert = _inserter(engine)
    read = choose_calibration(calibration, bundle, samples, seed, say=note)
    if max_kl is not None or max_bytes is not None:
        chosen = _within_budget(bundle, read, chosen, max_kl, max_bytes)
    if search_exponents:
        chosen = _with_exponents(bundle, read, chosen)
    with progress_bars() as progress:
        made = run(bundle, output, chosen, read, insert=insert, overwrite=force, progress=progress)
    screen = console()
    screen.print(
        f"{chosen.scheme}: {megabytes(graph_bytes(source))} to {megabytes(graph_bytes(made))}"
        + (f", calibrated on {read.tokens:,} tokens" if (made.quantization or {}).get("calibration") else "")
    )
    screen.print(f"wrote {output}; what it cost:\n  {report_on(output, bundle)}", soft_wrap=True, markup=False)


def _inserter(engine: str) -> Insert | None:
    """What puts the pairs in, if not we ourselves. Raises RecipeError where it is not installed."""
    if engine != "optimum":
        return None
    from importlib.util import find_spec

    from rrwkv_export.errors import RecipeError
    from rrwkv_export.quantize.rewrite.optimum import insert_pairs

    try:
        installed = find_spec("optimum.onnxruntime") is not None
    except ModuleNotFoundError:  # of the package around it
        installed = False
    if not installed:
        remedy = f"{install.hint('rrwkv-export', 'optimum')}, or leave --engine out"
        raise RecipeError(f"--engine optimum needs optimum-onnx, which is not installed; {remedy}")
    return insert_pairs


def _within_budget(
    bundle: Path, calibration: Calibration, base: Recipe, max_kl: float | None, max_bytes: int | None
) -> Recipe:
    """The recipe that the budget allows; prints the curve it is on. Raises RecipeError."""
    from rich.table import Column, Table

    from rrwkv_export.commands.shared.console import console, megabytes, progress_bars
    from rrwkv_export.quantize.search import sensitivity as trials
    from rrwkv_export.quantize.source import Source

    source = Source.open(bundle)
    observed, ids = calibration.split(trials.TOKENS, trials.SAMPLES)
    with progress_bars() as progress:
        scale = trials.Scale(source, ids)
        kinds = trials.BUDGET_KINDS
        costs = trials.sensitivity(source, observed, scale, kinds=kinds, base=base, progress=progress)
    points = trials.trade_off(costs)
    table = Table("matrices", Column("expected KL", justify="right"), *kinds)
    for point in points:
        roles = {kind: " ".join(r for r, k in point.kinds.items() if k == kind) for kind in kinds}
        table.add_row(megabytes(point.bytes), f"{point.kl:.5f}", *(roles[kind] for kind in kinds))
    console().print(table)
    chosen, kl = trials.choose(source, observed, scale, points, base, max_kl=max_kl, max_bytes=max_bytes)
    console().print(f"chosen for the budget: mean KL {kl:.5f} on {scale.tokens:,} tokens that were not observed")
    return chosen


def _with_exponents(bundle: Path, calibration: Calibration, base: Recipe) -> Recipe:
    """The recipe with searched exponents; prints them."""
    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.quantize.search import sensitivity as trials
    from rrwkv_export.quantize.search.exponents import search_exponents
    from rrwkv_export.quantize.source import Source

    source = Source.open(bundle)
    observed, ids = calibration.split(trials.TOKENS, trials.SAMPLES)
    with progress_bars() as progress:
        chosen, found = search_exponents(source, observed, trials.Scale(source, ids), base, progress)
    console().print("exponents: " + ", ".join(f"{role} {exponent:g}" for role, exponent in found.items()))
    return chosen
