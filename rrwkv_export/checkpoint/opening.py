"""`open_checkpoint`: puts weights, config, adapters, tokenizer and chat together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint.adapters.merged import Adapter, merge, own_adapter, read_adapter
from rrwkv_export.checkpoint.beside.chat import find_chat, usual_format
from rrwkv_export.checkpoint.beside.endings import find_ending
from rrwkv_export.checkpoint.beside.tokenizer import TokenizerFile, find_tokenizer
from rrwkv_export.checkpoint.beside.unread_tokenizers import unread_tokenizers
from rrwkv_export.checkpoint.folders import ADAPTER_CONFIG
from rrwkv_export.checkpoint.reading import read
from rrwkv_export.checkpoint.weights import Weights
from rrwkv_export.errors import CheckpointError
from rrwkv_runtime.manifest import ChatFormat


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint in canonical form. format: "rrwkv", "blinkdl" or "huggingface". files: the weight files.

    adapters: what is merged into the weights. notes: what lies there and is not used, and what of the
    tokenizer does not suit the model, each in one line.
    """

    path: Path
    format: str
    config: ModelConfig
    weights: Weights
    tokenizer: TokenizerFile | None
    chat: ChatFormat
    files: tuple[Path, ...]
    adapters: tuple[Adapter, ...] = ()
    notes: tuple[str, ...] = ()


def open_checkpoint(
    path: Path | str,
    *,
    config: ModelConfig | Path | str | None = None,
    tokenizer: Path | str | None = None,
    chat: Path | str | None = None,
    adapters: Sequence[Path | str] = (),
    adapter_alphas: Sequence[float] = (),
) -> Checkpoint:
    """Open a checkpoint of any format; no tensor is read yet. What is given wins over what lies beside the weights.

    config: sizes, or the config.json that holds them. tokenizer: a tokenizer.json or an RWKV World vocabulary, or the
    word "world" for the one that comes along. chat: a chat.json, or "world" or "g1" (see `FORMATS`). adapters: PEFT
    folders or files of LoRA weights, merged in this order. adapter_alphas: of those that do not say their alpha, one
    for all or one for each. Raises CheckpointError (TensorError for one tensor) or ConfigError, each in one line.
    """
    given = config if isinstance(config, ModelConfig) else _path(config)
    try:
        return _open(Path(path), given, tokenizer, chat, [Path(one) for one in adapters], adapter_alphas)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{error.filename or path}: cannot be read ({reason}); check the file") from None


def _open(
    path: Path,
    config: ModelConfig | Path | None,
    tokenizer: Path | str | None,
    chat: Path | str | None,
    adapters: Sequence[Path],
    alphas: Sequence[float],
) -> Checkpoint:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or directory; give a checkpoint's path")
    reading = read(path, config)
    own = own_adapter(reading.source, reading.halves)
    source, merged = merge(reading.source, [*own, *map(read_adapter, adapters)], alphas)
    folder, vocab_size = path if path.is_dir() else path.parent, source.config.vocab_size
    found = find_tokenizer(tokenizer, folder, vocab_size)
    return Checkpoint(
        path=path,
        format=reading.format,
        config=source.config,
        weights=Weights(source),
        tokenizer=found,
        chat=find_chat(
            chat,
            folder,
            vocab_size,
            lambda: find_ending(reading.home, reading.says, found, vocab_size),
            usual_format(path, found is not None and found.type == "rwkv-world"),
            (f"{reading.chat.path}: chat", reading.chat.fields["chat"]) if reading.chat else None,
        ),
        files=source.files,
        adapters=merged,
        notes=(*_unmerged(path, adapters), *(found.notes if found else unread_tokenizers(folder, vocab_size))),
    )


def _unmerged(path: Path, adapters: Sequence[Path]) -> tuple[str, ...]:
    """Of an adapter that lies in the model's own folder, of which nobody says whether it is wanted."""
    if not (path / ADAPTER_CONFIG).is_file() or any(one.resolve().is_relative_to(path.resolve()) for one in adapters):
        return ()
    return (f"{path} holds an adapter, too, which is not merged; --adapter {path} merges it",)


def _path(path: Path | str | None) -> Path | None:
    return None if path is None else Path(path)
