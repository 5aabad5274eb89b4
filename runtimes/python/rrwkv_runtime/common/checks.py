"""What callers give, checked once and in one wording, before anything runs on it."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import InputError

_MOST_THREADS, _MOST_LOGPROBS = 1024, 1000


def check_ids(ids: Iterable[int] | np.ndarray, vocab_size: int, name: str = "token ids") -> np.ndarray:
    """[T] int64, C-contiguous, T >= 0, each 0 <= id < vocab_size. Raises InputError naming the first that is not."""
    try:
        array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))
    except (TypeError, ValueError):  # no sequence, or sequences of several lengths
        array = np.empty((0, 0))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InputError(f"{name} must be a flat sequence of whole numbers, not {short(ids)}")
    wrong = np.flatnonzero((array < 0) | (array >= vocab_size))
    if wrong.size:
        raise InputError(f"{name}: {array[wrong[0]]} at position {wrong[0]} is outside 0..{vocab_size - 1}")
    return np.ascontiguousarray(array, dtype=np.int64)


def check_whole(name: str, value: Any, lowest: int, highest: int | None, allowed: str) -> int:
    """A whole number from lowest to highest, which `allowed` says in words. Raises InputError."""
    number = isinstance(value, Integral) and not isinstance(value, bool)
    if not number or value < lowest or (highest is not None and value > highest):
        raise InputError(f"{name} must be {allowed}, not {short(value)}")
    return int(value)


def check_threads(value: Any) -> int:
    """Raises InputError."""
    return check_whole("threads", value, 1, _MOST_THREADS, f"a whole number from 1 to {_MOST_THREADS}")


def check_top_logprobs(value: Any) -> int:
    """Raises InputError."""
    return check_whole("top_logprobs", value, 0, _MOST_LOGPROBS, f"from 0 to {_MOST_LOGPROBS}")


def check_max_tokens(value: Any) -> int | None:
    """None for no limit. Raises InputError."""
    return value if value is None else check_whole("max_tokens", value, 1, None, "from 1, or None for no limit")


def check_run(
    ids: Iterable[int] | np.ndarray, num_logits: int, chunk: int | None, vocab_size: int
) -> tuple[np.ndarray, int, int | None]:
    """What a decoder is asked to run, checked: ids int64 [T] with T >= 1, 1 <= num_logits <= T, a chunk from 1."""
    tokens = check_ids(ids, vocab_size)
    T = len(tokens)
    if not T:
        raise InputError("at least one token id is needed")
    num_logits = check_whole("num_logits", num_logits, 1, T, f"from 1 to the {T} tokens given")
    if chunk is not None:
        chunk = check_whole("chunk", chunk, 1, None, "a whole number from 1")
    return tokens, num_logits, chunk
