"""What ends a text: strings, looked for in what the model writes, special tokens included."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rrwkv_runtime.errors import InputError

if TYPE_CHECKING:
    from rrwkv_runtime.tokenizer import Tokenizer


def check_stops(stop: str | Iterable[str], tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """Stop strings as a model may write them.

    Raises InputError for an empty one, or any where there is no text to look for it in.
    """
    if isinstance(stop, str):
        stop = (stop,)
    stops = tuple(stop) if isinstance(stop, Iterable) else (stop,)
    if not all(isinstance(s, str) for s in stops):
        raise InputError(f"stop must be a string or several, not {stop!r}")
    if not all(stops):
        raise InputError("a stop string is empty; it would stop at once")
    if stops and tokenizer is None:
        raise InputError(
            "stop strings need a tokenizer, and this bundle has none; give token ids (stop_ids, --stop-id)"
        )
    return written_forms(stops, tokenizer) if tokenizer else ()


def written_forms(stops: Iterable[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The strings, and those that hold special tokens also as the model writes them: without the white space that a
    tokenizer leaves out beside such a token."""
    forms: dict[str, None] = {}
    for stop in stops:
        forms[stop] = None
        ids = tokenizer.encode(stop, special=True)
        if not tokenizer.special.keys().isdisjoint(ids):
            forms[written_text(ids, tokenizer)] = None
    return tuple(forms)


def written_text(ids: Iterable[int], tokenizer: Tokenizer) -> str:
    """The text of ids, special tokens' own included."""
    stream = tokenizer.stream()
    return "".join(stream.push(i) + tokenizer.special.get(i, "") for i in ids) + stream.flush()


def first(text: str, strings: Iterable[str]) -> tuple[int, str] | None:
    """Which of the strings begins first in a text, of those the longest, and where; None if none is in it."""
    found = [(text.index(string), -len(string), string) for string in strings if string in text]
    return (min(found)[0], min(found)[2]) if found else None


def certain(text: str, strings: Iterable[str]) -> int:
    """How many characters of a text, in which none of the strings is, cannot be the beginning of one."""
    strings = tuple(strings)
    held = min(len(text), max(map(len, strings), default=1) - 1)
    while held and not any(string.startswith(text[-held:]) for string in strings):
        held -= 1
    return len(text) - held


class StopStrings:
    """Lets text through up to the first stop string, however it is cut into pieces; O(longest stop) memory.

    Some text is shown, some (special tokens' own) is not: stop strings are looked for in all of it.

    matched: the stop string found. rest: text that came after it in the same piece. cut: whether text to be shown is in
    either. tail: the last characters of all text, as many as the longest string of `remember` has.
    """

    def __init__(self, stops: Sequence[str], remember: Sequence[str] = ()) -> None:
        self._stops = stops
        self._remembered = max(map(len, remember), default=0)
        self._text, self._shown = "", list[bool]()  # what is held, and which characters of it are shown
        self.tail = ""
        self.matched: str | None = None
        self.rest = ""
        self.cut = False

    @property
    def held(self) -> str:
        """Text to be shown that may be part of a stop string."""
        return "".join(itertools.compress(self._text, self._shown))

    def push(self, piece: str, hidden: str = "") -> str:
        """Take a piece of text and, after it, one that is not shown.

        Gives text to be shown that is certainly not part of a stop string.
        """
        self._take(piece, hidden)
        return self._scan()

    def _take(self, piece: str, hidden: str) -> None:
        self._text += piece + hidden
        self._shown += [True] * len(piece) + [False] * len(hidden)
        if self._remembered:
            self.tail = (self.tail + piece + hidden)[-self._remembered :]

    def _scan(self) -> str:
        if found := first(self._text, self._stops):
            return self._end(*found)
        return self._let_through(certain(self._text, self._stops))

    def _end(self, at: int, stop: str) -> str:
        self.matched, self.rest = stop, self._text[at + len(stop) :]
        through = self._let_through(at)
        self.cut = any(self._shown)
        self._text, self._shown = "", []
        return through

    def flush(self) -> str:
        return self._let_through(len(self._text))

    def _let_through(self, count: int) -> str:
        through = "".join(itertools.compress(self._text[:count], self._shown))
        self._text, self._shown = self._text[count:], self._shown[count:]
        return through
