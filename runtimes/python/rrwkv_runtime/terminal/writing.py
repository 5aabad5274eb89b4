"""Generated tokens on standard output, as text, as ids, or as lines of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rrwkv_runtime.common.checks import check_top_logprobs
from rrwkv_runtime.common.printable import json_escaped, shown
from rrwkv_runtime.errors import NoTokens, UsageError
from rrwkv_runtime.terminal import options

if TYPE_CHECKING:
    from rrwkv_runtime.generate import Token
    from rrwkv_runtime.tokenizer import Tokenizer


class Writer:
    """How `generate` writes, by its options --json and --logprobs. Raises UsageError."""

    def __init__(self, as_json: bool, logprobs: int | None) -> None:
        with options.named(options.LOGPROBS, "top_logprobs"):
            self.top_logprobs = check_top_logprobs(logprobs or 0)
        if logprobs is not None and not as_json:
            raise UsageError("--logprobs has no place in plain text; give --json with it")
        self._json = as_json

    def write(self, tokens: Iterable[Token], tokenizer: Tokenizer | None) -> str:
        """Write tokens as they come; gives one line on speed."""
        started, first, count = perf_counter(), 0.0, 0
        for token in tokens:
            count += 1
            first = first or perf_counter() - started
            sys.stdout.write(self._written(token, tokenizer))
            sys.stdout.flush()
        if not self._json:
            sys.stdout.write("\n")
        rest = perf_counter() - started - first
        rate = (count - 1) / rest if rest and count > 1 else 0
        return f"first token after {first:.3f} s, then {rate:,.0f} tokens/s"

    def _written(self, token: Token, tokenizer: Tokenizer | None) -> str:
        if self._json:
            return json_escaped(json.dumps(as_json(token, tokenizer), ensure_ascii=False)) + "\n"
        return shown(token.text, sys.stdout) if tokenizer else f"{token.id} "


def as_json(token: Token, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """A Token's fields, and those of the likeliest in its place, each with its own text."""
    fields: dict[str, Any] = {
        "index": token.index,
        "id": token.id,
        "text": token.text,
        "logprob": token.logprob,
        "finish": token.finish,
    }
    if token.top:
        fields["top_logprobs"] = [
            {"id": i, "text": token_text(i, tokenizer), "logprob": logprob} for i, logprob in token.top
        ]
    return fields


def token_text(token_id: int, tokenizer: Tokenizer | None) -> str:
    """What a token is written as on its own, a special one too; a part of a character is U+FFFD."""
    return "" if tokenizer is None else tokenizer.special.get(token_id) or tokenizer.decode([token_id])


def special_note(tokenizer: Tokenizer | None, prompt: object, special: bool) -> str | None:
    """One line for people whose prompt writes out special tokens, which are read as text unless they say otherwise."""
    if tokenizer is None or special or not isinstance(prompt, str) or not tokenizer.special:
        return None
    try:
        meant = set(tokenizer.encode(prompt, special=True)) - set(tokenizer.encode(prompt))
    except NoTokens:  # said where the prompt is read
        return None
    names = [name for i, name in tokenizer.special.items() if i in meant]
    if not names:
        return None
    return f"{', '.join(names[:3])} in the prompt is read as text; with --special as the token of that name"
