"""How fast this machine's memory can be read: the roof of decoding, which reads every weight for every token.

Each thread reads its own contiguous part of the buffer from end to end, several times over, as a product with a matrix
does. Two readers are at hand, and the faster one here is taken: the C library's memcmp, which reads a part's two halves
side by side, and numpy's maximum of int8. On glibc with AVX-512 both are within 3 % of a hand-written loop of
64-byte loads; sums and products of floats, or copies, are slower and would make the roof too low.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np

from rrwkv_export.bench.alternate import Prepared

Bytes = np.ndarray[Any, np.dtype[np.int8]]
Reader = Callable[[Bytes], object]

MOST = 2**30  # bytes: more reads no slower
_READ = 2 * 10**9  # bytes a run
_PAGE = 4096


def _memcmp() -> Reader:
    library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    compare = library.memcmp
    compare.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

    def read(part: Bytes) -> object:
        half, start = len(part) // 2, part.ctypes.data
        return compare(start, start + half, half)  # all is alike, so it goes to the end

    return read


READERS: dict[str, Reader] = {"memcmp of two halves": _memcmp(), "numpy's maximum of int8": np.max}


class Probe:
    """A buffer of bytes, all alike, read by `threads` threads.

    reader: the name of what reads. Calling it warms the buffer and gives back the run, which reads `bytes` in all.
    """

    def __init__(self, buffer: Bytes, threads: int) -> None:
        part = max(2, len(buffer) // threads // _PAGE * _PAGE)
        self._parts = [buffer[thread * part :][:part] for thread in range(threads)]
        self._passes = max(2, -(-_READ // (part * threads)))
        self.bytes = part * threads * self._passes
        self._pool = ThreadPoolExecutor(threads)
        self.reader = min(READERS, key=lambda name: min(self._seconds(READERS[name]) for _ in range(4)))

    def __call__(self) -> Prepared:
        read = READERS[self.reader]
        self._read(read, 1)
        return lambda: self._read(read, self._passes)

    def close(self) -> None:
        """End its threads."""
        self._pool.shutdown()

    def _seconds(self, reader: Reader) -> float:
        started = perf_counter()
        self._read(reader, 2)
        return perf_counter() - started

    def _read(self, reader: Reader, passes: int) -> None:
        def through(part: Bytes) -> None:
            for _ in range(passes):
                reader(part)

        list(self._pool.map(through, self._parts))


def buffer_of(size: int) -> Bytes:
    """Written to, so that every page is its own, and beginning at a page; MOST bytes at most."""
    size = min(size, MOST)
    room = np.ones(size + _PAGE, np.int8)
    start = -room.ctypes.data % _PAGE
    return room[start : start + size]
