"""Which tokenizer goes with a checkpoint: found, opened once as the runtime will, and held against the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.errors import TokenizerError
from rrwkv_runtime.text import open_tokenizer

Kind = Literal["tokenizer.json", "rwkv-world"]
_OWN, _WORLD = "tokenizer.json", "rwkv_vocab_v20230424.txt"


@dataclass(frozen=True)
class TokenizerFile:
    """type: "tokenizer.json" (Hugging Face tokenizers) or "rwkv-world" (the RWKV World vocabulary)."""

    type: Kind
    path: Path


def find_tokenizer(explicit: Path | None, folder: Path, vocab_size: int) -> TokenizerFile | None:
    """The one that was asked for, or else the folder's own. Raises CheckpointError if it is unusable."""
    own = (path for path in (folder / _OWN, folder / _WORLD) if path.is_file())
    if (path := explicit or next(own, None)) is None:
        return None
    if not path.is_file():
        raise CheckpointError(f"{path}: no such tokenizer file; give a tokenizer.json or {_WORLD}")
    kinds: dict[str, Kind] = {".json": "tokenizer.json", ".txt": "rwkv-world"}
    if path.suffix not in kinds:
        raise CheckpointError(f"{path}: not a tokenizer by its name; give a tokenizer.json or {_WORLD}")
    found = TokenizerFile(kinds[path.suffix], path)
    ids = _vocabulary(found)
    if ids > vocab_size:
        raise CheckpointError(
            f"{path}: has token {ids - 1} and the model only {vocab_size} tokens; give its own with --tokenizer"
        )
    return found


def _vocabulary(found: TokenizerFile) -> int:
    """How many ids the tokenizer spans; it is opened as a runtime will, and tried."""
    try:
        tokenizer = open_tokenizer(found.type, found.path)
        if not tokenizer.encode("User: hello"):
            raise TokenizerError(f"{found.path}: makes no tokens of a text")
        return tokenizer.vocab_size
    except TokenizerError as error:
        raise CheckpointError(f"{error}; download it again") from None
