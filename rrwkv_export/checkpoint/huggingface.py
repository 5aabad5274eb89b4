"""Hugging Face's RwkvForCausalLM: the same RWKV-4 under other names, in a directory with its own config.json."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint.inspection import SUPPORTED
from rrwkv_export.errors import CheckpointError, ConfigError

_TOP = {"emb.weight": "rwkv.embeddings.weight", "head.weight": "head.weight"}
_PARTS = {"ln0": "pre_ln", "att": "attention", "ffn": "feed_forward"}
_MIXES = {"time_mix_k": "time_mix_key", "time_mix_v": "time_mix_value", "time_mix_r": "time_mix_receptance"}
_CANONICAL = {"embeddings": "emb", **{theirs: ours for ours, theirs in (_PARTS | _MIXES).items()}}


def is_config(fields: Mapping[str, Any]) -> bool:
    """Whether a config.json names a model type or architectures as Hugging Face's do."""
    return "architecture" not in fields and ("model_type" in fields or "architectures" in fields)


def is_rwkv(fields: Mapping[str, Any]) -> bool:
    """Whether Hugging Face's config.json is RWKV-4's."""
    model_type, architectures = fields.get("model_type"), fields.get("architectures")
    return model_type == "rwkv" or (isinstance(architectures, list) and "RwkvForCausalLM" in architectures)


def has_names(names: Iterable[str]) -> bool:
    """Whether tensors go by Hugging Face's names for RWKV-4, those of a base model (RwkvModel) included."""
    return any(
        re.match(r"(rwkv\.)?(embeddings\.weight$|blocks\.\d+\.(attention|feed_forward|pre_ln)\.)", n) for n in names
    )


def name_in_file(name: str) -> str:
    """The name that Hugging Face's files have for a canonical name."""
    if name in _TOP:
        return _TOP[name]
    parts = name.split(".")
    return ".".join(["rwkv", *(_PARTS.get(part) or _MIXES.get(part) or part for part in parts)])


def canonical(name: str) -> str:
    """The canonical name of what Hugging Face's files call `name`, with or without the leading `rwkv.`."""
    return ".".join(_CANONICAL.get(part, part) for part in name.removeprefix("rwkv.").split("."))


def model_config(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
    """Sizes by Hugging Face's config.json. Raises CheckpointError for another architecture, ConfigError for a field."""
    check_architecture(path, fields)
    return _config(path, fields)


def check_architecture(path: Path, fields: Mapping[str, Any]) -> None:
    """Raises CheckpointError for a config.json of Hugging Face's that is not RWKV-4's, naming what it is."""
    if is_rwkv(fields):
        return
    model_type, architectures = fields.get("model_type"), fields.get("architectures")
    told = f"model_type {model_type!r}" if model_type is not None else f"architectures {architectures!r}"
    if version := re.search(r"rwkv[-_]?([5-9])", f"{model_type} {architectures}", re.IGNORECASE):
        raise CheckpointError(f"{path}: {told} is RWKV-{version[1]}; {SUPPORTED}")
    raise CheckpointError(f"{path}: {told} is another architecture; {SUPPORTED}")


def _config(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
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
