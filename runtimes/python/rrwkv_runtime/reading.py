"""What every reader of other people's files shares: a bound before the work, and one kind of error out of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.printable import one_line

LARGEST_JSON = 4 * 2**20  # bytes; parsed it takes some thirty times as much
_DEEPEST = 64
_MOST_DIGITS = 19  # of a whole number: all of 64 bits


@contextmanager
def boundary(kind: type[RRWKVError], message: str) -> Iterator[None]:
    """Whatever parsing a stranger's data raises within becomes `kind("message (reason)")`.

    Errors of this project go through as they are, and so do those of files and of memory, which are not the data's.
    To be put around the parsing alone: a mistake in code further on should be seen as what it is.
    """
    try:
        yield
    except (RRWKVError, OSError, MemoryError):
        raise
    except Exception as error:
        raise kind(f"{message} ({brief(error)})") from error


def brief(error: BaseException, limit: int = 120) -> str:
    """A foreign error in one short line."""
    text = one_line((str(error).strip().splitlines() or [type(error).__name__])[0])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short(value: Any, limit: int = 60) -> str:
    """A value of a file as Python writes it, shortened."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def parse_json(text: str) -> Any:
    """JSON as a file may hold it: nested at most 64 deep, whole numbers of at most 19 digits. Raises ValueError."""
    try:
        value = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(f"nested more than {_DEEPEST} deep") from None
    level = [value]
    for _ in range(_DEEPEST + 1):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _inside(each)]
        if not level:
            return value
    raise ValueError(f"nested more than {_DEEPEST} deep")


def _inside(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def read_json(path: Path, kind: type[RRWKVError], largest: int = LARGEST_JSON) -> Any:
    """A JSON file. Raises `kind`, naming the file, if it is too large, is no JSON or cannot be read."""
    try:
        with path.open("rb") as stream:
            content = stream.read(largest + 1)
    except OSError as error:
        raise kind(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) > largest:
        raise kind(f"{path}: larger than {largest} bytes, which no such file is")
    with boundary(kind, f"{path}: not valid JSON"):
        return parse_json(content.decode("utf-8"))
