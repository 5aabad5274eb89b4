"""The demo's checkpoint, and the bundle of it that is kept in the user's cache folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

from rrwkv_export.commands.shared.say import note

if TYPE_CHECKING:
    from rrwkv_export.checkpoint import Checkpoint


def cache_folder() -> Path:
    """Where the demo bundle is kept, by version: a new version exports it anew."""
    from platformdirs import user_cache_path

    from rrwkv_export import __version__

    return user_cache_path("rrwkv") / f"demo-{__version__}"


def cached_demo() -> Path:
    """The demo bundle, its files verified; exported if it is not there yet or is damaged. The folder is our own."""
    from rrwkv_export.commands.shared.console import progress_bars
    from rrwkv_export.export import export
    from rrwkv_runtime.errors import RRWKVError
    from rrwkv_runtime.manifest import Manifest, verify_files

    folder = cache_folder()
    with suppress(RRWKVError):
        verify_files(folder, Manifest.load(folder))
        return folder
    note(f"exporting the demo model once, to {folder}")
    rmtree(folder, ignore_errors=True)
    with progress_bars() as progress, demo_checkpoint() as checkpoint:
        export(checkpoint, folder, overwrite=True, progress=progress)
    return folder


@contextmanager
def demo_checkpoint() -> Iterator[Checkpoint]:
    """The checkpoint that comes along."""
    from rrwkv_export.checkpoint import open_checkpoint

    with resources.as_file(resources.files("rrwkv_export") / "assets" / "rrwkv-chat") as folder:
        yield open_checkpoint(folder)
