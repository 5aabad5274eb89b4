"""A reply that may begin with a thought, taken apart as it is written: thought, what stands around it, answer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from rrwkv_runtime.text.stopping import StopStrings, certain, first

if TYPE_CHECKING:
    from rrwkv_runtime.bundle.chat_format import Thinking


class _Part(Enum):
    OPENING = auto()  # it is not certain yet whether it begins with a thought
    THOUGHT = auto()
    CLOSED = auto()  # white space after a thought
    ANSWER = auto()


class ThoughtAndAnswer(StopStrings):
    """As StopStrings, of which a thought is let through apart from the answer, and what stands around it nowhere.

    thinking    the words that a thought stands between
    begun       what of the reply stands in the prompt: `thinking.open`, `thinking.skip` or ""
    stops       what ends a reply, in its answer
    within      what ends it in a thought, which may be longer than a turn

    thinks: whether there is a thought. written: all that was let through of what the model wrote, as it was written.
    """

    def __init__(
        self, thinking: Thinking, begun: str, stops: Sequence[str], within: Sequence[str], remember: Sequence[str] = ()
    ) -> None:
        super().__init__(stops, remember)
        self._begin, self._close = thinking.begin, thinking.end
        self.begun, self._within = begun, within
        self._text, self._shown, self._given = begun, [True] * len(begun), len(begun)
        self._part, self._thought, self._blank = _Part.OPENING, "", True
        self.thinks = False
        self.written = ""

    def push(self, piece: str, hidden: str = "") -> str:
        """As `StopStrings.push`, of the answer; what is new of the thought is there to be taken."""
        self._take(piece, hidden)
        if self._part is _Part.OPENING:
            self._open()
        if self._part is _Part.THOUGHT:
            self._think()
        if self._part is _Part.CLOSED:
            self._let_through(len(self._text) - len(self._text.lstrip()))
            self._part = _Part.ANSWER if self._text else _Part.CLOSED
        return self._scan() if self._part is _Part.ANSWER else ""

    def flush(self) -> str:
        through = self._let_through(len(self._text))
        if self._part is _Part.THOUGHT:
            self._add(through.rstrip())
        answers = self._part is _Part.ANSWER or (self._part is _Part.OPENING and not self.begun)
        return through if answers else ""

    def take_thought(self) -> str:
        """What of the thought may be shown and was not taken yet: without white space around it."""
        taken, self._thought = self._thought, ""
        return taken

    def _open(self) -> None:
        text = self._text.lstrip()
        space = self._text[: len(self._text) - len(text)]
        if first(space, self._stops) is None and text.startswith(self._begin):
            self._let_through(len(space) + len(self._begin))
            self._part, self.thinks = _Part.THOUGHT, True
            self._shown[: self._given] = [False] * self._given  # it is the format's own thought
        elif first(space, self._stops) or not self._begin.startswith(text):
            self._part = _Part.ANSWER

    def _think(self) -> None:
        ends = (self._close, *self._within)
        if found := first(self._text, ends):
            at, string = found
            if string != self._close:
                self._add(self._end(at, string).rstrip())
                return
            self._add(self._let_through(at).rstrip())
            self._let_through(len(string))
            self._part = _Part.CLOSED
        else:
            self._add(self._let_through(len(self._text[: certain(self._text, ends)].rstrip())))

    def _add(self, text: str) -> None:
        text = text.lstrip() if self._blank else text
        self._blank = self._blank and not text
        self._thought += text

    def _let_through(self, count: int) -> str:
        given = min(count, self._given)
        self._given -= given
        self.written += "".join(itertools.compress(self._text[given:count], self._shown[given:count]))
        return super()._let_through(count)
