"""What lies beside a checkpoint without a tokenizer and looks like one, so that nobody wonders why it is not used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import read_json
from rrwkv_export.checkpoint.beside.tokenizer import read_tokenizer, save_as_json
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_runtime.text.world_vocabulary import ORIGINAL

_SETTINGS = "tokenizer_config.json"
_JSON = re.compile(r".*tokenizer.*\.json", re.IGNORECASE)
_OTHERS = re.compile(
    r".*\.(model|tiktoken|spm)|vocab\.json|merges\.txt|spiece\..*|.*vocab.*\.(txt|json)", re.IGNORECASE
)


def unread_tokenizers(folder: Path) -> tuple[str, ...]:
    """At most one line: what looks like a tokenizer in a folder that `find_tokenizer` found none in, and what to do."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    for name in names:
        if _JSON.fullmatch(name) and name != _SETTINGS and _is_tokenizer(folder / name):
            return (
                f"{folder / name} is not read, as it may be another model's, and the bundle works on token ids; if it "
                f"is this model's: --tokenizer {folder / name}",
            )
    settings = _settings(folder / _SETTINGS) if _SETTINGS in names else {}
    named = str(settings.get("tokenizer_class", "a tokenizer"))[:60]
    if "rwkv" in named.lower():
        return (
            f"{folder / _SETTINGS} names {named!r}, whose vocabulary is not in the folder or not whole; without it the "
            f"bundle works on token ids. Give it with --tokenizer {ORIGINAL}",
        )
    files = [name for name in names if _OTHERS.fullmatch(name)]
    if files:
        return (
            f"{', '.join(files[:4])} in {folder}: not read, and the bundle works on token ids; {save_as_json(folder)}",
        )
    if settings:
        return (
            f"{folder / _SETTINGS} names {named!r}, but its tokenizer.json is not there, and the bundle works on token "
            "ids; put it there, or give it with --tokenizer",
        )
    return ()


def _is_tokenizer(path: Path) -> bool:
    try:
        read_tokenizer(path)
    except CheckpointError:
        return False
    return True


def _settings(path: Path) -> dict[str, Any]:
    try:
        fields = read_json(path)
    except ConfigError:
        return {}
    return fields if isinstance(fields, dict) else {}
