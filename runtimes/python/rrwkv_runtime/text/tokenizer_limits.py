"""What a `tokenizer.json` may ask for, checked before the `tokenizers` package allocates what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rrwkv_runtime.errors import TokenizerError

_MOST_TOKENS = 1 << 20  # as many as a manifest's vocabulary may have
_MOST_MERGES = 1 << 22
_MOST_STEPS = 64  # of normalizing, cutting and decoding; real ones have up to a dozen
_LONGEST_PATTERN = 1 << 14
_LARGEST_GROWTH = 4096  # times that replacements in a row may make a text longer
_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def check_tokenizer_json(text: str) -> None:
    """Raises TokenizerError, in words that follow the file's name."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"not a usable tokenizer.json ({str(error)[:100] or 'nested too deeply'})") from None
    model = fields.get("model") if isinstance(fields, dict) else None
    if not isinstance(model, dict):
        raise TokenizerError("not a usable tokenizer.json (it has no model)")
    added = fields.get("added_tokens") or []
    for name, value, most in (
        ("tokens", model.get("vocab"), _MOST_TOKENS),
        ("added tokens", added, _MOST_TOKENS),
        ("merges", model.get("merges"), _MOST_MERGES),
    ):
        if isinstance(value, list | dict) and len(value) > most:
            raise TokenizerError(f"{len(value):,} {name} are more than any model has")
    ids = model["vocab"].values() if isinstance(model.get("vocab"), dict) else ()
    listed = (token.get("id") for token in added if isinstance(token, dict)) if isinstance(added, list) else ()
    for i in (*ids, *listed):
        if not isinstance(i, int) or not 0 <= i < _MOST_TOKENS:
            raise TokenizerError(f"the id {str(i)[:20]} of a token is not one of any model")
    for step in _STEPS:
        _check_steps(step, fields.get(step))


def _check_steps(where: str, value: Any) -> None:
    nodes = list(_objects(value))
    if len(nodes) > _MOST_STEPS:
        raise TokenizerError(f"its {where} has {len(nodes)} parts, more than any tokenizer's")
    growth = 1
    for node in nodes:
        for name, item in node.items():
            if isinstance(item, str) and len(item) > _LONGEST_PATTERN and name != "precompiled_charsmap":
                raise TokenizerError(
                    f"its {where} has a {name} of {len(item):,} characters, longer than any tokenizer's"
                )
        if node.get("type") in ("Replace", "Prepend"):
            growth *= max(
                1, *(len(item) for item in (node.get("content"), node.get("prepend"), "") if isinstance(item, str))
            )
    if growth > _LARGEST_GROWTH:
        raise TokenizerError(f"its {where} may make a text {growth:,} times as long")


def _objects(value: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Every object within; of templates' tables of special tokens only the table."""
    if depth > _MOST_STEPS:
        raise TokenizerError("its parts are nested too deeply")
    if isinstance(value, dict):
        yield value
        for name, item in value.items():
            if name not in ("single", "pair", "special_tokens"):
                yield from _objects(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item, depth + 1)
