"""A bundle's files held open from before they are hashed until the model is gone: what was hashed is what is used.

onnxruntime and tokenizers open files by their names, at a time of their own. So the files are opened here first, hashed
through these handles, and when everything is loaded each name must still lead to the file behind its handle, unchanged
since: on POSIX that includes the time of the last change of its inode, which nobody can set. Weights stay mapped, so
their files are looked at again before each run: the system ends a process that reads a page which is no longer there.

Not covered: a file cut in the microseconds between the look and the read, or while a run lasts; a folder above the
bundle that is swapped and swapped back while it is loaded.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Collection
from pathlib import Path

from rrwkv_runtime.errors import DamagedBundle, RRWKVError
from rrwkv_runtime.manifest import (
    FileEntry,
    Manifest,
    check_digest,
    check_size,
    resolve_inside,
    stream_sha256,
)

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


class HeldFiles:
    """All files that a manifest lists, until `settle`; then those that stay mapped."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        """Opens them. Raises DamagedBundle for one that is missing, or not of the listed size."""
        self._bundle = bundle
        self._entries = {entry.name: entry for entry in manifest.files}
        self._handles: dict[str, int] = {}
        weakref.finalize(self, _close_all, self._handles)
        self._lock = threading.Lock()
        for entry in manifest.files:
            try:
                self._handles[entry.name] = os.open(resolve_inside(bundle, entry.name), _FLAGS)
            except OSError as error:
                raise _unreadable(bundle, entry, error) from None
        self._found = {name: os.fstat(handle) for name, handle in self._handles.items()}
        for name, found in self._found.items():
            check_size(bundle, self._entries[name], found.st_size)
        self._mapped: list[tuple[str, int, int]] = []  # name, handle, size

    def read(self, name: str, most: int) -> bytes:
        """A file's content, but no more bytes than that."""
        with self._lock, open(self._handles[name], "rb", buffering=0, closefd=False) as stream:
            stream.seek(0)
            return stream.read(most)

    def verify(self) -> None:
        """Every file has the listed sha256. Raises DamagedBundle naming the one that has not."""
        for name in self._handles:
            self._verify(name)

    def settle(self, mapped: Collection[str]) -> None:
        """Once all is loaded: every name still leads to the file that was opened. mapped: those to be held further.

        Raises DamagedBundle.
        """
        for name, handle in self._handles.items():
            now = resolve_inside(self._bundle, name).stat()
            if not _identity(self._found[name]) == _identity(os.fstat(handle)) == _identity(now):
                raise DamagedBundle(f"{self._bundle}: {name} was changed while it was loaded; load the bundle again")
        for name in self._handles.keys() - mapped:
            os.close(self._handles.pop(name))
        self._mapped = [(name, handle, self._found[name].st_size) for name, handle in self._handles.items()]

    def check(self) -> None:
        """Before a run: what is mapped is there as it was loaded. Some microseconds. Raises DamagedBundle."""
        for name, handle, size in self._mapped:
            now = os.fstat(handle)
            if now.st_size != size:
                raise DamagedBundle(
                    f"{self._bundle}: {name} has {now.st_size} bytes instead of {size} since it was loaded; copy the "
                    "bundle again and load it anew"
                )
            if now.st_mtime_ns != self._found[name].st_mtime_ns:  # written to, or only touched
                self._verify(name)
                self._found[name] = now

    def _verify(self, name: str) -> None:
        entry = self._entries[name]
        try:
            with self._lock, open(self._handles[name], "rb", buffering=0, closefd=False) as stream:
                stream.seek(0)
                digest = stream_sha256(stream)
        except OSError as error:
            raise _unreadable(self._bundle, entry, error) from None
        check_digest(self._bundle, entry, digest)


class Verification:
    """Hashes the files in a thread of its own while sessions are made of them, and raises what it found at the end."""

    def __init__(self, files: HeldFiles, wanted: bool) -> None:
        self._files = files
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True) if wanted else None

    def _run(self) -> None:
        try:
            self._files.verify()
        except BaseException as error:  # handed to the thread that waits
            self._error = error

    def __enter__(self) -> None:
        if self._thread:
            self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._thread and (kind is None or issubclass(kind, RRWKVError)):
            self._thread.join()
        if self._error is not None:
            raise self._error  # damage explains whatever onnxruntime said


def _identity(found: os.stat_result) -> tuple[int, ...]:
    """On Windows a file that is open cannot be replaced, and the numbers of a handle are not those of a name."""
    same = (found.st_size, found.st_mtime_ns)
    return same if os.name == "nt" else (*same, found.st_dev, found.st_ino, found.st_ctime_ns)


def _unreadable(bundle: Path, entry: FileEntry, error: OSError) -> DamagedBundle:
    return DamagedBundle(f"{bundle}: {entry.name} cannot be read ({error.strerror or error})")


def _close_all(handles: dict[str, int]) -> None:
    for handle in handles.values():
        os.close(handle)
