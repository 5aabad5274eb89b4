"""Where the library of kernels is, for `onnxruntime.SessionOptions.register_custom_ops_library`, and which it has."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

__all__ = ["library", "path", "reason", "tables"]

_NOT_BUILT = "no C++ compiler that can build them was found when rrwkv-native was installed"


def path() -> Path:
    """The library. Raises ImportError where the package was installed without one."""
    if (found := _found()) is None:
        raise ImportError(_NOT_BUILT)
    return found


def library() -> Path | None:
    """The library, or None where the package was installed without one. Raises OSError if it does not load."""
    return path() if tables() else None


def reason() -> str | None:
    """Why there is no library, in a few words; None where there is one."""
    return _NOT_BUILT if _found() is None else None


@cache
def tables() -> tuple[str, ...]:
    """The tables of kernels that this processor runs, the best one first: a session takes that, or the one that its
    entry `rrwkv.kernels` names. None of them without a library. Raises OSError if it does not load.
    """
    if (found := _found()) is None:
        return ()
    names = ctypes.CDLL(str(found)).rrwkv_native_tables
    names.restype = ctypes.c_char_p
    return tuple(names().decode().split(","))


def _found() -> Path | None:
    return next(Path(__file__).parent.glob("librrwkv_native.*"), None)
