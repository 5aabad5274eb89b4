"""What was read of a mapped file need not stay in memory: whoever reads its pages again has them from the file again.

A checkpoint is read tensor by tensor, several times over; a bundle's weights are mapped by each of its graphs. Nothing
happens outside Linux, nor to memory that would lose what it holds.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WORTH_IT = 2**20  # bytes


def drop(path: Path, address: int, size: int) -> None:
    """Give back the pages of some bytes of the file, where they are mapped at this address; other memory is left."""
    if size < _WORTH_IT or not sys.platform.startswith("linux"):
        return
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if _is_of(path, first, end):
        _give_back(first, end)


def drop_all(path: Path) -> None:
    """Give back every page of the file, wherever it is mapped, but not of a mapping that was written to."""
    if sys.platform.startswith("linux"):
        for first, end in _unwritten(path):
            _give_back(first, end)


def _is_of(path: Path, first: int, end: int) -> bool:
    """Whether one mapping of the file holds these addresses."""
    inode = path.stat().st_ino
    with _about_memory("maps") as lines:
        for line in lines:
            place, _, _, _, node, *_ = line.split(maxsplit=5)
            start, stop = _addresses(place)
            if start <= first and end <= stop:
                return int(node) == inode
    return False


def _unwritten(path: Path) -> list[tuple[int, int]]:
    """Where the file is mapped and no page is a copy, which writing to a private mapping makes."""
    inode, copied, place = path.stat().st_ino, dict[tuple[int, int], int](), None
    with _about_memory("smaps") as lines:
        for line in lines:
            word, *rest = line.split(maxsplit=5)
            if not word.endswith(":"):  # a mapping; what is said of it follows
                place = _addresses(word) if int(rest[3]) == inode else None
            elif place and word in ("Anonymous:", "Swap:"):
                copied[place] = copied.get(place, 0) + int(rest[0])
    return [place for place, size in copied.items() if not size]


@contextmanager
def _about_memory(name: str) -> Iterator[Iterator[str]]:
    """The lines of what Linux says of this process's mappings."""
    with open(f"/proc/self/{name}", encoding="utf-8", errors="surrogateescape") as lines:
        yield lines


def _addresses(place: str) -> tuple[int, int]:
    first, _, end = place.partition("-")
    return int(first, 16), int(end, 16)


def _give_back(first: int, end: int) -> None:
    ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)
