"""Hugging Face's folders: the same models under other names, with a config.json of their own."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rrwkv_export.architectures import ARCHITECTURES, SUPPORTED
from rrwkv_export.architectures.base import Dialect, Part
from rrwkv_export.architectures.dialects import DIALECTS
from rrwkv_export.checkpoint.containers.entries import Entry
from rrwkv_export.errors import CheckpointError

MODEL_TYPE = "rrwkv"
"""What this project's own folders are to transformers, where they say so."""
ARCHITECTURE = "rwkv_architecture"
"""`architecture` in such a folder: other programs take a config.json with that for one of timm's."""


def own_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Of a config.json of this project's, those that are the project's: transformers keeps others there, too."""
    if fields.get("model_type") != MODEL_TYPE:
        return {name: value for name, value in fields.items() if name != "tie_word_embeddings"}
    word = fields.get(ARCHITECTURE, fields.get("architecture"))
    rooms = [room for room in ARCHITECTURES if word in room.NAMES]
    ours = {field.name for room in rooms for field in dataclasses.fields(room.Config)}
    return {"architecture": word, **{name: value for name, value in fields.items() if name in ours}}


def is_config(fields: Mapping[str, Any]) -> bool:
    """Whether a config.json names a model type or architectures as Hugging Face's do."""
    if fields.get("model_type") == MODEL_TYPE:
        return False
    return "architecture" not in fields and ("model_type" in fields or "architectures" in fields)


def is_rwkv(fields: Mapping[str, Any]) -> bool:
    """Whether Hugging Face's config.json is of an architecture that is read."""
    model_type, classes = fields.get("model_type"), fields.get("architectures")
    listed = classes if isinstance(classes, list) else []
    known = [room.HUGGING_FACE for room in ARCHITECTURES]
    return any(model_type in one.model_types or any(name in listed for name in one.classes) for one in known)


def check_architecture(path: Path, fields: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a config.json of Hugging Face's of no such architecture, naming what it is."""
    if is_rwkv(fields):
        return
    model_type, architectures = fields.get("model_type"), fields.get("architectures")
    told = f"model_type {model_type!r}" if model_type is not None else f"architectures {architectures!r}"
    if version := re.search(r"(?i:rwkv)[-_]?(7[ab]|[89])", f"{model_type} {architectures}"):
        raise CheckpointError(f"{path}: {told} is RWKV-{version[1]}; {SUPPORTED}")
    raise CheckpointError(f"{path}: {told} is another architecture; {SUPPORTED}")


def dialect_of(names: Iterable[str]) -> Dialect | None:
    """Whose names tensors go by; None for BlinkDL's, which are the canonical ones."""
    listed = list(names)
    return next((one for one in DIALECTS if any(one.speaks(name) for name in listed)), None)


def canonical(path: Path, entries: Mapping[str, Entry], dialect: Dialect) -> dict[str, Entry]:
    """Tensors by canonical name, taken apart and transposed as those are. Raises CheckpointError for two of a name."""
    made: dict[str, Entry] = {}
    for name, entry in entries.items():
        for part in dialect.parts(name):
            if part.name in made:
                first = made[part.name].name
                raise CheckpointError(f"{path}: has both {first!r} and {entry.name!r}; save one model alone")
            made[part.name] = _part(entry, part)
    return made


def canonical_names(name: str) -> tuple[str, ...]:
    """What a tensor's name may be in canonical words, in any dialect, where it is one whole tensor there, too."""
    parts = [one.parts(name) for one in DIALECTS]
    return tuple(found[0].name for found in parts if found == (Part(found[0].name),))


def _part(entry: Entry, part: Part) -> Entry:
    if part.transposed:
        return dataclasses.replace(entry, shape=entry.shape[::-1], load=lambda: entry.load().T)
    if (row := part.row) is None:
        return entry
    width = entry.shape[-1:]  # what is between, of size 1, is a batch and its time
    if len(entry.shape) < 2 or row >= entry.shape[0] or any(size != 1 for size in entry.shape[1:-1]):
        return entry  # refused by its shape
    return dataclasses.replace(entry, shape=width, load=lambda: entry.load()[row].reshape(width))
