"""What the names and shapes of tensors say: that they are a model's, whose, and which sizes it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rrwkv_export import architectures
from rrwkv_export.architectures import SUPPORTED
from rrwkv_export.architectures.base import Architecture, Tensors
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.mediums import has_mediums
from rrwkv_export.checkpoint.containers.entries import Entry
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError


def check_supported(path: Path, entries: Mapping[str, Entry]) -> None:
    """Raises CheckpointError, naming the model and the tensor that shows it, for what is none of the architectures."""
    if found := architectures.unsupported(entries):
        model, name = found
        raise CheckpointError(f"{path}: an {model} checkpoint (it has {entries[name].name!r}); {SUPPORTED}")


def check_names(path: Path, entries: Mapping[str, Entry]) -> None:
    """By canonical names. Raises CheckpointError for a model that is not supported, and for what is no RWKV at all."""
    check_supported(path, entries)
    if "emb.weight" not in entries and not any(name.startswith("blocks.") for name in entries):
        first = f"it begins with {next(iter(entries.values())).name!r}" if entries else "it holds no tensor"
        raise CheckpointError(f"{path}: no RWKV checkpoint ({first}); {SUPPORTED}")
    if empty := next((entry for entry in entries.values() if 0 in entry.shape), None):
        raise TensorError(
            f"{path}: {empty.name!r} is empty, as where DeepSpeed (ZeRO-3) keeps weights elsewhere; "
            "join them with its zero_to_fp32.py, and give the result"
        )


def check_config(path: Path, entries: Mapping[str, Entry], config: ModelConfig) -> None:
    """Raises CheckpointError for a config of one architecture and tensors that have the sign of another."""
    shapes = {name: entry.shape for name, entry in entries.items()}
    room = architectures.recognise(shapes)
    if room is architectures.of(config) or room is architectures.ARCHITECTURES[-1]:  # what is missing will be named
        return
    sign = room.sign(shapes)
    assert sign is not None
    raise CheckpointError(
        f"{path}: {entries[sign].name!r} is {room.TITLE}'s, and the config says {config.architecture}; "
        "give the config that belongs to this file (--config)"
    )


def infer_config(
    path: Path, entries: Mapping[str, Entry], named: Callable[[str], str], fields: Mapping[str, Any] | None = None
) -> ModelConfig:
    """A model's sizes from its tensors, and from a config.json of Hugging Face's where there is one.

    Raises TensorError or CheckpointError, and ConfigError for a field.
    """
    if fields is None and has_mediums(entries):
        raise CheckpointError(
            f"{path}: has mediums, whose interval and slots it does not say; put its config.json beside it, "
            "or give it with --config"
        )
    tensors = Tensors(str(path), {name: entry.shape for name, entry in entries.items()}, named)
    room: Architecture[ModelConfig] = architectures.recognise(tensors)
    if fields is not None:
        return room.from_huggingface(fields, tensors)
    try:
        return room.infer(tensors)
    except ConfigError as error:
        raise CheckpointError(
            f"{path}: its tensors have sizes that no model has ({error}); give a checkpoint of a trained model"
        ) from None
