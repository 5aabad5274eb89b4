"""What ends a text, in words: a model that nothing stops is noticed when it is exported, not on the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rrwkv_runtime.manifest import ChatFormat


def describe_ending(chat: ChatFormat, spell: Callable[[int], str | None] = lambda _: None) -> str:
    """`spell` gives a token's text, or None where it has none."""
    tokens = " or ".join(_token(one, spell) for one in sorted(chat.eos_token_ids))
    stops = " or ".join(map(repr, chat.stop or filter(None, (chat.turn_end,))))
    if not tokens:
        reply = f"a reply ends with {stops}, but no token ends a text" if stops else "nothing ends a text"
        return f"{reply}: export it with --chat and a chat.json that says its eos_token_id"
    return f"a text ends with {tokens}" + (f", a reply also with {stops}" if stops else "")


def describe_thinking(chat: ChatFormat) -> str | None:
    """What a thought stands between, and whether it stays; None of a model that was not taught to think."""
    if (thinking := chat.thinking) is None:
        return None
    stays = "later turns see it" if thinking.kept else "later turns do not see it"
    return f"between {thinking.begin!r} and {thinking.end!r}, and {stays}"


def _token(token_id: int, spell: Callable[[int], str | None]) -> str:
    text = spell(token_id)
    return f"token {token_id}" + ("" if text is None else f" ({text!r})")
