"""RRWKV: a directory of config.json and model.safetensors (or its shards), or one .safetensors file."""

from __future__ import annotations

from pathlib import Path

from rrwkv_export.checkpoint import shards
from rrwkv_export.checkpoint.entries import Entry, Source, read_object
from rrwkv_export.checkpoint.inspection import check_names, has_mediums, infer_config
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import CheckpointError

FORMAT = "rrwkv"


def recognizes(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".safetensors"


def read(path: Path, config: ModelConfig | None) -> Source:
    """Raises CheckpointError, or ConfigError for config.json."""
    if path.is_dir():
        opened, entries, files = shards.read_folder(path, (shards.SAFETENSORS,))
    else:
        opened, entries, files = path, shards.read_file(path), (path,)
    check_names(opened, entries)
    if config is None:
        config = _own_config(path) if path.is_dir() else _config_beside(path, entries)
    return Source(opened, config, entries, str, files)


def _own_config(folder: Path) -> ModelConfig:
    if not (path := folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: has no config.json; put it there or give it with --config")
    return ModelConfig.from_json(read_object(path), owner=str(path))


def _config_beside(file: Path, entries: dict[str, Entry]) -> ModelConfig:
    """A plain RWKV-4 needs no config, so one of something else may lie beside it."""
    path = file.with_name("config.json")
    if path.is_file():
        fields = read_object(path)
        if has_mediums(entries) or fields.get("architecture") in ("rrwkv", "rwkv4"):
            return ModelConfig.from_json(fields, owner=str(path))
    return infer_config(file, entries)
