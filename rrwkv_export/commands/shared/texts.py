"""`--text`, as several commands take it: several files, or none for the text that comes along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from rrwkv_export.commands.shared.options import PATH, TEXT_FILES, Decorator


class SeveralValues(click.Command):
    """Lets `--text A B` stand for `--text A --text B`, for every option that may be given several times."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        several = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        return super().parse_args(ctx, repeated(args, several))


def repeated(arguments: Sequence[str], several: set[str]) -> list[str]:
    """The arguments with an option of `several` before each of its values, which end with the next option."""
    made: list[str] = []
    option, values = None, 0
    for index, argument in enumerate([*arguments, "--"]):
        if argument.startswith("-") and argument != "-":
            if option and not values:
                raise click.BadOptionUsage(option, f"Option {option!r} requires an argument.")
            if argument == "--":
                return [*made, *arguments[index:]]
            name, given, value = argument.partition("=")
            option, values = (name if name in several else None), len(given)
            made += [name, value] if option and given else [] if option else [argument]
        else:
            made += [option, argument] if option else [argument]
            values += 1
    return made


text_option: Decorator[Any] = click.option(
    "--text",
    "texts",
    type=PATH,
    multiple=True,
    metavar="FILE…",
    help=f"Texts to read: {TEXT_FILES}; may be given several times.  [default: the evaluation text that comes along, "
    "where the tokenizer suits it]",
)
tokens_option: Decorator[Any] = click.option(
    "--tokens",
    type=click.IntRange(min=1),
    default=16384,
    show_default=True,
    metavar="N",
    help="Predictions of each text that count.",
)
chunk_option: Decorator[Any] = click.option(
    "--chunk", type=click.IntRange(min=1), default=256, show_default=True, metavar="N", help="Tokens read in one run."
)
