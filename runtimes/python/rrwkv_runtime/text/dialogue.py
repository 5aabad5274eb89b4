"""How a conversation is written: turns of a chat format, of trusted strings and people's text, as token ids.

A format's own strings, and a system text, are the operator's: special tokens in them are tokens. What people say is
text like any other, whatever is written in it, unless `special` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rrwkv_runtime.errors import TokenizerError
from rrwkv_runtime.text.plain_text import Part
from rrwkv_runtime.text.stopping import written_forms

if TYPE_CHECKING:
    from rrwkv_runtime.manifest import ChatFormat
    from rrwkv_runtime.tokenizer import Tokenizer


class Dialogue:
    """A chat format and a tokenizer.

    stops: what ends a reply, as it may be written. within: what ends it in a thought: of white space alone only where
    the user's turn follows it, since a thought may have blank lines. ends: `turn_end` likewise. turn_end_ids:
    `turn_end` as it is tokenized where a turn follows it, as in the text the model was trained on.
    """

    def __init__(self, tokenizer: Tokenizer, form: ChatFormat, special: bool = False) -> None:
        self._tokenizer, self._format, self._special = tokenizer, form, special
        self._control = control_ids(tokenizer, form)
        self.ends = written_forms([form.turn_end] if form.turn_end else [], tokenizer)
        self.stops = written_forms([stop for stop in form.stop if stop], tokenizer) or self.ends
        following = form.user.rstrip()
        self.within = tuple(s if s.strip() else s + following for s in self.stops if s.strip() or following)
        self.turn_end_ids = self._encode_turn_end()
        # A `turn_end` of characters would end a turn in anybody's text; one of tokens is none there.
        self._plain_end = "" if self._control.intersection(self.turn_end_ids) else form.turn_end

    def opening(self, system: str) -> list[int]:
        """What comes before the first turn."""
        form = self._format
        bos = [] if form.bos_token_id is None else [form.bos_token_id]
        titles = tuple(filter(None, (form.system, form.user, form.assistant)))
        text = system if not system or system.startswith(titles) else form.system + system
        return [*bos, *self._tokenizer.encode(text, special=True), *self.turn_end_ids] if text else bos

    def asked(self, user: str) -> list[int]:
        """A user's turn, up to where the model answers."""
        form = self._format
        parts = [Part(form.user, True), self._said(user), Part(form.turn_end + form.assistant, True)]
        return self._compose(parts)

    def begun(self, reply: str) -> list[int]:
        """What a reply is made to begin with, tokenized as it is after `assistant`."""
        assistant = self._format.assistant
        both, before = self._tokenizer.encode(assistant + reply, True), self._tokenizer.encode(assistant, True)
        return both[len(before) :] if both[: len(before)] == before else self._tokenizer.encode(reply, True)

    def answered(self, reply: str) -> list[int]:
        """A reply, tokenized anew, and the end of its turn."""
        return [*self._compose([Part(reply)]), *self.turn_end_ids]

    def led(self, answer: str) -> str:
        """An answer as a reply: with the space that stands before one."""
        return f"{lead(self._format)}{answer}" if answer else ""

    def whole(self, turns: Iterable[tuple[str, str]]) -> list[int]:
        """All turns in one, as `written`."""
        return self._compose(written(self._format, turns, self._special))

    def begun_turn_end(self, ids: Sequence[int]) -> list[int]:
        """The first of `turn_end_ids` that these ids end with, if there is a special token among them, else none.

        Without one, what the model wrote may be the reply's own: a line break, say, where the end is two of them.
        """
        end = self.turn_end_ids
        for length in range(min(len(end), len(ids)), 0, -1):
            if list(ids[-length:]) == end[:length] and not self._tokenizer.special.keys().isdisjoint(end[:length]):
                return end[:length]
        return []

    def normalised(self, text: str) -> str:
        """A user's text without what would end its turn."""
        end = self._plain_end
        text = tidied(text)
        if end.isspace():
            text = re.sub(r"\n(?:[^\S\n]*\n)+", "\n", text)
        while end and end in text:
            text = text.replace(end, " " if end == "\n" else "\n")
        return text.strip()

    def _said(self, text: str) -> Part:
        return Part(text, self._special)

    def _compose(self, parts: Sequence[Part]) -> list[int]:
        return self._tokenizer.compose(parts, self._control)

    def _encode_turn_end(self) -> list[int]:
        end, user = self._format.turn_end, self._format.user
        both, after = self._tokenizer.encode(end + user, special=True), self._tokenizer.encode(user, special=True)
        cut = len(both) - len(after)
        return both[:cut] if both[cut:] == after else self._tokenizer.encode(end, special=True)


def written(form: ChatFormat, turns: Iterable[tuple[str, str]], special: bool = False) -> list[Part]:
    """Turns as they stand in a text, (role, text) with the roles "user", "assistant" and "system".

    special: read special tokens in what is said as tokens.
    """
    before = {"user": form.user, "assistant": form.assistant + lead(form), "system": form.system}
    parts: list[Part] = []
    for role, text in turns:
        parts += [Part(before[role], True), Part(text, special), Part(form.turn_end, True)]
    return parts


def lead(form: ChatFormat) -> str:
    """What stands between `assistant` and a reply; the model writes it itself."""
    return "" if form.assistant[-1:].isspace() else " "


def tidied(text: str) -> str:
    """A text with line feeds alone as line ends, and no white space around it."""
    return text.replace("\r\n", "\n").strip()


def control_ids(tokenizer: Tokenizer, form: ChatFormat) -> frozenset[int]:
    """Tokens that mean something in this format beyond being text: what begins and ends texts, and its strings' tokens.

    The tokenizer's special tokens are so anyway. A token of white space alone is not, though it may end a text.
    """
    strings = (form.system, form.user, form.assistant, form.turn_end, *form.stop)
    if thinking := form.thinking:
        strings = (*strings, thinking.open, thinking.skip, thinking.begin, thinking.end)
    used = {i for string in strings for i in _ids(tokenizer, string) if i in tokenizer.added}
    used -= {tokenizer.unknown} if used else set()
    roles = {i for i in (form.bos_token_id, *form.eos_token_ids) if i is not None}
    return frozenset(used | {i for i in roles if i in tokenizer.special or tokenizer.decode([i]).strip()})


def _ids(tokenizer: Tokenizer, string: str) -> list[int]:
    """None where it is written in what the tokenizer has no tokens for, as the usual strings to one of music."""
    try:
        return tokenizer.encode(string, special=True)
    except TokenizerError:
        return []
