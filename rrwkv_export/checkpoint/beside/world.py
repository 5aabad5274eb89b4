"""The RWKV World vocabulary that comes along: `--tokenizer world`, and folders that name it without having it."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from rrwkv_export.architectures.config import read_json
from rrwkv_export.errors import CheckpointError, ConfigError
from rrwkv_runtime.text.world_vocabulary import ORIGINAL

WORLD = "world"
SETTINGS = "tokenizer_config.json"
# What World models have as embeddings: their 65,529 tokens and the one that ends a text, or a rounder number.
SIZES = range(65_529, 65_537)
_CLASS = re.compile(r"rwkv", re.IGNORECASE)
_LARGEST = 1 << 22  # bytes; the file has 1.1 MB


def shipped_vocabulary() -> tuple[Path, bytes]:
    """Where it lies, and BlinkDL's file as it is inside, but for its line ends. Raises CheckpointError."""
    try:
        import lzma
    except ImportError:
        raise CheckpointError(
            f"--tokenizer {WORLD}: this Python was built without lzma, which reads it; give {ORIGINAL} itself"
        ) from None
    with resources.as_file(resources.files("rrwkv_export") / "assets" / "world" / f"{ORIGINAL}.xz") as path:
        return path, lzma.LZMADecompressor().decompress(path.read_bytes(), _LARGEST)


def named_tokenizer(folder: Path) -> str | None:
    """The tokenizer's class, where a folder's tokenizer_config.json names one; None where it has no such file."""
    path = folder / SETTINGS
    if not path.is_file():
        return None
    try:
        fields = read_json(path)
    except ConfigError:
        return None
    if not isinstance(fields, dict) or not fields:
        return None
    automatic = fields.get("auto_map")
    found = automatic.get("AutoTokenizer") if isinstance(automatic, dict) else None
    first = found[0] if isinstance(found, list) and found else found
    return str(fields.get("tokenizer_class") or first or "a tokenizer")[:60]


def is_worlds(tokenizer_class: str | None) -> bool:
    """Whether it is a class of the World tokenizer: RWKVWorldTokenizer, Rwkv5Tokenizer, RwkvTokenizer …"""
    return tokenizer_class is not None and _CLASS.search(tokenizer_class) is not None
