"""Token ids into text, one by one: whole characters only, each as soon as its last byte is there."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol


class TextStream(Protocol):
    """Ids in, text out: whole characters only, each as soon as its last byte is there."""

    @property
    def pending(self) -> bool:
        """Whether the start of a character is held back."""

    def push(self, token_id: int) -> str:
        """The characters that this token completes, possibly none. An unknown id adds nothing."""

    def flush(self) -> str:
        """What is held back, as replacement characters; the stream is then as new."""


class ByteStream:
    """A TextStream for tokens that are bytes."""

    def __init__(self, token_bytes: Callable[[int], bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def pending(self) -> bool:
        return bool(self._decoder.getstate()[0])

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._token_bytes(token_id))

    def flush(self) -> str:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class WindowStream:
    """A TextStream for any decoder: the last token that ended on a whole character, then those since, decoded together.

    The difference to the decoded first part is new text, as in text-generation-inference's `decode_token`. At the start
    the first part is the end of `after`, so that the first new token is not taken for the beginning of a text.
    """

    _LONGEST = 16  # tokens: more than any character takes, so what still looks broken then is broken

    def __init__(self, decode: Callable[[Sequence[int]], str], after: Sequence[int] = ()) -> None:
        self._decode = decode
        before = list(after[-self._LONGEST :])
        self._shown = [] if decode(before).endswith("\ufffd") else before
        self._new: list[int] = []

    @property
    def pending(self) -> bool:
        return bool(self._new)

    def push(self, token_id: int) -> str:
        self._new.append(token_id)
        text = self._text()
        return "" if text.endswith("\ufffd") and len(self._new) < self._LONGEST else self._show(text)

    def flush(self) -> str:
        text = self._show(self._text())
        self._shown = []
        return text

    def _text(self) -> str:
        return self._decode(self._shown + self._new)[len(self._decode(self._shown)) :]

    def _show(self, text: str) -> str:
        if text:  # without text, as special tokens are, what came before stays the context of what comes next
            self._shown = self._new
        self._new = []
        return text


@cache
def byte_of_character() -> dict[str, int]:
    """GPT-2's 256 visible characters for bytes: `bytes_to_unicode` of https://github.com/openai/gpt-2, inverted."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}
