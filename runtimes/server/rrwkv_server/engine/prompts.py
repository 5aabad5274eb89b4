"""A dialogue or a text as token ids, written so that a longer dialogue begins with the ids of a shorter one.

Each turn is encoded by itself, as `rrwkv_runtime.Chat` does it. What comes in by the network is people's text, a
system text too: nothing in it becomes a special or a control token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

from rrwkv_runtime.errors import InputError, TokenizerError
from rrwkv_runtime.generate import LanguageModel, prompt_ids
from rrwkv_runtime.text.dialogue import Dialogue, control_ids, tidied
from rrwkv_runtime.text.plain_text import Part

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]


@dataclass(frozen=True)
class Prompt:
    """ids: at least one. marks: lengths of beginnings that others may share, so that their state is worth keeping."""

    ids: tuple[int, ...]
    marks: tuple[int, ...] = ()


def of_text(model: LanguageModel, text: str | Sequence[int]) -> Prompt:
    """A text to be continued, or its ids. Raises InputError, TokenizerError."""
    return Prompt(tuple(prompt_ids(model, text, fresh=True)))


class ChatPrompts:
    """Dialogues in the model's chat format. Raises TokenizerError for a bundle without a tokenizer."""

    def __init__(self, model: LanguageModel) -> None:
        if model.tokenizer is None:
            raise TokenizerError("this bundle has no tokenizer, and a chat needs one; export it with its tokenizer")
        self._tokenizer, self._format = model.tokenizer, model.manifest.chat
        self.dialogue = Dialogue(self._tokenizer, self._format)
        self._control = control_ids(self._tokenizer, self._format)
        self._titles = {"system": self._format.system, "user": self._format.user, "assistant": self._format.assistant}

    def read(self, turns: Iterable[Turn]) -> Prompt:
        """The dialogue up to where the model answers. Turns of one side in a row are one. Raises InputError."""
        merged = self._tidied(turns)
        if not merged or merged[-1][0] == "assistant":
            raise InputError("messages: the last one must be the user's; the assistant's is what the model writes")
        bos = self._format.bos_token_id
        ids: list[int] = [] if bos is None else [bos]
        marks: list[int] = []
        before: Role = "system"
        for (role, text), (following, _) in pairwise([*merged, ("assistant", "")]):
            if role == "assistant":
                ids += [*([] if before == "user" else self._title()), *self.replied(text)]
            elif role == "user" and following == "assistant":
                ids += self.dialogue.asked(text)
            else:
                ids += self._turn(role, text)
            marks.append(len(ids))
            before = role
        return Prompt(tuple(ids if before == "user" else [*ids, *self._title()]), tuple(marks[:1]))

    def replied(self, text: str) -> list[int]:
        """A reply with the end of its turn, as later prompts have it."""
        return self.dialogue.answered(self.dialogue.led(tidied(text)))

    def _tidied(self, turns: Iterable[Turn]) -> list[Turn]:
        merged: list[Turn] = []
        for role, group in groupby(turns, lambda turn: turn[0]):
            text = "\n".join(text for _, text in group)
            text = self.dialogue.normalised(text) if role == "user" else tidied(text)
            if role == "user" and not text:
                raise InputError("messages: one of the user's is empty")
            if text or role == "assistant":
                merged.append((role, text))
        return merged

    def _turn(self, role: Role, text: str) -> list[int]:
        parts = [Part(self._titles[role], True), Part(text)]
        return [*self._tokenizer.compose(parts, self._control), *self.dialogue.turn_end_ids]

    def _title(self) -> list[int]:
        return self._tokenizer.encode(self._format.assistant, special=True)
