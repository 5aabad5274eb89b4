"""Writing a folder or a file whole or not at all: a temporary one beside it takes its name at the end."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rrwkv_export.errors import OutputError
from rrwkv_runtime.manifest import MANIFEST_NAME


@contextmanager
def new_directory(
    target: Path, replaceable: frozenset[str] | None = None, *, marker: str = MANIFEST_NAME, what: str = "a bundle"
) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when all went well, and is removed when not.

    replaceable: None refuses a target that exists; else one is replaced if it is `what` with no files but these.
    marker: the file by which to know that it is. Raises OutputError for that, for a place that cannot be written to,
    and for a full disk.
    """
    _check_target(target, replaceable, marker, what)
    temporary = _temporary_folder(target)
    try:
        temporary.chmod(0o755)
        yield temporary
        _replace(temporary, target.resolve())  # a link stays one, to what is new
    except OSError as error:
        if error.errno in (errno.ENOSPC, None):  # numpy tells of a write cut short without a number
            raise OutputError(f"{target}: the disk is full; free some space or write elsewhere") from None
        raise OutputError(f"{target}: cannot write ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its name when all went well, and is removed when not.

    Raises OutputError, at once for a place that cannot be written to.
    """
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file")
    place = target.resolve()
    temporary = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        temporary.replace(place)  # a link stays one
    except OSError as error:
        raise OutputError(f"{target}: cannot write ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_space(target: Path, needed: int) -> None:
    """Raises OutputError before anything is written if `needed` bytes cannot be put there."""
    folder = next(folder for folder in target.resolve().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: cannot write to {folder}; choose another place")
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutputError(f"{target}: {needed / 1e6:.0f} MB are needed and the disk has {free / 1e6:.0f} MB left")


def _check_target(target: Path, replaceable: frozenset[str] | None, marker: str, what: str) -> None:
    try:
        str(target).encode()
    except UnicodeEncodeError:
        raise OutputError(
            f"{str(target)!r} is not UTF-8, which ONNX's file names must be; choose another name"
        ) from None
    if not target.exists():
        return
    if replaceable is None:
        raise OutputError(f"{target} exists already; choose another name or pass --force to replace it")
    if not (target / marker).is_file():
        raise OutputError(f"{target} exists and is not {what}, so it will not be replaced; choose another name")
    if others := sorted(path.name for path in target.iterdir() if path.name not in replaceable):
        raise OutputError(f"{target} also holds {others[0]!r}, which would be lost; move it, or choose another name")


def _temporary_folder(target: Path) -> Path:
    place = target.resolve()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(place)
        prefix = f".{place.name}.{os.getpid()}."
        return Path(tempfile.mkdtemp(prefix=prefix, suffix=".part", dir=place.parent))
    except OSError as error:
        raise OutputError(f"{target}: cannot write there ({error.strerror})") from None


def _remove_leftovers(target: Path) -> None:
    """Temporary folders of runs that were killed: of this target, and of no process that is alive."""
    for folder in target.parent.glob(f".{target.name}.*.part"):
        process = folder.name.removeprefix(f".{target.name}.").partition(".")[0]
        if process.isdecimal() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _replace(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    old = temporary.with_suffix(".old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
