"""Which tokenizer goes with a checkpoint: found, opened once as the runtime will, and held against the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.errors import TokenizerError
from rrwkv_runtime.text import JsonTokenizer, WorldTokenizer

_OWN, _WORLD = "tokenizer.json", "rwkv_vocab_v20230424.txt"


@dataclass(frozen=True)
class TokenizerFile:
    """type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (the RWKV World vocabulary)."""

    type: Literal["tokenizer.json", "rwkv-world"]
    path: Path


def find_tokenizer(explicit: Path | None, folder: Path, vocab_size: int) -> TokenizerFile | None:
    """The one that was asked for, or else the folder's own. Raises CheckpointError if it is unusable."""
    own = (path for path in (folder / _OWN, folder / _WORLD) if path.is_file())
    if (path := explicit or next(own, None)) is None:
        return None
    if not path.is_file():
        raise CheckpointError(f"{path}: no such tokenizer file; give a tokenizer.json or {_WORLD}")
    found, ids = _opened(path)
    if ids > vocab_size:
        raise CheckpointError(
            f"{path}: has token {ids - 1} and the model only {vocab_size} tokens; give its own with --tokenizer"
        )
    return found


def _opened(path: Path) -> tuple[TokenizerFile, int]:
    """The file and how many ids it spans."""
    try:
        if path.suffix == ".json":
            return TokenizerFile("tokenizer.json", path), JsonTokenizer.from_file(path).vocab_size
        if path.suffix == ".txt":
            return TokenizerFile("rwkv-world", path), WorldTokenizer.from_file(path).vocab_size
    except TokenizerError as error:
        raise CheckpointError(f"{error}; download it again") from None
    raise CheckpointError(f"{path}: not a tokenizer by its name; give a tokenizer.json or {_WORLD}")
