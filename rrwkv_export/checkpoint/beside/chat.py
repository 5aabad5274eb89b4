"""chat.json: how a checkpoint was taught to read a dialogue."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rrwkv_export.checkpoint.beside.endings import Ending
from rrwkv_export.checkpoint.containers.entries import read_object
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.sampling import Sampling

_FIELDS = {field.name for field in dataclasses.fields(ChatFormat)}


def find_chat(explicit: Path | None, folder: Path, vocab_size: int, ending: Callable[[], Ending]) -> ChatFormat:
    """The one that was asked for, or the folder's own, or RWKV's usual one. Raises ConfigError.

    ending: what ends a text by the checkpoint's other files, for where none of these says it.
    """
    path = explicit or folder / "chat.json"
    fields = read_object(path) if explicit or path.is_file() else {}
    chat = _from_json(fields, str(path), vocab_size)
    return chat if "eos_token_id" in fields else dataclasses.replace(chat, eos_token_id=ending())


def _from_json(fields: dict[str, Any], owner: str, vocab_size: int) -> ChatFormat:
    if unknown := sorted(set(fields) - _FIELDS):
        raise ConfigError(f"{owner}: unknown field {short(unknown[0])}; known are {', '.join(sorted(_FIELDS))}")
    for name, value in fields.items():
        if rule := _broken_rule(name, value, vocab_size):
            raise ConfigError(f"{owner}: {name} must be {rule}, not {short(value)}")
    return ChatFormat.from_json(fields)


def _broken_rule(name: str, value: object, vocab_size: int) -> str | None:
    """What a field's value should have been, or None if it is that."""
    if name in ("user", "assistant", "turn_end"):
        return None if isinstance(value, str) else "a string"
    if name == "stop":
        fine = isinstance(value, list) and all(isinstance(text, str) and text for text in value)
        return None if fine else "a list of strings that are not empty"
    if name == "sampling":
        return _broken_sampling_rule(value)
    if name == "eos_token_id" and isinstance(value, list):
        fine = all(_is_token(one, vocab_size) for one in value)
        return None if fine else f"token ids below {vocab_size}"
    return None if value is None or _is_token(value, vocab_size) else f"null or a token id below {vocab_size}"


def _is_token(value: object, vocab_size: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size


def _broken_sampling_rule(value: object) -> str | None:
    if not isinstance(value, dict) or not all(_is_number(number) for number in value.values()):
        return "an object of numbers"
    try:
        Sampling().changed(value)
    except InputError as error:
        return f"options that the runtime knows ({error})"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
