"""Writing a folder or a file whole or not at all, and never over what must stay. See `rrwkv_runtime.common.atomic`."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.errors import OutputError
from rrwkv_runtime.common import atomic
from rrwkv_runtime.common.printable import is_writable
from rrwkv_runtime.manifest import MANIFEST_NAME

_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename says where there is something already
_AT_FDCWD, _EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h; macOS has its RENAME_SWAP = 2


@dataclass(frozen=True)
class _Rule:
    """What of the target may be replaced: see `new_directory`."""

    target: Path
    replaceable: frozenset[str] | None
    marker: str
    what: str

    def check(self, found: Path) -> None:
        """found: what stands at the target, or stood there. Raises OutputError if that must stay."""
        target = self.target
        if not os.path.lexists(found):
            return
        if self.replaceable is None:
            forced = " or pass --force to replace it" if (found / self.marker).is_file() else ""
            raise OutputError(f"{target} exists already; choose another name{forced}")
        if not (found / self.marker).is_file():
            raise OutputError(
                f"{target} exists and is not {self.what}, so it will not be replaced; choose another name"
            )
        if others := sorted(path.name for path in found.iterdir() if path.name not in self.replaceable):
            raise OutputError(
                f"{target} also holds {others[0]!r}, which would be lost; move it, or choose another name"
            )


@contextmanager
def new_directory(
    target: Path, replaceable: frozenset[str] | None = None, *, marker: str = MANIFEST_NAME, what: str = "a bundle"
) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its name when all went well, and is removed when not.

    replaceable: None refuses a target that exists; else one is replaced if it is `what` with no files but these.
    marker: the file by which to know that it is. What has come to stand at the target meanwhile is held to the same
    rule; if it must stay, what was made takes the next free name, `target-2`, and an error says so. A link stays one.
    Raises OutputError for that, for a place that cannot be written to, and for a full disk.
    """
    _check_name(target)
    rule = _Rule(target, replaceable, marker, what)
    try:
        place = atomic.resolved(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic.temporary_folder(place) as folder:
            rule.check(place)
            made = folder / "new"
            made.mkdir(mode=0o755)
            yield made
            for path in (*made.rglob("*"), made):
                atomic.to_disk(path)
            _put(made, place, rule)
            atomic.to_disk(place.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, None):  # numpy tells of a write cut short without a number
            raise OutputError(f"{target}: the disk is full; free some space or write elsewhere") from None
        raise _unwritable(target, error) from None


def check_target(
    target: Path, replaceable: frozenset[str] | None = None, *, marker: str = MANIFEST_NAME, what: str = "a bundle"
) -> None:
    """What `new_directory` refuses of its target, for who works long before. Raises OutputError."""
    _check_name(target)
    with _told(target):
        _Rule(target, replaceable, marker, what).check(atomic.resolved(target))
        _check_folder(target)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """As `rrwkv_runtime.common.atomic.new_file`, with the folders above it. Raises OutputError."""
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file")
    try:
        atomic.resolved(target).parent.mkdir(parents=True, exist_ok=True)
        with atomic.new_file(target) as temporary:
            yield temporary
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from None


def require_space(target: Path, needed: int) -> None:
    """Raises OutputError before anything is written if `needed` bytes cannot be put there."""
    with _told(target):
        usage = shutil.disk_usage(_check_folder(target))
    if usage.total and usage.free < needed:  # a disk of size 0 is one that does not say it
        raise OutputError(
            f"{target}: {needed / 1e6:.0f} MB are needed and the disk has {usage.free / 1e6:.0f} MB left; free some "
            "space or write elsewhere"
        )


def _check_folder(target: Path) -> Path:
    """The folder that the first new one is made in, which is tried: /proc says that it can be written to. Raises
    OSError, OutputError.
    """
    folder = next(folder for folder in atomic.resolved(target).parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target}: cannot write to {folder}; choose another place")
    Path(tempfile.mkdtemp(prefix=f".{target.name[:20]}.", dir=folder)).rmdir()
    return folder


@contextmanager
def _told(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(target, error) from None


def _unwritable(target: Path, error: OSError | ValueError) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError):  # folders are made: what is there takes none
        there = next(folder for folder in target.absolute().parents if folder.exists())
        reason = f"{there} takes no new files"
    return OutputError(f"{target}: cannot write there ({reason}); choose another place")


def _check_name(target: Path) -> None:
    path = str(target.absolute())
    if not is_writable(path):
        raise OutputError(f"{path!r} is not UTF-8, as ONNX and safetensors want it; choose another place")
    if "\0" in str(target):
        raise OutputError("a folder's name cannot hold the character NUL; choose another name")


def _put(made: Path, place: Path, rule: _Rule) -> None:
    """Give the folder its name, or the next that is free. Raises OutputError if what stands at its own must stay."""
    try:
        rule.check(place)
        if os.path.lexists(place):
            _replace(made, place, rule)
        else:
            _rename(made, place, rule)
    except OutputError as error:
        kept = _rename_beside(made, place)
        raise OutputError(f"{error} (it came while this ran: what was made is in {kept})") from None


def _replace(made: Path, place: Path, rule: _Rule) -> None:
    """Both ways check once more what stood there, when nobody can put anything into it by its name any more."""
    if _exchange(made, place):
        try:
            rule.check(made)
        except OutputError:
            _exchange(made, place)
            raise
        return
    old = made.with_name(atomic.OLD)
    place.rename(old)  # killed from here on, the next run puts it back
    try:
        rule.check(old)
        made.rename(place)
    except BaseException:
        old.rename(place)
        raise


def _rename(made: Path, place: Path, rule: _Rule) -> None:
    """Take a name that was free a moment ago. A rename replaces no folder that holds anything, and no file."""
    try:
        made.rename(place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        raise OutputError(f"{rule.target} exists already and is left as it is") from None


def _rename_beside(made: Path, place: Path) -> Path:
    for number in itertools.count(2):
        other = place.with_name(f"{place.name}-{number}")
        if not os.path.lexists(other):
            try:
                return made.rename(other)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
    raise AssertionError("numbers end")


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; False where the system or the file system has no such step."""
    library: Any = ctypes.CDLL(None) if sys.platform != "win32" else None
    names = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _EXCHANGE)
    else:
        return False
    return not failed
