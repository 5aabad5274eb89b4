"""chat.json: how a checkpoint was taught to read a dialogue."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rrwkv_export.checkpoint.beside.card import card_titles
from rrwkv_export.checkpoint.beside.endings import Ending
from rrwkv_export.checkpoint.containers.entries import read_object
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.common.reading import short
from rrwkv_runtime.errors import InputError
from rrwkv_runtime.manifest import ChatFormat, Thinking
from rrwkv_runtime.sampling import Sampling

_FIELDS = {field.name for field in dataclasses.fields(ChatFormat)}
_THINKING = {field.name for field in dataclasses.fields(Thinking)}
# What BlinkDL's cards say of chats with the World and the G1 models.
_WORLD: dict[str, Any] = {
    "system": "System: ",
    "sampling": {
        "temperature": 1.0,
        "top_p": 0.3,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "penalty_decay": 0.996,
    },
}
FORMATS: dict[str, dict[str, Any]] = {"world": _WORLD, "g1": {**_WORLD, "thinking": {}}}
# RWKV-7's G0 and G1 models, of every data version: rwkv7-g1a-0.1b-20250728-ctx4096, RWKV7-G0.
_THINKS = re.compile(r"rwkv.{0,20}[-_ ]g[0-9][a-z]?[0-9]?(?![a-z0-9])", re.IGNORECASE)


def find_chat(
    explicit: Path | str | None,
    folder: Path,
    vocab_size: int,
    ending: Callable[[], Ending],
    usual: str | None = None,
    said: tuple[str, object] | None = None,
) -> ChatFormat:
    """The one that was asked for, or the folder's own, or the usual one. Raises ConfigError.

    explicit: a file, or the name of one of FORMATS. ending: what ends a text by the checkpoint's other files, for where
    none of these says it. usual: the name of the one that such a model has; None for RWKV's in general. said: by a
    config.json, where there is no chat.json, with what messages call it.
    """
    own = folder / "chat.json"
    if isinstance(explicit, str) and explicit in FORMATS:
        fields, owner = FORMATS[explicit], explicit
    elif explicit is not None or own.is_file():
        path = own if explicit is None else Path(explicit)
        fields, owner = read_object(path), str(path)
    elif said is not None:
        owner, found = said
        if not isinstance(found, dict):
            raise ConfigError(f"{owner} must be an object, not {short(found)}")
        fields = found
    else:
        fields, owner = FORMATS[usual] if usual else {}, usual or ""
    chat = _from_json(fields, owner, vocab_size)
    return chat if "eos_token_id" in fields else dataclasses.replace(chat, eos_token_id=ending())


def usual_format(checkpoint: Path, has_world_vocabulary: bool) -> str | None:
    """The name of the format that a model of the World vocabulary has; None for a model of another one.

    Nothing in the weights says whether it was taught to think: a G1 model is known by the name of its file or folder,
    or by its folder's card.
    """
    if not has_world_vocabulary:
        return None
    place = checkpoint.absolute()
    named = [place.name, *([place.parent.parent.name] if place.parent.name == "snapshots" else [])]  # a hub's cache
    titles = card_titles(checkpoint) if checkpoint.is_dir() else []  # beside a file, the card may be another's
    return "g1" if any(_THINKS.search(name) for name in (*named, *titles)) else "world"


def _from_json(fields: dict[str, Any], owner: str, vocab_size: int) -> ChatFormat:
    if unknown := sorted(set(fields) - _FIELDS):
        raise ConfigError(f"{owner}: unknown field {short(unknown[0])}; known are {', '.join(sorted(_FIELDS))}")
    for name, value in fields.items():
        if rule := _broken_rule(name, value, vocab_size):
            raise ConfigError(f"{owner}: {name} must be {rule}, not {short(value)}")
    return ChatFormat.from_json(fields)


def _broken_rule(name: str, value: object, vocab_size: int) -> str | None:
    """What a field's value should have been, or None if it is that."""
    if name in ("user", "assistant", "turn_end", "system"):
        return None if isinstance(value, str) else "a string"
    if name == "stop":
        fine = isinstance(value, list) and all(isinstance(text, str) and text for text in value)
        return None if fine else "a list of strings that are not empty"
    if name == "sampling":
        return _broken_sampling_rule(value)
    if name == "thinking":
        return _broken_thinking_rule(value)
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


def _broken_thinking_rule(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) - _THINKING:
        return f"null or an object of {', '.join(sorted(_THINKING))}"
    if not all(isinstance(one, bool if name == "kept" else str) for name, one in value.items()):
        return "an object of strings, whose kept is true or false"
    found = Thinking(**value)
    if not found.begin.strip() or not found.end.strip():
        return "an object whose begin and end are not empty"
    for text in (found.open.lstrip(), found.skip.lstrip()):
        if not text.startswith(found.begin) and not found.begin.startswith(text):
            return f"an object whose open and skip begin as its begin does, {found.begin!r}"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
