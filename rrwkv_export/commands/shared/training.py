"""What `rrwkv train` and `rrwkv retrofit` share."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rrwkv_export.commands.shared.options import PATH, SEED, Decorator, NumberFrom, stacked
from rrwkv_runtime.common import install
from rrwkv_runtime.errors import RRWKVError

if TYPE_CHECKING:
    from rrwkv_export.architectures.mediums import MediumConfig
    from rrwkv_export.train.run import Result

OF_INTERVALS = ("medium_nats", "information_weight")  # options of intervals that follow the text
_NO_PERPLEXITY = 20.0  # nats, from which on the number says nothing
texts_argument: Decorator[Any] = click.argument("texts", type=PATH, nargs=-1, metavar="TEXT…")


def count(name: str, default: int | None, help: str, *, lowest: int = 1, highest: int | None = None) -> Decorator[Any]:
    kind = click.IntRange(lowest, highest)
    return click.option(name, type=kind, default=default, show_default=default is not None, metavar="N", help=help)


def number(name: str, default: float, help: str, *, above: bool = False) -> Decorator[Any]:
    """From 0, or above it."""
    return click.option(
        name, type=NumberFrom(min_open=above), default=default, show_default=True, metavar="X", help=help
    )


class _Interval(click.ParamType[Any]):
    """Tokens per medium, or the fewest and the most: an int, or a pair."""

    name = "interval"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        first, _, last = value.partition("-")
        numbers = [first, last] if "-" in value else [first]
        if not all(each.isascii() and each.isdigit() and len(each) < 8 and int(each) for each in numbers):
            self.fail(f"{value!r} is neither a number of tokens, such as 32, nor two, such as 8-64", param, ctx)
        return (int(first), int(last)) if last else int(first)


def medium_options(interval: int | None) -> Decorator[Any]:
    """interval: its default; None for no mediums."""
    without = "" if interval else "  [default: no mediums]"
    return stacked(
        click.option(
            "--medium-interval",
            type=_Interval(),
            default=interval,
            show_default=interval is not None,
            metavar="N|N-M",
            help=f"Make a medium of every N tokens, or of N to M, as the text tells more or less.{without}",
        ),
        number(
            "--medium-nats",
            64.0,
            "With N-M: the surprisal of the tokens that make a medium; tokens are drawn to tell their own share of it.",
            above=True,
        ),
        number(
            "--information-weight", 1.0, "With N-M: of the loss that draws them so; 0 leaves it to the loss on text."
        ),
        count("--medium-slots", 16, "Mediums that a token can read.", highest=1 << 20),
        click.option(
            "--medium-squeeze",
            type=click.Choice(["attention", "mean"]),
            default="attention",
            show_default=True,
            help="How a segment's tokens are weighed: by what they say, or all alike.",
        ),
        count("--medium-reduction", 16, "Channels over the width of the excitation.", highest=1 << 20),
        count("--medium-key-size", 64, "Width of a medium's key.", highest=1 << 20),
    )


def medium_config(said: dict[str, Any]) -> MediumConfig | None:
    """Takes what mediums are like out of the options; None where there is no interval. Raises ConfigError, and
    UsageError for what is said of intervals that follow the text where they do not.
    """
    from rrwkv_export.architectures.mediums import AdaptiveInterval, MediumConfig

    names = ("interval", "slots", "squeeze", "reduction", "key_size")
    fields = {name: said.pop(f"medium_{name}") for name in names}
    if isinstance(fields["interval"], tuple):
        fields["interval"] = AdaptiveInterval(*fields["interval"])
    else:
        refuse(OF_INTERVALS, "is for intervals that follow the text, such as --medium-interval 8-64; leave it out")
    return MediumConfig(**fields) if fields["interval"] else None


def option(name: str) -> str:
    """As it is typed."""
    return f"--{name.replace('_', '-')}"


def is_given(name: str) -> bool:
    """Whether an option of the command that runs was said, be it what it is by default."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def refuse(names: Iterable[str], why: str) -> None:
    """Raises UsageError for the first of these options that was said."""
    for name in filter(is_given, names):
        raise click.UsageError(f"{option(name)} {why}")


run_options: Decorator[Any] = stacked(
    count("--steps", None, "Train for N steps."),
    click.option(
        "--minutes",
        type=NumberFrom(min_open=True),
        metavar="X",
        help="Train for so long, in place of --steps; how far it gets is then the machine's affair, and no two runs "
        "are the same.",
    ),
    count("--length", 512, "Tokens of a row.", highest=1 << 20),
    count("--batch", 8, "Rows of a step, over all processes.", highest=1 << 16),
    number("--learning-rate", 1e-3, "The highest; it falls to a tenth of it along a cosine.", above=True),
    count("--warm-up", 20, "Steps until it is reached.", lowest=0),
    number("--weight-decay", 0.1, "Of matrices but for low-rank ones; nothing else decays."),
    number("--clip", 1.0, "Scale the gradient to this norm where it is larger.", above=True),
    click.option(
        "--held-out",
        type=PATH,
        multiple=True,
        metavar="FILE",
        help="Text to measure the loss on, which is not trained on: 16,384 tokens, evenly along all of it; may be "
        "given several times.  [default: the last twentieth of each text]",
    ),
    count("--every", 100, "Steps between two measurements; each also saves."),
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="What matrices are multiplied in; recurrences, sums and weights stay float32.",
    ),
    click.option(
        "--seed",
        type=SEED,
        default=0,
        show_default=True,
        metavar="N",
        help="Of the first weights, and of the order of rows.",
    ),
    count("--threads", None, "Threads.  [default: torch's own]", highest=1024),
    click.option("--force", is_flag=True, help="Replace the run that is there."),
)


def require_extra() -> None:
    """Raises RRWKVError, saying how to install it."""
    if find_spec("accelerate") is None:
        raise RRWKVError(f"training needs accelerate: {install.hint('rrwkv-export', 'train')}")


def kept_settings(texts: tuple[Path, ...], held_out: tuple[Path, ...], **said: Any) -> dict[str, Any]:
    """Arguments of `Settings`; where a run's texts lie is kept from the root on, for a resume from elsewhere."""
    if not texts:
        raise click.UsageError("Missing argument 'TEXT…'.")
    if (said["steps"] is None) == (said["minutes"] is None):
        raise click.UsageError("give --steps or --minutes, one of the two")
    paths = {"texts": texts, "held_out": held_out}
    return {**said, **{name: tuple(str(path.absolute()) for path in given) for name, given in paths.items()}}


def tell(result: Result, run: Path, before: str) -> None:
    """What a run came to, and what to do with it. before: what the first loss is that of."""
    from math import exp

    from rrwkv_export.commands.shared.hints import command
    from rrwkv_export.commands.shared.say import say

    if not result.main:
        return
    config, reached, tuned = result.checkpoint.config, result.reached, bool(result.settings.recipe)
    perplexity = f" (perplexity {exp(reached.best):.2f})" if reached.best < _NO_PERPLEXITY else ""
    best = f"loss {reached.best:.4f}{perplexity}"
    first = f"{reached.first:.4f}"
    if tuned:
        best, first = f"KL divergence {reached.best:.5f} from the float model", f"{reached.first:.5f}"
    say(
        f"{run}: {config.architecture}, {config.parameters():,} parameters; held-out {best} after step "
        f"{reached.best_step} of {reached.step}; {before} {first}"
    )
    say(f"a bundle of it: {command('export', run)}")
    if tuned:
        say("`rrwkv quantize` rounds that bundle to what was tuned, with the same recipe")
