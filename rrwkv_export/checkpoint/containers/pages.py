"""What was read of a mapped file need not stay in memory: a checkpoint is read tensor by tensor, several times over."""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

from torch import Tensor

_WORTH_IT = 2**20  # bytes


def drop(tensor: Tensor, path: Path) -> None:
    """Give back the pages of a view of the mapped file; whoever reads them again has them from the file again.

    Nothing happens where the memory is not that file's, as other memory would lose what it holds, nor outside Linux.
    """
    size = tensor.numel() * tensor.element_size()
    if size < _WORTH_IT or not sys.platform.startswith("linux") or not tensor.is_contiguous():
        return
    first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + size) // mmap.PAGESIZE * mmap.PAGESIZE
    if _is_of(path, first, end):
        ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


def _is_of(path: Path, first: int, end: int) -> bool:
    """Whether one mapping of the file holds these addresses."""
    inode = path.stat().st_ino
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            place, _, _, _, node, *_ = line.split(maxsplit=5)
            start, _, stop = place.partition("-")
            if int(start, 16) <= first and end <= int(stop, 16):
                return int(node) == inode
    return False
