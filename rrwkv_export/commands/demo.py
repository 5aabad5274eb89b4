"""`rrwkv demo`: the whole way with the checkpoint that comes along."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rrwkv_export.commands.shared.options import PATH

if TYPE_CHECKING:
    from rrwkv_runtime.model import Model

_REPORT_TOKENS = 4096  # a quarter of what `rrwkv report` reads
SCRIPT = (
    "Hi! How are you today?",
    "What do you like to do on weekends?",
    "Do you have any pets?",
    "Who are you?",
)


@click.command()
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="DIR",
    help="The folder to write; DIR-int8 and DIR-report come beside it.  [default: in the user's cache folder]",
)
@click.option("--force", is_flag=True, help="Make everything anew, and replace the bundle that is there.")
@click.option("--scripted", is_flag=True, help="Hold the scripted conversation even at a terminal.")
def demo(output: Path | None, force: bool, scripted: bool) -> None:
    """Go the whole way with the checkpoint that comes along.

    It is exported, verified and quantized to int8; a report says what that cost; then you talk with the int8 model.
    Away from a terminal the conversation is a short scripted one, with its speed at the end. What an earlier demo left
    is taken again if it is whole and of the same versions.
    """
    from rrwkv_export.commands.shared.cached_demo import cache_folder
    from rrwkv_runtime.model import Model

    target = output or cache_folder()
    small, page = (target.with_name(f"{target.name}-{suffix}") for suffix in ("int8", "report"))
    _export_step(target, force, own=output is None)
    _quantize_step(target, small, force, own=output is None)
    _report_step(target, small, page, force)
    model = Model.load(small)
    if scripted or not (sys.stdin.isatty() and sys.stdout.isatty()):
        hold_script(model)
    else:
        from rrwkv_export.commands.shared.talk import talk

        talk(model)


def _say(text: str) -> None:
    from rrwkv_export.commands.shared.console import console

    console().print(text, soft_wrap=True, markup=False)


def _export_step(target: Path, force: bool, own: bool) -> None:
    """own: whatever is there is the demo's."""
    from rrwkv_export.bundle import FILES
    from rrwkv_export.commands.shared.cached_demo import demo_checkpoint
    from rrwkv_export.commands.shared.console import console, print_parity, progress_bars
    from rrwkv_export.commands.shared.demo import discard_remains, exported, is_ours
    from rrwkv_export.export import export
    from rrwkv_runtime.manifest import MANIFEST_NAME

    with demo_checkpoint() as checkpoint:
        there = None if force else exported(target, checkpoint)
        if there and there.parity:
            error = f"{there.parity['error']:.2e}"
            _say(f"{target} is whole, as it was exported and verified (error {error}); --force makes all anew")
            return
        _say(f"exporting the demo checkpoint to {target}")
        if ours := own or is_ours(target, checkpoint):
            discard_remains(target, MANIFEST_NAME, FILES)
        with progress_bars() as progress:
            parity = export(checkpoint, target, overwrite=force or ours, progress=progress)[1]
    print_parity(console(), parity)


def _quantize_step(target: Path, small: Path, force: bool, own: bool) -> None:
    from rrwkv_export.bundle import FILES
    from rrwkv_export.commands.shared.cached_demo import demo_checkpoint
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.commands.shared.demo import discard_remains, is_ours, quantized
    from rrwkv_export.quantize.quantize import quantize
    from rrwkv_export.quantize.recipes import TEXT, shipped_recipe
    from rrwkv_export.quantize.source import Calibration
    from rrwkv_runtime.manifest import MANIFEST_NAME

    recipe, calibration = shipped_recipe("int8"), Calibration.read([TEXT], target)
    if not force and quantized(small, target, recipe, calibration):
        _say(f"{small} is whole, its int8 by the same recipe and text")
        return
    _say(f"quantizing it to {small}")
    with demo_checkpoint() as checkpoint:
        if own or is_ours(small, checkpoint):
            discard_remains(small, MANIFEST_NAME, FILES)
    there = (small / MANIFEST_NAME).is_file()
    with progress_bars() as progress:
        quantize(target, small, recipe, calibration, overwrite=there, progress=progress)


def _report_step(target: Path, small: Path, page: Path, force: bool) -> None:
    from rrwkv_export.commands.report import headline
    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.commands.shared.demo import discard_remains
    from rrwkv_export.quantize.recipes import EVALUATION_TEXT
    from rrwkv_export.report import FILES, report
    from rrwkv_export.report.earlier import read_earlier
    from rrwkv_export.report.run import JSON
    from rrwkv_runtime.manifest import file_sha256

    sha256 = file_sha256(EVALUATION_TEXT)
    earlier = None if force else read_earlier(page, small, target, sha256, tokens=_REPORT_TOKENS)
    if earlier:
        _say(f"what that cost was measured on this machine before: {page}")
        names, rows, notes = (earlier.reference, earlier.bundle), earlier.rows, earlier.notes
    else:
        _say("measuring what that cost")
        discard_remains(page, JSON, FILES)
        there = (page / JSON).is_file()
        with progress_bars() as progress:
            made = report(
                *(small, target, [EVALUATION_TEXT], page), tokens=_REPORT_TOKENS, overwrite=there, progress=progress
            )
        names, rows = (made.reference.name, made.main.subject.name), tuple(made.headline())
        notes = tuple(made.notes())
    console().print(headline(*names, rows))
    for line in notes:
        _say(line)
    _say(f"the whole report: {page / 'report.html'}")


def hold_script(model: Model) -> None:
    """The scripted conversation, streaming; its speed at the end."""
    from rrwkv_export.commands.shared.console import speed_line
    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.common.printable import without_controls

    conversation = Chat(model, seed=1, max_tokens=80)
    for line in SCRIPT:
        click.echo(f"> {line}")
        for token in conversation.send(line):
            click.echo(without_controls(token.text), nl=False)
        click.echo("\n")
    click.echo(speed_line(conversation.stats.total))
