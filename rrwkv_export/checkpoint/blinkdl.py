"""BlinkDL's RWKV-4 .pth: a state dict and nothing else, so its sizes come from the tensors."""

from __future__ import annotations

from pathlib import Path

from rrwkv_export.checkpoint import container_torch
from rrwkv_export.checkpoint.entries import Source, read_object
from rrwkv_export.checkpoint.inspection import check_names, has_mediums, infer_config
from rrwkv_export.config import ModelConfig

FORMAT = "blinkdl"


def recognizes(path: Path) -> bool:
    return path.suffix in (".pth", ".pt", ".bin")


def read(path: Path, config: ModelConfig | None) -> Source:
    """Raises CheckpointError, or ConfigError for a config.json beside a file with mediums."""
    entries = container_torch.entries(path)
    check_names(path, entries)
    beside = path.with_name("config.json")
    if config is None and has_mediums(entries) and beside.is_file():
        config = ModelConfig.from_json(read_object(beside), owner=str(beside))
    # Token 0 ends a text in the Pile's vocabulary and in the World's, the two that RWKV-4 was trained on.
    return Source(path, config or infer_config(path, entries), entries, str, (path,), eos_token_id=0)
