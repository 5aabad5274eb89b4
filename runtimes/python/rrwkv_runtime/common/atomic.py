"""What is written is there whole or not at all: after an error, a kill, or the power's going.

It is made in a temporary folder beside its place, `.NAME.xxxxxxxx.part`, put on the disk (fsync), and renamed. While
its maker lives, a file in that folder is locked. So what a killed run left is known by its free lock, in whatever
namespace that run had its process number, and whoever writes to the same place next removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

OLD = "old"  # in a temporary folder: what stood at the place, between two renames
_LOCK = "lock"
_LONGEST = 40  # characters of the place's name in the temporary one, whose length the system limits too


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary file that takes the name of `target`, and its mode, when all went well, and is removed when not.

    A link stays one. Onto what is no file, a device or a pipe, the content is copied. Raises OSError, at once for a
    place that cannot be written to; ValueError for a name with a NUL.
    """
    if target.exists() and not target.is_file() and not target.is_dir():
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / "content"
            with (Path(folder) / "content").open("rb") as content, target.open("wb") as stream:
                shutil.copyfileobj(content, stream)
        return
    place = resolved(target)
    with temporary_folder(place) as folder:
        temporary = folder / "content"
        temporary.touch()
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(place.stat().st_mode))
        to_disk(temporary)
        temporary.replace(place)
        to_disk(place.parent)


def resolved(path: Path) -> Path:
    """Where a path leads, links followed. Raises OSError for a link that leads to itself."""
    try:
        return path.resolve()
    except RuntimeError:  # so Python has it up to 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


@contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """A new, locked folder beside `place`, removed at the end with all that is still in it. Raises OSError.

    What killed runs left there is cleaned up first; `place`, if one of them had it away in its OLD, is put back.
    """
    clean_up(place)
    while True:
        folder = place.with_name(f".{place.name[:_LONGEST]}.{secrets.token_hex(4)}.part")
        folder.mkdir()
        try:
            lock = os.open(folder / _LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        except FileNotFoundError:  # another run took it for what a killed one left
            continue
        if _is_locked(lock, wait=True) and _is_still(lock, folder / _LOCK):
            break
        os.close(lock)
    try:
        yield folder
    finally:
        os.close(lock)
        with contextlib.suppress(OSError):
            _clean_up(folder, place)


def clean_up(place: Path) -> None:
    """Put back or remove what killed runs left beside `place`; those of runs that live stay. Raises OSError."""
    name = re.compile(re.escape(f".{place.name[:_LONGEST]}.") + r"[0-9a-f]{8}\.part")
    with os.scandir(place.parent) as entries:
        folders = [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]
    for folder in folders:
        with contextlib.suppress(OSError):
            _clean_up(folder, place)


def _clean_up(folder: Path, place: Path) -> None:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:  # killed before there was a lock, or while it was removed
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        if _is_locked(lock, wait=False):
            if (folder / OLD).exists() and not os.path.lexists(place):
                (folder / OLD).rename(place)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a file that is there. False where another process holds it, or put another in its place; True also where
    files cannot be held, as on Windows. Raises OSError.
    """
    if sys.platform == "win32":  # where a folder with an open file cannot be renamed
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDWR)  # NFS locks nothing else
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        yield _lock(descriptor, wait=False) is not False and _is_still(descriptor, path)
    finally:
        os.close(descriptor)


def to_disk(path: Path) -> None:
    """Have the system write a file, or a folder's list of names, to the disk itself. Raises OSError."""
    if sys.platform == "win32":
        return  # where only who writes a file can ask for that, and no folder can be opened
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int, wait: bool) -> bool:
    """Lock an open file; False if another holds the lock, or nobody can say: there nobody takes it for dead either.

    wait: until it is free.
    """
    locked = _lock(descriptor, wait)
    return wait if locked is None else locked


def _lock(descriptor: int, wait: bool) -> bool | None:
    """Whether this process has it now; None where the system or the file system has no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
