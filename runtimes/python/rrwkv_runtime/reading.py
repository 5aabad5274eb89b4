"""Text files of other people: read within a bound, in UTF-8, without a byte order mark."""

from __future__ import annotations

import codecs
from pathlib import Path

from rrwkv_runtime.errors import InputError

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
        raise InputError(f"{what}: not UTF-8 text (byte {at}); convert it first, with iconv or an editor") from None
    if (at := text.find("\0")) >= 0:
        raise InputError(f"{what}: a NUL at character {at}, so it is not UTF-8 text but UTF-16 or something binary")
    return text


def read_utf8(path: Path, largest: int) -> str:
    """The text of a file, by `read_bounded` and `decode_utf8`. Raises InputError."""
    return decode_utf8(read_bounded(path, largest), str(path))


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"
