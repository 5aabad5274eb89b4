"""Text from files and models as a terminal or a page may show it: no character of it moves, hides or reorders others.

What is meant are the control characters (C0 but for newline and tab, DEL, C1, and with them every escape sequence), the
line separators U+2028 and U+2029, the embeddings, overrides and isolates of bidirectional text, and surrogates, which
stand in a file's name for bytes that are no UTF-8, and which UTF-8 cannot hold.
"""

from __future__ import annotations

from typing import TextIO

_KEPT = "\n\t"
_CODES = (
    *(code for code in range(0x20) if chr(code) not in _KEPT),
    *range(0x7F, 0xA0),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    *range(0xD800, 0xE000),
)
_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CODES}
_IN_JSON = {code: f"\\u{code:04x}" for code in _CODES}
_DROPPED = dict.fromkeys(_CODES)
_REPLACED = dict.fromkeys(_CODES, "\ufffd")


def visible(text: str) -> str:
    r"""For messages, tables and pages: such characters are written out, as `\x1b`. Newlines and tabs stay."""
    return text.translate(_ESCAPED)


def one_line(text: str) -> str:
    """`visible`, and white space of any kind is a single space."""
    return visible(" ".join(text.split()))


def writable(name: str) -> str:
    r"""A file's name for what is written in UTF-8: bytes of it that are none are written out, as `\udcff`."""
    return name.encode("utf-8", "backslashreplace").decode()


def is_writable(name: str) -> bool:
    """Whether libraries that want UTF-8 take it for a file's name."""
    return writable(name) == name


def without_controls(text: str) -> str:
    """For a model's text as it comes, at a terminal: such characters are left out."""
    return text.translate(_DROPPED)


def shown(text: str, stream: TextIO) -> str:
    """A model's text for a stream: `without_controls` at a terminal, as it is for a file or a program."""
    return without_controls(text) if stream.isatty() else text


def replaced(text: str) -> str:
    """For text that is laid out already: such a character is U+FFFD, so that the length stays."""
    return text.translate(_REPLACED)


def json_escaped(text: str) -> str:
    """JSON that says the same, with such characters escaped; they only stand within strings there."""
    return text.translate(_IN_JSON)
