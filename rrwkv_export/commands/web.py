"""`rrwkv web`"""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from rrwkv_export.commands.shared.options import PATH, bundle_argument

_SCHEMES = ("int8", "int8-static", "int8-dynamic", "int8-weight", "int4")
_AS_IT_IS = "none"


@click.command()
@bundle_argument
@click.option("-o", "--output", type=PATH, metavar="DIR", help="The folder to write.")
@click.option(
    "--archive",
    type=PATH,
    metavar="FILE",
    help="Write BUNDLE as one file (.zip), which the page can open; in place of DIR, or besides.",
)
@click.option(
    "--scheme",
    type=click.Choice([*_SCHEMES, _AS_IT_IS]),
    help=f"How BUNDLE is quantized for this, where it is in float32; {_AS_IT_IS}: not at all.  [default: int8]",
)
@click.option("--force", is_flag=True, help="Replace such a folder that is there.")
def web(bundle: Path, output: Path | None, archive: Path | None, scheme: str | None, force: bool) -> None:
    """Write a chat page that runs BUNDLE in a browser.

    DIR then holds static files for any host: the page, the runtime, and what the browser needs of BUNDLE. Nothing that
    people write leaves their browser, and after the first visit it works without a network. A bundle in float32 is
    quantized first, as `rrwkv quantize` does it: a quarter to fetch, and faster there.

    \b
    rrwkv web BUNDLE -o site
    rrwkv web BUNDLE --archive bundle.zip
    """
    if output is None and archive is None:
        raise click.UsageError("give -o DIR, or --archive FILE")
    from rrwkv_export.commands.shared.console import console, megabytes, progress_bars
    from rrwkv_export.web import check_archive, check_web, write_archive, write_web

    if output is not None:
        check_web(output, overwrite=force)
    if archive is not None:
        check_archive(archive)
    screen = console()
    with _for_browsers(bundle, scheme) as small, progress_bars() as progress:
        if output is not None:
            size = write_web(small, output, overwrite=force, progress=progress)
            said = f"wrote {output}, {megabytes(size)}; to try it, open http://localhost:8000 after"
            screen.print(said, soft_wrap=True, markup=False)
            screen.print(f"  {_server(output)}", soft_wrap=True, markup=False)
        if archive is not None:
            size = write_archive(small, archive, progress=progress)
            screen.print(f"wrote {archive}, {megabytes(size)}", soft_wrap=True, markup=False)


@contextmanager
def _for_browsers(bundle: Path, scheme: str | None) -> Iterator[Path]:
    """The bundle, or one that is made of it for so long. Raises what `rrwkv quantize` does."""
    from rrwkv_export.web import require_chat
    from rrwkv_runtime.manifest import Manifest

    manifest = Manifest.load(bundle)
    floats = manifest.quantization is None and manifest.main.dtype == "float32"
    if scheme == _AS_IT_IS or (scheme is None and not floats):
        yield bundle
        return
    require_chat(bundle, manifest)
    from rrwkv_export.commands.shared.console import console, progress_bars
    from rrwkv_export.commands.shared.say import note
    from rrwkv_export.quantize.calibration import choose_calibration
    from rrwkv_export.quantize.quantize import quantize
    from rrwkv_export.quantize.recipes import shipped_recipe

    chosen = shipped_recipe(scheme or "int8", str(manifest.config["architecture"]))
    read = choose_calibration((), bundle, say=note)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "bundle")
        with progress_bars() as progress:
            quantize(bundle, small, chosen, read, progress=progress)
        said = f"quantized to {chosen.scheme} for the browser (--scheme {_AS_IT_IS} leaves it as it is)"
        console().print(said, soft_wrap=True, markup=False)
        yield small


def _server(folder: Path) -> str:
    """Python's own; a service worker gives the page the headers that this sends none of."""
    python = "python" if sys.platform == "win32" else "python3"
    return shlex.join([python, "-m", "http.server", "-d", str(folder), "8000"])
