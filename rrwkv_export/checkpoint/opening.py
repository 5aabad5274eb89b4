"""`open_checkpoint`: decides the format by what is there and puts config, weights, tokenizer and chat together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.checkpoint import blinkdl, huggingface, rrwkv
from rrwkv_export.checkpoint.chat import find_chat
from rrwkv_export.checkpoint.entries import read_object
from rrwkv_export.checkpoint.tokenizer import TokenizerFile, find_tokenizer
from rrwkv_export.checkpoint.unread_tokenizers import unread_tokenizers
from rrwkv_export.checkpoint.weights import Weights
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.manifest import ChatFormat

# The first that recognizes a path reads it.
_FORMATS = (huggingface, rrwkv, blinkdl)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint in canonical form. format: "rrwkv", "blinkdl" or "huggingface". files: the weight files."""

    path: Path
    format: str
    config: ModelConfig
    weights: Weights
    tokenizer: TokenizerFile | None
    chat: ChatFormat
    files: tuple[Path, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What whoever exports it should know of its tokenizer, each in one line."""
        if self.tokenizer is not None:
            return self.tokenizer.notes
        return unread_tokenizers(self.path if self.path.is_dir() else self.path.parent)


def open_checkpoint(
    path: Path | str,
    *,
    config: ModelConfig | Path | str | None = None,
    tokenizer: Path | str | None = None,
    chat: Path | str | None = None,
) -> Checkpoint:
    """Open a checkpoint of any format; no tensor is read yet. What is given wins over what lies beside the weights.

    config: sizes, or the config.json that holds them. tokenizer: a tokenizer.json or an RWKV World vocabulary. chat: a
    chat.json. Raises CheckpointError (TensorError for one tensor) or ConfigError, each in one line.
    """
    try:
        return _open(Path(path), config, _path(tokenizer), _path(chat))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{error.filename or path}: cannot be read ({reason}); check the file") from None


def _open(path: Path, config: ModelConfig | Path | str | None, tokenizer: Path | None, chat: Path | None) -> Checkpoint:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory; give a checkpoint's path")
    if isinstance(config, Path | str):
        config = ModelConfig.from_json(read_object(Path(config)), owner=str(config))
    reader = next((reader for reader in _FORMATS if reader.recognizes(path)), None)
    if reader is None:
        raise CheckpointError(
            f"{path}: not a checkpoint by its name; give a directory, .safetensors, .pth, .pt or .bin"
        )
    source = reader.read(path, config)
    folder, vocab_size = path if path.is_dir() else path.parent, source.config.vocab_size
    found = find_tokenizer(tokenizer, folder, vocab_size)
    # The World vocabulary begins at 1; token 0 is the end of a text.
    eos = 0 if found and found.type == "rwkv-world" else source.eos_token_id
    return Checkpoint(
        path=path,
        format=reader.FORMAT,
        config=source.config,
        weights=Weights(source),
        tokenizer=found,
        chat=find_chat(chat, folder, vocab_size, eos),
        files=source.files,
    )


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)
