"""What every reader of other people's files shares: a bound before the work, UTF-8, and one kind of error out of it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rrwkv_runtime.common.printable import one_line
from rrwkv_runtime.errors import InputError, RRWKVError

LARGEST_JSON = 4 * 2**20  # bytes; parsed it takes some thirty times as much
_DEEPEST = 64
_MOST_DIGITS = 19  # of a whole number: all of 64 bits
_PIECE = 1 << 20
# UTF-32 before UTF-16, whose mark is the beginning of one of its marks.
_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_bounded(path: Path, largest: int) -> bytes:
    """The bytes of a file, pipe or device, of which no more than `largest` are read.

    Raises InputError where there are more, and where it cannot be read; its cause is then the OSError.
    """
    pieces, size = [], 0
    try:
        with path.open("rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                size += len(piece)
                if size > largest:
                    raise InputError(f"{path}: larger than {_size(largest)}, the most that is read")
                pieces.append(piece)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(path)!r}: no path of a file ({error})") from None
    return b"".join(pieces)


def decode_utf8(data: bytes, what: str) -> str:
    """UTF-8 as text, less the byte order mark that some editors begin with. what: names it in messages.

    Raises InputError for other encodings, and for the NUL bytes of what is not text.
    """
    for mark, name in _OTHER_MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{what}: {name}, not UTF-8 text; convert it first: iconv -f {name} -t UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        why = ", it has NULs: a binary file" if b"\0" in data else "; convert it first, with iconv or an editor"
        raise InputError(f"{what}: not UTF-8 text (byte {at}){why}") from None
    if (at := text.find("\0")) >= 0:
        raise InputError(f"{what}: a NUL at character {at}, so it is not UTF-8 text but UTF-16 or something binary")
    return text


def read_utf8(path: Path, largest: int) -> str:
    """The text of a file, by `read_bounded` and `decode_utf8`. Raises InputError."""
    return decode_utf8(read_bounded(path, largest), str(path))


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"


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
    if isinstance(error, RecursionError):  # whose own words are of Python's limits
        return "nested too deeply"
    text = one_line((str(error).strip().splitlines() or [type(error).__name__])[0])
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short(value: Any, limit: int = 60) -> str:
    """A value for a message, as Python writes it: its beginning in one line, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no whole number of thousands of digits
        text = f"{type(value).__name__} of absurd length"
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
        text = read_utf8(path, largest)
    except InputError as error:
        raise kind(str(error)) from None
    with boundary(kind, f"{path}: not valid JSON"):
        return parse_json(text)
