"""Where the library of kernels is, for `onnxruntime.SessionOptions.register_custom_ops_library`."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

__all__ = ["library", "path", "tables"]


def path() -> Path:
    """The library, whether it is of use here or not. Raises ImportError."""
    found = next(Path(__file__).parent.glob("librrwkv_native.*"), None)
    if found is None:
        raise ImportError("its library is not there")
    return found


@cache
def tables() -> tuple[str, ...]:
    """The tables of kernels that this processor can run, the best one first; the last is "scalar", which any can.
    Raises ImportError, OSError.
    """
    names = ctypes.CDLL(str(path())).rrwkv_native_tables
    names.restype = ctypes.c_char_p
    return tuple(names().decode().split(","))


def library() -> Path | None:
    """None where the processor has nothing that makes its kernels faster than onnxruntime. Raises ImportError, OSError."""
    return path() if tables()[0] != "scalar" else None
