"""Hugging Face's RwkvForCausalLM: the same RWKV-4 under other names, in a directory with its own config.json."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rrwkv_export.checkpoint import shards
from rrwkv_export.checkpoint.entries import Source, read_object
from rrwkv_export.checkpoint.inspection import SUPPORTED, check_version
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import CheckpointError, ConfigError, TensorError

FORMAT = "huggingface"
_TOP = {"emb.weight": "rwkv.embeddings.weight", "head.weight": "head.weight"}
_PARTS = {"ln0": "pre_ln", "att": "attention", "ffn": "feed_forward"}
_MIXES = {"time_mix_k": "time_mix_key", "time_mix_v": "time_mix_value", "time_mix_r": "time_mix_receptance"}


def recognizes(path: Path) -> bool:
    """A config.json that names a model type or architectures as Hugging Face's do."""
    if not (path / "config.json").is_file():
        return False
    fields = read_object(path / "config.json")
    return "architecture" not in fields and ("model_type" in fields or "architectures" in fields)


def read(path: Path, config: ModelConfig | None) -> Source:
    """Raises CheckpointError, or ConfigError for config.json."""
    fields = read_object(path / "config.json")
    _check_architecture(path / "config.json", fields)
    opened, entries, files = shards.read_folder(path, (shards.SAFETENSORS, shards.TORCH))
    check_version(opened, entries)
    if "head.weight" not in entries and fields.get("tie_word_embeddings"):
        raise TensorError(
            f"{opened}: 'head.weight' is tied to the embedding and has no tensor; save with tie_word_embeddings=False"
        )
    config = config or _config(path / "config.json", fields)
    return Source(opened, config, entries, name_in_file, files, _eos_token_id(fields, config))


def name_in_file(name: str) -> str:
    """The name that Hugging Face's files have for a canonical name."""
    if name in _TOP:
        return _TOP[name]
    parts = name.split(".")
    return ".".join(["rwkv", *(_PARTS.get(part) or _MIXES.get(part) or part for part in parts)])


def _eos_token_id(fields: dict[str, Any], config: ModelConfig) -> int | None:
    eos = fields.get("eos_token_id")
    return eos if type(eos) is int and 0 <= eos < config.vocab_size else None


def _check_architecture(path: Path, fields: dict[str, Any]) -> None:
    model_type, architectures = fields.get("model_type"), fields.get("architectures")
    if model_type == "rwkv" or (isinstance(architectures, list) and "RwkvForCausalLM" in architectures):
        return
    told = f"model_type {model_type!r}" if model_type is not None else f"architectures {architectures!r}"
    if version := re.search(r"rwkv[-_]?([5-9])", f"{model_type} {architectures}", re.IGNORECASE):
        raise CheckpointError(f"{path}: {told} is RWKV-{version[1]}; {SUPPORTED}")
    raise CheckpointError(f"{path}: {told} is another architecture; {SUPPORTED}")


def _config(path: Path, fields: dict[str, Any]) -> ModelConfig:
    sizes = {name: fields.get(name) for name in ("vocab_size", "hidden_size", "num_hidden_layers")}
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError(f"{path}: {name} must be an integer, not {value!r}")
    hidden = fields["hidden_size"]
    ffn_size, epsilon = fields.get("intermediate_size"), fields.get("layer_norm_epsilon")
    return ModelConfig(
        vocab_size=fields["vocab_size"],
        hidden_size=hidden,
        num_layers=fields["num_hidden_layers"],
        ffn_size=4 * hidden if ffn_size is None else ffn_size,
        layer_norm_epsilon=1e-5 if epsilon is None else epsilon,
        attention_size=fields.get("attention_hidden_size"),
    )
