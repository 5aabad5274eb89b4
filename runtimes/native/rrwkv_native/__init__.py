"""Where the library of kernels is, for `onnxruntime.SessionOptions.register_custom_ops_library`, and which it has."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

__all__ = ["library", "path", "reading", "reason", "tables"]

_NOT_BUILT = "no C++ compiler that can build them was found when rrwkv-native was installed"
_NOTHING_FASTER = "this processor has nothing that makes them faster than onnxruntime's own"


def path() -> Path:
    """The library, whether it is of use here or not. Raises ImportError where the package was installed without one."""
    if (found := _found()) is None:
        raise ImportError(_NOT_BUILT)
    return found


def library() -> Path | None:
    """The library, or None where it is not there, or the processor has nothing that makes its kernels faster than
    onnxruntime's own. Raises OSError if it does not load.
    """
    return path() if reason() is None else None


def reason() -> str | None:
    """Why `library` is None, in a few words; None where it is not. Raises OSError as that does."""
    if _found() is None:
        return _NOT_BUILT
    return _NOTHING_FASTER if tables()[0] == "scalar" else None


@cache
def tables() -> tuple[str, ...]:
    """The tables of kernels that this processor can run, the best one first; the last is "scalar", which any can. A
    session takes the first, or the one that its entry `rrwkv.kernels` names. None without a library. Raises OSError if
    it does not load.
    """
    if (found := _found()) is None:
        return ()
    names = ctypes.CDLL(str(found)).rrwkv_native_tables
    names.restype = ctypes.c_char_p
    return tuple(names().decode().split(","))


def reading() -> str:
    """How a token reads the rows of matrices, in words. Which way is the fastest is tried by the first 28 tokens of a
    process's first large model. Raises as `path`, and OSError if the library does not load.
    """
    words = ctypes.CDLL(str(path())).rrwkv_native_reading
    words.restype = ctypes.c_char_p
    return words().decode()


def _found() -> Path | None:
    return next(Path(__file__).parent.glob("librrwkv_native.*"), None)
