"""Where the library of kernels is, for `onnxruntime.SessionOptions.register_custom_ops_library`."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

__all__ = ["library", "path"]


def path() -> Path:
    """The library, whether it runs here or not; any x86-64 can load it. Raises ImportError."""
    found = next(Path(__file__).parent.glob("librrwkv_native.*"), None)
    if found is None:
        raise ImportError("its library is not there")
    return found


@cache
def library() -> Path | None:
    """None where the processor lacks what the kernels are made of (AVX-512 with VNNI). Raises ImportError, OSError."""
    return path() if ctypes.CDLL(str(path())).rrwkv_native_runs_here() else None
