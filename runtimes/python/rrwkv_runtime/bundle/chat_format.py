"""How a model was taught to read a dialogue, and to think; `docs/chat-format.md` has examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Thinking:
    """How a model thinks before it answers, as text of its reply: `{begin}{thought}{end}{answer}`.

    open: written after `assistant` for it to think; skip: for it not to. Both may be the beginning of what it writes
    itself: its `>` after `<think`, as RWKV-7 G1 was taught, for `></` is one token. kept: whether later turns see the
    thought; else they see the answer alone.
    """

    open: str = " <think"
    skip: str = " <think>\n</think"
    begin: str = "<think>"
    end: str = "</think>"
    kept: bool = False


@dataclass(frozen=True)
class ChatFormat:
    """How a dialogue is written as text: `{user}{text}{turn_end}{assistant} {reply}{turn_end}`.

    stop: strings that end a reply; none given means `turn_end`, which else ends one only if it is listed. bos_token_id:
    token put before a dialogue, if any. eos_token_id: the token that ends a text, or several of them. sampling: the
    model's preferred sampling options by name. system: written before a system text. thinking: None of a model that
    was not taught to think.
    """

    user: str = "User: "
    assistant: str = "Assistant:"
    turn_end: str = "\n\n"
    stop: tuple[str, ...] = ()
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    system: str = ""
    thinking: Thinking | None = None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ChatFormat:
        """From JSON whose types are checked; lists become tuples."""
        made: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        if made.get("thinking") is not None:
            made["thinking"] = Thinking(**made["thinking"])
        return cls(**made)

    def to_json(self) -> dict[str, Any]:
        """Without `system` and `thinking` where there is none, as bundles had them before these were there."""
        fields: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        absent = {"system": "", "thinking": None}
        return {name: value for name, value in fields.items() if name not in absent or value != absent[name]}

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """Every token that ends a text."""
        ids = self.eos_token_id
        return frozenset() if ids is None else frozenset({ids} if isinstance(ids, int) else ids)
