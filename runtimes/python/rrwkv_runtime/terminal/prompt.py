"""What every command line of this project reads alike: the prompt, stop strings, token ids, the limit of tokens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rrwkv_runtime.common.reading import decode_utf8, read_bounded
from rrwkv_runtime.errors import InputError, UsageError

_LARGEST_PROMPT = 64 << 20  # bytes
_ESCAPE = re.compile(rb"""\\(?:([nrt\\'"])|x([0-9A-Fa-f]{2}))""")
_MEANING = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_PART = re.compile(r"[^\s,]+")
_ID = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def read_prompt(text: str | None, file: Path | None, ids: str | None, escape: bool = True) -> str | list[int]:
    r"""The prompt, from whichever is given; with none of them, from standard input. Raises InputError.

    text    as it was typed: with `escape`, `\n` and the like are what they stand for (see `typed`)
    file    as it is, and so is standard input; but the line end that an editor or `echo` leaves at the very end is no
            part of the prompt, as in llama.cpp: `echo X |`, `-f` of a file with the line X, and `-p X` are one prompt

    An empty prompt is an empty prompt, however it is given: a text that begins with the bundle's beginning token.
    """
    if ids is not None:
        try:
            return parse_ids(ids)
        except InputError as error:
            raise UsageError(f"--ids takes token ids with commas between them: {error}") from None
    if text is not None:
        return typed(text, escape)
    if file is not None:
        data = read_bounded(file, _LARGEST_PROMPT)
        return _without_last_line_end(decode_utf8(data, str(file)))
    if sys.stdin.isatty():
        print("reading the prompt from standard input; end it with Ctrl-D", file=sys.stderr, flush=True)
    data = sys.stdin.buffer.read(_LARGEST_PROMPT + 1)
    if len(data) > _LARGEST_PROMPT:
        raise InputError(f"the prompt on standard input is larger than {_LARGEST_PROMPT >> 20} MiB; give a part of it")
    return _without_last_line_end(decode_utf8(data, "the prompt on standard input"))


def typed(text: str, escape: bool = True) -> str:
    r"""What an option's text means: `\n`, `\r`, `\t`, `\\`, `\'`, `\"` and bytes `\xHH` stand for what they do in C.

    Everything else stays as it is, other backslashes too; without `escape`, everything does. As llama.cpp's `--escape`,
    which is on by default there too. Raises UsageError where bytes do not make UTF-8.
    """
    if not escape or "\\" not in text:
        return text
    made = _ESCAPE.sub(_unescaped, text.encode("utf-8", "surrogatepass"))
    try:
        return made.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"the bytes written with \\x in {text[:60]!r} are not UTF-8; with --no-escape they are text"
        ) from None


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[2], 16)]) if found[2] else _MEANING.get(found[1], found[1])


def parse_ids(text: str) -> list[int]:
    """All of `iterate_ids`."""
    return list(iterate_ids(text))


def iterate_ids(text: str) -> Iterator[int]:
    """Token ids with commas or white space between them, in brackets or not. Raises InputError naming what is none."""
    start, end = 0, len(text)
    if (inner := text.strip()).startswith("[") and inner.endswith("]"):
        start, end = text.index("[") + 1, text.rindex("]")
    for part in _PART.finditer(text, start, end):
        if not _ID.fullmatch(part[0]):
            raise InputError(f"{part[0][:30] + '…' * (len(part[0]) > 30)!r} is not a token id")
        yield int(part[0])


def token_limit(number: int) -> int | None:
    """`max_tokens` as people type it: 0 and -1 mean None, no limit. Raises InputError."""
    if number < -1:
        raise InputError(f"max_tokens must be from 1, or 0 or -1 for no limit, not {number}")
    return number if number > 0 else None


def _without_last_line_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
