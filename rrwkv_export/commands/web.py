"""`rrwkv web`"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from rrwkv_export.commands.shared.options import PATH, bundle_argument


@click.command()
@bundle_argument
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The folder to write.")
@click.option(
    "--archive",
    type=PATH,
    metavar="FILE",
    help="Write BUNDLE as one file (.zip), which the page can open; in place of DIR, or besides.",
)
@click.option("--force", is_flag=True, help="Replace such a folder that is there.")
def web(bundle: Path, output: Path | None, archive: Path | None, force: bool) -> None:
    """Write a chat page that runs BUNDLE in a browser.

    DIR then holds static files for any host: the page, the runtime, and what the browser needs of BUNDLE. Nothing that
    people write leaves their browser, and after the first visit it works without a network.

    \b
    rrwkv web BUNDLE -o site
    rrwkv web BUNDLE --archive bundle.zip
    """
    if output is None and archive is None:
        raise click.UsageError("give -o DIR, or --archive FILE")
    from rrwkv_export.commands.shared.console import console, megabytes, progress_bars
    from rrwkv_export.web import write_archive, write_web

    screen = console()
    with progress_bars() as progress:
        if output is not None:
            size = write_web(bundle, output, overwrite=force, progress=progress)
            said = f"wrote {output}, {megabytes(size)}; to try it, open http://localhost:8000 after"
            screen.print(said, soft_wrap=True, markup=False)
            screen.print(f"  {_server(output)}", soft_wrap=True, markup=False)
        if archive is not None:
            size = write_archive(bundle, archive, progress=progress)
            screen.print(f"wrote {archive}, {megabytes(size)}", soft_wrap=True, markup=False)


def _server(folder: Path) -> str:
    """Python's own; a service worker gives the page the headers that this sends none of."""
    python = "python" if sys.platform == "win32" else "python3"
    return shlex.join([python, "-m", "http.server", "-d", str(folder), "8000"])
