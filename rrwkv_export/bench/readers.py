"""Access patterns: ways to read every byte of a part of memory, as fast as a thread can.

One stream from end to end is what a processor fetches ahead of best, and yet slower than several side by side, which
keep more reads on their way: on a Zen 3 one has 0.7 of what four have, and two 0.93. What is at hand without a compiler
are the C library's searches and numpy's maximum, which are compiled for the processor's widest registers; rrwkv-native
has a loop of more streams. Sums, products and copies are slower, and BLAS brings threads of its own.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rrwkv_runtime.errors import ProviderError
from rrwkv_runtime.execution import native

Bytes = np.ndarray[Any, np.dtype[np.int8]]
Reader = Callable[[Bytes], object]

FILL = 1  # every byte of what is read, so that no search ends early
LEAST = 512  # bytes: of which every part is a multiple
STREAMS = (2, 4, 8)
_SOUGHT = 2


def readers() -> dict[str, Reader]:
    """What reads, by name; rrwkv-native's where it is installed."""
    return PORTABLE | _native()


def search(part: Bytes) -> object:
    """For a byte that is not there."""
    return _memchr(part.ctypes.data, _SOUGHT, len(part))


def compare(part: Bytes) -> object:
    """Its two halves, which are alike."""
    half, start = len(part) // 2, part.ctypes.data
    return _memcmp(start, start + half, half)


def streams_of(library: ctypes.CDLL) -> dict[str, Reader]:
    """Those of a library of kernels; none of one without them."""
    try:
        read = library.rrwkv_native_read
    except AttributeError:
        return {}
    read.restype, read.argtypes = ctypes.c_uint64, (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def reader(streams: int) -> Reader:
        return lambda part: read(part.ctypes.data, len(part), streams)

    return {f"{streams} streams, rrwkv-native": reader(streams) for streams in STREAMS}


def _native() -> dict[str, Reader]:
    """Whichever kernels are chosen: it is no kernel, and the probe can do without."""
    try:
        kernels = native.find("cpu", native.ON)
        return streams_of(ctypes.CDLL(str(kernels.library))) if kernels else {}
    except (ProviderError, OSError):
        return {}


def _function(name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(ctypes.CDLL("msvcrt" if sys.platform == "win32" else None), name)
    function.restype, function.argtypes = result, arguments
    return function


_memchr = _function("memchr", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
_memcmp = _function("memcmp", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

PORTABLE: dict[str, Reader] = {
    "1 stream, memchr": search,
    "1 stream, numpy's maximum": np.max,
    "2 streams, memcmp": compare,
}
