"""How both models go on, always taking the likeliest token: what a person makes of a divergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rrwkv_export.texts import Ids, Text
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.model import Model
from rrwkv_runtime.text.stopping import written_text
from rrwkv_runtime.tokenizer import Tokenizer

PROMPTS, PROMPT_TOKENS, LONGEST_TURN, NEW_TOKENS = 4, 32, 128, 48


@dataclass(frozen=True)
class Continuation:
    """The same prompt, gone on from by both; as text, or as ids where the bundle has no tokenizer.

    parts_at: index of the first token that differs; None if none does.
    """

    prompt: str
    reference: str
    other: str
    parts_at: int | None
    tokens: int

    @property
    def common(self) -> str:
        """What both texts begin with."""
        pairs = enumerate(zip(self.reference, self.other))
        same = next((i for i, (a, b) in pairs if a != b), min(len(self.reference), len(self.other)))
        return self.reference[:same]


def continuations(reference: Model, other: Model, text: Text) -> tuple[Continuation, ...]:
    """A few prompts from places spread over the text."""
    found = prompts(text, reference.tokenizer, reference.manifest.chat)
    return tuple(_continue(reference, other, prompt) for prompt in found)


def prompts(text: Text, tokenizer: Tokenizer | None, chat: ChatFormat) -> list[Ids]:
    """Of some passages (dialogues) the first turn, up to where the assistant speaks; without one, a few tokens."""
    passages = [text.passages[i] for i in _spread(len(text.passages), PROMPTS)]
    if len(passages) == 1:  # one long passage
        (ids,) = passages
        windows = _spread(max(1, len(ids) // PROMPT_TOKENS), PROMPTS)
        return [ids[PROMPT_TOKENS * i : PROMPT_TOKENS * (i + 1)] for i in windows]
    return [_first_turn(ids, tokenizer, chat) for ids in passages]


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of 0..count-1, evenly apart."""
    return sorted({i * count // wanted for i in range(wanted)})


def _first_turn(ids: Ids, tokenizer: Tokenizer | None, chat: ChatFormat) -> Ids:
    if tokenizer is not None:
        for end in range(1, min(len(ids), LONGEST_TURN)):
            if written_text(ids[:end].tolist(), tokenizer).endswith(chat.turn_end + chat.assistant):
                return ids[:end]
    return ids[:PROMPT_TOKENS]


def _continue(reference: Model, other: Model, prompt: Ids) -> Continuation:
    first, second = (_greedy(model, prompt) for model in (reference, other))
    parts_at = next((i for i, pair in enumerate(zip(first, second)) if pair[0] != pair[1]), None)
    asked, mine, theirs = (_shown(reference.tokenizer, ids) for ids in (prompt.tolist(), second, first))
    return Continuation(asked, theirs, mine, parts_at, NEW_TOKENS)


def _greedy(model: Model, prompt: Ids) -> list[int]:
    decoder = model.decoder()
    logits = decoder.prefill(prompt)
    ids = [int(np.argmax(logits))]
    while len(ids) < NEW_TOKENS:
        ids.append(int(np.argmax(decoder.step(ids[-1]))))
    return ids


def _shown(tokenizer: Tokenizer | None, ids: Sequence[int]) -> str:
    return " ".join(map(str, ids)) if tokenizer is None else tokenizer.decode(ids)
