"""Which tokens end a text: by Hugging Face's configs, by a tokenizer's, or else RWKV-4's own token 0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import read_json
from rrwkv_export.checkpoint.beside.tokenizer import TokenizerFile
from rrwkv_export.checkpoint.containers.entries import read_object
from rrwkv_export.errors import ConfigError

Ending = int | tuple[int, ...] | None

_LARGEST_TOKENIZER = 1 << 26
# Token 0 ended every text that RWKV-4 was trained on, in the Pile's vocabulary and in the World's, which begins at 1.
_RWKVS = 0


def find_ending(
    home: Path | None, config: tuple[Path, Mapping[str, Any]] | None, tokenizer: TokenizerFile | None, vocab_size: int
) -> Ending:
    """The first that says it: generation_config.json, config.json, the tokenizer's files, RWKV-4's own token.

    The order is transformers': what generates reads generation_config.json, made from config.json where there is none.
    home: the folder of these files. config: a config.json and its fields. Raises ConfigError for what is no token.
    """
    generation = home / "generation_config.json" if home else None
    sayings = [(generation, read_object(generation))] if generation and generation.is_file() else []
    for path, fields in [*sayings, *([config] if config else [])]:
        if (said := fields.get("eos_token_id")) not in (None, []):
            return _checked(path, said, vocab_size)
    if home and tokenizer and tokenizer.type == "tokenizer.json":
        found = _tokenizers_own(home, tokenizer.path)
        if found is not None and found < vocab_size:
            return found
    says_none = config is not None and "eos_token_id" in config[1]
    return None if says_none and not (tokenizer and tokenizer.type == "rwkv-world") else _RWKVS


def spelled(tokenizer: TokenizerFile | None, token_id: int) -> str | None:
    """A token as tokenizer.json spells it, special ones too; None where it has none."""
    if tokenizer is None or tokenizer.type != "tokenizer.json":
        return None
    try:
        added, entries = _vocabulary(tokenizer.path)
    except ConfigError:
        return None
    spellings = {_whole(one.get("id")): one.get("content") for one in added}
    text = spellings.get(token_id) or next((token for token, id_ in entries.items() if id_ == token_id), None)
    return text if isinstance(text, str) else None


def _checked(path: Path, said: object, vocab_size: int) -> Ending:
    """One id where it is one, in a list or not."""
    ids = said if isinstance(said, list) else [said]
    for one in ids:
        if not isinstance(one, int) or isinstance(one, bool) or not 0 <= one < vocab_size:
            raise ConfigError(
                f"{path}: eos_token_id {str(one)[:40]!r} is no token id below {vocab_size}; correct it there, or say "
                "what ends a text as eos_token_id in a chat.json (--chat)"
            )
    unique = tuple(dict.fromkeys(ids))
    return unique[0] if len(unique) == 1 else unique


def _tokenizers_own(home: Path, vocabulary: Path) -> int | None:
    """The id of `eos_token` in tokenizer_config.json or special_tokens_map.json, if the vocabulary has that token."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = home / name
        token = read_object(path).get("eos_token") if path.is_file() else None
        if isinstance(token, dict):
            token = token.get("content")
        if isinstance(token, str) and token:
            added, entries = _vocabulary(vocabulary)
            ids = {one.get("content"): one.get("id") for one in added}
            return _whole(ids.get(token, entries.get(token)))
    return None


def _vocabulary(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The added tokens of a tokenizer.json, and its model's ids by token."""
    fields = read_json(path, _LARGEST_TOKENIZER)
    added, model = (fields.get("added_tokens"), fields.get("model")) if isinstance(fields, dict) else (None, None)
    entries = model.get("vocab") if isinstance(model, dict) else None
    listed = [one for one in added if isinstance(one, dict)] if isinstance(added, list) else []
    return listed, entries if isinstance(entries, dict) else {}


def _whole(found: object) -> int | None:
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None
