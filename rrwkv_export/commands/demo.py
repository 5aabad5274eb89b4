"""`rrwkv demo`: the whole way with the checkpoint that comes along."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import resources
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import click

from rrwkv_export.commands._options import PATH

if TYPE_CHECKING:
    from rrwkv_export.graph.verify import Parity
    from rrwkv_export.progress import Progress
    from rrwkv_export.report import Report
    from rrwkv_runtime.session import Model

_REPORT_TOKENS = 4096  # a quarter of what `rrwkv report` reads
SCRIPT = (
    "Hi! How are you today?",
    "What do you like to do on weekends?",
    "Do you have any pets?",
    "Who are you?",
)


@click.command()
@click.option(
    "-o", "--output", type=PATH, metavar="DIR", help="Where the bundle goes.  [default: the user's cache folder]"
)
@click.option("--force", is_flag=True, help="Replace another bundle that is there.")
@click.option("--scripted", is_flag=True, help="Hold the scripted conversation even at a terminal.")
def demo(output: Path | None, force: bool, scripted: bool) -> None:
    """Export the built-in checkpoint, verify it, quantize it to int8, report what that cost, and talk with it.

    At a terminal the conversation is yours; elsewhere it is a short scripted one, with its speed at the end.
    """
    from rrwkv_export.commands._console import console, print_parity, progress_bars
    from rrwkv_export.commands.report import headline
    from rrwkv_runtime.session import Model

    screen = console()
    target = output or cache_folder()
    small, page = (target.with_name(f"{target.name}-{suffix}") for suffix in ("int8", "report"))
    screen.print(f"exporting the demo checkpoint to {target}", soft_wrap=True, markup=False)
    with progress_bars() as progress:
        parity = _export_demo(target, progress, force)
    print_parity(screen, parity)
    screen.print(f"quantizing it to {small}", soft_wrap=True, markup=False)
    with progress_bars() as progress:
        _quantize_demo(target, small, progress)
    screen.print("measuring what that cost", soft_wrap=True, markup=False)
    with progress_bars() as progress:
        made = _report_demo(target, small, page, progress)
    screen.print(headline(made))
    screen.print(f"the whole report: {page / 'report.html'}", soft_wrap=True, markup=False)
    model = Model.load(small)
    if scripted or not (sys.stdin.isatty() and sys.stdout.isatty()):
        hold_script(model)
    else:
        from rrwkv_export.commands.chat import talk

        talk(model)


def hold_script(model: Model) -> None:
    """The scripted conversation, streaming; its speed at the end."""
    from rrwkv_export.commands._console import speed_line
    from rrwkv_runtime.chat import Chat
    from rrwkv_runtime.printable import without_controls

    conversation = Chat(model, seed=1, max_tokens=80)
    for line in SCRIPT:
        click.echo(f"> {line}")
        for token in conversation.send(line):
            click.echo(without_controls(token.text), nl=False)
        click.echo("\n")
    click.echo(speed_line(conversation.stats.total))


def _quantize_demo(target: Path, small: Path, progress: Progress) -> None:
    """To int8 with the text that comes along; an earlier one is replaced. Raises OutputError."""
    from rrwkv_export.quantize.quantizer import Calibration, quantize
    from rrwkv_export.quantize.shipped import TEXT, shipped_recipe
    from rrwkv_runtime.manifest import MANIFEST_NAME

    there = (small / MANIFEST_NAME).is_file()
    calibration = Calibration.read([TEXT], target)
    quantize(target, small, shipped_recipe("int8"), calibration, overwrite=there, progress=progress)


def _report_demo(target: Path, small: Path, page: Path, progress: Progress) -> Report:
    from rrwkv_export.quantize.shipped import EVALUATION_TEXT
    from rrwkv_export.report import report

    there = (page / "report.json").is_file()
    return report(small, target, [EVALUATION_TEXT], page, tokens=_REPORT_TOKENS, overwrite=there, progress=progress)


def cache_folder() -> Path:
    """Where the demo bundle is kept, by version: a new version exports it anew."""
    from platformdirs import user_cache_path

    from rrwkv_export import __version__

    return user_cache_path("rrwkv") / f"demo-{__version__}"


def cached_demo() -> Path:
    """The demo bundle, its files verified; exported if it is not there yet or is damaged. The folder is our own."""
    from rrwkv_export.commands._console import progress_bars
    from rrwkv_runtime.errors import RRWKVError
    from rrwkv_runtime.manifest import Manifest, verify_files

    folder = cache_folder()
    with suppress(RRWKVError):
        verify_files(folder, Manifest.load(folder))
        return folder
    click.echo(f"exporting the demo model once, to {folder}", err=True)
    rmtree(folder, ignore_errors=True)
    with progress_bars() as progress:
        _export_demo(folder, progress, force=True)
    return folder


def _export_demo(target: Path, progress: Progress, force: bool) -> Parity:
    """Export it; what is there is replaced if it is the demo too. Raises OutputError."""
    from rrwkv_export.bundle import compute_model_id
    from rrwkv_export.checkpoint import open_checkpoint
    from rrwkv_export.export import export
    from rrwkv_runtime.errors import RRWKVError
    from rrwkv_runtime.manifest import Manifest

    with resources.as_file(resources.files("rrwkv_export") / "assets" / "rrwkv-chat") as folder:
        checkpoint = open_checkpoint(folder)
        if not force:
            with suppress(RRWKVError):
                there = Manifest.load(target).model_id
                force = there == compute_model_id(checkpoint.config, checkpoint.weights.array)
        return export(checkpoint, target, overwrite=force, progress=progress)[1]
