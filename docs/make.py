"""What the docs hold that is made of the code: `make docs`, or `python docs/make.py`.

commands.md     every command of `rrwkv` and of `python -m rrwkv_runtime`, with its options
../README.md    between its two marks, the table of what is supported
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.commands import cli
from rrwkv_export.commands.quantize import SCHEMES
from rrwkv_export.errors import CheckpointError
from rrwkv_export.graph.drawings import require_drawn
from rrwkv_export.markdown import between, table
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_runtime.__main__ import parser
from rrwkv_runtime.terminal.repl import HELP

DOCS = Path(__file__).parent
COMMANDS, README = DOCS / "commands.md", DOCS.parent / "README.md"
TITLES = {
    "rwkv4": "RWKV-4",
    "rrwkv": "RRWKV",
    "rwkv5": "RWKV-5.0, 5.1, 5.2",
    "rwkv6": "RWKV-6",
    "rwkv7": "RWKV-7",
}
TARGETS = ("cpu", "cuda", "mobile")
FLOATS = ("float32", "float16")  # of `rrwkv export --dtype`
HEAD = """\
# Commands

Every command and option of the two programs, to look up. `make docs` writes this page from the programs themselves: it
is what `--help` says. What commands are for is in [quickstart](quickstart.md).

Both exit with 0; with 1 after an error, which is one line on standard error; with 2 after wrong usage; with 130 after
Ctrl-C. `rrwkv --debug …` shows an error's whole traceback.
"""


def commands_page() -> str:
    """docs/commands.md as it should be; no terminal's width is in it."""
    parts = [HEAD, *map(_of_rrwkv, cli.commands.values()), *_of_the_runtime()]
    return "\n".join(parts)


def _of_rrwkv(command: click.Command) -> str:
    context = click.Context(command, info_name=command.name)
    usage = " ".join(["rrwkv", command.name or "", *command.collect_usage_pieces(context)])
    records = [p.get_help_record(context) for p in command.params if isinstance(p, click.Option)]
    options = [f"- `{names}`: {_words(text)}\n" for names, text in filter(None, records)]
    parts = [f"## rrwkv {command.name}\n", _code(usage), *_help(command.help or ""), "".join(options)]
    if command.name == "chat":
        parts += ["In a chat, at its prompt:\n", _code(HELP)]
    return "\n".join(filter(None, parts))


def _help(text: str) -> Iterator[str]:
    """A command's help, a part a paragraph; what click does not wrap is code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            yield _code(paragraph.removeprefix("\b\n"))
        else:
            yield f"{_words(paragraph)}\n"


def _words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _code(text: str) -> str:
    return f"```\n{text}\n```\n"


def _of_the_runtime() -> Iterator[str]:
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        theirs = {option for p in cli.commands[name].params for option in (*p.opts, *p.secondary_opts)} - {"bundle"}
        ours = {option for action in command._actions for option in action.option_strings} - {"-h", "--help"}
        listed = ", ".join(f"`{option}`" for option in sorted(ours))
        same = f"Its options are those of [`rrwkv {name}`](#rrwkv-{name})" + ("." if ours == theirs else f": {listed}.")
        title, usage = f"python -m rrwkv_runtime {name}", f"python -m rrwkv_runtime {name} [OPTIONS] BUNDLE"
        yield "\n".join([f"## {title}\n", _code(usage), f"{command.description} {same}\n"])


def supported(architecture: str, target: str) -> tuple[str, ...]:
    """The schemes, float32 and float16 among them, in which such a model is made for a target."""
    try:
        require_drawn(cast(ModelConfig, SimpleNamespace(architecture=architecture)), target)
    except CheckpointError:
        return ()
    return tuple(dict.fromkeys([*FLOATS, *(scheme for scheme in SCHEMES if _fits(scheme, target))]))


def _fits(scheme: str, target: str) -> bool:
    """On a GPU weights alone are rounded; Qualcomm's NPU takes graphs in fixed shapes only."""
    recipe = shipped_recipe(scheme)
    if recipe.target == "qnn":
        return target == "mobile"
    tables: list[Any] = [{}, *recipe.roles.values(), *(t for roles in recipe.layers.values() for t in roles.values())]
    kinds = {replace(recipe.default, **said).kind for said in tables}
    return target != "cuda" or not kinds & {"static", "dynamic"}


def supported_table() -> str:
    """A row an architecture, a column for schemes that go to the same targets."""
    made = {name: {target: supported(name, target) for target in TARGETS} for name in TITLES}

    def targets(scheme: str) -> list[str]:
        return [", ".join(t for t in TARGETS if scheme in row[t]) or "–" for row in made.values()]

    columns = [(", ".join(schemes), cells) for cells, schemes in groupby(dict.fromkeys((*FLOATS, *SCHEMES)), targets)]
    rows = zip(TITLES.values(), *(cells for _, cells in columns), strict=True)
    return table(("", *(name for name, _ in columns)), [list(row) for row in rows])


def readme() -> str:
    """README.md with its table as it should be."""
    return between(README.read_text(encoding="utf-8"), "supported", supported_table())


if __name__ == "__main__":
    COMMANDS.write_text(commands_page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
