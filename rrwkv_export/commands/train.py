"""`rrwkv train`"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rrwkv_export.commands.shared.options import PATH
from rrwkv_export.commands.shared.say import note
from rrwkv_export.commands.shared.training import (
    OF_INTERVALS,
    count,
    is_given,
    kept_settings,
    medium_config,
    medium_options,
    number,
    option,
    refuse,
    require_extra,
    run_options,
    tell,
    texts_argument,
)
from rrwkv_export.errors import TrainingError

if TYPE_CHECKING:
    from rrwkv_export.checkpoint import Checkpoint
    from rrwkv_export.progress import Progress
    from rrwkv_export.train.begin import Beginning
    from rrwkv_export.train.settings import Settings

    Make = Callable[[Progress | None], Beginning]
_BESIDE_RESUME = {"output", "resume"}
_OF_NEW = ("architecture", "layers", "channels", "ffn", "head_size", "vocabulary")
_TUNING = {"learning_rate": 3e-5, "weight_decay": 0.0}  # where --qat is given and they are not


@click.command()
@texts_argument
@click.option("-o", "--output", type=PATH, required=True, metavar="DIR", help="The folder to write, a checkpoint.")
@click.option(
    "--architecture",
    type=click.Choice(["rwkv7", "rwkv4", "rrwkv"]),
    default="rwkv7",
    show_default=True,
    help="What to train; rrwkv is rwkv4 with mediums.",
)
@count("--layers", 4, "Layers.", highest=1 << 12)
@count("--channels", 256, "Channels.", highest=1 << 20)
@count("--ffn", None, "Width of the channel-mix.  [default: four times the channels]", highest=1 << 20)
@count("--head-size", 64, "Channels of a head, of RWKV-7.", highest=1 << 20)
@medium_options(None)
@click.option(
    "--vocabulary",
    type=click.IntRange(257, 1 << 20),
    metavar="N",
    help="Tokens of the byte-level BPE that is made of the texts; with --tokenizer, the model's rows.  [default: 4096, "
    "or the tokenizer's own]",
)
@click.option(
    "--tokenizer",
    metavar="FILE|world",
    help="A tokenizer that is there, in place of one made of the texts; world: the RWKV World vocabulary.",
)
@click.option("--chat", metavar="FILE|world|g1", help="With --tokenizer: the chat format, as `rrwkv export` takes it.")
@click.option(
    "--from",
    "base",
    type=PATH,
    metavar="CHECKPOINT",
    help="Go on from a model that is there, RWKV-4 or RWKV-7, in place of a new one.",
)
@click.option(
    "--qat",
    metavar="SCHEME|FILE",
    help="With --from: tune the model for a recipe of `rrwkv quantize`, int4 or another that rounds weights alone. "
    "Trained for is a small KL divergence of the rounded model from the float one.  [then the defaults: "
    "--learning-rate 3e-5, --weight-decay 0]",
)
@number("--text-share", 0.0, "With --qat: the share, 0 to 1, of the texts' own loss in what is made small.")
@run_options
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in DIR, also one of `rrwkv retrofit`, from where it was saved last, with the options that "
    "it was begun with.",
)
@click.pass_context
def train(ctx: click.Context, /, texts: tuple[Path, ...], output: Path, resume: bool, force: bool, **said: Any) -> None:
    """Train a small model on TEXT…, from nothing to a checkpoint.

    Texts are plain text, or dialogues and texts in .jsonl and .json, as `rrwkv quantize` takes them, .xz too. DIR is
    what `rrwkv export` takes: the best model by the loss on held-out text; DIR/last is the last one, DIR/training what
    a run is gone on with, and its losses.

    With --from it is a model that is there, trained further, or with --qat tuned so that rounding costs it less.

    That the model can be exported is tried before the first step. A kill loses what came after the last save; on a CPU
    --resume gives the bits of a run that was never stopped. On several GPUs: accelerate launch -m rrwkv_export train …

    \b
    rrwkv train book.txt -o my-model --layers 2 --channels 128 --minutes 10
    rrwkv train chats.jsonl -o my-model --medium-interval 32 --steps 5000
    rrwkv train --from my-model --qat int4 chats.jsonl -o tuned --steps 400
    rrwkv train -o my-model --resume
    """
    require_extra()
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.train.run import resume as run_on
    from rrwkv_export.train.run import train as run

    if resume:
        _check_alone(ctx)
        with progress_bars() as progress:
            result = run_on(output, progress=progress, say=note)
        tell(result, output, "before the first step")
        return
    from rrwkv_export.train.begin import check_run

    make, settings = (_from if said["base"] else _new)(texts, said)
    check_run(output, force)
    with progress_bars() as progress:
        result = run(output, lambda: make(progress), settings, overwrite=force, progress=progress, say=note)
    tell(result, output, "before the first step")


def _check_alone(ctx: click.Context) -> None:
    """A run has its options already. Raises UsageError."""
    given = [p for p in ctx.params if is_given(p)]
    if others := [name for name in given if name not in _BESIDE_RESUME and ctx.params[name] != ()]:
        options = {parameter.name: parameter.opts[0] for parameter in ctx.command.params}
        named = "TEXT…" if others[0] == "texts" else options[others[0]]
        raise click.UsageError(f"--resume goes on with the options that the run was begun with; leave {named} out")


def _new(texts: tuple[Path, ...], said: dict[str, Any]) -> tuple[Make, Settings]:
    """A model of nothing. Raises UsageError."""
    from rrwkv_export.train.beginnings.new_model import new_model
    from rrwkv_export.train.settings import Settings

    if is_given("qat") or is_given("text_share"):
        raise click.UsageError("--qat and --text-share are for --from: a model is tuned when it has been trained")
    for name in ("base", "qat", "text_share"):
        del said[name]
    sizes = _sizes(said)
    tokens = {name: said.pop(name) for name in ("vocabulary", "tokenizer", "chat")}
    if tokens["chat"] and not tokens["tokenizer"]:
        raise click.UsageError("--chat is for --tokenizer; a tokenizer made of the texts has a format of its own")
    settings = Settings(**kept_settings(texts, **said))
    return lambda _: new_model(texts, sizes, settings.seed, **tokens), settings


def _from(texts: tuple[Path, ...], said: dict[str, Any]) -> tuple[Make, Settings]:
    """A model that is there, perhaps tuned for a recipe. Raises UsageError."""
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.train.beginnings.found import described, found
    from rrwkv_export.train.settings import Settings

    base, scheme = said.pop("base"), said.pop("qat")
    beside = {name: said.pop(name) for name in ("tokenizer", "chat")}
    of_new = [*_OF_NEW, *(name for name in said if name.startswith("medium_") and name != "medium_nats")]
    refuse(of_new, f"is for a new model; {base} has its own, leave it out")
    for name in of_new:
        del said[name]
    if scheme is None:
        if is_given("text_share"):
            raise click.UsageError("--text-share is for --qat; without it the texts' own loss is all")
        checkpoint = open_checkpoint(base, **beside)
        said["medium_nats"] = _nats(checkpoint, said)
        return lambda _: found(checkpoint), described(Settings(**kept_settings(texts, **said)), checkpoint)
    from rrwkv_export.quantize.recipe import parse_recipe
    from rrwkv_export.quantize.recipes import recipe_text
    from rrwkv_export.train.beginnings.tuning import tuned

    said |= {name: value for name, value in _TUNING.items() if not is_given(name)}
    checkpoint = open_checkpoint(base, **beside)
    refuse(OF_INTERVALS, "is for intervals that are trained; with --qat they stay, leave it out")
    settings = Settings(**kept_settings(texts, **said), recipe=recipe_text(scheme, checkpoint.config.architecture))
    recipe = parse_recipe(settings.recipe)
    return lambda progress: tuned(checkpoint, recipe, say=note, progress=progress), described(settings, checkpoint)


def _nats(checkpoint: Checkpoint, said: dict[str, Any]) -> float:
    """Of a model's adaptive intervals; those that it was trained with, where it was trained here. Raises UsageError."""
    from rrwkv_export.train.folder import LAST
    from rrwkv_export.train.settings import Settings

    medium, path, nats = checkpoint.config.medium, checkpoint.path, float(said["medium_nats"])
    if not medium or not medium.adaptive:
        refuse(OF_INTERVALS, f"is for adaptive intervals, and {path} has none; leave it out")
        return nats
    if is_given("medium_nats") or not said["information_weight"]:
        return nats
    try:
        return Settings.load(path.parent if path.name == LAST else path).medium_nats
    except TrainingError:
        raise click.UsageError(
            f"{path} has adaptive intervals, and does not say of how many nats a medium is; give --medium-nats, or "
            "--information-weight 0"
        ) from None


def _sizes(said: dict[str, Any]) -> Any:
    """Takes what a model is made of out of the options. Raises UsageError."""
    from rrwkv_export.train.beginnings.new_model import Sizes

    of_mediums = [name for name in said if name.startswith("medium_")]
    given = [name for name in of_mediums if is_given(name)]
    medium = medium_config(said)
    sizes = {name: said.pop(name) for name in ("architecture", "layers", "channels", "ffn", "head_size")}
    if sizes["architecture"] == "rwkv4" and given:
        raise click.UsageError(f"{option(given[0])}: rwkv4 has no mediums; say --architecture rrwkv")
    if medium is None and (given or sizes["architecture"] == "rrwkv"):
        raise click.UsageError("mediums need --medium-interval, such as 32")
    return Sizes(**sizes, medium=medium)
